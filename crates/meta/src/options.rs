//! What can be chosen when a store is opened.

use crate::batch::MAX_BATCH;
use crate::error::Error;
use crate::frame::{HEADER_LEN, frame_len};

/// Which index stands on the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexKind {
    /// sled, in the directory `index`: for production.
    Sled,
    /// A map in memory, filled from snapshot and journal at each opening: for simulations and tests.
    BTree,
}

/// The settings of a [`crate::Journaled`] store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The index.
    pub index: IndexKind,
    /// The index's cache in bytes; sled is at ease with 32 to 64 MiB.
    pub cache: u64,
    /// About the bytes of durable rows that are kept in memory before they are put into the index; what is left after a
    /// second without commits is put there then.
    pub recent_bytes: usize,
    /// The length of a journal segment in bytes. A longer batch gets a segment of its own.
    pub segment_size: u64,
    /// Whether a segment's room is set aside when it is made. Appending into it syncs faster, and a full disk is noticed
    /// before anything is written.
    pub preallocate: bool,
    /// The journal bytes after which a snapshot is taken; a larger snapshot waits for as many bytes as it has itself.
    pub snapshot_after: u64,
    /// The bytes of batches that may be queued before `submit` answers [`Error::Busy`]; an empty queue takes any batch.
    pub queue_bytes: usize,
    /// How many indexes that were moved aside are kept. Older ones are removed after the index was rebuilt; with
    /// `usize::MAX` none ever is.
    pub keep_aside: usize,
    /// Whether an index that was closed cleanly is read through at opening and compared with its sum.
    pub verify_index: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            index: IndexKind::Sled,
            cache: 48 << 20,
            recent_bytes: 32 << 20,
            segment_size: 16 << 20,
            preallocate: true,
            snapshot_after: 64 << 20,
            queue_bytes: 32 << 20,
            keep_aside: 3,
            verify_index: true,
        }
    }
}

impl Options {
    /// The settings of tests: the index in memory.
    #[must_use]
    pub fn in_memory_index() -> Self {
        Self { index: IndexKind::BTree, ..Self::default() }
    }

    /// Checks the bounds that the formats rely on.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let limit = (u32::MAX as usize) - frame_len(MAX_BATCH) - HEADER_LEN;
        if self.segment_size > limit as u64 {
            return Err(Error::TooLarge {
                what: "the segment size",
                size: usize::try_from(self.segment_size).unwrap_or(usize::MAX),
                limit,
            });
        }
        Ok(())
    }
}
