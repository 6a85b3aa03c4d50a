//! Tasks that belong to a connection.

use std::future::Future;

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs what hyper spawns for one connection, until [`stop`](Self::stop).
///
/// hyper hands the connection itself (as a client) and each call (as a server) to its executor, where they would
/// outlive the connection that is cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Drops all tasks, now and later ones.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Waits until all tasks are gone; to be called after [`stop`](Self::stop).
    pub(crate) async fn gone(&self) {
        self.tracker.wait().await;
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = task => {}
            }
        });
    }
}
