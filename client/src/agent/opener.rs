//! Opens a root's engine with all that serves it: folder, watcher, transfers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quics_meta::MetaStore;
use quics_types::{DeviceId, LeaseId};
use tokio::runtime::Handle;

use super::contents::{Contents, Line, Room};
use super::hands::{Mover, RootHands};
use super::ignoring::Rules;
use super::outbox::Outbox;
use super::root::Root;
use super::thread::{Opened, Unopened};
use super::{Core, start, upkeep};
use crate::engine::{Config, Engine, Event};
use crate::folder::{Disk, Tree};
use crate::home::RootEntry;
use crate::watch::{Seen, Watcher};

/// What a root's engine is opened from, as often as it takes.
pub(super) struct Opener {
    root: Arc<Root>,
    device: DeviceId,
    device_name: String,
    store: Arc<dyn MetaStore>,
    outbox: Arc<Outbox>,
    line: Line,
    room: Room,
    runtime: Handle,
}

impl Opener {
    pub(super) fn new(core: &Core, root: Arc<Root>, runtime: Handle) -> Self {
        let account = core.account.lock().clone();
        Self {
            root,
            device: account.device,
            device_name: account.device_name,
            store: core.store.clone(),
            outbox: core.board.outbox.clone(),
            line: core.sync.clone(),
            room: core.room.clone(),
            runtime,
        }
    }

    /// The function that the engine's thread calls until it has an engine.
    pub(super) fn into_open(self) -> impl FnMut() -> Result<Opened<Engine>, Unopened> + Send + 'static {
        move || self.open()
    }

    fn open(&self) -> Result<Opened<Engine>, Unopened> {
        // As the settings are now: what changes later comes as an event.
        let RootEntry { path, lease, role, paused, units, .. } = self.root.entry.lock().clone();
        let disk = Disk::open(&path, self.root.id, units);
        let disk = disk.map_err(|error| start::unopened(&error))?;
        let mut config = Config::new(self.root.id, self.device, self.device_name.clone());
        config.role = role;
        let tree = disk.tree();
        let rules = Rules::new(tree.clone())
            .map_err(|error| Unopened::Later(format!("its ignore file cannot be read: {error}")))?;
        self.watch(&tree, &rules);
        let skip = rules.skip();
        let seed = quics_kit::random::bytes();
        let mut engine = Engine::open(config, Box::new(disk), Box::new(rules), self.store.clone(), seed)
            .map_err(|error| Unopened::Never(error.to_string()))?;
        if paused {
            engine.handle(Event::Pause(true));
        }
        let (line, room, meter) = (self.line.clone(), self.room.clone(), self.root.meter.clone());
        let mover = Arc::new(Contents::new(line, (self.root.id, lease), tree.clone(), skip, room, meter));
        self.keep(upkeep::scan(self.root.inbox.clone(), self.root.limited.clone()));
        self.keep(upkeep::sweep(tree, self.device_name.clone(), self.root.inbox.clone()));
        Ok(Opened { engine, hands: Arc::new(self.hands(lease, mover)) })
    }

    /// Begins to watch, before the engine's first look at everything. Where that cannot be, looks come often instead.
    fn watch(&self, tree: &Arc<Tree>, rules: &Rules) {
        let (inbox, limited) = (self.root.inbox.clone(), self.root.limited.clone());
        let on = move |seen| match seen {
            Seen::Touched(paths) | Seen::Writing(paths) => inbox.touch(Event::Touched(paths)),
            Seen::Overflow => inbox.touch(Event::Overflow),
            Seen::Limited => limited.store(true, Ordering::Relaxed),
        };
        match Watcher::start(tree.clone(), rules.skip(), on) {
            Ok(watcher) => {
                self.root.limited.store(watcher.is_limited(), Ordering::Relaxed);
                rules.keep(watcher);
            }
            Err(error) => {
                tracing::warn!(%error, path = %crate::text::path(tree.path()), "watch.unavailable");
                self.root.limited.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Runs something until the root ends.
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.root.stop.clone();
        self.root.tasks.spawn_on(
            async move {
                stop.run_until_cancelled(work).await;
            },
            &self.runtime,
        );
    }

    fn hands(&self, lease: LeaseId, mover: Arc<dyn Mover>) -> RootHands {
        RootHands {
            root: self.root.id,
            lease,
            outbox: self.outbox.clone(),
            mover,
            inbox: self.root.inbox.clone(),
            runtime: self.runtime.clone(),
            tasks: self.root.tasks.clone(),
            stop: self.root.stop.clone(),
            running: Arc::default(),
        }
    }
}
