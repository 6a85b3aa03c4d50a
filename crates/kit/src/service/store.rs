//! A service's metadata store, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use quics_meta::{Journaled, MetaStore, Options};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Error, Host};

/// Between two looks at the store's health.
const LOOK: Duration = Duration::from_secs(1);

impl Host {
    /// Opens the metadata store in the data directory; it may have to look through what a crash left.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be opened.
    pub async fn open_store(&self) -> Result<Arc<Journaled>, Error> {
        let directory = self.data().path().join("meta");
        let store =
            off_the_runtime("opening the store", move || Journaled::open(directory, Options::default())).await?;
        tracing::info!(epoch = store.epoch(), "store.open");
        Ok(Arc::new(store))
    }

    /// Looks at the store until `shutdown`; one that has failed ends the service.
    pub fn watch_store(&self, store: Arc<Journaled>, shutdown: CancellationToken) {
        let looking = async move {
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    _ = ticks.tick() => store.health()?,
                }
            }
        };
        self.spawn::<quics_meta::Error>("store", looking);
    }
}

/// Makes everything durable and closes the store.
///
/// # Errors
/// [`Error::Store`] if that was not possible.
pub async fn close_store(store: Arc<Journaled>) -> Result<(), Error> {
    off_the_runtime("closing the store", move || store.close()).await
}

async fn off_the_runtime<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> Result<T, quics_meta::Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Task { task, reason: error.to_string() })?.map_err(Error::from)
}
