//! As many connections as there may be.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::fixtures::{Client, run, until};
use crate::serve::access_log::AccessLog;
use crate::serve::limits::Limit;
use crate::serve::listener::{accept, bind};
use crate::serve::worker::WorkerHandle;

#[test]
fn a_connection_too_many_is_closed_and_one_that_ends_makes_room() {
    run(async {
        let workers: Rc<[_]> =
            [WorkerHandle::start(0, 1, AccessLog::start(std::io::sink()).expect("a thread")).expect("a worker")].into();
        let listener = bind(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0).expect("bound");
        let address = listener.local_addr().expect("address");
        let _accepting = accept(listener, address.port(), Rc::clone(&workers), 1);
        let open = || workers[0].load.connections.load(Relaxed);
        let first = Client::connect(address).await;
        until("it is open", async || open() == 1).await;
        assert!(Client::connect(address).await.is_ended().await, "it is closed at once");
        assert_eq!((open(), workers[0].load.hits.of(Limit::Connections)), (1, 1));
        drop(first);
        until("there is room", async || open() == 0).await;
        let _next = Client::connect(address).await;
        until("it is open", async || open() == 1).await;
    });
}
