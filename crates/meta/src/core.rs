//! What the threads of a journaled store share.
//!
//! Locks are taken in this order, and none is held over a sync but `maintenance`: `maintenance`, `queue`, `table`,
//! `segments`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::index::Table;
use crate::options::Options;
use crate::queue::{Phase, Queue, answer};
use crate::store::Epoch;

/// What is known of a journal segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    pub(crate) first_seq: u64,
    /// One less than `first_seq` while there is no frame.
    pub(crate) last_seq: u64,
    pub(crate) blobs: u64,
    pub(crate) released: bool,
}

impl SegmentInfo {
    pub(crate) fn holds_blobs(&self) -> bool {
        self.blobs > 0 && !self.released
    }
}

/// The newest snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SnapshotInfo {
    pub(crate) from: u64,
    pub(crate) bytes: u64,
}

/// The journal's files.
pub(crate) struct Segments {
    pub(crate) sealed: BTreeMap<u64, SegmentInfo>,
    pub(crate) current: u64,
    pub(crate) current_info: SegmentInfo,
    pub(crate) current_file: Arc<dyn DiskFile>,
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// Journal bytes that no snapshot covers.
    pub(crate) uncovered: u64,
}

/// The most segments that wait for a snapshot; a store that is opened over and over makes many short ones.
const MAX_UNCOVERED_SEGMENTS: usize = 64;

impl Segments {
    pub(crate) fn wants_snapshot(&self, options: &Options) -> bool {
        let covered = self.snapshot.map_or(0, |snapshot| snapshot.from);
        let enough = options.snapshot_after.max(self.snapshot.map_or(0, |snapshot| snapshot.bytes));
        let uncovered = self.sealed.values().rev().take_while(|info| info.last_seq > covered).count();
        self.uncovered > enough || uncovered > MAX_UNCOVERED_SEGMENTS
    }

    /// Gives the oldest segment if nothing needs it any more.
    pub(crate) fn droppable(&self) -> Option<u64> {
        let covered = self.snapshot?.from;
        let (number, info) = self.sealed.first_key_value()?;
        (info.last_seq <= covered && !info.holds_blobs()).then_some(*number)
    }
}

/// What the upkeep thread was asked.
#[derive(Debug, Default)]
pub(crate) struct Errand {
    pub(crate) look: bool,
    pub(crate) stop: bool,
}

/// A journaled store without its threads.
pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) epoch: u64,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) work: Condvar,
    pub(crate) room: Arc<Notify>,
    pub(crate) table: RwLock<Table>,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) applied: watch::Sender<u64>,
    /// Held by whoever writes a snapshot, drops segments, or needs that none is dropped.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) errand: Mutex<Errand>,
    pub(crate) errands: Condvar,
    pub(crate) stopping: AtomicBool,
}

impl Core {
    /// Makes an error the store's last word, and answers whoever waits.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let error = error.fatal();
        let waiting = {
            let mut queue = self.queue.lock();
            if let Phase::Failed(first) = &queue.phase {
                return first.clone();
            }
            tracing::error!(%error, cause = ?error, "meta.failed");
            queue.phase = Phase::Failed(error.clone());
            queue.take(usize::MAX, usize::MAX)
        };
        answer(waiting, &Err(error.clone()));
        self.answer_waiting(&error);
        self.room.notify_waiters();
        self.work.notify_all();
        error
    }

    fn answer_waiting(&self, error: &Error) {
        loop {
            let rest = self.queue.lock().take(usize::MAX, usize::MAX);
            if rest.is_empty() {
                return;
            }
            answer(rest, &Err(error.clone()));
        }
    }

    /// Asks the upkeep thread to look whether there is something to do.
    pub(crate) fn look_after(&self) {
        self.errand.lock().look = true;
        self.errands.notify_all();
    }
}
