//! /livez, /readyz and /metrics.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    metrics::{self, Metrics},
    watch::Synced,
};

/// What the scrape is, as Prometheus knows it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is served.
#[derive(Clone)]
pub(crate) struct Admin {
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Watches.
    pub synced: Synced,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    address: SocketAddr,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(admin)).with_graceful_shutdown(stop).await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(admin)
}

async fn ready(State(admin): State<Admin>) -> Response {
    let missing = admin.synced.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let message = format!("these are not fully seen yet: {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

async fn scrape(State(admin): State<Admin>) -> Response {
    match metrics::text(&admin.metrics) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
