//! The stream, against a controller of the test's own.

use std::pin::Pin;
use std::rc::Rc;

use futures::Stream;
use sluice_proxy_core::model::Protocol;
use sluice_wire::v1;
use sluice_wire::v1::configuration_server::{Configuration, ConfigurationServer};
use sluice_wire::v1::from_data_plane::Message as Up;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::fixtures::{Echo, Proxy, run};
use crate::serve::plane::Stage;
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

#[test]
fn the_stream_is_followed_over_deltas_refusals_and_a_new_connection() {
    run(async {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let address = socket.local_addr().expect("address");
        let (sessions, mut connected) = mpsc::unbounded_channel();
        let service = ConfigurationServer::new(Controller { sessions });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::task::spawn_local(server.serve_with_incoming(TcpListenerStream::new(socket)));

        let (one, two) = (Echo::start("one", Protocol::Http1).await, Echo::start("two", Protocol::Http1).await);
        let proxy = Proxy::idle();
        let token = std::env::temp_dir().join(format!("sluice-token-{}", std::process::id()));
        std::fs::write(&token, "secret\n").expect("written");
        let link = Link {
            uri: format!("http://{address}").parse().expect("uri"),
            ca: None,
            token: Some(token.clone()),
            pod: "pod-1".into(),
        };
        let plane = Rc::clone(&proxy.plane);
        tokio::task::spawn_local(async move { follow(&plane, &link, None).await });

        let (mut session, bearer) = connected.recv().await.expect("a stream");
        assert_eq!(bearer.as_deref(), Some("Bearer secret"));
        let hello = session.next(|message| if let Up::Hello(hello) = message { Some(hello) } else { None }).await;
        assert_eq!(hello.pod, "pod-1");
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

        let bad = resource(
            "route/x",
            r#"{"kind":"Route","id":"x","generation":1,"created":0,"listeners":["l"],
            "rules":[{"name":"0","matches":[{"path":{"type":"Regex","value":"("}}]}]}"#,
        );
        session.send(v1::Update { update: 9, full: false, upsert: vec![bad], remove: vec![] }).await;
        let refused = session.ack().await;
        assert!(refused.update == 9 && refused.error.starts_with("route/x: "), "{refused:?}");
        assert!(client.get().await.body.starts_with("two"));

        let remove = vec!["route/x".into(), "backend/one".into()];
        session.send(v1::Update { update: 10, full: false, upsert: vec![], remove }).await;
        assert_eq!(session.ack().await, v1::Ack { update: 10, error: String::new() });

        let counted = |cell: &v1::Cell| (cell.backend.clone(), cell.generation, cell.started, cell.responses[1]);
        let cells = |message| if let Up::Counters(counters) = message { Some(counters.cells) } else { None };
        proxy.plane.collect().await;
        let mut cells_seen: Vec<_> = session.next(cells).await.iter().map(counted).collect();
        cells_seen.sort();
        assert_eq!(cells_seen.last(), Some(&("two".to_owned(), 2, 2, 2)));

        // The controller restarts: everything is said anew, and meanwhile everything goes on.
        drop(session);
        assert!(client.get().await.body.starts_with("two"));
        let (mut session, _) = connected.recv().await.expect("another stream");
        let again = session.next(|message| if let Up::Hello(hello) = message { Some(hello) } else { None }).await;
        assert_eq!(again.epoch, hello.epoch);
        let upsert = vec![listener(proxy.port), route(3, "one"), backend("one", &one)];
        session.send(v1::Update { update: 1, full: true, upsert, remove: vec![] }).await;
        assert_eq!(session.ack().await, v1::Ack { update: 1, error: String::new() });
        assert!(client.get().await.body.starts_with("one"));
        proxy.plane.collect().await;
        let cells = session.next(cells).await;
        assert!(cells.iter().any(|cell| cell.generation == 2 && cell.started == 3), "{cells:?}");

        proxy.plane.stage.send_replace(Stage::Draining);
        session.next(|message| matches!(message, Up::Draining(_)).then_some(())).await;
        std::fs::remove_file(token).expect("removed");
    });
}
