//! The admin listener, on a thread of its own: `/metrics`, `/healthz`, `/readyz`, and the status page at `/` with its `/requests`. It reads and changes nothing.

use crate::config::AdminConfig;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::tls_openssl::{OpenSSLAcceptor, OpenSSLConfig};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics_exporter_prometheus::PrometheusHandle;
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The status page, whole.
pub const PAGE: &str = include_str!("status.html");
/// A token shorter than this can be guessed. Units: characters.
const TOKEN_MIN: usize = 16;

/// What the status page shows beside metrics: lists whose entries are no labels. Read by the page alone.
#[derive(Clone, Default)]
pub struct Board(Arc<RwLock<String>>);

impl Board {
    /// Shows this from now on, as JSON.
    pub fn show(&self, lists: &impl Serialize) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = serde_json::to_string(lists).unwrap_or_default();
    }

    /// Shows nothing.
    pub fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What it shows. Shape: JSON, an object; `{}` for nothing.
    fn text(&self) -> String {
        let text = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if text.is_empty() { "{}".into() } else { text.clone() }
    }
}

/// What the listener answers beside metrics.
#[derive(Clone, Default)]
pub struct Health {
    /// Requests and holds, in the process that sees to them.
    pub board: Board,
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
/// Errors: the address cannot be bound; the certificate, its key or the token cannot be read.
pub fn serve(address: &str, admin: &AdminConfig, health: Health, metrics: PrometheusHandle) -> Result<(), String> {
    if address.is_empty() {
        return Ok(());
    }
    let token = admin.token_file.as_os_str().is_empty().then_some(None).map_or_else(|| read_token(admin).map(Some), Ok)?;
    let tls = if admin.tls_certificate.as_os_str().is_empty() { None } else { Some(tls(admin)?) };
    let fault = |e: std::io::Error| format!("cannot listen on {address}: {e}");
    let listener = std::net::TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
    let app = router(health, metrics, token).into_make_service();
    let spawned = std::thread::Builder::new().name("http".into()).spawn(move || {
        let ended = runtime.block_on(async move {
            match tls {
                Some(tls) => axum_server::from_tcp(listener)?.acceptor(OpenSSLAcceptor::new(tls)).serve(app).await,
                None => axum_server::from_tcp(listener)?.serve(app).await,
            }
        });
        if let Err(error) = ended {
            tracing::error!(%error, "the admin listener ended");
        }
    });
    spawned.map(drop).map_err(|e| format!("cannot start a thread: {e}"))
}

/// TLS 1.3 and nothing older, by the OpenSSL that librdkafka brings. Errors: the files are no certificate and key.
fn tls(admin: &AdminConfig) -> Result<OpenSSLConfig, String> {
    let acceptor = || {
        let mut builder = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server())?;
        builder.set_certificate_chain_file(&admin.tls_certificate)?;
        builder.set_private_key_file(&admin.tls_key, SslFiletype::PEM)?;
        builder.check_private_key()?;
        Ok(builder.build())
    };
    let built = acceptor().map_err(|_: openssl::error::ErrorStack| {
        format!("admin: {} and {} are not a certificate in PEM and its key", admin.tls_certificate.display(), admin.tls_key.display())
    })?;
    Ok(OpenSSLConfig::from_acceptor(Arc::new(built)))
}

/// The digest of the token. Errors: it cannot be read, or is too short.
fn read_token(admin: &AdminConfig) -> Result<[u8; 32], String> {
    // Files are not named: somebody may have put the token there.
    let text = std::fs::read_to_string(&admin.token_file).map_err(|e| format!("admin.token_file: the file cannot be read: {e}"))?;
    match text.trim() {
        token if token.len() < TOKEN_MIN => Err(format!("admin.token_file: the file must hold at least {TOKEN_MIN} characters")),
        token => Ok(Sha256::digest(token).into()),
    }
}

fn router(health: Health, metrics: PrometheusHandle, token: Option<[u8; 32]>) -> Router {
    let probe = |ok: bool, yes: &'static str, no: &'static str| {
        if ok { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
    };
    let board = health.board.clone();
    let (alive, ready) = (health.clone(), health);
    let policy = policy();
    let guarded = Router::new()
        .route(
            "/metrics",
            get(move || {
                let text = metrics.render();
                async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
            }),
        )
        .route("/requests", get(move || async move { ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], board.text()) }))
        .route(
            "/",
            get(move || async move {
                let headers = [
                    (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
                    (CONTENT_SECURITY_POLICY, policy),
                    (CACHE_CONTROL, "no-store".to_owned()),
                ];
                (headers, PAGE)
            }),
        )
        .layer(middleware::from_fn_with_state(token, guard));
    // What an orchestrator asks tells nothing, and is answered without a token.
    guarded
        .route("/healthz", get(move || async move { probe(!alive.dead.load(Ordering::Relaxed), "ok\n", "dead\n") }))
        .route("/readyz", get(move || async move { probe(ready.ready.load(Ordering::Relaxed), "ready\n", "not ready\n") }))
}

/// Lets through who shows the token, as `Bearer` or, for browsers, as the password of `Basic`.
async fn guard(State(token): State<Option<[u8; 32]>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if token.is_none_or(|token| shown.is_some_and(|shown| shows(shown, &token))) {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        [(WWW_AUTHENTICATE, "Basic realm=\"Lethe: any user, the token as password\"")],
        "the token is missing or wrong\n",
    )
        .into_response()
}

/// Compares digests: how long it takes says nothing about the token.
fn shows(header: &str, token: &[u8; 32]) -> bool {
    let is = |text: &[u8]| Sha256::digest(text).as_slice() == token;
    match header.split_once(' ') {
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => is(value.trim().as_bytes()),
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
            let pair = STANDARD.decode(value.trim()).unwrap_or_default();
            pair.iter().position(|b| *b == b':').is_some_and(|at| is(&pair[at + 1..]))
        }
        _ => false,
    }
}

/// The page may run its own script and ask this listener, and nothing else.
fn policy() -> String {
    let within = |tag: &str| {
        let inner =
            PAGE.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>"))).map_or("", |(inner, _)| inner);
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner)))
    };
    let (script, style) = (within("script"), within("style"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_bearer_or_as_a_password() {
        let token: [u8; 32] = Sha256::digest("a-long-enough-token").into();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for good in ["Bearer a-long-enough-token".to_owned(), "bearer a-long-enough-token".to_owned(), basic("me:a-long-enough-token")] {
            assert!(shows(&good, &token), "{good}");
        }
        for bad in ["Bearer", "Bearer ", "Bearer a-long-enough-toke", "a-long-enough-token", &basic("a-long-enough-token"), "Basic !", ""] {
            assert!(!shows(bad, &token), "{bad}");
        }
    }

    #[test]
    fn the_page_is_whole_and_names_only_metrics_that_are_there() {
        assert_eq!(PAGE.matches("<script>").count() + PAGE.matches("<style>").count(), 2);
        for outside in ["http://", "https://", "src=", "@import", "innerHTML", "style=\""] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        assert!(policy().contains("script-src 'sha256-") && !policy().contains("unsafe"));
    }
}
