//! The way to sync-svc: where it is, and channels to it.

use std::future::Future;
use std::pin::Pin;

use parking_lot::Mutex;
use quics_kit::names;
use quics_kit::service::Joined;
use quics_kit::telemetry::{Link, link};

use crate::Error;

/// Finds sync-svc; in production it asks registry-svc.
pub trait Finder: Send + Sync + 'static {
    /// A channel to where sync-svc is now.
    ///
    /// # Errors
    /// [`Error::SyncAway`]: nobody knows.
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>>;
}

/// Asks registry-svc, and remembers what it said for when it is away.
#[derive(Debug)]
pub(crate) struct Registry {
    joined: Joined,
    /// Where it was told to be, asking nobody.
    told: Option<String>,
    known: Mutex<Option<(String, Link)>>,
}

impl Registry {
    pub(crate) fn new(joined: Joined, told: Option<String>) -> Self {
        Self { joined, told, known: Mutex::default() }
    }

    async fn ask(&self) -> Result<Link, Error> {
        let address = match &self.told {
            Some(told) => Some(told.clone()),
            None => self.joined.find_sync().await.unwrap_or_else(|status| {
                tracing::debug!(code = ?status.code(), reason = status.message(), "sync.not_found");
                None
            }),
        };
        let mut known = self.known.lock();
        match (address, &*known) {
            (Some(address), Some((before, channel))) if address == *before => Ok(channel.clone()),
            (None, Some((_, channel))) => Ok(channel.clone()),
            (Some(address), _) => {
                let channel = link(self.joined.channel(names::Service::Sync, &address));
                *known = Some((address, channel.clone()));
                Ok(channel)
            }
            (None, None) => Err(Error::SyncAway),
        }
    }
}

impl Finder for Registry {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>> {
        Box::pin(self.ask())
    }
}
