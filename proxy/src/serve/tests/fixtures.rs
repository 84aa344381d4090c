//! A data plane, backends and a client for tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sluice_proxy_core::model::{
    Backend, Endpoint, Gateway, Listener, Protocol, Resource, Route, Rule, WeightedBackend,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub(super) use super::echo::{Echo, accepted};
use crate::serve::access_log::AccessLog;
use crate::serve::counters::CellTotals;
use crate::serve::plane::{ApplyError, Changed, Plane, Resources};

/// How long a state may take to come before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const HOST: &str = "app.test";

/// Runs a test on a thread like the control thread.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// Backends with weights; those whose names begin so are invalid.
pub(super) fn weighted(backends: &[(&str, u32)]) -> Vec<WeightedBackend> {
    let weighted = backends.iter().map(|(name, weight)| WeightedBackend {
        backend: (*name).to_owned(),
        weight: *weight,
        valid: !name.starts_with("invalid"),
        filters: vec![],
    });
    weighted.collect()
}

/// A route of a whole listener.
pub(super) fn passing_route(proxy: &Proxy, id: &str, created: i64, backends: &[(&str, u32)]) {
    proxy.put(Resource::Route(Route {
        id: id.to_owned(),
        generation: 1,
        created,
        listeners: vec!["l".into()],
        hostnames: vec![],
        rules: vec![Rule { name: "0".into(), backends: weighted(backends), ..Rule::default() }],
    }));
}

/// Waits until a state is reached.
pub(super) async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let waiting = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

/// A data plane of two workers that serves one route on one port.
pub(super) struct Proxy {
    pub(super) plane: Rc<Plane>,
    pub(super) port: u16,
    /// What was written to the access log.
    logged: Logged,
    resources: RefCell<Resources>,
    changed: RefCell<BTreeSet<String>>,
    updates: Cell<u64>,
}

impl Proxy {
    /// Serves nothing yet.
    pub(super) fn idle() -> Self {
        let logged = Logged::default();
        let log = AccessLog::start(logged.clone()).expect("a thread");
        let plane = Plane::start(2, Some(Ipv4Addr::LOCALHOST.into()), log).expect("workers");
        Self {
            logged,
            plane,
            port: free_port(),
            resources: RefCell::default(),
            changed: RefCell::default(),
            updates: Cell::new(0),
        }
    }

    /// Serves one backend by one rule, which says the rest.
    pub(super) async fn ruled(backend: &str, addresses: &[SocketAddr], rule: Rule) -> Self {
        let proxy = Self::serving(&[(backend, 1, addresses)]).await;
        proxy.rule(2, Rule { backends: weighted(&[(backend, 1)]), ..rule });
        proxy.apply().await.expect("applied");
        proxy
    }

    /// Serves `backends`, each with its weight and endpoints.
    pub(super) async fn serving(backends: &[(&str, u32, &[SocketAddr])]) -> Self {
        let proxy = Self::idle();
        let listener = Listener::http("l", proxy.port, 80);
        proxy.put(Resource::Listener(listener));
        proxy.split(1, &backends.iter().map(|(name, weight, _)| (*name, *weight)).collect::<Vec<_>>());
        for (name, _, addresses) in backends {
            proxy.endpoints(name, Protocol::Http1, addresses);
        }
        proxy.apply().await.expect("applied");
        proxy
    }

    pub(super) fn put(&self, resource: Resource) {
        self.changed.borrow_mut().insert(resource.key());
        self.resources.borrow_mut().insert(resource.key(), resource);
    }

    /// The route's one rule with these backends and weights.
    pub(super) fn split(&self, generation: i64, backends: &[(&str, u32)]) {
        self.rule(generation, Rule { backends: weighted(backends), ..Rule::default() });
    }

    /// The route with this one rule.
    pub(super) fn rule(&self, generation: i64, rule: Rule) {
        let rule = Rule { name: "0".into(), ..rule };
        self.put(Resource::Route(Route {
            id: "HTTPRoute/default/r".into(),
            generation,
            created: 0,
            listeners: vec!["l".into()],
            hostnames: vec![HOST.into()],
            rules: vec![rule],
        }));
    }

    pub(super) fn endpoints(&self, name: &str, protocol: Protocol, addresses: &[SocketAddr]) {
        let endpoints = addresses.iter().map(|address| Endpoint { address: *address, ready: true }).collect();
        self.put(Resource::Backend(Backend::new(name, protocol, endpoints)));
    }

