//! The ledger: what every root holds now, changed by one proposal after the other.
//!
//! It is stepped and synchronous: no runtime, no clock, no randomness, no threads. Time comes in with the call; a commit
//! goes out as a receipt that somebody else awaits. So one thread can drive it from a seed, and a server can have the
//! commits of a thousand proposals share one sync.
//!
//! ```text
//! propose: replay? fenced? contents there? -> judge against the latest state -> one batch -> Receipt
//! resolve: replay? contents there? -> each answer against the state that the ones before made -> one batch -> Receipt
//! group: staged -> begun -> some changes and how far it is -> one batch -> Receipt, again until it is finished
//! feed, snapshot, conflicts: the durable state only, so that nobody is told what a crash takes back
//! ```
//!
//! # Invariants
//! - The commits of a root have numbers without gaps. Proposals of one root are judged one at a time, each against the
//!   state that the ones before it made, durable or not; the store makes them durable in that order.
//! - One batch has everything that a proposal, or the answers of one call, change: rows, indexes, feed, verdict, conflicts,
//!   records of the answers, outbox, small contents.
//! - A conflict's revision is the number of the commit that changed it last: an answer to one never fits another.
//! - The feed names each entry's row once and each entry's conflict once, at the commit that changed it last.
//! - A verdict is kept until its device has recorded it. A proposal of an older incarnation changes nothing.

mod acknowledge;
mod brake;
mod conflicts;
mod content;
mod cursor;
mod feed;
mod forget;
mod group;
mod outbox;
mod propose;
mod prune;
mod resolutions;
mod resolve;
mod resume;
mod settings;
mod snapshot;
mod undo;
mod view;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use quics_meta::MetaStore;
use quics_reconcile::RootDigest;
use quics_records::Reads;
use quics_types::{Cursor, DeviceId, Epoch, RootId};

pub use brake::{Decided, HeldChange};
pub use conflicts::{ConflictNews, ConflictPage};
pub use feed::{Change, Inlined, Page, Told};
pub use group::{GROUP_CHANGES, GROUPS, Step, Unfinished};
pub use outbox::{Continuity, EventPage, Start};
pub use propose::{Answer, Judged, Request};
pub use resolutions::{RESOLUTIONS, ResolutionPage};
pub use resolve::{Answering, Done, Outcome, People, Resolve, Resolved};
pub use resume::{Given, Resumed, Unrecorded};
pub use settings::Changed;
pub use snapshot::Scan;
pub use undo::{Undo, Undone};

use crate::db::keys;
use crate::db::records::{self, EventPosition, Kept, Root};
use crate::{Contents, Error};

/// How far the device's proposals may be ahead of what it has recorded.
pub const MAX_UNRECORDED: u64 = 65_536;

/// The state of all roots. Every method may be called from several threads at once.
pub struct Ledger {
    meta: Arc<dyn MetaStore>,
    contents: Contents,
    epoch: Epoch,
    /// The store's chain of epochs, each with its place in it.
    chain: HashMap<Epoch, usize>,
    /// One lock a root: it is held while a proposal is judged and submitted. Bounded by the roots that exist.
    roots: Mutex<HashMap<RootId, Arc<Mutex<Memo>>>>,
    /// Held while an outbox number is drawn and its batch is submitted.
    outbox: Mutex<outbox::Outbox>,
    /// Up to where events were applied, by what was said since the start.
    applied: Mutex<Option<EventPosition>>,
    /// What devices have acknowledged since it was last written.
    acknowledged: Mutex<BTreeMap<(RootId, DeviceId), Cursor>>,
}

/// What is remembered of a root beside its rows; only hints, none of them is needed for an answer.
#[derive(Default)]
struct Memo {
    devices: HashMap<DeviceId, DeviceMemo>,
    watched: brake::Watched,
}

/// How far the verdicts of a device were removed.
#[derive(Default, Clone, Copy)]
struct DeviceMemo {
    incarnation: u64,
    /// Verdicts up to this seq of the incarnation are gone.
    removed: u64,
    /// The verdicts of older incarnations are gone.
    older_gone: bool,
}

/// Where a root is: what a device that has been told everything has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The root's cursor.
    pub cursor: Cursor,
    /// The sum of its live rows.
    pub digest: RootDigest,
    /// How many live rows there are.
    pub count: u64,
}

/// Counts of a root, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The root.
    pub root: RootId,
    /// Live entries.
    pub entries: u64,
    /// Deleted entries that some device may not know of yet.
    pub tombstones: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// Answers that can be taken back.
    pub resolutions: u64,
    /// The last commit.
    pub seq: u64,
}

impl Ledger {
    /// Takes the stores. The epoch is the one that the metadata store has opened.
    pub fn new(meta: Arc<dyn MetaStore>, contents: Contents) -> Self {
        let chain = meta.epochs().into_iter().enumerate().map(|(at, epoch)| (Epoch(epoch.id), at)).collect();
        Self {
            epoch: Epoch(meta.epoch()),
            chain,
            meta,
            contents,
            roots: Mutex::default(),
            outbox: Mutex::default(),
            applied: Mutex::default(),
            acknowledged: Mutex::default(),
        }
    }

    /// The contents that rows name.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The metadata store.
    pub fn meta(&self) -> &Arc<dyn MetaStore> {
        &self.meta
    }

    /// Where a root is, as far as it is durable; a root without commits is at 0.
    ///
    /// # Errors
    /// Those of the store.
    pub fn level(&self, root: RootId) -> Result<Level, Error> {
        Ok(self.level_of(&self.root(self.durable(), root)?.record))
    }

    /// Counts of the roots that have commits, in pages: those behind `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn counts(&self, after: Option<RootId>, limit: usize) -> Result<Vec<Counts>, Error> {
        let (first, to) = keys::all(b'r', None);
        let from = after.map_or(first, |root| keys::behind(&keys::root(root)));
        let counts = |(key, stored): (bytes::Bytes, _)| {
            let root = keys::parse_root(&key).ok_or_else(|| Error::damaged(&key))?;
            let Root { live, tombstones, conflicts, resolutions, seq, .. } = records::decode(&key, stored)?.record;
            Ok(Counts { root, entries: live, tombstones, conflicts, resolutions, seq })
        };
        self.durable().range(&from, &to, limit)?.into_iter().map(counts).collect()
    }

    fn durable(&self) -> Reads<'_> {
        Reads::durable(&*self.meta)
    }

    fn latest(&self) -> Reads<'_> {
        Reads::latest(&*self.meta)
    }

    fn root(&self, reads: Reads<'_>, root: RootId) -> Result<Kept<Root>, Error> {
        let kept = records::get(reads, &keys::root(root))?;
        Ok(kept.unwrap_or(Kept { record: Root::default(), pieces: 0 }))
    }

    fn level_of(&self, root: &Root) -> Level {
        Level { cursor: Cursor { epoch: self.epoch, seq: root.seq }, digest: root.digest, count: root.live }
    }

    /// The lock of a root.
    fn memo(&self, root: RootId) -> Arc<Mutex<Memo>> {
        self.roots.lock().entry(root).or_default().clone()
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
