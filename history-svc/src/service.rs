//! The service: the store with everything around it that waits and checks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use quics_kit::access::{Access, Guard};
use quics_kit::caller::Caller;
use quics_kit::clock::Clock;
use quics_meta::MetaStore;
use quics_records::Reads;
use quics_types::{DeviceId, RootId, WallTime};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::keep::shown::Shares;
use crate::metrics::Metrics;
use crate::repair::Absent;
use crate::sync::Finder;
use crate::view::View;

/// Calls that go through all versions of a root at a time: each may hold 100 MB.
const COUNTING: usize = 2;

/// Everything that the calls need. One for the process.
pub struct Service {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) sync: Arc<dyn Finder>,
    pub(crate) shares: Arc<dyn Shares>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether sync-svc is being followed now.
    pub(crate) following: AtomicBool,
    /// What was in no snapshot.
    pub(crate) absent: Mutex<Absent>,
    /// Held from the look at what is kept to the commit that changes it: marks of what is gone, pins, policies.
    pub(crate) keeping: Mutex<()>,
    /// How many restores of a root are in hand.
    pub(crate) restoring: Mutex<HashMap<RootId, usize>>,
    /// Told when a policy was set.
    pub(crate) look: Notify,
    /// Told when a purge was written down.
    pub(crate) purge: Notify,
    /// Who goes through all versions of a root on somebody's behalf.
    pub(crate) counting: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    clock: Arc<dyn Clock>,
    /// The tasks of the streams; they end when their stream does, or at shutdown.
    streams: TaskTracker,
}

/// What the service is made of.
pub struct Parts {
    /// Metadata.
    pub meta: Arc<dyn MetaStore>,
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// The way to sync-svc.
    pub sync: Arc<dyn Finder>,
    /// The way to share-svc.
    pub shares: Arc<dyn Shares>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Ends the streams.
    pub shutdown: CancellationToken,
}

impl Service {
    /// Puts the service together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            meta: parts.meta,
            access: parts.access,
            sync: parts.sync,
            shares: parts.shares,
            metrics: Arc::default(),
            following: AtomicBool::new(false),
            absent: Mutex::default(),
            keeping: Mutex::default(),
            restoring: Mutex::default(),
            look: Notify::new(),
            purge: Notify::new(),
            counting: Arc::new(Semaphore::new(COUNTING)),
            shutdown: parts.shutdown,
            clock: parts.clock,
            streams: TaskTracker::new(),
        })
    }

    /// Follows sync-svc until shutdown.
    ///
    /// # Errors
    /// Those after which the service has to end.
    pub async fn following(self: Arc<Self>) -> Result<(), Error> {
        crate::relay::follow(self).await
    }

    /// Takes what the roots' policies do not keep, until shutdown.
    ///
    /// # Errors
    /// Those after which the service has to end.
    pub async fn keeping(self: Arc<Self>) -> Result<(), Error> {
        crate::keep::sweep::keep(self).await
    }

    /// Carries purges out, until shutdown.
    ///
    /// # Errors
    /// Those after which the service has to end.
    pub async fn purging(self: Arc<Self>) -> Result<(), Error> {
        crate::keep::purge::carry(self).await
    }

    /// Waits until the streams have ended, after shutdown.
    pub async fn ended(&self) {
        self.streams.close();
        self.streams.wait().await;
    }

    /// What is durable of a root.
    pub(crate) fn view(&self, root: RootId) -> View<'_> {
        View::new(Reads::durable(&*self.meta), root)
    }

    pub(crate) fn now(&self) -> WallTime {
        WallTime::of(self.clock.now())
    }

    /// What people call a device and its user.
    pub(crate) fn names(&self, device: DeviceId) -> (String, String) {
        let (device_name, user_name) = (self.access.device_name(device), self.access.user_name(device));
        (device_name.unwrap_or_default(), user_name.unwrap_or_default())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn guard(&self, caller: Caller) -> Guard<'_> {
        Guard { access: &*self.access, caller }
    }

    /// Runs a stream's task; it is waited for at the end of the service.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.streams.spawn(task);
    }

    /// Does what may block off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.map_err(|_| Error::Task)?
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