    /// The port's one listener, of a Gateway that asks for this.
    pub(super) fn asks_for(&self, gateway: Gateway) {
        let gateway = Gateway { id: "g".into(), ..gateway };
        let listener = Listener { gateway: Some("g".into()), ..Listener::http("l", self.port, 80) };
        self.put(Resource::Gateway(gateway));
        self.put(Resource::Listener(listener));
    }

    /// The lines of the access log, once there are so many.
    pub(super) async fn logged(&self, lines: usize) -> Vec<Value> {
        until("lines in the access log", async || self.logged.lines().len() >= lines).await;
        self.logged.lines()
    }

    /// Serves what was put; returns when every worker does.
    pub(super) async fn apply(&self) -> Result<(), ApplyError> {
        self.updates.set(self.updates.get() + 1);
        let resources = self.resources.borrow().clone();
        let changed = Changed::Keys(self.changed.borrow().clone());
        self.plane.apply(self.updates.get(), &resources, &changed).await?;
        self.changed.borrow_mut().clear();
        Ok(())
    }

    /// What was counted for a backend, over all generations.
    pub(super) async fn counted(&self, backend: &str) -> CellTotals {
        self.plane.collect().await;
        let series = self.plane.accounts.borrow().series(&self.plane.cells.borrow());
        let mut of_backend = series.into_iter().filter(|((_, _, name), _)| **name == *backend);
        of_backend.next().map(|(_, totals)| totals).unwrap_or_default()
    }

    /// What was counted once every request has ended.
    pub(super) async fn settled(&self, backend: &str) -> CellTotals {
        until("no request in flight", async || self.counted(backend).await.in_flight() == 0).await;
        self.counted(backend).await
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect((Ipv4Addr::LOCALHOST, self.port).into()).await
    }
}

/// Keeps what is written.
#[derive(Clone, Debug, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn lines(&self) -> Vec<Value> {
        let text = self.0.lock().expect("not poisoned").clone();
        text.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).expect("JSON")).collect()
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listener.local_addr().expect("address").port()
}

/// An answer as the client read it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) written: String,
    pub(super) body: String,
}

/// A client that says and reads exactly what it is told to, and repeats nothing.
pub(super) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream, unread: Vec::new() }
    }

    pub(super) async fn get(&mut self) -> Answer {
        self.exchange(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await
    }

    pub(super) async fn post(&mut self, body: &str) -> Answer {
        let length = body.len();
        self.exchange(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n{body}")).await
    }

    pub(super) async fn exchange(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer")
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.expect("sent");
    }

    /// The next bytes, as many as `expected` has.
    pub(super) async fn hears(&mut self, expected: &str) {
        while self.unread.len() < expected.len() {
            self.read().await.expect("more bytes");
        }
        let heard: Vec<u8> = self.unread.drain(..expected.len()).collect();
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    /// Says that it will say no more.
    pub(super) async fn end(&mut self) {
        self.stream.shutdown().await.expect("ended");
    }

    /// The next answer; none when the connection ended before there was a whole one.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let written = String::from_utf8(self.unread.drain(..end).collect()).expect("ascii");
        let head = written.to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let length: usize = length.unwrap_or_default();
        while self.unread.len() < length {
            self.read().await?;
        }
        let body = String::from_utf8(self.unread.drain(..length).collect()).expect("text");
        Some(Answer { status, head, written, body })
    }

    async fn read(&mut self) -> Option<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.unread.extend_from_slice(&bytes[..read]);
                Some(())
            }
        }
    }

    /// Whether the proxy ends the connection without saying any more.
    pub(super) async fn is_ended(&mut self) -> bool {
        self.read().await.is_none()
    }
}

/// A backend that follows a script: for each connection, one step for each request that begins on it.
pub(super) async fn scripted(steps: &'static [&'static [Step]]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    tokio::task::spawn_local(async move {
        for steps in steps {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(async move {
                let mut bytes = vec![0; 64 * 1024];
                for step in *steps {
                    if stream.read(&mut bytes).await.unwrap_or_default() == 0 {
                        return;
                    }
                    match step {
                        Step::Say(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        Step::SayAndClose(answer) => {
                            let _ = stream.write_all(answer.as_bytes()).await;
                            return;
                        }
                        Step::Close => return,
                    }
                }
                // Whatever comes now stays unanswered.
                while stream.read(&mut bytes).await.unwrap_or_default() > 0 {}
            });
        }
    });
    address
}

/// What a scripted backend does when a request comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Say(&'static str),
    SayAndClose(&'static str),
    Close,
}
