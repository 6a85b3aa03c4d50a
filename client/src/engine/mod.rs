//! The agent's engine for one root: stepped, events in, actions out.
//!
//! It holds the three trees, asks the planner what to do, and does what needs no waiting itself through the
//! [`Folder`] and the metadata store. What needs waiting (the server, large contents) leaves as an [`Action`] and
//! comes back as an [`Event`]. It reads no clock but the folder's and draws its random numbers from the generator that
//! it was given, so that one seed replays any run.
//!
//! One step goes the data's way once: receipts of the store, looks at the disk, plans, proposals and applied steps,
//! and one batch to the store. It does a bounded amount of work; [`Engine::wants_step`] says whether there is more.
//!
//! Invariants:
//! - Nothing is planned before the whole folder was looked at once, the server's tree is level, and the verdicts of
//!   earlier incarnations are taken.
//! - An entry has at most one proposal, step or transfer under way.
//! - A synced row is stored only after what it tells of is durable on the disk.

mod apply;
mod content;
mod event;
mod feed;
mod hold;
mod local;
mod propose;
mod record;
mod status;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quics_meta::MetaStore;
use quics_reconcile::{NodeId, Subject, Trees};
use quics_types::{Cursor, DeviceId, EntryId, Mtime, Role, RootId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::folder::{Folder, RelPath, Stat};

pub use event::{Action, Event, FetchFailure, IngestFailure, Ingested, Record, Ticket};
pub use hold::Hold;
pub use status::{Explanation, Progress, Status};
pub use store::erase;

/// Says why an engine cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The metadata store failed.
    #[error("the agent's state cannot be read or written: {0}")]
    Store(#[from] quics_meta::Error),
    /// A stored record is not what this version writes.
    #[error(
        "the agent's state holds a {what} that cannot be read; move the state directory aside and clone the root again"
    )]
    Record {
        /// Which record.
        what: &'static str,
    },
}

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The root.
    pub root: RootId,
    /// This device.
    pub device: DeviceId,
    /// What people call this device; part of the names of things that are put aside.
    pub device_name: String,
    /// What the user may do; a reader's changes are not sent.
    pub role: Role,
    /// Proposals that may be under way at once.
    pub window: usize,
    /// Steps that are applied as one batch.
    pub batch: usize,
}

impl Config {
    /// The usual settings.
    pub fn new(root: RootId, device: DeviceId, device_name: impl Into<String>) -> Self {
        Self { root, device, device_name: device_name.into(), role: Role::Writer, window: 512, batch: 512 }
    }
}

/// Decides which paths are not synced.
pub trait Filter: Send {
    /// Whether this path, a directory or not, is ignored.
    fn ignored(&self, path: &RelPath, directory: bool) -> bool;
    /// Whether there is any rule.
    fn active(&self) -> bool {
        true
    }
    /// The rules may have changed: `path` was written or removed. Returns whether they did.
    fn touched(&mut self, path: &RelPath) -> bool;
}

/// Syncs everything.
#[derive(Debug)]
pub struct Everything;

impl Filter for Everything {
    fn ignored(&self, _path: &RelPath, _directory: bool) -> bool {
        false
    }

    fn active(&self) -> bool {
        false
    }

    fn touched(&mut self, _path: &RelPath) -> bool {
        false
    }
}

/// How far the connection to the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// The incarnation is on its way to the store.
    Connected,
    /// Waiting for the verdicts of earlier incarnations.
    Resuming,
    /// Those are on their way to the store.
    Recording,
    /// Proposals may go out.
    Up,
}

/// The engine of one root.
pub struct Engine {
    config: Config,
    folder: Box<dyn Folder>,
    filter: Box<dyn Filter>,
    store: Arc<dyn MetaStore>,
    random: StdRng,
    trees: Trees,

    // The disk.
    /// What the last look showed of each node.
    stats: HashMap<NodeId, Stat>,
    /// Nodes whose content was read so soon after its last change that the same stat may hide another.
    racy: HashSet<NodeId>,
    /// Nodes that cannot be synced as they are: there is nothing to send of them.
    unfit: HashSet<NodeId>,
    /// The stat under which an entry's node had the synced value.
    agreed: HashMap<EntryId, record::Agreed>,
    look: local::Look,
    contents: content::Contents,

    // The server.
    link: Link,
    /// The server's tree is complete up to a commit: what is not in it is not there.
    level: bool,
    subscribed: bool,
    cursor: Option<Cursor>,
    level_seen: Option<(Cursor, [u8; 32], u64)>,
    /// The cursor at which the trees were proven to agree.
    verified: Option<Cursor>,
    arrived: feed::Arrived,
    flights: propose::Flights,

    // What waits.
    receipts: VecDeque<store::Pending>,
    persist: store::Persist,
    later: BTreeMap<Mtime, Vec<Subject>>,
    /// Subjects with a proposal or a transfer under way.
    busy: HashSet<Subject>,
    /// Subjects that are left alone until they are woken.
    resting: HashSet<Subject>,
    problems: BTreeMap<RelPath, String>,
    /// Entries that have conflict records in the store.
    conflicted: HashSet<EntryId>,
    /// Entries that have records of what was settled, or of a revert, in the store.
    settled: HashSet<EntryId>,
    hold: hold::Holds,
    paused: bool,
    fenced: bool,
    failed: Option<Error>,
    actions: Vec<Action>,
}

