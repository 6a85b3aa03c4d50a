//! A service's background tasks: named, owned, and ended before the service does.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Error;
use crate::status::chain;

/// How long tasks may take to end once they were told to.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Tasks {
    running: TaskTracker,
    failed: mpsc::Sender<Error>,
    failures: Arc<Mutex<Option<mpsc::Receiver<Error>>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        // The first failure ends the service; there is no use for a second one.
        let (failed, failures) = mpsc::channel(1);
        Self { running: TaskTracker::new(), failed, failures: Arc::new(Mutex::new(Some(failures))) }
    }
}

impl Tasks {
    pub(super) fn spawn<E: StdError + Send + 'static>(
        &self,
        task: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let failed = self.failed.clone();
        self.running.spawn(async move {
            // In a task of its own, so that a panic is seen as a failure as well.
            let reason = match tokio::spawn(work).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&error),
                Err(ended) => ended.to_string(),
            };
            tracing::error!(task, reason, "task.failed");
            drop(failed.try_send(Error::Task { task, reason }));
        });
    }

    /// Waits for a failure or for `stop`, cancels `stop`, and waits until the tasks have ended.
    pub(super) async fn watch(&self, stop: &CancellationToken) -> Result<(), Error> {
        let failures = self.failures.lock().take();
        let failure = async {
            match failures {
                Some(mut failures) => failures.recv().await,
                None => None,
            }
        };
        let failure = tokio::select! {
            () = stop.cancelled() => None,
            failure = failure => failure,
        };
        stop.cancel();
        failure.map_or(Ok(()), Err)
    }

    /// Waits until the tasks have ended, a grace period at most.
    pub(super) async fn ended(&self) {
        self.running.close();
        if tokio::time::timeout(GRACE, self.running.wait()).await.is_err() {
            tracing::warn!(tasks = self.running.len(), "tasks.abandoned");
        }
    }
}
