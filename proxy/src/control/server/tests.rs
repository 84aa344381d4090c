//! The server over a real socket, with an authenticator that knows three tokens.

use std::{collections::BTreeSet, net::SocketAddr};

use sluice_proxy_core::model::{Listener, Resource, Route};
use sluice_wire::v1::{
    Ack, Cell, Counters, Draining, Hello, Update, configuration_client::ConfigurationClient, from_data_plane::Message,
    observation_client::ObservationClient,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

use super::*;
use crate::control::shared_map::SharedMap;

const ROUTE: &str = "HTTPRoute/shop/web";

struct KnownTokens;

#[tonic::async_trait]
impl Authenticate for KnownTokens {
    async fn authenticate(&self, token: &str) -> Result<Caller, Status> {
        let (username, pod) = match token {
            "data-plane" => ("dp", Some("pod-1")),
            "operator" => ("op", None),
            "stranger" => ("somebody", Some("pod-1")),
            _ => return Err(Status::unauthenticated("unknown token")),
        };
        Ok(Caller { username: username.to_owned(), pod: pod.map(str::to_owned) })
    }
}

struct Fixture {
    control: Arc<Control>,
    channel: Channel,
}

/// The upper half of a data plane's stream and what comes down.
struct DataPlane {
    up: mpsc::Sender<FromDataPlane>,
    down: Streaming<ToDataPlane>,
}

impl Fixture {
    fn start() -> Self {
        let control = Arc::new(Control {
            authenticator: Box::new(KnownTokens),
            accounts: Accounts { data_plane: "dp".to_owned(), observer: "op".to_owned() },
            publisher: Arc::default(),
            fleet: Fleet::new(7),
            serving: watch::channel(BTreeSet::new()).1,
            metrics: Metrics::default(),
        });
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = incoming.local_addr().unwrap();
        let server = Server::builder().add_routes(routes(&control)).serve_with_incoming(incoming);
        tokio::spawn(server);
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { control, channel }
    }

    fn publish(&self, generation: i64) {
        let listener = Listener::http("shop/web/http", 20_000, 80);
        let route = Route {
            id: ROUTE.to_owned(),
            generation,
            created: 0,
            listeners: vec![listener.id.clone()],
            hostnames: vec![],
            rules: vec![],
        };
        let resources = [Resource::Listener(listener), Resource::Route(route)];
        let resources: SharedMap<_, _> = resources.map(|resource| (resource.key(), resource)).into_iter().collect();
        self.control.publisher.publish(resources).unwrap();
    }

    async fn connect(&self, token: Option<&str>, first: Message) -> Result<DataPlane, Status> {
        let (up, receiver) = mpsc::channel(8);
        up.send(FromDataPlane { message: Some(first) }).await.unwrap();
        let request = with_token(ReceiverStream::new(receiver), token);
        let down = ConfigurationClient::new(self.channel.clone()).connect(request).await?.into_inner();
        Ok(DataPlane { up, down })
    }

    async fn observe(&self, token: Option<&str>) -> Result<ObserveResponse, Status> {
        let request = with_token(ObserveRequest { routes: vec![ROUTE.to_owned()] }, token);
        Ok(ObservationClient::new(self.channel.clone()).observe(request).await?.into_inner())
    }

    /// Waits until the fleet is as wanted.
    async fn until(&self, wanted: impl Fn(&ObserveResponse) -> bool) -> ObserveResponse {
        let mut changed = self.control.fleet.subscribe();
        loop {
            changed.mark_unchanged();
            let seen = self.observe(Some("operator")).await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            changed.changed().await.unwrap();
        }
    }
}

impl DataPlane {
    async fn next(&mut self) -> Update {
        self.down.message().await.unwrap().unwrap().update.unwrap()
    }

    async fn send(&self, message: Message) {
        self.up.send(FromDataPlane { message: Some(message) }).await.unwrap();
    }
}

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn hello(pod: &str) -> Message {
    Message::Hello(Hello { pod: pod.to_owned(), version: "test".to_owned(), epoch: 3 })
}

fn ack(update: u64) -> Message {
    Message::Ack(Ack { update, error: String::new() })
}

#[tokio::test]
async fn every_method_refuses_callers_without_a_good_token() {
    let fixture = Fixture::start();
    fixture.publish(1);
    let cases = [
        (None, Code::Unauthenticated, Code::Unauthenticated),
        (Some("nonsense"), Code::Unauthenticated, Code::Unauthenticated),
        (Some("stranger"), Code::PermissionDenied, Code::PermissionDenied),
        (Some("operator"), Code::PermissionDenied, Code::Ok),
        (Some("data-plane"), Code::Ok, Code::PermissionDenied),
    ];
    for (token, connect, observe) in cases {
        let connected = fixture.connect(token, hello("pod-1")).await;
        assert_eq!(connected.err().map_or(Code::Ok, |status| status.code()), connect, "connect as {token:?}");
        let observed = fixture.observe(token).await;
        assert_eq!(observed.err().map_or(Code::Ok, |status| status.code()), observe, "observe as {token:?}");
    }
}

#[tokio::test]
async fn a_data_plane_cannot_speak_for_another_pod_or_without_a_hello() {
    let fixture = Fixture::start();
    fixture.publish(1);
    for (first, expected) in [(hello("pod-2"), Code::PermissionDenied), (ack(1), Code::FailedPrecondition)] {
        let mut data_plane = fixture.connect(Some("data-plane"), first).await.unwrap();
        assert_eq!(data_plane.down.message().await.unwrap_err().code(), expected);
    }
    assert_eq!(fixture.control.fleet.progress().connected, 0);
}

#[tokio::test]
async fn everything_comes_first_and_then_what_changed() {
    let fixture = Fixture::start();
    let mut data_plane = fixture.connect(Some("data-plane"), hello("pod-1")).await.unwrap();
    fixture.publish(1);
    let first = data_plane.next().await;
    assert!(first.full && first.upsert.len() == 2);
    fixture.publish(2);
    let second = data_plane.next().await;
    assert!(!second.full);
    assert_eq!(second.upsert.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["route/HTTPRoute/shop/web"]);
    fixture.control.publisher.publish(SharedMap::default()).unwrap();
    assert_eq!(data_plane.next().await.remove.len(), 2);
}

#[tokio::test]
async fn acknowledgements_and_counters_reach_the_observer() {
    let fixture = Fixture::start();
    fixture.publish(4);
    let mut data_plane = fixture.connect(Some("data-plane"), hello("pod-1")).await.unwrap();
    let update = data_plane.next().await.update;
    let seen = fixture.until(|seen| seen.data_planes.len() == 1).await;
    assert_eq!((seen.epoch, seen.data_planes[0].routes[0].generation), (7, 0));
    let cell = Cell { route: ROUTE.to_owned(), generation: 4, started: 12, ..Cell::default() };
    data_plane.send(Message::Counters(Counters { cells: vec![cell.clone()] })).await;
    data_plane.send(ack(update)).await;
    data_plane.send(Message::Draining(Draining {})).await;
    let seen = fixture.until(|seen| seen.data_planes[0].draining).await;
    let plane = &seen.data_planes[0];
    assert_eq!((plane.pod.as_str(), plane.epoch, plane.connected), ("pod-1", 3, true));
    assert_eq!((plane.routes[0].generation, &plane.cells[..]), (4, &[cell.clone()][..]));
    drop(data_plane);
    let seen = fixture.until(|seen| !seen.data_planes[0].connected).await;
    assert_eq!((seen.data_planes[0].routes[0].generation, &seen.data_planes[0].cells[..]), (4, &[cell][..]));
}

#[tokio::test]
async fn a_second_connection_of_a_pod_ends_the_first() {
    let fixture = Fixture::start();
    fixture.publish(1);
    let mut first = fixture.connect(Some("data-plane"), hello("pod-1")).await.unwrap();
    first.next().await;
    let mut second = fixture.connect(Some("data-plane"), hello("pod-1")).await.unwrap();
    assert!(second.next().await.full);
    assert_eq!(first.down.message().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(fixture.control.fleet.progress().connected, 1);
}

#[tokio::test]
async fn nothing_is_observed_before_the_cluster_was_read() {
    let fixture = Fixture::start();
    assert_eq!(fixture.observe(Some("operator")).await.unwrap_err().code(), Code::Unavailable);
}
