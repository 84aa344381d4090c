//! docs/scenarios/02-http-routing.md

use std::net::SocketAddr;

use anyhow::Result;
use sluice_e2e::scenario;

use super::answers;

#[tokio::test]
async fn hosts_paths_and_headers_choose_the_backend() -> Result<()> {
    scenario::run("02-http-routing", async |scenario| {
        let address = SocketAddr::new(scenario.address("http-routing", "web").await?, 80);
        for (url, headers, expected) in [
            ("foo.example.com/login", &[][..], (200, "foo-svc")),
            ("foo.example.com/login/again", &[], (200, "foo-svc")),
            ("foo.example.com/loginx", &[], (404, "none")),
            ("foo.example.com/", &[], (404, "none")),
            ("bar.example.com/", &[], (200, "bar-svc")),
            ("bar.example.com/login", &[], (200, "bar-svc")),
            ("bar.example.com/", &[("env", "canary")], (200, "bar-svc-canary")),
            ("bar.example.com/", &[("env", "other")], (200, "bar-svc")),
            ("foo.example.com/login", &[("env", "canary")], (200, "foo-svc")),
            ("nobody.example.com/login", &[], (404, "none")),
        ] {
            answers(address, url, headers, expected).await?;
        }
        scenario.shows("httproute bar -o", "Accepted=True ResolvedRefs=True").await
    })
    .await
}
