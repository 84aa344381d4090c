//! Backends in TLS: who is trusted, what they are shown, and that a connection never outlives the rules that it was made by.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sluice_proxy_core::model::{
    Authorities, Backend, BackendTls, Certificate, Endpoint, Listener, ListenerProtocol, Protocol, Resource,
    SubjectName,
};
use tokio_rustls::TlsAcceptor;

use super::fixtures::{Echo, HOST, Proxy, passing_route, run, until};
use super::websocket;
use crate::tls::tests::Authority;
use crate::tls::{authorities, certified_key, provider};

const POLICY: &str = "shop/app";
const SPIFFE: &str = "spiffe://shop.test/app";

/// Shows this certificate, and asks for one of these authorities.
pub(super) fn server(shown: &Certificate, clients: Option<&Authority>) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authorities(&authority.pem).expect("usable"));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = certified_key(&shown.chain, shown.key.pem()).expect("a certificate");
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

pub(super) fn policy(authority: &Authority, hostname: &str, names: &[SubjectName]) -> Resource {
    Resource::BackendTls(rules(authority, hostname, names))
}

fn rules(authority: &Authority, hostname: &str, names: &[SubjectName]) -> BackendTls {
    BackendTls {
        id: POLICY.into(),
        hostname: hostname.into(),
        names: names.to_vec(),
        authorities: Authorities::Listed(authority.pem.clone()),
    }
}

/// Backend `b`, which is of this policy.
pub(super) fn backend(address: SocketAddr, protocol: Protocol) -> Resource {
    let endpoints = vec![Endpoint { address, ready: true }];
    Resource::Backend(Backend { tls: Some(POLICY.into()), ..Backend::new("b", protocol, endpoints) })
}

/// A proxy whose one backend is of this policy.
async fn serving(address: SocketAddr, protocol: Protocol, policy: Resource) -> Proxy {
    let proxy = Proxy::serving(&[("b", 1, &[])]).await;
    proxy.put(backend(address, protocol));
    proxy.put(policy);
    proxy.apply().await.expect("applied");
    proxy
}

async fn status(proxy: &Proxy) -> u16 {
    proxy.client().await.get().await.status
}

fn handshakes(echo: &Echo) -> usize {
    echo.heard().iter().filter(|heard| heard.starts_with("TLS ")).count()
}

#[test]
fn a_backend_must_prove_who_it_is() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let shown = authority.sign("backend", &["app.test", "alias.test", SPIFFE]);
        let echo = Echo::secure("echo", Protocol::Http1, server(&shown, None)).await;
        let host = |name: &str| SubjectName::Hostname(name.to_owned());
        let uri = |name: &str| SubjectName::Uri(name.to_owned());
        let cases = [
            (&authority, "app.test", vec![], 200),
            (&other, "app.test", vec![], 502),
            (&authority, "other.test", vec![], 502),
            (&authority, "other.test", vec![host("alias.test")], 200),
            (&authority, "app.test", vec![host("other.test")], 502),
            (&authority, "other.test", vec![uri(SPIFFE)], 200),
            (&authority, "app.test", vec![uri("spiffe://shop.test/other")], 502),
            (&authority, "other.test", vec![uri("spiffe://x.test/y"), host("app.test")], 200),
            (&other, "app.test", vec![uri(SPIFFE)], 502),
        ];
        let proxy = serving(echo.address, Protocol::Http1, policy(&authority, "app.test", &[])).await;
        let mut failures = 0;
        for (trusted, hostname, names, expected) in cases {
            proxy.put(policy(trusted, hostname, &names));
            proxy.apply().await.expect("applied");
            assert_eq!(status(&proxy).await, expected, "{hostname} {names:?}");
            failures += u64::from(expected == 502);
            if expected == 200 {
                let said = format!("TLS {hostname} http/1.1");
                assert!(echo.heard().contains(&said), "{said}: {:?}", echo.heard());
            }
        }
        // An endpoint that is ready and proves nothing is the backend's failure.
        assert_eq!(proxy.settled("b").await.connection_failures, failures);
    });
}

#[test]
fn nobody_is_let_through_in_the_clear_or_under_authorities_of_others() {
    run(async {
        let authority = Authority::new();
        let shown = authority.sign("backend", &["app.test"]);
        let echo = Echo::secure("echo", Protocol::Http1, server(&shown, None)).await;
        let proxy = serving(echo.address, Protocol::Http1, policy(&authority, "app.test", &[])).await;
        assert_eq!(status(&proxy).await, 200);
        let system = BackendTls { authorities: Authorities::System, ..rules(&authority, "app.test", &[]) };
        proxy.put(Resource::BackendTls(system));
        proxy.apply().await.expect("applied");
        // Whether this system trusts somebody or nobody.
        assert!([500, 502].contains(&status(&proxy).await));
        let clear = Echo::start("clear", Protocol::Http1).await;
        let endpoints = vec![Endpoint { address: clear.address, ready: true }];
        let absent = Backend { tls: Some("shop/absent".into()), ..Backend::new("b", Protocol::Http1, endpoints) };
        proxy.put(Resource::Backend(absent));
        proxy.apply().await.expect("applied");
        assert_eq!(status(&proxy).await, 500);
        assert_eq!((clear.connections(), echo.served.get()), (0, 1));
    });
}

