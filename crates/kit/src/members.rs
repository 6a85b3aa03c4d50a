//! What a service knows of who may do what: a view of registry-svc's state, kept up to date by its `Watch`.
//!
//! ```text
//! registry-svc ── Watch ──> follow ──> mirror (memory) ──> role(), device(), attached()
//!                              └─────> rows below a prefix of the service's own store, for when registry-svc is away
//! ```
//!
//! # Invariants
//! - Nobody is let in by a view that was last confirmed longer than [`Options::max_age`] ago.
//! - A revocation acts in this order: the view refuses the device, its connections are closed, the row is durable.
//! - A full state replaces the view as a whole: what it does not hold ended while nobody watched.

mod follow;
mod mirror;
mod rows;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quics_meta::MetaStore;
use quics_types::{DeviceId, Role, RootId, UserId};
use tokio::sync::{broadcast, watch};
use tonic::Code;

pub use follow::Follow;
pub use mirror::Device;

use crate::clock::Clock;
use crate::status::Domain;
use mirror::Mirror;

/// Changes that a subscriber may be behind before it has to look at everything again.
const CHANGES: usize = 1024;
/// Devices whose being heard of is remembered between two reports.
const MAX_SEEN: usize = 4096;

/// Says why the view cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service's store failed.
    #[error("cannot keep the view of members: {0}")]
    Store(#[from] quics_meta::Error),
    /// A stored row is none of ours.
    #[error("the stored view of members is damaged at key {key}")]
    Damaged {
        /// The row's key, in hexadecimal digits.
        key: String,
    },
    /// registry-svc no longer takes this service.
    #[error("registry-svc refuses this service: {0}")]
    Refused(String),
}

/// Says why a device may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No such device is known.
    #[error("this device is not known")]
    Unknown,
    /// The device was revoked.
    #[error("this device was revoked")]
    Revoked,
    /// The device's user is no member of the root, or there is no such root.
    #[error("not a member of this root")]
    NotMember,
    /// The user's role does not allow it.
    #[error("a {0} may not do this")]
    Role(Role),
    /// registry-svc was last heard of too long ago.
    #[error("who may do what was last confirmed too long ago; registry-svc is away")]
    Stale,
}

impl Domain for Denied {
    fn code(&self) -> Code {
        match self {
            Denied::Unknown | Denied::Revoked => Code::Unauthenticated,
            Denied::NotMember | Denied::Role(_) => Code::PermissionDenied,
            Denied::Stale => Code::Unavailable,
        }
    }
}

/// Something that changed in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A device is new, has another name, or was revoked.
    Device {
        /// Which.
        device: DeviceId,
        /// Whether it may still do anything.
        revoked: bool,
    },
    /// A user's role in a root is another; `None` when it ended.
    Membership {
        /// In which root.
        root: RootId,
        /// Whose.
        user: UserId,
        /// The role now.
        role: Option<Role>,
    },
    /// A device was attached to a root or detached from it.
    Attachment {
        /// Which root.
        root: RootId,
        /// Which device.
        device: DeviceId,
        /// Whether it is attached now.
        attached: bool,
    },
    /// Everything was received anew; more than was told one by one may have changed.
    Reloaded,
}

/// How a view is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Under which keys of the store.
    pub prefix: Bytes,
    /// How long the view counts after it was last confirmed: 24 hours.
    pub max_age: Duration,
    /// How long [`Members::role_soon`] and [`Members::admit`] wait for news of somebody who was just made known: 2 s.
    pub grace: Duration,
    /// Tells the age.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// The defaults, with rows below `prefix`.
    pub fn new(prefix: impl Into<Bytes>, clock: Arc<dyn Clock>) -> Self {
        let hour = Duration::from_secs(3600);
        Self { prefix: prefix.into(), max_age: 24 * hour, grace: Duration::from_secs(2), clock }
    }
}

/// The view. Clones are the same one.
#[derive(Clone)]
pub struct Members {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn MetaStore>,
    options: Options,
    mirror: RwLock<Mirror>,
    /// `None` while the stream is open, otherwise when it was last.
    confirmed: RwLock<Confirmed>,
    changes: broadcast::Sender<Change>,
    revision: watch::Sender<u64>,
    seen: Mutex<HashMap<DeviceId, SystemTime>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    Never,
    At(SystemTime),
    Now,
}

