//! Load balancers that say in front of everything else whom a connection is for.

use sluice_proxy_core::model::{
    Certificate, Gateway, Listener, ListenerProtocol, Protocol, ProxyProtocol, Resource, Termination,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixtures::{Echo, HOST, Proxy, passing_route, run, until};
use super::tls;
use crate::serve::limits::Limit;
use crate::tls::tests::Authority;

const HEADER: &str = "PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\r\n";

/// A Gateway that expects a header from the tests' clients, or from elsewhere.
fn expecting(network: &str) -> Gateway {
    let trusted = vec![network.parse().expect("a network")];
    Gateway { proxy_protocol: Some(ProxyProtocol { trusted, timeout: 300 }), ..Gateway::default() }
}

async fn serving(network: &str) -> (Proxy, Echo) {
    let echo = Echo::start("echo", Protocol::Http1).await;
    let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
    proxy.asks_for(expecting(network));
    proxy.apply().await.expect("applied");
    (proxy, echo)
}

fn request() -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")
}

#[test]
fn the_client_is_whom_the_header_names() {
    run(async {
        let (proxy, _echo) = serving("127.0.0.0/8").await;
        let mut client = proxy.client().await;
        let first = client.exchange(&format!("{HEADER}{}", request())).await;
        assert!(first.body.contains("x-forwarded-for: 203.0.113.7\n"), "{}", first.body);
        let second = client.get().await;
        assert!(second.body.contains("x-forwarded-for: 203.0.113.7\n"), "{}", second.body);
        // A health check speaks for the load balancer itself.
        let own = proxy.client().await.exchange(&format!("PROXY UNKNOWN\r\n{}", request())).await;
        assert!(own.body.contains("x-forwarded-for: 127.0.0.1\n"), "{}", own.body);
    });
}

#[test]
fn a_header_may_come_in_pieces_and_in_binary() {
    run(async {
        let (proxy, _echo) = serving("127.0.0.0/8").await;
        let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        binary.extend([203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
        for header in [HEADER.as_bytes(), &binary] {
            let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
            stream.set_nodelay(true).expect("nodelay");
            for byte in header {
                stream.write_all(&[*byte]).await.expect("sent");
                tokio::task::yield_now().await;
            }
            stream
                .write_all(request().replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes())
                .await
                .expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.contains("x-forwarded-for: 203.0.113.7\n"), "{answer}");
        }
    });
}

#[test]
fn a_trusted_peer_without_a_good_header_is_closed_without_a_word() {
    run(async {
        let (proxy, echo) = serving("127.0.0.0/8").await;
        for said in [request().as_str(), "PROXY TCP4 nobody\r\n", "PROXY TCP4 203.0.113.7", ""] {
            let mut client = proxy.client().await;
            client.send(said).await;
            assert!(client.is_ended().await, "{said:?}");
        }
        until("all of them counted", async || proxy.plane.hits(Limit::ProxyHeader) == 4).await;
        assert_eq!(echo.served.get(), 0);
    });
}

#[test]
fn who_is_not_trusted_cannot_name_somebody_else() {
    run(async {
        let (proxy, echo) = serving("10.0.0.0/8").await;
        let ordinary = proxy.client().await.get().await;
        assert!(ordinary.body.contains("x-forwarded-for: 127.0.0.1\n"), "{}", ordinary.body);
        assert_eq!(proxy.client().await.exchange(&format!("{HEADER}{}", request())).await.status, 400);
        assert_eq!(echo.served.get(), 1);
    });
}

#[test]
fn tls_follows_the_header() {
    run(async {
        let authority = Authority::new();
        let (proxy, _echo) = serving("127.0.0.0/8").await;
        let listener = tls::listener(&proxy, "l", None, None);
        let termination = Some(Termination { certificates: vec!["c".into()], clients: None });
        proxy.put(Resource::Listener(Listener { termination, gateway: Some("g".into()), ..listener }));
        proxy.put(Resource::Certificate(Certificate { id: "c".into(), ..authority.sign("c", &[HOST]) }));
        proxy.apply().await.expect("applied");
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        stream.write_all(HEADER.as_bytes()).await.expect("sent");
        let connector = tokio_rustls::TlsConnector::from(tls::Client::new(&authority).config());
        let name = rustls::pki_types::ServerName::try_from(HOST).expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        stream.write_all(request().as_bytes()).await.expect("sent");
        let (mut answer, mut bytes) = (String::new(), [0; 4096]);
        while !answer.contains("x-forwarded-host") {
            let length = stream.read(&mut bytes).await.expect("an answer");
            assert!(length > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        assert!(answer.contains("x-forwarded-for: 203.0.113.7\n"), "{answer}");
    });
}

#[test]
fn what_is_passed_on_as_it_is_comes_without_the_header() {
    run(async {
        let backend = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::idle();
        proxy.asks_for(expecting("127.0.0.0/8"));
        let listener = Listener { protocol: ListenerProtocol::Tcp, ..Listener::http("l", proxy.port, 9000) };
        proxy.put(Resource::Listener(Listener { gateway: Some("g".into()), ..listener }));
        passing_route(&proxy, "TCPRoute/default/r", 0, &[("b", 1)]);
        proxy.endpoints("b", Protocol::Http1, &[backend.local_addr().expect("address")]);
        proxy.apply().await.expect("applied");
        let mut client = proxy.client().await;
        client.send(&format!("{HEADER}hello")).await;
        let (mut heard, mut bytes) = (backend.accept().await.expect("a connection").0, [0; 5]);
        heard.read_exact(&mut bytes).await.expect("heard");
        assert_eq!(&bytes, b"hello");
    });
}
