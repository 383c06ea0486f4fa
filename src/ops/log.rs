//! Logs: structured, to standard error, a line a batch at most; `RUST_LOG` chooses, `LETHE_LOG_FORMAT=json` for machines.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; a second call does nothing.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let json = std::env::var("LETHE_LOG_FORMAT").is_ok_and(|f| f == "json");
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}
