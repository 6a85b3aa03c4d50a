//! The trait that services code against.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::watch;

use crate::batch::{Batch, Blob, BlobRef};
use crate::error::Error;
use crate::receipt::Receipt;

/// The most rows of one page; larger limits are cut to it.
pub const MAX_PAGE: usize = 4096;

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// The bytes with which a page of blobs is full.
pub const BLOB_PAGE: usize = 16 << 20;

/// One opening of the store: a random number and the first seq that it could give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// The random number.
    pub id: u64,
    /// The seq of the first batch of this opening, whether or not there was one.
    pub first_seq: u64,
}

/// What a verification looked at. It returns only where nothing was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Journal segments read.
    pub segments: u64,
    /// Frames whose BLAKE3 holds.
    pub frames: u64,
    /// Blobs whose check holds.
    pub blobs: u64,
    /// Rows of the index, which equal in number and in sum what was applied.
    pub rows: u64,
    /// Snapshots that were read and whose BLAKE3 holds.
    pub snapshots: u64,
    /// The last seq applied.
    pub applied: u64,
}

/// Durable rows, ordered by key, changed by batches in one order.
///
/// `get`, `range` and `range_back` show the durable state: a batch is seen after its fdatasync, whole or not at all. The
/// `latest` calls show the state after every batch that was submitted; they are for a caller that serialises its own
/// writes and pipelines its commits. Nobody may be told what they show before the receipts have resolved.
///
/// A range is `start` (inclusive) to `end` (exclusive; empty means without an end). A page is one moment's state, at most
/// [`MAX_PAGE`] rows; the next page of an ascending range begins at the last key followed by a 0 byte.
pub trait MetaStore: Send + Sync + 'static {
    /// Gives the durable value of a key.
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Gives durable rows, ascending.
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error>;

    /// Gives durable rows, descending from `end` (exclusive) to `start` (inclusive).
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error>;

    /// Gives the value of a key after every batch that was submitted.
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn latest_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Gives rows after every batch that was submitted, ascending.
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn latest_range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error>;

    /// Gives rows after every batch that was submitted, descending.
    ///
    /// # Errors
    /// [`Error::Index`] where the index cannot be read.
    fn latest_range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error>;

    /// Queues a batch behind all that were submitted before, and returns at once.
    ///
    /// The preconditions are judged here, against the state after every batch ahead of this one. It takes a lock for
    /// microseconds and never waits for the disk's sync, so it may be called on a runtime's worker thread.
    ///
    /// # Durability
    /// None, until the receipt has resolved.
    ///
    /// # Errors
    /// [`Error::Precondition`], [`Error::TooLarge`], [`Error::ReservedKey`], [`Error::NoSuchSlot`]: the batch is at fault.
    /// [`Error::Busy`]: the queue is full; await [`MetaStore::room`]. [`Error::Fatal`], [`Error::Closed`]: no more.
    /// In every case nothing of the batch was queued.
    fn submit(&self, batch: Batch) -> Result<Receipt, Error>;

    /// Resolves when the queue has room again, at once if it has; also when the store has failed or was closed.
    fn room(&self) -> Room;

    /// Reads a blob and verifies it; also one that is still queued. It may read the disk.
    ///
    /// # Errors
    /// [`Error::Gone`]: its segment was dropped, so that its row names another place by now. [`Error::Damaged`]: the
    /// bytes are not what was written.
    fn read_blob(&self, at: BlobRef) -> Result<Bytes, Error>;

    /// Names the journal segments that hold blobs and take no more batches, oldest first, at most `limit`.
    ///
    /// Their blobs wait to be moved; such a segment is never dropped before it was released.
    fn draining(&self, limit: usize) -> Vec<u64>;

    /// Gives the blobs of a segment in the order of their places, from the first one behind `after`, at most `limit`, and
    /// none behind the one with which they reach [`BLOB_PAGE`]. A page that is short of both is the last one. Blobs of
    /// overwritten rows are among them: the caller knows which live. Each call reads and checks the whole segment.
    ///
    /// # Errors
    /// [`Error::Missing`] for a segment that is not there (any more), [`Error::Damaged`], [`Error::Io`].
    fn blobs(&self, segment: u64, after: Option<BlobRef>, limit: usize) -> Result<Vec<Blob>, Error>;

    /// Says that no row needs a blob of this segment any more, because each that lives was moved durably and no durable row
    /// names its old place. The segment is dropped once a snapshot covers it.
    ///
    /// A release is not remembered across a restart: what was not dropped by then is drained again.
    ///
    /// # Errors
    /// [`Error::Missing`] for a segment that is not draining.
    fn release(&self, segment: u64) -> Result<(), Error>;

    /// Ends the journal segment that is written to, unless it is empty: when the receipt has resolved it takes no more
    /// batches, and its blobs can be moved.
    ///
    /// # Errors
    /// As [`MetaStore::submit`].
    fn seal(&self) -> Result<Receipt, Error>;

    /// Takes a snapshot now and drops the segments that it covers and that hold no blobs any more, and older snapshots. It
    /// blocks until the disk has it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Closed`]; [`Error::Fatal`] where a sync failed.
    fn snapshot(&self) -> Result<(), Error>;

    /// Gives the random number of this opening.
    fn epoch(&self) -> u64;

    /// Gives the chain of openings, oldest first, this one last. Only the newest [`crate::MAX_EPOCHS`] are kept.
    fn epochs(&self) -> Vec<Epoch>;

    /// Gives the seq of the newest batch that readers see; 0 before the first one.
    fn applied(&self) -> u64;

    /// Follows [`MetaStore::applied`].
    fn watch_applied(&self) -> watch::Receiver<u64>;

    /// Answers [`Error::Fatal`] once the store has failed and [`Error::Closed`] once it was closed.
    ///
    /// # Errors
    /// The two above.
    fn health(&self) -> Result<(), Error>;

    /// Writes the rows, the epochs and the blobs that are still in the journal, as one state at one seq, which it returns,
    /// in the snapshot format (see `crate::snapshot`). Commits go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`] from the writer, or what reading the store gives.
    fn export(&self, to: &mut dyn Write) -> Result<u64, Error>;

    /// Reads everything that is stored and checks it. Commits go on meanwhile.
    ///
    /// # Errors
    /// The first damage found.
    fn verify(&self) -> Result<Report, Error>;

    /// Makes what is queued durable, then closes the store. Calling it again does nothing.
    ///
    /// It blocks the thread until the disk has everything.
    ///
    /// # Errors
    /// [`Error::Fatal`] where the last batches could not be made durable.
    fn close(&self) -> Result<(), Error>;
}

/// Resolves when a full queue has room again.
pub struct Room(pub(crate) Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Room {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

/// Submits a batch, waiting for room where the queue is full, and waits until it is durable.
///
/// # Cancel safety
/// A call that is dropped may have submitted the batch.
///
/// # Errors
/// As [`MetaStore::submit`] (but for [`Error::Busy`]) and [`Receipt`].
pub async fn commit(store: &dyn MetaStore, batch: Batch) -> Result<u64, Error> {
    loop {
        match store.submit(batch.clone()) {
            Err(Error::Busy) => store.room().await,
            Err(error) => return Err(error),
            Ok(receipt) => return receipt.await,
        }
    }
}

/// Tells whether a cursor lies inside a chain of openings: its epoch is in it, and the seq is none that a later opening gave.
///
/// `applied` is the newest seq of the last epoch.
#[must_use]
pub fn chain_holds(chain: &[Epoch], applied: u64, epoch: u64, seq: u64) -> bool {
    let Some(at) = chain.iter().position(|e| e.id == epoch) else { return false };
    let last = chain.get(at + 1).map_or(applied, |next| next.first_seq.saturating_sub(1));
    seq <= last
}
