//! Configuration changes under load lose nothing and take hold at once.

use std::cell::Cell;
use std::rc::Rc;

use sluice_proxy_core::model::Protocol;

use super::fixtures::{Echo, Proxy, run};

#[test]
fn posts_survive_two_hundred_swaps_and_are_all_counted() {
    run(async {
        let (one, two) = (Echo::start("one", Protocol::Http1).await, Echo::start("two", Protocol::Http1).await);
        let proxy = Rc::new(Proxy::serving(&[("one", 1, &[one.address]), ("two", 0, &[two.address])]).await);
        let (stop, answered) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (proxy, stop, answered) = (Rc::clone(&proxy), Rc::clone(&stop), Rc::clone(&answered));
                tokio::task::spawn_local(async move {
                    let mut client = proxy.client().await;
                    while !stop.get() {
                        let answer = client.post("payload").await;
                        assert_eq!(answer.status, 200, "{answer:?}");
                        assert!(answer.body.ends_with("payload"));
                        answered.set(answered.get() + 1);
                    }
                })
            })
            .collect();
        for generation in 2..202 {
            let weight = u32::try_from(generation % 101).expect("small");
            proxy.split(generation, &[("one", 100 - weight), ("two", weight)]);
            // Endpoints come and go too, and the same address under another backend keeps its connections.
            proxy.endpoints("three", Protocol::Http1, &[one.address, two.address][..(generation % 3) as usize]);
            proxy.apply().await.expect("applied");
        }
        stop.set(true);
        for client in clients {
            client.await.expect("no answer was lost");
        }
        let (first, second) = (proxy.settled("one").await, proxy.settled("two").await);
        assert_eq!(first.started + second.started, answered.get());
        assert_eq!(first.responses[1] + second.responses[1], answered.get());
        assert_eq!((first.responses[1], second.responses[1]), (one.served.get(), two.served.get()));
        let generations = proxy.plane.cells.borrow().len();
        assert_eq!(generations, 2, "earlier generations are forgotten");
    });
}

#[test]
fn a_change_holds_for_every_request_after_it() {
    run(async {
        let (old, new) = (Echo::start("old", Protocol::Http1).await, Echo::start("new", Protocol::Http1).await);
        let proxy = Proxy::serving(&[("old", 1, &[old.address]), ("new", 0, &[new.address])]).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = proxy.client().await;
            assert!(client.get().await.body.starts_with("old"));
            clients.push(client);
        }
        proxy.split(2, &[("old", 0), ("new", 1)]);
        proxy.apply().await.expect("applied");
        for client in &mut clients {
            assert!(client.get().await.body.starts_with("new"));
        }
    });
}

#[test]
fn an_endpoint_that_leaves_gets_nothing_more_and_its_connections_close() {
    run(async {
        let (stays, leaves) =
            (Echo::start("stays", Protocol::Http1).await, Echo::start("leaves", Protocol::Http1).await);
        let proxy = Proxy::serving(&[("b", 1, &[stays.address, leaves.address])]).await;
        let mut client = proxy.client().await;
        while leaves.served.get() == 0 {
            assert_eq!(client.get().await.status, 200);
        }
        proxy.endpoints("b", Protocol::Http1, &[stays.address]);
        proxy.apply().await.expect("applied");
        let before = leaves.served.get();
        for _ in 0..20 {
            assert!(client.post("x").await.body.starts_with("stays"));
        }
        assert_eq!(leaves.served.get(), before);
        super::fixtures::until("its connections are closed", async || leaves.connections() == 0).await;
    });
}

#[test]
fn a_bad_configuration_is_refused_whole() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        let port = taken.local_addr().expect("address").port();
        let listener = sluice_proxy_core::model::Listener::http("other", port, 81);
        proxy.put(sluice_proxy_core::model::Resource::Listener(listener));
        proxy.split(2, &[("other", 1)]);
        let error = proxy.apply().await.expect_err("refused").to_string();
        assert!(error.contains("cannot listen on port"), "{error}");
        assert!(proxy.client().await.get().await.body.starts_with("echo"));
    });
}
