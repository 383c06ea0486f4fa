//! `/metrics`, `/healthz` and `/readyz` over HTTP, on a thread of their own.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the probes answer.
#[derive(Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
}

impl Health {
    /// Whether it was said to be ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Work has begun, or stands still.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// The process cannot go on: a supervisor should restart it.
    pub fn set_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }
}

/// Starts listening. An empty address starts nothing.
///
/// Errors: the address cannot be bound.
pub fn serve(address: &str, health: Health, metrics: PrometheusHandle) -> Result<(), String> {
    if address.is_empty() {
        return Ok(());
    }
    let listener = std::net::TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    listener.set_nonblocking(true).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
    let spawned = std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            if let Err(error) = axum::serve(listener, router(health, metrics)).await {
                tracing::error!(%error, "the HTTP listener ended");
            }
        });
    });
    spawned.map(drop).map_err(|e| format!("cannot start a thread: {e}"))
}

fn router(health: Health, metrics: PrometheusHandle) -> Router {
    let probe = |ok: bool, yes: &'static str, no: &'static str| {
        if ok { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
    };
    let (alive, ready) = (health.clone(), health);
    Router::new()
        .route(
            "/metrics",
            get(move || {
                let text = metrics.render();
                async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
            }),
        )
        .route("/healthz", get(move || async move { probe(!alive.dead.load(Ordering::Relaxed), "ok\n", "dead\n") }))
        .route("/readyz", get(move || async move { probe(ready.ready.load(Ordering::Relaxed), "ready\n", "not ready\n") }))
}
