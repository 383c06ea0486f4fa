//! SIGTERM and SIGINT: the wish to stop. SIGHUP: the wish to read files anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Sets `stop` on SIGTERM or SIGINT, each of `reload` on SIGHUP. Errors: the handlers cannot be installed.
pub fn follow<const N: usize>(stop: Arc<AtomicBool>, reload: [Arc<AtomicBool>; N]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start a runtime: {e}"))?;
    // Installed before this returns, so that no signal is missed.
    let (mut term, mut int, mut hup) = {
        let _inside = runtime.enter();
        let install = |kind| signal(kind).map_err(|e| format!("cannot watch for signals: {e}"));
        (install(SignalKind::terminate())?, install(SignalKind::interrupt())?, install(SignalKind::hangup())?)
    };
    let wait = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = term.recv() => break,
                    _ = int.recv() => break,
                    _ = hup.recv() => reload.iter().for_each(|wish| wish.store(true, Ordering::SeqCst)),
                }
            }
        });
        tracing::info!("asked to stop");
        stop.store(true, Ordering::SeqCst);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(|e| format!("cannot start a thread: {e}"))
}
