//! The scenarios of `docs/scenarios`: what is typed there is run here, and traffic shows what comes of it.

mod cert_manager;
mod cross_namespace;
mod gateway_classes;
mod header_canary;
mod http_routing;
mod protocols;
mod roles;
mod simple_gateway;
mod tls;
mod traffic_splitting;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Empty;
use k8s_openapi::api::core::v1::ConfigMap;
use sluice_e2e::{
    app::SETUP_DEADLINE,
    probe::Probe,
    scenario::Scenario,
    tls::TlsClient,
    wait::{until, when},
};

/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(5);

/// Waits until a GET of `host/path` is answered with this status by this backend; an answer of the proxy itself is `none`'s.
async fn answers(address: SocketAddr, url: &str, headers: &[(&str, &str)], expected: (u16, &str)) -> Result<()> {
    answered(url, expected, async || Probe::connect(address).await?.send(request(url, headers)?).await).await
}

/// The same in TLS.
async fn answers_in_tls(address: SocketAddr, client: &TlsClient, url: &str, expected: (u16, &str)) -> Result<()> {
    answered(url, expected, async || Probe::over(client.connect(address).await?).await?.send(request(url, &[])?).await)
        .await
}

async fn answered(
    url: &str,
    expected: (u16, &str),
    exchange: impl AsyncFn() -> Result<(StatusCode, HeaderMap)>,
) -> Result<()> {
    until(&format!("{expected:?} for {url}"), SETUP_DEADLINE, async || {
        let answer = tokio::time::timeout(EXCHANGE, exchange()).await?.map(said);
        Ok(when(answer.as_ref().is_ok_and(|(status, by)| (*status, by.as_str()) == expected), || format!("{answer:?}")))
    })
    .await
}

fn request(url: &str, headers: &[(&str, &str)]) -> Result<Request<Empty<Bytes>>> {
    let (host, path) = url.split_once('/').context("a URL has a path")?;
    let mut request = Request::get(format!("/{path}")).header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(Empty::new())?)
}

fn said((status, headers): (StatusCode, HeaderMap)) -> (u16, String) {
    let version = headers.get("x-version").and_then(|version| version.to_str().ok());
    (status.as_u16(), version.unwrap_or("none").to_owned())
}

/// What clients of a certificate that `examples/certificate.sh` has made trust.
async fn authority(scenario: &Scenario, namespace: &str, name: &str) -> Result<String> {
    let found = scenario.cluster.api::<ConfigMap>(namespace).get(name).await?;
    found.data.unwrap_or_default().remove("ca.crt").context("no ca.crt")
}
