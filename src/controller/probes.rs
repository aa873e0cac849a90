//! `/metrics`, `/healthz` and `/readyz`. Alive: the process answers. Ready: the watch stores are filled, so that an outage of
//! Genesys Cloud does not restart the operator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// What the probes show.
#[derive(Clone)]
pub struct Probes {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Set once all watch stores are filled.
    pub ready: Arc<AtomicBool>,
    /// Brings gauges up to date before they are shown.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
}

/// Binds the address.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {listen}: {error}; choose another address with --listen"))
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, probes: Probes, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(probes);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    (probes.refresh)();
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], probes.metrics.render())
}

async fn ready(State(probes): State<Probes>) -> (StatusCode, &'static str) {
    if probes.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "watch stores are being filled")
    }
}