impl Engine {
    /// Opens the engine over what was stored before, or for the first time.
    ///
    /// # Errors
    /// [`Error`] when the stored state cannot be read.
    pub fn open(
        config: Config,
        mut folder: Box<dyn Folder>,
        filter: Box<dyn Filter>,
        store: Arc<dyn MetaStore>,
        seed: [u8; 32],
    ) -> Result<Self, Error> {
        let loaded = store::load(&config, store.as_ref())?;
        let conflicted = loaded.trees.conflicts().map(|(id, _)| id).collect();
        let mut random = StdRng::from_seed(seed);
        let incarnation = propose::incarnation_after(loaded.incarnation, folder.now(), &mut random);
        let mut engine = Self {
            folder,
            filter,
            store,
            random,
            trees: loaded.trees,
            stats: HashMap::new(),
            racy: HashSet::new(),
            unfit: HashSet::new(),
            agreed: loaded.agreed,
            look: local::Look::default(),
            contents: content::Contents::default(),
            link: Link::Down,
            level: false,
            subscribed: false,
            cursor: loaded.cursor,
            level_seen: None,
            verified: None,
            arrived: feed::Arrived::default(),
            flights: propose::Flights::new(incarnation, loaded.recorded),
            receipts: VecDeque::new(),
            persist: store::Persist::default(),
            later: BTreeMap::new(),
            busy: HashSet::new(),
            resting: HashSet::new(),
            problems: BTreeMap::new(),
            conflicted,
            settled: loaded.settled,
            hold: hold::Holds::default(),
            paused: false,
            fenced: false,
            failed: None,
            actions: Vec::new(),
            config,
        };
        engine.rescan();
        engine.persist.meta = true;
        Ok(engine)
    }

    /// Tells the engine what happened. Never blocks on the network.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(),
            Event::Verdict { incarnation, seq, proposal, verdict } => {
                self.verdict(incarnation, seq, proposal.map(|it| *it), *verdict);
            }
            Event::Resumed { incarnation } => self.resumed(incarnation),
            Event::Fenced => self.fenced = true,
            Event::Changes { records, cursor } => self.changes(records, cursor),
            Event::Level { cursor, digest, count } => self.level(cursor, digest, count),
            Event::Snapshot { records, finish } => self.snapshot(records, finish),
            Event::CursorUnknown => self.hold.set(Hold::ServerRestored),
            Event::Ended { reason } => self.hold.set(Hold::Ended(reason)),
            Event::Ingested { ticket, result } => self.ingested(ticket, result),
            Event::Fetched { ticket, result } => self.fetched(ticket, result),
            Event::Touched(paths) => self.touched(paths),
            Event::Overflow => self.rescan(),
            Event::Tick => {}
            Event::Pause(paused) => self.paused = paused,
            Event::Role(role) => {
                self.config.role = role;
                // What a reader may not send may be sent now.
                self.rescan();
            }
            Event::Release(delete) => self.release(delete),
        }
    }

    /// Does what can be done now, and returns what is to be done outside.
    pub fn step(&mut self) -> Vec<Action> {
        if self.failed.is_none()
            && let Err(error) = self.try_step()
        {
            self.failed = Some(error);
        }
        std::mem::take(&mut self.actions)
    }

    fn try_step(&mut self) -> Result<(), Error> {
        self.take_receipts()?;
        self.look_around();
        self.wake();
        if self.may_act() {
            self.act();
        }
        self.check_hold_over();
        self.save()
    }

    /// Whether another step has something to do without a new event.
    pub fn wants_step(&mut self) -> bool {
        if self.failed.is_some() || self.fenced {
            return false;
        }
        let may_plan = self.may_act() && self.trees.has_subjects() && !self.flights.full(self.config.window);
        self.look.pending() || may_plan || !self.actions.is_empty() || self.persist.meta
    }

    /// After how long [`Event::Tick`] has to come at the latest; `None` when nothing waits for time to pass.
    pub fn deadline(&mut self) -> Option<Duration> {
        if !self.receipts.is_empty() {
            return Some(Duration::from_millis(1));
        }
        let at = *self.later.keys().next()?;
        let now = self.folder.now();
        Some(Duration::from_nanos(nanos(at).saturating_sub(nanos(now)).max(0).unsigned_abs()))
    }

    /// Why the engine cannot go on, if so.
    pub fn failure(&self) -> Option<String> {
        if self.fenced {
            return Some("another agent with the identity of this device has taken over, so one of the two homes is a copy: on the \
                 copy run `quics leave --force` and join again; this one goes on when its agent is started anew"
                    .to_owned());
        }
        self.failed.as_ref().map(ToString::to_string)
    }

    fn may_act(&self) -> bool {
        let going = !self.paused && !self.fenced && self.failed.is_none();
        going && self.look.scanned() && self.level && self.link == Link::Up && !self.hold.stops_everything()
    }

    /// Looks at a subject again after some time.
    fn postpone(&mut self, subject: Subject, wait: Duration) {
        let at = after(self.folder.now(), wait);
        self.later.entry(at).or_default().push(subject);
    }

    fn wake(&mut self) {
        if self.later.is_empty() {
            return;
        }
        let now = self.folder.now();
        while let Some(entry) = self.later.first_entry() {
            if *entry.key() > now {
                break;
            }
            for subject in entry.remove() {
                self.resting.remove(&subject);
                self.trees.put_back(subject);
            }
        }
    }
}

fn nanos(time: Mtime) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos))
}

fn after(time: Mtime, wait: Duration) -> Mtime {
    let nanos = i64::from(time.nanos) + i64::from(wait.subsec_nanos());
    Mtime {
        seconds: time.seconds + i64::try_from(wait.as_secs()).unwrap_or(i64::MAX / 4) + nanos / 1_000_000_000,
        nanos: u32::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}
