//! TLS listeners: TLS is passed on, or ended and passed on in the clear, by the server name.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConnection};
use sluice_proxy_core::model::{Listener, ListenerProtocol, Protocol, Resource, Route, Rule, Termination};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend_tls;
use super::fixtures::{Echo, Proxy, run, until, weighted};
use super::tcp::{echo, listen};
use super::tls::{self, Client};
use crate::tls::tests::Authority;

/// Whether a listener ends TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Passthrough,
    Terminate,
}

/// Puts a TLS listener, whose id is its host name and whose certificate, if it needs one, is for that.
fn listener(proxy: &Proxy, hostname: &str, mode: Mode, authority: &Authority) {
    let certificates = vec![hostname.to_owned()];
    proxy.put(Resource::Certificate(authority.sign(hostname, &[hostname])));
    proxy.put(Resource::Listener(Listener {
        protocol: ListenerProtocol::Tls,
        hostname: Some(hostname.to_owned()),
        termination: (mode == Mode::Terminate).then_some(Termination { certificates, clients: None }),
        ..Listener::http(hostname, proxy.port, 443)
    }));
}

/// Puts a route for a name on a listener.
fn route(proxy: &Proxy, listener: &str, hostname: &str, backends: &[(&str, u32)]) {
    proxy.put(Resource::Route(Route {
        id: format!("TLSRoute/default/{hostname}"),
        generation: 1,
        created: 0,
        listeners: vec![listener.into()],
        hostnames: vec![hostname.into()],
        rules: vec![Rule { name: "0".into(), backends: weighted(backends), ..Rule::default() }],
    }));
}

/// A proxy with one listener for a host name, and on it a route for another or the same one to a backend `b`.
async fn serving(authority: &Authority, (host, named): (&str, &str), mode: Mode, backend: SocketAddr) -> Proxy {
    let proxy = Proxy::idle();
    listener(&proxy, host, mode, authority);
    route(&proxy, host, named, &[("b", 1)]);
    proxy.endpoints("b", Protocol::Http1, &[backend]);
    proxy.apply().await.expect("applied");
    proxy
}

