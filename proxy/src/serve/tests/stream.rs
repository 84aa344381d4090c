//! The stream, against a controller of the test's own.

use std::pin::Pin;
use std::rc::Rc;

use futures::Stream;
use rcgen::{CertifiedKey, KeyPair};
use sluice_proxy_core::model::Protocol;
use sluice_wire::v1;
use sluice_wire::v1::configuration_server::{Configuration, ConfigurationServer};
use sluice_wire::v1::from_data_plane::Message as Up;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::fixtures::{Echo, Proxy, run, until};
use crate::serve::plane::Stage;
use crate::serve::state::StateFile;
use crate::serve::stream::{Link, follow};

/// One stream as the controller sees it.
struct Session {
    up: Streaming<v1::FromDataPlane>,
    down: mpsc::Sender<Result<v1::ToDataPlane, Status>>,
}

impl Session {
    async fn send(&self, update: v1::Update) {
        self.down.send(Ok(v1::ToDataPlane { update: Some(update) })).await.expect("sent");
    }

    /// The next message that `pick` takes; others are passed over.
    async fn next<T>(&mut self, pick: impl Fn(Up) -> Option<T>) -> T {
        loop {
            let message = self.up.next().await.expect("a message").expect("a message").message.expect("content");
            if let Some(picked) = pick(message) {
                return picked;
            }
        }
    }

    async fn hello(&mut self) -> v1::Hello {
        self.next(|message| if let Up::Hello(hello) = message { Some(hello) } else { None }).await
    }

    async fn cells(&mut self) -> Vec<v1::Cell> {
        self.next(|message| if let Up::Counters(counters) = message { Some(counters.cells) } else { None }).await
    }

    async fn ack(&mut self) -> v1::Ack {
        self.next(|message| if let Up::Ack(ack) = message { Some(ack) } else { None }).await
    }
}

struct Controller {
    sessions: mpsc::UnboundedSender<(Session, Option<String>)>,
}

