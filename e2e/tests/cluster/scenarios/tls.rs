//! docs/scenarios/07-tls.md

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use sluice_e2e::{
    app::SETUP_DEADLINE,
    load::{Load, LoadConfig},
    manifest::text,
    scenario::{self, Scenario},
    tls::TlsClient,
    wait::{until, when},
};

use super::{answers, answers_in_tls, authority};

const NAMESPACE: &str = "tls-modes";
const TERMINATED: &str = "terminate.shop.example.com";
const REENCRYPTED: &str = "reencrypt.shop.example.com";
const PASSED_ON: &str = "passthrough.example.com";
/// Requests that begin a connection of their own, before and after a renewal.
const ENOUGH: usize = 50;

#[tokio::test]
async fn tls_ends_begins_and_passes_where_each_listener_and_policy_says() -> Result<()> {
    scenario::run("07-tls", async |scenario| {
        let ip = scenario.address(NAMESPACE, "edge").await?;
        let (http, https) = (SocketAddr::new(ip, 80), SocketAddr::new(ip, 443));
        // Each client trusts one certificate only, so what is answered also says whose was shown.
        let (edge, secure) =
            (authority(scenario, NAMESPACE, "edge-tls").await?, authority(scenario, NAMESPACE, "secure-tls").await?);
        let reencrypt = TlsClient::new(REENCRYPTED, &edge)?;
        let passthrough = TlsClient::new(PASSED_ON, &secure)?;
        answers_in_tls(https, &TlsClient::new(TERMINATED, &edge)?, &format!("{TERMINATED}/"), (200, "plain")).await?;
        answers_in_tls(https, &reencrypt, &format!("{REENCRYPTED}/"), (200, "secure")).await?;
        answers_in_tls(https, &passthrough, &format!("{PASSED_ON}/"), (200, "secure")).await?;
        answers(http, "plain-to-tls.example.com/", &[], (200, "secure")).await?;

        // A backend that is not who it should be is spoken to by nobody, in the clear least of all.
        scenario.command("patch -n tls-modes backendtlspolicy").await?;
        answers_in_tls(https, &reencrypt, &format!("{REENCRYPTED}/"), (502, "none")).await?;
        answers(http, "plain-to-tls.example.com/", &[], (502, "none")).await?;
        answers_in_tls(https, &passthrough, &format!("{PASSED_ON}/"), (200, "secure")).await?;
        scenario.command("apply -f examples/07-tls/40-backend-tls.yaml").await?;
        answers(http, "plain-to-tls.example.com/", &[], (200, "secure")).await?;
        renewal(scenario, https, &edge).await
    })
    .await
}

/// Another certificate comes into use under load, and no request is lost.
async fn renewal(scenario: &Scenario, https: SocketAddr, old: &str) -> Result<()> {
    let made =
        scenario.cluster.shell(&format!("examples/certificate.sh {NAMESPACE} edge-tls '*.shop.example.com'")).await?;
    ensure!(made.success, "{made:?}");
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&made.stdout)?;
    let new = text(&objects[1], "/data/ca.crt");
    let either = TlsClient::new(TERMINATED, &format!("{old}{new}"))?;
    let renewed = TlsClient::new(TERMINATED, new)?;
    ensure!(renewed.connect(https).await.is_err(), "the new certificate is shown before it is there");
    let load = Load::start(LoadConfig {
        rps: 50.0,
        // So that each request sees the certificate of its time.
        headers: vec![("connection".to_owned(), "close".to_owned())],
        tls: Some(either),
        ..LoadConfig::new(https, TERMINATED)
    })?;
    let sent = async |count: usize| {
        until("requests in TLS", SETUP_DEADLINE, async || {
            let sent = load.record().samples().len();
            Ok(when(sent >= count, || format!("{sent} requests")))
        })
        .await
    };
    sent(ENOUGH).await?;
    let applied = scenario.cluster.kubectl_with(&["apply", "-f-"], &made.stdout).await?;
    ensure!(applied.success, "{applied:?}");
    until("the new certificate", Duration::from_secs(30), async || {
        let shown = renewed.connect(https).await;
        Ok(when(shown.is_ok(), || format!("{:?}", shown.err())))
    })
    .await?;
    let before = load.record().samples().len();
    sent(before + ENOUGH).await?;
    load.stop().await?.lost_nothing_but(None)
}