/// A backend that ends TLS, says which server its client wants, and then everything that it hears.
async fn secure_echo(authority: &Authority, names: &[&str]) -> SocketAddr {
    let certificate = authority.sign("backend", names);
    let acceptor = backend_tls::server(&certificate, None);
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepting = acceptor.accept(stream);
            tokio::task::spawn_local(async move {
                let mut stream = accepting.await?;
                let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
                stream.write_all(format!("{name} ").as_bytes()).await?;
                let (mut from, mut to) = tokio::io::split(stream);
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

/// Everything that a client hears who says this and ends.
async fn say(client: &Client<'_>, proxy: &Proxy, server_name: &str, text: &str) -> io::Result<String> {
    let mut stream = client.connect(proxy, server_name).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

/// The next bytes as text, as many as `length` says.
async fn hear(stream: &mut (impl AsyncReadExt + Unpin), length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.expect("more bytes");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn one_port_passes_tls_on_and_ends_it_and_speaks_https_by_the_server_name() {
    run(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let proxy = serving(&ours, ("end.test", "end.test"), Mode::Terminate, echo("hello ").await).await;
        listener(&proxy, "*.pass.test", Mode::Passthrough, &ours);
        route(&proxy, "*.pass.test", "*.pass.test", &[("passed", 1)]);
        proxy.endpoints("passed", Protocol::Http1, &[secure_echo(&theirs, &["a.pass.test"]).await]);
        let web = Echo::start("web", Protocol::Http1).await;
        proxy.put(Resource::Certificate(ours.sign("web.test", &["web.test"])));
        proxy.put(Resource::Listener(tls::listener(&proxy, "web.test", Some("web.test"), None)));
        route(&proxy, "web.test", "web.test", &[("web", 1)]);
        proxy.endpoints("web", Protocol::Http1, &[web.address]);
        proxy.apply().await.expect("applied");
        for version in [&TLS12, &TLS13] {
            let (client, of_backend) =
                (Client { version, ..Client::new(&ours) }, Client { version, ..Client::new(&theirs) });
            assert_eq!(say(&client, &proxy, "end.test", "world").await.expect("heard"), "hello world");
            let heard = say(&of_backend, &proxy, "a.pass.test", "world").await.expect("heard");
            assert_eq!(heard, "a.pass.test world");
            let answer = client.get(&proxy, "web.test", "web.test").await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let answer = client.get(&proxy, "web.test", "end.test").await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
        }
        let (ended, passed) = (proxy.settled("b").await, proxy.settled("passed").await);
        assert_eq!((ended.responses, passed.responses), ([0, 2, 0, 0, 0], [0, 2, 0, 0, 0]));
        // What backends hear and say is counted: in the clear of the one, whole handshakes of the other.
        assert_eq!((ended.opened, ended.received_bytes, ended.sent_bytes), (2, 10, 22));
        assert!(passed.opened == 2 && passed.received_bytes > 400 && passed.sent_bytes > 400, "{passed:?}");
        until("closed", async || proxy.counted("b").await.open() + proxy.counted("passed").await.open() == 0).await;
    });
}

#[test]
fn a_policy_puts_what_is_ended_in_tls_anew_and_leaves_what_is_passed_on() {
    run(async {
        let authority = Authority::new();
        let address = secure_echo(&authority, &["app.test", "a.pass.test"]).await;
        let proxy = serving(&authority, ("end.test", "end.test"), Mode::Terminate, address).await;
        listener(&proxy, "*.pass.test", Mode::Passthrough, &authority);
        route(&proxy, "*.pass.test", "*.pass.test", &[("b", 1)]);
        proxy.put(backend_tls::backend(address, Protocol::Http1));
        proxy.put(backend_tls::policy(&authority, "app.test", &[]));
        proxy.apply().await.expect("applied");
        let client = Client::new(&authority);
        for (server_name, told) in [("end.test", "app.test"), ("a.pass.test", "a.pass.test")] {
            let heard = say(&client, &proxy, server_name, "world").await.expect("heard");
            assert_eq!(heard, format!("{told} world"));
        }
    });
}

#[test]
fn a_hello_in_pieces_reaches_its_backend_byte_by_byte() {
    run(async {
        let (backend, address) = listen().await;
        let authority = Authority::new();
        let proxy = serving(&authority, ("*.test", "a.test"), Mode::Passthrough, address).await;
        let mut sent = hello(&authority, "A.test").1;
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        client.set_nodelay(true).expect("nodelay");
        for piece in sent.chunks(50) {
            client.write_all(piece).await.expect("sent");
        }
        client.write_all(b"more").await.expect("sent");
        client.shutdown().await.expect("ended");
        sent.extend_from_slice(b"more");
        let mut heard = Vec::new();
        backend.accept().await.expect("accepted").0.read_to_end(&mut heard).await.expect("read");
        assert_eq!(heard, sent);
    });
}

/// A client's side of TLS that has begun, and how.
fn hello(authority: &Authority, server_name: &str) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(server_name.to_owned()).expect("name");
    let mut connection = ClientConnection::new(Client::new(authority).config(), name).expect("client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("written");
    (connection, hello)
}

#[test]
fn a_name_without_a_route_is_told_so_only_where_tls_is_ended() {
    run(async {
        let authority = Authority::new();
        let proxy = serving(&authority, ("*.end.test", "a.end.test"), Mode::Terminate, echo("b").await).await;
        listener(&proxy, "*.pass.test", Mode::Passthrough, &authority);
        route(&proxy, "*.pass.test", "a.pass.test", &[("b", 1)]);
        proxy.apply().await.expect("applied");
        for server_name in ["b.end.test", "b.pass.test", "other.test"] {
            let error = Client::new(&authority).connect(&proxy, server_name).await.expect_err("refused");
            let told = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            let alert = rustls::Error::AlertReceived(AlertDescription::UnrecognisedName);
            assert_eq!(told, Some(&alert).filter(|_| server_name == "b.end.test"), "{server_name}");
        }
        assert_eq!(proxy.counted("b").await.started, 0);
    });
}

#[test]
fn who_speaks_no_tls_reaches_nobody() {
    run(async {
        let authority = Authority::new();
        let proxy = serving(&authority, ("*.test", "a.test"), Mode::Passthrough, echo("b").await).await;
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.expect("sent");
        let mut heard = Vec::new();
        // An end or a reset; what matters is that nothing is said.
        let _ = client.read_to_end(&mut heard).await;
        assert!(heard.is_empty());
        assert_eq!(proxy.counted("b").await.started, 0);
    });
}

#[test]
fn connections_are_split_by_weight_and_the_share_of_nobody_is_refused() {
    run(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let proxy =
            serving(&ours, ("*.a.test", "*.a.test"), Mode::Passthrough, secure_echo(&theirs, &["*.a.test"]).await)
                .await;
        route(&proxy, "*.a.test", "*.a.test", &[("b", 1), ("other", 1), ("invalid", 1)]);
        proxy.endpoints("other", Protocol::Http1, &[secure_echo(&theirs, &["*.a.test"]).await]);
        proxy.apply().await.expect("applied");
        let mut refused = 0;
        for _ in 0..60 {
            match say(&Client::new(&theirs), &proxy, "b.a.test", "hello").await {
                Ok(heard) => assert_eq!(heard, "b.a.test hello"),
                Err(error) => {
                    assert_ne!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                    refused += 1;
                }
            }
        }
        assert_eq!(proxy.settled("invalid").await.responses, [0, 0, 0, 0, refused]);
        let (one, other) = (proxy.settled("b").await, proxy.settled("other").await);
        assert_eq!(one.responses[1] + other.responses[1] + refused, 60);
        for share in [one.started, other.started, refused] {
            assert!((5..=40).contains(&share), "{share} of 60");
        }
    });
}

#[test]
fn much_passes_both_ways_at_once() {
    run(async {
        const MUCH: usize = 4 * 1024 * 1024;
        let authority = Authority::new();
        let proxy = serving(&authority, ("a.test", "a.test"), Mode::Terminate, echo("").await).await;
        let stream = Client::new(&authority).connect(&proxy, "a.test").await.expect("connected");
        let (mut from, mut to) = tokio::io::split(stream);
        let sending = tokio::task::spawn_local(async move {
            to.write_all(&vec![7; MUCH]).await?;
            to.shutdown().await
        });
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.expect("read");
        sending.await.expect("no panic").expect("sent");
        assert!(heard.len() == MUCH && heard.iter().all(|byte| *byte == 7), "{} bytes", heard.len());
    });
}

#[test]
fn a_client_that_ends_without_saying_so_in_tls_has_ended() {
    run(async {
        let authority = Authority::new();
        let (backend, address) = listen().await;
        let proxy = serving(&authority, ("a.test", "a.test"), Mode::Terminate, address).await;
        let mut client = Client::new(&authority).connect(&proxy, "a.test").await.expect("connected");
        client.write_all(b"bye").await.expect("sent");
        let (mut below, _) = client.into_inner();
        below.shutdown().await.expect("ended");
        let mut heard = String::new();
        backend.accept().await.expect("accepted").0.read_to_string(&mut heard).await.expect("an end, not a reset");
        assert_eq!(heard, "bye");
    });
}

#[test]
fn a_backend_that_resets_is_no_end_in_good_order() {
    run(async {
        let authority = Authority::new();
        let (backend, address) = listen().await;
        let proxy = serving(&authority, ("a.test", "a.test"), Mode::Terminate, address).await;
        let mut client = Client::new(&authority).connect(&proxy, "a.test").await.expect("connected");
        let (mut stream, _) = backend.accept().await.expect("accepted");
        stream.write_all(b"half").await.expect("sent");
        assert_eq!(hear(&mut client, 4).await, "half");
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        drop(stream);
        let error = client.read(&mut [0]).await.expect_err("no end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    });
}

#[test]
fn what_is_open_outlives_a_change_and_what_is_new_is_of_it() {
    run(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let proxy = serving(&ours, ("a.test", "a.test"), Mode::Terminate, echo("old ").await).await;
        let mut open = Client::new(&ours).connect(&proxy, "a.test").await.expect("connected");
        assert_eq!(hear(&mut open, 4).await, "old ");
        listener(&proxy, "a.test", Mode::Passthrough, &ours);
        route(&proxy, "a.test", "a.test", &[("new", 1)]);
        proxy.endpoints("new", Protocol::Http1, &[secure_echo(&theirs, &["a.test"]).await]);
        proxy.apply().await.expect("applied");
        assert_eq!(say(&Client::new(&theirs), &proxy, "a.test", "new").await.expect("heard"), "a.test new");
        proxy.plane.tell(|| crate::serve::worker::Message::Drain { spread: std::time::Duration::ZERO });
        proxy.plane.tell(|| crate::serve::worker::Message::CloseIdle);
        open.write_all(b"still").await.expect("sent");
        assert_eq!(hear(&mut open, 5).await, "still");
        assert_eq!(proxy.counted("b").await.open(), 1);
    });
}

#[test]
fn who_shook_hands_with_one_listener_is_not_passed_on_by_another() {
    run(async {
        let authority = Authority::new();
        let proxy = serving(&authority, ("*.a.test", "*.a.test"), Mode::Terminate, echo("b").await).await;
        let (mut client, hello) = hello(&authority, "b.a.test");
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        stream.write_all(&hello).await.expect("sent");
        let (mut bytes, mut end) = (vec![0; 16 * 1024], Vec::new());
        while client.is_handshaking() {
            let length = stream.read(&mut bytes).await.expect("read");
            client.read_tls(&mut &bytes[..length]).expect("read");
            client.process_new_packets().expect("a handshake");
        }
        listener(&proxy, "b.a.test", Mode::Terminate, &authority);
        route(&proxy, "b.a.test", "b.a.test", &[("b", 1)]);
        proxy.apply().await.expect("applied");
        client.write_tls(&mut end).expect("written");
        stream.write_all(&end).await.expect("sent");
        // Tickets may come before the end.
        let _ = stream.read_to_end(&mut bytes).await;
        assert_eq!(proxy.counted("b").await.started, 0);
    });
}