#[tonic::async_trait]
impl Configuration for Controller {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::ToDataPlane, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromDataPlane>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (down, queue) = mpsc::channel(4);
        drop(self.sessions.send((Session { up: request.into_inner(), down }, bearer)));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

fn resource(key: &str, json: &str) -> v1::Resource {
    v1::Resource { key: key.to_owned(), json: json.to_owned().into_bytes() }
}

fn listener(port: u16) -> v1::Resource {
    resource("listener/l", &format!(r#"{{"kind":"Listener","id":"l","bind_port":{port},"port":80}}"#))
}

fn route(generation: i64, backend: &str) -> v1::Resource {
    let json = format!(
        r#"{{"kind":"Route","id":"HTTPRoute/d/r","generation":{generation},"created":0,"listeners":["l"],
            "rules":[{{"name":"0","backends":[{{"backend":"{backend}","weight":1,"valid":true}}]}}]}}"#
    );
    resource("route/HTTPRoute/d/r", &json)
}

fn backend(name: &str, echo: &Echo) -> v1::Resource {
    let endpoints = format!(r#"[{{"address":"{}","ready":true}}]"#, echo.address);
    let json = format!(r#"{{"kind":"Backend","id":"{name}","protocol":"Http1","endpoints":{endpoints}}}"#);
    resource(&format!("backend/{name}"), &json)
}

/// A data plane that follows a controller, and its first stream.
struct Followed {
    proxy: Proxy,
    session: Session,
    sessions: mpsc::UnboundedReceiver<(Session, Option<String>)>,
    hello: v1::Hello,
    bearer: Option<String>,
}

impl Followed {
    /// `identity` is the controller's certificate with its key; without it the stream is in the clear.
    async fn start(test: &str, identity: Option<&CertifiedKey<KeyPair>>) -> Self {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let port = socket.local_addr().expect("address").port();
        let (sender, mut sessions) = mpsc::unbounded_channel();
        let mut server = tonic::transport::Server::builder();
        let file = |name: &str| std::env::temp_dir().join(format!("sluice-{name}-{test}-{}", std::process::id()));
        let (mut uri, mut ca) = (format!("http://127.0.0.1:{port}"), None);
        if let Some(CertifiedKey { cert, signing_key }) = identity {
            let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).expect("tls");
            uri = format!("https://localhost:{port}");
            std::fs::write(file("ca"), cert.pem()).expect("written");
            ca = Some(file("ca"));
        }
        let server = server.add_service(ConfigurationServer::new(Controller { sessions: sender }));
        tokio::task::spawn_local(server.serve_with_incoming(TcpListenerStream::new(socket)));
        std::fs::write(file("token"), "secret\n").expect("written");
        let link = Link { uri: uri.parse().expect("uri"), ca, token: Some(file("token")), pod: "pod-1".into() };
        let proxy = Proxy::idle();
        let plane = Rc::clone(&proxy.plane);
        tokio::task::spawn_local(async move { follow(&plane, &link, None).await });
        let (mut session, bearer) = sessions.recv().await.expect("a stream");
        let hello = session.hello().await;
        Self { proxy, session, sessions, hello, bearer }
    }
}

#[test]
fn a_controller_with_the_pinned_certificate_is_followed() {
    run(async {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
        let followed = Followed::start("tls", Some(&identity)).await;
        assert_eq!(followed.bearer.as_deref(), Some("Bearer secret"));
    });
}

#[test]
fn updates_are_served_or_refused_and_counters_come_back() {
    run(async {
        let (one, two) = (Echo::start("one", Protocol::Http1).await, Echo::start("two", Protocol::Http1).await);
        let Followed { proxy, mut session, hello, bearer, sessions: _sessions } =
            Followed::start("updates", None).await;
        assert_eq!((hello.pod.as_str(), bearer.as_deref()), ("pod-1", Some("Bearer secret")));
        assert_eq!(*proxy.plane.stage.borrow(), Stage::Starting);

        let upsert = vec![listener(proxy.port), route(1, "one"), backend("one", &one), backend("two", &two)];
        session.send(v1::Update { update: 7, full: true, upsert, remove: vec![] }).await;
        assert_eq!(session.ack().await, v1::Ack { update: 7, error: String::new() });
        assert_eq!(*proxy.plane.stage.borrow(), Stage::Ready);
        let mut client = proxy.client().await;
        assert!(client.get().await.body.starts_with("one"));

        session.send(v1::Update { update: 8, full: false, upsert: vec![route(2, "two")], remove: vec![] }).await;
        assert_eq!(session.ack().await.error, "");
        assert!(client.get().await.body.starts_with("two"));

        let rule = r#"{"name":"0","matches":[{"path":{"type":"Regex","value":"("}}]}"#;
        let bad =
            format!(r#"{{"kind":"Route","id":"x","generation":1,"created":0,"listeners":["l"],"rules":[{rule}]}}"#);
        session
            .send(v1::Update { update: 9, full: false, upsert: vec![resource("route/x", &bad)], remove: vec![] })
            .await;
        let refused = session.ack().await;
        assert!(refused.update == 9 && refused.error.starts_with("route/x: "), "{refused:?}");
        assert!(client.get().await.body.starts_with("two"));

        let remove = vec!["route/x".into(), "backend/one".into()];
        session.send(v1::Update { update: 10, full: false, upsert: vec![], remove }).await;
        assert_eq!(session.ack().await, v1::Ack { update: 10, error: String::new() });

        proxy.settled("two").await;
        let mut counted: Vec<_> =
            session.cells().await.into_iter().map(|cell| (cell.backend, cell.generation, cell.started)).collect();
        counted.sort();
        assert_eq!(counted.last(), Some(&("two".to_owned(), 2, 2)));
    });
}

#[test]
fn a_controller_that_comes_back_is_told_everything_anew() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let Followed { proxy, mut session, hello, mut sessions, .. } = Followed::start("anew", None).await;
        let update = |update, generation| v1::Update {
            update,
            full: true,
            upsert: vec![listener(proxy.port), route(generation, "b"), backend("b", &echo)],
            remove: vec![],
        };
        session.send(update(7, 1)).await;
        assert_eq!(session.ack().await.update, 7);
        let mut client = proxy.client().await;
        assert_eq!(client.get().await.status, 200);

        drop(session);
        assert_eq!(client.get().await.status, 200);
        let (mut session, _) = sessions.recv().await.expect("another stream");
        assert_eq!(session.hello().await.epoch, hello.epoch);
        session.send(update(1, 2)).await;
        assert_eq!(session.ack().await, v1::Ack { update: 1, error: String::new() });
        proxy.settled("b").await;
        let cells = session.cells().await;
        assert!(cells.iter().any(|cell| cell.generation == 1 && cell.responses[1] == 2), "{cells:?}");

        proxy.plane.stage.send_replace(Stage::Draining);
        session.next(|message| matches!(message, Up::Draining(_)).then_some(())).await;
    });
}

#[test]
fn what_was_saved_is_served_while_the_controller_is_away() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::idle();
        let dir = std::env::temp_dir().join(format!("sluice-saved-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("folder");
        let saved = [listener(proxy.port), route(1, "b"), backend("b", &echo)];
        let texts: Vec<_> = saved.iter().map(|resource| String::from_utf8_lossy(&resource.json)).collect();
        std::fs::write(dir.join("resources.json"), format!("[{}]", texts.join(","))).expect("written");
        // Nobody listens on port 1.
        let link = Link { uri: "http://127.0.0.1:1".parse().expect("uri"), ca: None, token: None, pod: "pod-1".into() };
        let (plane, state) = (Rc::clone(&proxy.plane), StateFile::new(&dir));
        tokio::task::spawn_local(async move { follow(&plane, &link, Some(state)).await });
        until("ready", async || *proxy.plane.stage.borrow() == Stage::Ready).await;
        assert!(proxy.client().await.get().await.body.starts_with("echo"));
        std::fs::remove_dir_all(dir).expect("removed");
    });
}
