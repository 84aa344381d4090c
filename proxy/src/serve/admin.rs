//! The administration port: whether we live, whether clients may be sent here, and the series. Nothing else.

use std::net::SocketAddr;
use std::rc::Rc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::exporter;
use super::plane::{Plane, Stage};

/// The format of the series' text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug)]
struct Admin {
    stage: watch::Receiver<Stage>,
    scrapes: mpsc::Sender<oneshot::Sender<String>>,
}

/// Serves on `address` for as long as the process lives. Returns the address that was bound.
pub(super) async fn start(address: SocketAddr, plane: &Rc<Plane>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let (scrapes, mut asked) = mpsc::channel::<oneshot::Sender<String>>(1);
    let exported = Rc::clone(plane);
    tokio::task::spawn_local(async move {
        while let Some(reply) = asked.recv().await {
            exported.collect().await;
            // Whoever asked may have gone.
            let _ = reply.send(exporter::text(&exported));
        }
    });
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { stage: plane.stage.subscribe(), scrapes });
    tokio::task::spawn_local(async move { axum::serve(listener, router).await });
    Ok(bound)
}

async fn ready(State(admin): State<Admin>) -> Response {
    match *admin.stage.borrow() {
        Stage::Ready => "ok\n".into_response(),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "no configuration is served yet\n").into_response(),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let (reply, text) = oneshot::channel();
    match (admin.scrapes.send(reply).await, text.await) {
        (Ok(()), Ok(text)) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
