//! docs/scenarios/05-cross-namespace.md

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use sluice_e2e::{
    scenario::{self, Scenario},
    tls::TlsClient,
};
use tokio::net::TcpStream;

use super::{EXCHANGE, answers, answers_in_tls, authority};

#[tokio::test]
async fn a_shared_gateway_takes_routes_backends_and_certificates_of_those_who_may() -> Result<()> {
    scenario::run("05-cross-namespace", async |scenario| {
        let ip = scenario.address("infra-ns", "shared-gateway").await?;
        let (http, https) = (SocketAddr::new(ip, 80), SocketAddr::new(ip, 443));
        let trusted = authority(scenario, "certificates-ns", "foo-example-com").await?;
        let client = TlsClient::new("foo.example.com", &trusted)?;
        for (url, backend) in [
            ("foo.example.com/", "home"),
            ("foo.example.com/login", "login"),
            ("foo.example.com/store", "store"),
            ("foo.example.com/offers", "store"),
        ] {
            answers(http, url, &[], (200, backend)).await?;
            answers_in_tls(https, &client, url, (200, backend)).await?;
        }
        refused(scenario, http).await?;

        scenario.command("label namespace").await?;
        answers(http, "other.example.com/", &[], (200, "other")).await
    })
    .await
}

/// What nobody has allowed says so in its status, and has no traffic.
async fn refused(scenario: &Scenario, http: SocketAddr) -> Result<()> {
    scenario.command("apply -f examples/05-cross-namespace/refused").await?;
    scenario.shows("httproute other", "NotAllowedByListeners").await?;
    answers(http, "other.example.com/", &[], (404, "none")).await?;
    scenario.shows("httproute taken", "Accepted=Accepted ResolvedRefs=RefNotPermitted").await?;
    answers(http, "taken.example.com/", &[], (500, "none")).await?;
    scenario.shows("gateway no-grant", "http=ResolvedRefs https=RefNotPermitted").await?;
    let ip = scenario.address("infra-ns", "no-grant").await?;
    let https = tokio::time::timeout(EXCHANGE, TcpStream::connect(SocketAddr::new(ip, 443))).await;
    ensure!(!matches!(https, Ok(Ok(_))), "a listener without a certificate that it may use takes connections");
    Ok(())
}
