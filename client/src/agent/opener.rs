//! Opens a root's engine with all that serves it: folder, watcher, transfers.

use std::path::PathBuf;
use std::sync::Arc;

use quics_meta::MetaStore;
use quics_types::{DeviceId, LeaseId, Role, RootId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hands::{Mover, RootHands};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::root::{Meter, Root};
use super::start;
use super::thread::{Opened, Unopened};
use super::Core;
use crate::engine::{Config, Engine, Event};
use crate::folder::Disk;

/// What a root's engine is opened from, as often as it takes.
pub(super) struct Opener {
    root: RootId,
    path: PathBuf,
    lease: LeaseId,
    paused: bool,
    role: Option<Role>,
    device: DeviceId,
    device_name: String,
    store: Arc<dyn MetaStore>,
    outbox: Arc<Outbox>,
    inbox: Inbox,
    stop: CancellationToken,
    tasks: TaskTracker,
    meter: Arc<Meter>,
    runtime: Handle,
}

impl Opener {
    pub(super) fn new(core: &Core, root: &Root, runtime: Handle) -> Self {
        let (entry, account) = (root.entry.lock().clone(), core.account.lock().clone());
        Self {
            root: root.id,
            path: entry.path,
            lease: entry.lease,
            paused: entry.paused,
            role: core.roles.lock().get(&root.id).copied(),
            device: account.device,
            device_name: account.device_name,
            store: core.store.clone(),
            outbox: core.board.outbox.clone(),
            inbox: root.inbox.clone(),
            stop: root.stop.clone(),
            tasks: root.tasks.clone(),
            meter: root.meter.clone(),
            runtime,
        }
    }

    /// The function that the engine's thread calls until it has an engine.
    pub(super) fn into_open(self) -> impl FnMut() -> Result<Opened<Engine>, Unopened> + Send + 'static {
        move || self.open()
    }

    fn open(&self) -> Result<Opened<Engine>, Unopened> {
        let disk = Disk::open(&self.path, self.root).map_err(|error| start::unopened(&error))?;
        let mut config = Config::new(self.root, self.device, self.device_name.clone());
        config.role = self.role.unwrap_or(config.role);
        let filter = Box::new(crate::engine::Everything);
        let seed = quics_kit::random::bytes();
        let mut engine = Engine::open(config, Box::new(disk), filter, self.store.clone(), seed)
            .map_err(|error| Unopened::Never(error.to_string()))?;
        if self.paused {
            engine.handle(Event::Pause(true));
        }
        Ok(Opened { engine, hands: Arc::new(self.hands(Arc::new(Unlinked))), keep: Box::new(()) })
    }

    fn hands(&self, mover: Arc<dyn Mover>) -> RootHands {
        RootHands {
            root: self.root,
            lease: self.lease,
            outbox: self.outbox.clone(),
            mover,
            inbox: self.inbox.clone(),
            runtime: self.runtime.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            running: Arc::default(),
        }
    }
}

struct Unlinked;

impl Mover for Unlinked {
    fn ingest(&self, _: crate::folder::Spot, _: crate::folder::Stat) -> super::hands::Work<Result<crate::engine::Ingested, crate::engine::IngestFailure>> {
        Box::pin(std::future::pending())
    }
    fn fetch(&self, _: quics_types::Digest, _: u64, _: Option<(crate::folder::Spot, quics_types::Digest)>) -> super::hands::Work<Result<quics_types::Name, crate::engine::FetchFailure>> {
        Box::pin(std::future::pending())
    }
}