#[test]
fn a_connection_is_not_used_under_other_rules_than_those_it_was_made_by() {
    run(async {
        let authority = Authority::new();
        let shown = authority.sign("backend", &["app.test"]);
        for protocol in [Protocol::Http1, Protocol::H2c] {
            let echo = Echo::secure("echo", protocol, server(&shown, None)).await;
            let proxy = serving(echo.address, protocol, policy(&authority, "app.test", &[])).await;
            let mut client = proxy.client().await;
            // Both workers have one, most likely; what counts is that this client's has.
            assert_eq!(client.get().await.status, 200);
            let before = handshakes(&echo);
            assert_eq!(client.get().await.status, 200);
            assert_eq!(handshakes(&echo), before, "a connection is used again");
            client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\n\r\nha")).await;
            until("the request is open", async || proxy.counted("b").await.in_flight() == 1).await;

            proxy.put(policy(&authority, "other.test", &[]));
            proxy.apply().await.expect("applied");
            client.send("lf").await;
            let answer = client.answer().await.expect("an answer");
            assert!(answer.status == 200 && answer.body.ends_with("half"), "what has begun is finished: {answer:?}");
            assert_eq!(client.get().await.status, 502, "{protocol:?}");

            proxy.put(policy(&authority, "app.test", &[]));
            proxy.apply().await.expect("applied");
            assert_eq!(client.get().await.status, 200);
            assert_eq!(handshakes(&echo), before + 1, "{protocol:?}");
            until("what is of no use is closed", async || echo.connections() == 1).await;
        }
    });
}

#[test]
fn backends_are_shown_the_certificate_of_the_gateway() {
    run(async {
        let authority = Authority::new();
        let shown = authority.sign("backend", &["app.test"]);
        let echo = Echo::secure("echo", Protocol::Http1, server(&shown, Some(&authority))).await;
        let proxy = serving(echo.address, Protocol::Http1, policy(&authority, "app.test", &[])).await;
        assert_eq!(status(&proxy).await, 502);
        let listener = Listener { identity: Some("shop/gateway".into()), ..Listener::http("l", proxy.port, 80) };
        proxy.put(Resource::Listener(listener));
        proxy.apply().await.expect("applied");
        assert_eq!(status(&proxy).await, 500, "what is to be shown is not left out");
        for (signed_by, expected) in [(&authority, 200), (&Authority::new(), 502), (&authority, 200)] {
            proxy.put(Resource::Certificate(signed_by.sign("shop/gateway", &["gateway.test"])));
            proxy.apply().await.expect("applied");
            assert_eq!(status(&proxy).await, expected);
        }
    });
}

#[test]
fn http2_is_agreed_on_and_told_the_scheme() {
    run(async {
        let authority = Authority::new();
        let shown = authority.sign("backend", &["app.test"]);
        let echo = Echo::secure("echo", Protocol::H2c, server(&shown, None)).await;
        let proxy = serving(echo.address, Protocol::H2c, policy(&authority, "app.test", &[])).await;
        let answer = proxy.client().await.get().await;
        assert!(answer.body.starts_with(&format!("echo GET https://{HOST}/\n")), "{answer:?}");
        assert!(echo.heard().contains(&"TLS app.test h2".to_owned()));
    });
}

#[test]
fn websockets_and_bytes_of_any_kind_pass_through_tls() {
    run(async {
        let authority = Authority::new();
        let tls = server(&authority.sign("backend", &["app.test"]), None);
        let address = websocket::backend(Some(tls.clone())).await;
        let proxy = serving(address, Protocol::Http1, policy(&authority, "app.test", &[])).await;
        let mut client = proxy.client().await;
        assert_eq!(client.exchange(&websocket::handshake("")).await.status, 101);
        client.hears("hello").await;
        client.send("still in TLS").await;
        client.hears("still in TLS").await;

        let echo = Echo::secure("echo", Protocol::Http1, tls).await;
        let proxy = Proxy::idle();
        let listener = Listener { protocol: ListenerProtocol::Tcp, ..Listener::http("l", proxy.port, 80) };
        proxy.put(Resource::Listener(listener));
        passing_route(&proxy, "TCPRoute/shop/r", 0, &[("b", 1)]);
        proxy.put(backend(echo.address, Protocol::Http1));
        proxy.put(policy(&authority, "app.test", &[]));
        proxy.apply().await.expect("applied");
        let body = "x".repeat(100_000);
        let answer = proxy.client().await.post(&body).await;
        assert!(answer.status == 200 && answer.body.ends_with(&body), "{}", answer.head);
        assert!(echo.heard().contains(&"TLS app.test ".to_owned()), "nothing of its bytes is ours to name");
    });
}