impl Members {
    /// Reads the view that the store has from before; empty and stale at first.
    ///
    /// Nothing changes it until [`Follow::run`] runs.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn load(store: Arc<dyn MetaStore>, options: Options) -> Result<Members, Error> {
        let (mirror, confirmed) = rows::load(store.as_ref(), &options.prefix)?;
        let confirmed = confirmed.map_or(Confirmed::Never, Confirmed::At);
        let inner = Inner {
            store,
            options,
            mirror: RwLock::new(mirror),
            confirmed: RwLock::new(confirmed),
            changes: broadcast::channel(CHANGES).0,
            revision: watch::channel(0).0,
            seen: Mutex::default(),
        };
        Ok(Members { inner: Arc::new(inner) })
    }

    /// Finds a device that may do something.
    ///
    /// # Errors
    /// [`Denied::Stale`], [`Denied::Unknown`], [`Denied::Revoked`].
    pub fn device(&self, device: DeviceId) -> Result<Device, Denied> {
        self.check_age()?;
        self.inner.mirror.read().device(device).cloned()
    }

    /// Describes a device that was ever known, revoked or not: whose it was, and its name. It allows nothing.
    pub fn known(&self, device: DeviceId) -> Option<Device> {
        self.inner.mirror.read().known(device).cloned()
    }

    /// Finds the role that a device has in a root through its user.
    ///
    /// # Errors
    /// As [`device`](Self::device), and [`Denied::NotMember`], whether the root exists or not.
    pub fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        self.check_age()?;
        self.inner.mirror.read().role(root, device)
    }

    /// As [`device`](Self::device); waits up to [`Options::grace`] for a device that is not known yet: it may have been
    /// enrolled this moment, and the news of it be on the way. So it waits at the service's start too, until the view has
    /// been received.
    ///
    /// # Errors
    /// As [`device`](Self::device).
    pub async fn admit(&self, device: DeviceId) -> Result<Device, Denied> {
        self.soon(|| self.device(device)).await
    }

    /// As [`role`](Self::role); waits up to [`Options::grace`] for a membership that is not known yet.
    ///
    /// # Errors
    /// As [`role`](Self::role).
    pub async fn role_soon(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        self.soon(|| self.role(root, device)).await
    }

    /// The devices that are attached to a root, revoked ones not among them, in the order of their ids.
    pub fn attached(&self, root: RootId) -> Vec<DeviceId> {
        self.inner.mirror.read().attached(root)
    }

    /// Tells whether a device is attached to a root.
    pub fn is_attached(&self, root: RootId, device: DeviceId) -> bool {
        self.inner.mirror.read().is_attached(root, device)
    }

    /// The roots that somebody is a member of or attached to, in the order of their ids.
    pub fn roots(&self) -> Vec<RootId> {
        self.inner.mirror.read().roots()
    }

    /// The users that have a role in a root.
    pub fn users(&self, root: RootId) -> Vec<(UserId, Role)> {
        self.inner.mirror.read().users(root)
    }

    /// Follows the changes. A receiver that is told it lags behind has to treat that as [`Change::Reloaded`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Notes that a device was heard of, for its last-seen time; reported to registry-svc from time to time.
    pub fn seen(&self, device: DeviceId) {
        let mut seen = self.inner.seen.lock();
        if seen.len() < MAX_SEEN || seen.contains_key(&device) {
            seen.insert(device, self.inner.options.clock.now());
        }
    }

    /// When the view was last known to be what registry-svc says; `None` for never.
    pub fn confirmed(&self) -> Option<SystemTime> {
        match *self.inner.confirmed.read() {
            Confirmed::Never => None,
            Confirmed::At(time) => Some(time),
            Confirmed::Now => Some(self.inner.options.clock.now()),
        }
    }

    /// Waits until the view has been received in full since [`load`](Self::load), or was stored and is not too old.
    pub async fn ready(&self) {
        let mut revision = self.inner.revision.subscribe();
        while self.check_age().is_err() {
            if revision.changed().await.is_err() {
                return;
            }
        }
    }

    fn check_age(&self) -> Result<(), Denied> {
        let confirmed = match *self.inner.confirmed.read() {
            Confirmed::Never => return Err(Denied::Stale),
            Confirmed::Now => return Ok(()),
            Confirmed::At(time) => time,
        };
        // A clock that was set back makes the age 0: the view is not lost by it.
        let age = self.inner.options.clock.now().duration_since(confirmed).unwrap_or_default();
        if age <= self.inner.options.max_age { Ok(()) } else { Err(Denied::Stale) }
    }

    async fn soon<T>(&self, ask: impl Fn() -> Result<T, Denied>) -> Result<T, Denied> {
        let mut revision = self.inner.revision.subscribe();
        let limit = tokio::time::Instant::now() + self.inner.options.grace;
        loop {
            let answer = ask();
            if !matches!(answer, Err(Denied::Unknown | Denied::NotMember | Denied::Stale)) {
                return answer;
            }
            match tokio::time::timeout_at(limit, revision.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return ask(),
            }
        }
    }

    fn announce(&self, change: Change) {
        // Nobody may be listening.
        drop(self.inner.changes.send(change));
        self.inner.revision.send_modify(|revision| *revision += 1);
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("confirmed", &*self.inner.confirmed.read()).finish_non_exhaustive()
    }
}
