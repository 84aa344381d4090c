//! Listeners that end TLS, as clients meet them.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use sluice_proxy_core::model::{
    Certificate, ClientValidation, Listener, ListenerProtocol, Protocol, Resource, Route, Rule, Termination,
    WeightedBackend,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixtures::{Echo, Proxy, run};
use crate::tls::provider;
use crate::tls::tests::Authority;

pub(super) fn listener(proxy: &Proxy, id: &str, hostname: Option<&str>, clients: Option<ClientValidation>) -> Listener {
    Listener {
        protocol: ListenerProtocol::Https,
        hostname: hostname.map(Into::into),
        termination: Some(Termination { certificates: vec![id.into()], clients }),
        ..Listener::http(id, proxy.port, 443)
    }
}

/// One HTTPS listener for each host name, whose certificate has the listener's id and is for `names`.
async fn serving(authority: &Authority, listeners: &[(&str, Option<&str>, &[&str])]) -> (Proxy, Echo) {
    let (proxy, echo) = (Proxy::idle(), Echo::start("echo", Protocol::Http1).await);
    for (id, hostname, names) in listeners {
        proxy.put(Resource::Listener(listener(&proxy, id, *hostname, None)));
        proxy.put(Resource::Certificate(authority.sign(id, names)));
    }
    let backends = vec![WeightedBackend { backend: "b".into(), weight: 1, valid: true, filters: vec![] }];
    proxy.put(Resource::Route(Route {
        id: "HTTPRoute/default/r".into(),
        generation: 1,
        created: 0,
        listeners: listeners.iter().map(|(id, ..)| (*id).to_owned()).collect(),
        hostnames: vec![],
        rules: vec![Rule { name: "0".into(), backends, ..Rule::default() }],
    }));
    proxy.endpoints("b", Protocol::Http1, &[echo.address]);
    proxy.apply().await.expect("applied");
    (proxy, echo)
}

/// What a client is like.
pub(super) struct Client<'a> {
    pub(super) trusts: &'a Authority,
    pub(super) shows: Option<&'a Certificate>,
    pub(super) alpn: &'a [&'a str],
    pub(super) version: &'static SupportedProtocolVersion,
}

impl<'a> Client<'a> {
    pub(super) fn new(trusts: &'a Authority) -> Self {
        Self { trusts, shows: None, alpn: &[], version: &TLS13 }
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.pem.as_bytes()).expect("PEM")).expect("authority");
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[self.version]);
        let builder = builder.expect("version").with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(Certificate { chain, key, .. }) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("certificate")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(super) async fn connect(&self, proxy: &Proxy, server_name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await?;
        let name = ServerName::try_from(server_name.to_owned()).expect("name");
        TlsConnector::from(self.config()).connect(name, stream).await
    }

    pub(super) async fn get(&self, proxy: &Proxy, server_name: &str, host: &str) -> std::io::Result<String> {
        get(&mut self.connect(proxy, server_name).await?, host).await
    }
}

/// One request; the connection stays open.
async fn get(stream: &mut TlsStream<TcpStream>, host: &str) -> std::io::Result<String> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
    let (mut read, mut bytes) = (String::new(), [0; 4096]);
    // The echo's answer ends in the headers that it was sent, of which the last is the proxy's.
    while !read.contains("x-forwarded-host") && !read.contains("needs a connection") {
        let length = stream.read(&mut bytes).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    Ok(read)
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[test]
fn the_server_name_chooses_listener_and_certificate() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) = serving(
            &authority,
            &[
                ("exact", Some("a.test"), &["a.test"]),
                ("wildcard", Some("*.w.test"), &["*.w.test"]),
                ("any", None, &["other.org"]),
            ],
        )
        .await;
        let mut certificates = std::collections::HashSet::new();
        for name in ["a.test", "b.w.test", "other.org"] {
            for version in [&TLS12, &TLS13] {
                let client = Client { version, ..Client::new(&authority) };
                let answer = client.get(&proxy, name, name).await.expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
            }
            certificates.insert(shown(&Client::new(&authority).connect(&proxy, name).await.expect("connected")));
        }
        assert_eq!(certificates.len(), 3);
    });
}

#[test]
fn http2_is_spoken_where_the_client_offers_it() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) = serving(&authority, &[("any", None, &["a.test"])]).await;
        for (alpn, agreed) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
            let client = Client { alpn, ..Client::new(&authority) };
            let stream = client.connect(&proxy, "a.test").await.expect("connected");
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        }
        let client = Client { alpn: &["h2"], ..Client::new(&authority) };
        let io = hyper_util::rt::TokioIo::new(client.connect(&proxy, "a.test").await.expect("connected"));
        let executor = crate::serve::worker::LocalExecutor;
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
        tokio::task::spawn_local(connection);
        let request = http::Request::get("https://a.test/").body(http_body_util::Empty::<bytes::Bytes>::new());
        let answer = sender.send_request(request.expect("request")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
    });
}

#[test]
fn a_connection_is_not_used_for_another_listener() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) =
            serving(&authority, &[("a", Some("a.test"), &["a.test"]), ("b", Some("b.test"), &["b.test"])]).await;
        let answer = Client::new(&authority).get(&proxy, "a.test", "b.test").await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    });
}

#[test]
fn a_renewed_certificate_is_for_new_connections_and_old_ones_live_on() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) = serving(&authority, &[("any", None, &["a.test"])]).await;
        let client = Client::new(&authority);
        let mut before = client.connect(&proxy, "a.test").await.expect("connected");
        get(&mut before, "a.test").await.expect("an answer");
        proxy.put(Resource::Certificate(authority.sign("any", &["a.test"])));
        proxy.apply().await.expect("applied");
        let after = client.connect(&proxy, "a.test").await.expect("connected");
        assert_ne!(shown(&before), shown(&after));
        assert!(get(&mut before, "a.test").await.expect("an answer").starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn who_asks_for_no_listener_or_speaks_no_tls_is_left_without_a_word() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) = serving(&authority, &[("a", Some("a.test"), &["a.test"])]).await;
        let error = Client::new(&authority).connect(&proxy, "b.test").await.expect_err("no listener");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
        let mut plain = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        plain.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.expect("written");
        let mut said = Vec::new();
        // An end or a reset; what matters is that nothing is said.
        let _ = plain.read_to_end(&mut said).await;
        assert!(said.is_empty());
    });
}

#[test]
fn clients_show_certificates_where_they_are_asked_for() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let (known, unknown) = (authority.sign("known", &["client"]), other.sign("unknown", &["client"]));
        for (optional, taken) in [(false, [true, false, false]), (true, [true, true, true])] {
            let (proxy, _echo) = serving(&authority, &[("any", None, &["a.test"])]).await;
            let clients = ClientValidation { authorities: authority.pem.clone(), optional };
            proxy.put(Resource::Listener(listener(&proxy, "any", None, Some(clients))));
            proxy.apply().await.expect("applied");
            for (shows, taken) in [Some(&known), Some(&unknown), None].into_iter().zip(taken) {
                for version in [&TLS12, &TLS13] {
                    let client = Client { shows, version, ..Client::new(&authority) };
                    let answer = client.get(&proxy, "a.test", "a.test").await;
                    assert_eq!(answer.is_ok(), taken, "{answer:?} {optional}");
                }
            }
        }
    });
}
