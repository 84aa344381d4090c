//! /livez, /readyz and /metrics.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(admin)
}

/// Longest time in which the election may stand still: each of its calls has a bound of a few seconds.
const STUCK: Duration = Duration::from_mins(1);

async fn live(State(admin): State<Admin>) -> Response {
    match admin.metrics.election_age() {
        Some(age) if age > STUCK => {
            let message = format!("the leader election has not moved for {} s\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
        Some(_) | None => "ok\n".into_response(),
    }
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
