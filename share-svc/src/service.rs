//! The service: the store with everything around it that waits and checks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quics_kit::access::{Access, Guard};
use quics_kit::attempts::Attempts;
use quics_kit::caller::Caller;
use quics_kit::clock::Clock;
use quics_kit::passwords::Passwords;
use quics_meta::{Batch, MetaStore};
use quics_records::Reads;
use quics_types::{DeviceId, WallTime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::desk::Link;
use crate::policy::ServerPolicy;
use crate::session::Sessions;
use crate::upstream::Upstream;

/// Everything that the calls need. One for the process.
pub(crate) struct Service {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) upstream: Upstream,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts<Link>,
    pub(crate) sessions: Sessions,
    pub(crate) policy: ServerPolicy,
    /// What the address of a link begins with.
    pub(crate) url_base: String,
    /// Contents whose checksums are wanted.
    pub(crate) summing: crate::sums::Queue,
    pub(crate) shutdown: CancellationToken,
    /// What ends when a link is revoked. Entries that nobody holds go when there are many.
    running: Mutex<HashMap<Link, Arc<CancellationToken>>>,
    /// Held from the look at what is there to the commit that changes it.
    writing: Mutex<()>,
    clock: Arc<dyn Clock>,
    streams: TaskTracker,
}

/// What the service is made of.
pub(crate) struct Parts {
    /// Metadata.
    pub(crate) meta: Arc<dyn MetaStore>,
    /// Who may do what.
    pub(crate) access: Arc<dyn Access>,
    /// The ways to the other services.
    pub(crate) upstream: Upstream,
    /// The key of sessions.
    pub(crate) sessions: Sessions,
    /// What holds for every root.
    pub(crate) policy: ServerPolicy,
    /// What the address of a link begins with.
    pub(crate) url_base: String,
    /// The time of day.
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends the tasks.
    pub(crate) shutdown: CancellationToken,
}

impl Service {
    /// Puts the service together.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            meta: parts.meta,
            access: parts.access,
            upstream: parts.upstream,
            passwords: Passwords::default(),
            attempts: Attempts::new(parts.clock.clone()),
            sessions: parts.sessions,
            policy: parts.policy,
            url_base: parts.url_base,
            summing: crate::sums::Queue::default(),
            shutdown: parts.shutdown,
            running: Mutex::default(),
            writing: Mutex::default(),
            clock: parts.clock,
            streams: TaskTracker::new(),
        })
    }

    /// Waits until the streams have ended, after shutdown.
    pub(crate) async fn ended(&self) {
        self.streams.close();
        self.streams.wait().await;
    }

    /// Runs a stream's task; it is waited for at the end of the service.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.streams.spawn(task);
    }

    /// What is durable.
    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads::durable(&*self.meta)
    }

    pub(crate) fn now(&self) -> WallTime {
        WallTime::of(self.clock.now())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn guard(&self, caller: Caller) -> Guard<'_> {
        Guard { access: &*self.access, caller }
    }

    /// What people call a device and its user.
    pub(crate) fn names(&self, device: DeviceId) -> (String, String) {
        let (device_name, user_name) = (self.access.device_name(device), self.access.user_name(device));
        (device_name.unwrap_or_default(), user_name.unwrap_or_default())
    }

    /// What ends when a link is revoked.
    pub(crate) fn running(&self, link: Link) -> Arc<CancellationToken> {
        const MANY: usize = 16_384;
        let mut running = self.running.lock();
        if running.len() >= MANY {
            running.retain(|_, token| Arc::strong_count(token) > 1);
        }
        running.entry(link).or_default().clone()
    }

    /// Cuts what runs of a link.
    pub(crate) fn cut(&self, link: Link) {
        if let Some(token) = self.running.lock().remove(&link) {
            token.cancel();
        }
    }

    /// Does what may block off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.map_err(|_| Error::Task)?
    }

    /// Changes what is kept: `change` reads what was submitted last, and nobody else changes it meanwhile. What it gives is
    /// returned when its batch is durable.
    ///
    /// # Errors
    /// Those of `change` and of the store; then nothing was changed.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl Fn(&Service, Reads<'_>, &mut Batch) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let change = Arc::new(change);
        loop {
            let change = change.clone();
            let submitted = self.blocking(move |service| {
                let _writing = service.writing.lock();
                let mut batch = Batch::new();
                let told = change(service, Reads::latest(&*service.meta), &mut batch)?;
                Ok((service.meta.submit(batch)?, told))
            });
            match submitted.await {
                Err(Error::Meta(quics_meta::Error::Busy)) => self.meta.room().await,
                Err(error) => return Err(error),
                Ok((receipt, told)) => {
                    receipt.await?;
                    return Ok(told);
                }
            }
        }
    }
}
