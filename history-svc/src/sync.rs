//! The way to sync-svc.

use std::future::Future;
use std::pin::Pin;

use quics_kit::service::Sister;
use quics_kit::telemetry::Link;

use crate::Error;

/// Finds sync-svc; in production it asks registry-svc.
pub trait Finder: Send + Sync + 'static {
    /// A channel to where sync-svc is now.
    ///
    /// # Errors
    /// [`Error::SyncAway`]: nobody knows.
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>>;
}

impl Finder for Sister {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>> {
        Box::pin(async { Sister::find(self).await.ok_or(Error::SyncAway) })
    }
}
