//! SIGTERM and SIGINT: the wish to stop.

/// Calls `stop` once on SIGTERM or SIGINT. Errors: the handlers cannot be installed.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
    // Installed before this returns, so that no signal is missed.
    let (mut term, mut int) = {
        let _inside = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        let install = |kind| signal(kind).map_err(|e| format!("cannot watch for signals: {e}"));
        (install(SignalKind::terminate())?, install(SignalKind::interrupt())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        });
        tracing::info!("asked to stop");
        stop();
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(|e| format!("cannot start a thread: {e}"))
}
