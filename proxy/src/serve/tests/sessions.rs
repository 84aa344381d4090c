//! Clients that come back to the endpoint that they had.

use std::collections::{BTreeMap, BTreeSet};

use sluice_proxy_core::model::{Carrier, Protocol, Rule, Session};

use super::fixtures::{Client, Echo, HOST, Proxy, run, weighted};

fn cookie() -> Carrier {
    Carrier::Cookie { name: "s".into(), path: "/".into(), permanent: false }
}

fn rule(carrier: Carrier, backends: &[(&str, u32)]) -> Rule {
    let session = Session { seed: "seed".into(), carrier, timeout: Some(60_000) };
    Rule { backends: weighted(backends), session: Some(session), ..Rule::default() }
}

/// A client that shows what it was told last.
struct Guest {
    client: Client,
    /// The field that it is told by, and the one that it shows.
    fields: (&'static str, &'static str),
    token: Option<String>,
}

impl Guest {
    async fn new(proxy: &Proxy, fields: (&'static str, &'static str)) -> Self {
        Self { client: proxy.client().await, fields, token: None }
    }

    /// The name of the endpoint that answered, and whether the client was told something new.
    async fn get(&mut self) -> (String, bool) {
        let (told_by, field) = self.fields;
        let shown = self.token.as_ref().map(|token| format!("{field}: {token}\r\n")).unwrap_or_default();
        let answer = self.client.exchange(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{shown}\r\n")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(self.token.as_ref().is_none_or(|token| answer.body.contains(token)), "backends see it: {answer:?}");
        let told = answer.written.split(&format!("\r\n{told_by}: ")).nth(1);
        let told = told.and_then(|rest| rest.split(['\r', ';']).next()).map(str::to_owned);
        let (name, is_news) = (answer.body.split(' ').next().unwrap_or_default().to_owned(), told.is_some());
        self.token = told.or_else(|| self.token.take());
        (name, is_news)
    }
}

#[test]
fn a_client_stays_at_an_endpoint_while_it_is_there() {
    run(async {
        let (one, other) = (Echo::start("one", Protocol::Http1).await, Echo::start("other", Protocol::Http1).await);
        let header = Carrier::Header { name: "x-s".into() };
        for (carrier, fields) in [(cookie(), ("set-cookie", "cookie")), (header, ("x-s", "x-s"))] {
            let proxy = Proxy::ruled("b", &[one.address, other.address], rule(carrier, &[("b", 1)])).await;
            let mut guest = Guest::new(&proxy, fields).await;
            let (first, is_news) = guest.get().await;
            assert!(is_news);
            for _ in 0..20 {
                assert_eq!(guest.get().await, (first.clone(), false));
            }
            // Other workers and connections know it as well.
            guest.client = proxy.client().await;
            assert_eq!(guest.get().await, (first.clone(), false));
            let (left, name) = if first == "one" { (other.address, "other") } else { (one.address, "one") };
            proxy.endpoints("b", Protocol::Http1, &[left]);
            proxy.apply().await.expect("applied");
            assert_eq!(guest.get().await, (name.to_owned(), true));
            assert_eq!(guest.get().await, (name.to_owned(), false));
        }
    });
}

#[test]
fn an_endpoint_that_refuses_is_left_for_another() {
    run(async {
        let (gone, stays) = (Echo::start("gone", Protocol::Http1).await, Echo::start("stays", Protocol::Http1).await);
        let proxy = Proxy::ruled("b", &[gone.address], rule(cookie(), &[("b", 1)])).await;
        let mut guest = Guest::new(&proxy, ("set-cookie", "cookie")).await;
        assert_eq!(guest.get().await, ("gone".to_owned(), true));
        proxy.endpoints("b", Protocol::Http1, &[gone.address, stays.address]);
        proxy.apply().await.expect("applied");
        gone.stop();
        super::fixtures::until("it refuses", async || tokio::net::TcpStream::connect(gone.address).await.is_err())
            .await;
        assert_eq!(guest.get().await, ("stays".to_owned(), true));
        assert_eq!(guest.get().await, ("stays".to_owned(), false));
    });
}

/// Else the counters would tell of clients that were dealt their version long ago by other weights.
#[test]
fn a_session_does_not_touch_the_draw_among_backends() {
    run(async {
        let names = ["a1", "a2", "a3", "b1", "b2", "b3"];
        let mut echoes = Vec::new();
        for name in names {
            echoes.push(Echo::start(name, Protocol::Http1).await);
        }
        let addresses: Vec<_> = echoes.iter().map(|echo| echo.address).collect();
        let proxy = Proxy::serving(&[("a", 1, &addresses[..3]), ("b", 1, &addresses[3..])]).await;
        proxy.rule(2, rule(cookie(), &[("a", 1), ("b", 1)]));
        proxy.apply().await.expect("applied");
        let mut guest = Guest::new(&proxy, ("set-cookie", "cookie")).await;
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..400 {
            *seen.entry(guest.get().await.0).or_default() += 1;
        }
        let backends: BTreeSet<_> = seen.keys().map(|name| &name[..1]).collect();
        assert_eq!((seen.len(), backends.len()), (2, 2), "one endpoint of each: {seen:?}");
        // Beyond five standard deviations: once in some million runs.
        assert!(seen.values().all(|count| (150..=250).contains(count)), "{seen:?}");
    });
}
