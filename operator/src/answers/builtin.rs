//! The proxy's own counters and acknowledgements, asked of its controller.
//!
//! One channel for all Rollouts. The controller is accepted only by the pinned authority; the token is read for each
//! call, because the kubelet renews it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sluice_operator_core::world::Telemetry;
use sluice_wire::v1::{ObserveRequest, observation_client::ObservationClient};
use thiserror::Error;
use tonic::{
    Request,
    metadata::{MetadataValue, errors::InvalidMetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    cli::Run,
    metrics::Metrics,
    model::{
        Targets,
        telemetry::{data_plane, route_key},
    },
};

/// An answer that takes longer than the interval between two looks is worth no waiting.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("the operator was started without --proxy-controller, so it has no counters and no acknowledgements")]
    NotConfigured,
    #[error("{path} cannot be read: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the token in {path} is no header value: {source}")]
    Token { path: PathBuf, source: InvalidMetadataValue },
    #[error("--proxy-controller is not usable: {0}")]
    Endpoint(tonic::transport::Error),
    #[error("the proxy's controller did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the proxy's controller answers {}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
}

/// The source.
pub(crate) struct Builtin {
    settings: Option<Settings>,
    /// The channel, and the authority that it was made with.
    channel: Mutex<Option<(Vec<u8>, Channel)>>,
    metrics: Arc<Metrics>,
}

struct Settings {
    controller: String,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

impl Builtin {
    /// From the flags.
    pub(crate) fn new(run: &Run, metrics: Arc<Metrics>) -> Self {
        let settings = run.proxy_controller.clone().map(|controller| Settings {
            controller,
            ca: run.proxy_ca.clone(),
            token: run.token_file.clone(),
        });
        Self { settings, channel: Mutex::new(None), metrics }
    }

    /// Asks what the data planes serve and have counted for these routes.
    pub(crate) async fn observe(&self, namespace: &str, targets: &Targets) -> Telemetry {
        match self.ask(namespace, targets).await {
            Err(error) => {
                self.metrics.asked("unavailable");
                Telemetry::Unavailable(error.to_string())
            }
            Ok(telemetry) => {
                self.metrics.asked("ok");
                telemetry
            }
        }
    }

    async fn ask(&self, namespace: &str, targets: &Targets) -> Result<Telemetry, AskError> {
        let settings = self.settings.as_ref().ok_or(AskError::NotConfigured)?;
        let routes = targets.routes.iter().map(|route| route_key(namespace, route)).collect();
        let mut request = Request::new(ObserveRequest { routes });
        if let Some(path) = &settings.token {
            let token = String::from_utf8_lossy(&read(path)?).trim().to_owned();
            let value = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|source| AskError::Token { path: path.clone(), source })?;
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = ObservationClient::new(self.channel(settings)?);
        let answer = tokio::time::timeout(TIMEOUT, client.observe(request)).await.map_err(|_| AskError::Timeout)?;
        let answer = answer.map_err(|status| AskError::Refused(Box::new(status)))?.into_inner();
        let planes = answer.data_planes.iter().map(|plane| data_plane(plane, namespace, targets));
        Ok(Telemetry::DataPlanes(planes.collect()))
    }

    /// The shared channel; made anew when the authority has changed, as it does when the controller is installed anew.
    fn channel(&self, settings: &Settings) -> Result<Channel, AskError> {
        let ca = settings.ca.as_deref().map(read).transpose()?.unwrap_or_default();
        let mut slot = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, channel)) = slot.as_ref().filter(|(made_with, _)| *made_with == ca) {
            return Ok(channel.clone());
        }
        let channel = endpoint(&settings.controller, &ca).map_err(AskError::Endpoint)?.connect_lazy();
        *slot = Some((ca, channel.clone()));
        Ok(channel)
    }
}

fn endpoint(controller: &str, ca: &[u8]) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(controller.to_owned())?
        .connect_timeout(TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5));
    // Only the pinned authority: without one, no server is accepted over https.
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if controller.starts_with("https:") { endpoint.tls_config(tls) } else { Ok(endpoint) }
}

fn read(path: &Path) -> Result<Vec<u8>, AskError> {
    fs::read(path).map_err(|source| AskError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use clap::Parser;
    use sluice_operator_core::world::Telemetry;

    use super::Builtin;
    use crate::{cli::Cli, fixtures::observed};

    /// What is said when the operator was started with these flags.
    async fn said(flags: &[&str]) -> String {
        let run = Cli::parse_from([&["sluice-operator"], flags].concat()).into_run();
        match Builtin::new(&run, Arc::default()).observe("shop", &observed().targets).await {
            Telemetry::Unavailable(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_said() {
        assert!(said(&[]).await.contains("without --proxy-controller"));
        let controller = ["--proxy-controller", "https://127.0.0.1:1"];
        let missing = PathBuf::from("/does/not/exist");
        let ca = [&controller[..], &["--proxy-ca", missing.to_str().unwrap()]].concat();
        assert!(said(&ca).await.starts_with("/does/not/exist cannot be read"));
    }
}
