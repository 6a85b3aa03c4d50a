//! What a chunk store promises, over any disk.

#[cfg(test)]
pub(crate) mod contract;
mod marks;
mod memory;

use std::ops::ControlFlow;

use bytes::Bytes;
use quics_types::{Digest, RootId};

pub use marks::{Condemned, Marks};
pub use memory::MemoryChunks;

use crate::{ChunkSource, Error, Packed};

/// Where something stands in the order in which a store took its records.
///
/// What is at a position is durable once [`ChunkStore::durable_up_to`] has reached it. Positions grow, restarts
/// included; only those that a power cut took before they were durable are given again. They are not to be stored or
/// sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub(crate) u64);

impl Position {
    /// Before the first record.
    pub const START: Position = Position(0);

    /// A number in the order of the positions, for metrics and messages.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Told once whether everything that was put before the request is durable.
pub type FlushCallback = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Figures of a store, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Chunks that can be read.
    pub chunks: u64,
    /// Bytes that their records take, headers included.
    pub live_bytes: u64,
    /// Bytes of records, damaged and superseded ones included.
    pub stored_bytes: u64,
    /// Segments, the open one included.
    pub segments: u64,
    /// Records that were found damaged since the store was opened.
    pub damaged: u64,
    /// Bytes of memory that the index takes.
    pub index_bytes: u64,
    /// Syncs since the store was opened.
    pub syncs: u64,
}

/// A stored chunk, as the store's index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordInfo {
    /// The root that the chunk belongs to.
    pub root: RootId,
    /// The chunk.
    pub digest: Digest,
    /// Bytes of the unpacked chunk.
    pub length: u32,
    /// Bytes that its record takes, header included.
    pub stored: u32,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Chunks read so far.
    pub chunks: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes to read in all, as known at the start.
    pub total_bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Chunks that verified.
    pub verified: u64,
    /// Chunks that did not and are quarantined now; at most the first 10 000 are named.
    pub damaged: Vec<(RootId, Digest)>,
    /// How many did not.
    pub damaged_count: u64,
    /// Whether every chunk was read; false if the caller stopped it.
    pub complete: bool,
}

/// A segment that can be rewritten, and what that brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclaimable {
    /// The segment's number.
    pub number: u32,
    /// Bytes that it takes, and that rewriting frees.
    pub bytes: u64,
    /// Bytes of its records that have to be copied for it.
    pub kept_bytes: u64,
    /// Bytes of its other records.
    pub unneeded_bytes: u64,
}

/// What became of a segment that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// Chunks that are kept and stand elsewhere now.
    pub copied: u64,
    /// Bytes of their records.
    pub copied_bytes: u64,
    /// Chunks that were condemned and are gone.
    pub dropped: u64,
    /// Bytes of their records.
    pub dropped_bytes: u64,
    /// Bytes of the segment that was removed.
    pub freed_bytes: u64,
    /// Chunks that were kept and did not verify; they are absent now. At most the first 10 000 are named, and only
    /// those whose name can still be read.
    pub damaged: Vec<(RootId, Digest)>,
    /// How many did not.
    pub damaged_count: u64,
}

/// Keeps chunks by root and digest, in the form in which they travel.
///
/// All calls may come from several threads at once. They block on the disk and hash: keep them off threads that
/// serve a reactor. The same digest in two roots is two chunks: neither presence nor bytes of the one tell anything
/// of the other.
///
/// # Durability
/// [`ChunkStore::put`] and [`ChunkStore::find`] name a [`Position`]. The chunk outlives a power cut once
/// [`ChunkStore::durable_up_to`] has reached it, which [`ChunkStore::flush`] or [`ChunkStore::flush_notify`] bring
/// about; a duplicate may name a position that is not durable yet, so it counts like a new one. After a failed write
/// or sync every such call answers [`Error::Failed`], for good; reads go on.
pub trait ChunkStore: Send + Sync {
    /// Verifies a chunk and keeps it. One that is there already is not written again and names its old position.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Length`] or [`Error::Unpack`] if the bytes are not the chunk that they claim to
    /// be; [`Error::NoSpace`], after which the store goes on; [`Error::Failed`].
    fn put(&self, root: RootId, chunk: &Packed) -> Result<Position, Error>;

    /// Reads and verifies a chunk; `None` if it is absent.
    ///
    /// The packed bytes are compared with a hash that was made when the chunk was put, which for chunks that are not
    /// compressed is the digest itself. A compressed one is not unpacked for it; its receiver does that.
    ///
    /// # Errors
    /// [`Error::Damaged`] once for a record that does not verify: it is quarantined and absent from then on.
    /// [`Error::Io`] if the disk cannot be asked at the moment.
    fn get(&self, root: RootId, digest: Digest) -> Result<Option<Packed>, Error>;

    /// The position of a chunk, without reading it; `None` if it is absent.
    ///
    /// # Errors
    /// [`Error::Io`] if the index cannot be asked.
    fn find(&self, root: RootId, digest: Digest) -> Result<Option<Position>, Error>;

    /// Whether a chunk is there, durable or not.
    ///
    /// # Errors
    /// As [`ChunkStore::find`].
    fn contains(&self, root: RootId, digest: Digest) -> Result<bool, Error> {
        Ok(self.find(root, digest)?.is_some())
    }

    /// The durable watermark: everything at or before it outlives a power cut.
    fn durable_up_to(&self) -> Position;

