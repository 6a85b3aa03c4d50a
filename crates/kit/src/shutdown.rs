//! Signals become one token that everything watches.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Gives a token that is cancelled at the first SIGTERM or SIGINT; a second one ends the process at once with exit
/// code 130, so that a person who presses Ctrl-C twice is obeyed.
///
/// It spawns one task, which lives as long as the runtime.
///
/// # Errors
/// Whatever the system says if the signals cannot be watched.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "shutdown.begin");
        cancelled.cancel();
        let signal = next().await;
        tracing::warn!(signal, "shutdown.forced");
        std::process::exit(130);
    });
    Ok(token)
}