    /// Waits until everything that was put before the call is durable, and returns the watermark.
    ///
    /// # Errors
    /// [`Error::Failed`] if a write or sync failed, now or earlier.
    fn flush(&self) -> Result<Position, Error>;

    /// As [`ChunkStore::flush`], but returns at once; the callback runs on the store's own thread and must not block.
    /// It is called exactly once, except that a store that is dropped or crashes drops it uncalled.
    fn flush_notify(&self, callback: FlushCallback);

    /// Takes a chunk out of service whose bytes somebody found to be wrong. It is absent afterwards, restarts
    /// included, and can be put again. Returns whether it was there.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Failed`] if this could not be written down; the chunk is absent until the
    /// store is opened again.
    fn quarantine(&self, root: RootId, digest: Digest) -> Result<bool, Error>;

    /// Figures for metrics.
    fn stats(&self) -> Stats;

    /// Reads and unpacks every chunk and quarantines those that do not verify. The callback may stop it.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be asked.
    fn verify_all(&self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Verification, Error>;

    /// Visits what the store has, in no promised order, each chunk once; the callback may stop it. Chunks that are put
    /// or taken out meanwhile may be visited or not, those that are moved by [`ChunkStore::rewrite`] also twice.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be asked.
    fn records(&self, visit: &mut dyn FnMut(RecordInfo) -> ControlFlow<()>) -> Result<(), Error>;

    /// Begins the first mark of a round of reclaiming. It covers what is in service now in segments that will not be
    /// appended to any more; all else counts as marked. Takes a few bytes of memory for each chunk, no disk.
    fn begin_marks(&self) -> Marks;

    /// As [`ChunkStore::begin_marks`], over the chunks of one root alone. It reads the lists of all segments.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be asked.
    fn begin_marks_of(&self, root: RootId) -> Result<Marks, Error>;

    /// Ends the segment that is appended to, unless it is empty, so that what it holds can be reclaimed. Blocks until what
    /// was put before is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`] and [`Error::Failed`].
    fn seal(&self) -> Result<(), Error>;

    /// The segments, but for the one that is appended to, in which bytes of a root's chunks lie that are condemned, or that
    /// are not in service: those that have to be rewritten so that nothing of them is left. It reads the lists of all
    /// segments.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be asked.
    fn remains(&self, root: RootId, condemned: &Condemned) -> Result<Vec<u32>, Error>;

    /// As [`ChunkStore::find`], and marks the chunk as needed.
    ///
    /// From the beginning of a round to the end of its sweep, everything that may begin to refer to a chunk has to ask in
    /// this way, with the newest marks, and to refer to it within the grace period. Then a chunk that was found stays
    /// until the references are walked again, and one that is being dropped is not found; there is no state between.
    /// The answer of a [`ChunkStore::put`] to a duplicate does not mark.
    ///
    /// # Errors
    /// As [`ChunkStore::find`].
    fn mark(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error>;

    /// As [`ChunkStore::mark`], for a manifest page after everything below it has been marked in this mark.
    ///
    /// # Errors
    /// As [`ChunkStore::find`].
    fn mark_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error>;

    /// Whether [`ChunkStore::mark_walked`] was called for this page in this mark, so that it need not be walked again.
    /// False for pages that the mark does not cover.
    ///
    /// # Errors
    /// As [`ChunkStore::find`].
    fn is_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<bool, Error>;

    /// The segments that can be rewritten, by their numbers, with what that would bring. Takes no disk, and a look at
    /// every chunk of the index.
    ///
    /// # Errors
    /// [`Error::Io`] if the index cannot be asked.
    fn reclaimable(&self, condemned: &Condemned) -> Result<Vec<Reclaimable>, Error>;

    /// Rewrites one segment without what is condemned: what it keeps is verified and moved, then the segment is removed.
    /// A chunk that is marked meanwhile is kept. One that does not verify is quarantined, as by [`ChunkStore::get`].
    /// `None` if there is no such segment or it is still appended to. Blocks for as long as it takes to copy the segment;
    /// one is rewritten at a time.
    ///
    /// # Durability
    /// When it returns, what was kept is durable and what was dropped is gone for good. After a crash in between, what
    /// was kept is there and what was condemned may be, until another round.
    ///
    /// # Errors
    /// [`Error::NoSpace`] without room for the copies, and [`Error::Io`]: the segment stays, what was dropped of it may
    /// be back when the store is opened again, and the call may be made again. What was found damaged until then is
    /// absent and not named. [`Error::Failed`].
    fn rewrite(&self, number: u32, condemned: &Condemned) -> Result<Option<Rewritten>, Error>;
}

/// The chunks of one root as a source of manifest pages.
#[derive(Clone, Copy)]
pub struct StoreSource<'a> {
    store: &'a dyn ChunkStore,
    root: RootId,
}

impl<'a> StoreSource<'a> {
    /// Reads from `root`'s chunks in `store`.
    pub fn new(store: &'a dyn ChunkStore, root: RootId) -> Self {
        Self { store, root }
    }
}

impl std::fmt::Debug for StoreSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSource").field("root", &self.root).finish_non_exhaustive()
    }
}

impl ChunkSource for StoreSource<'_> {
    fn chunk(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.store.get(self.root, digest)?.map(|packed| packed.unpack()).transpose()
    }
}
