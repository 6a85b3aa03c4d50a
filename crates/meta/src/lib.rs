//! Durable metadata: a journal of our own with group commit, and an index that can always be rebuilt from it.
//!
//! # Goals
//! - What was acknowledged survives a kill and a power cut; what was not is there whole or not at all.
//! - One `fdatasync` makes a batch durable, with the small contents that ride along, and a whole group if more wait.
//! - Damage is named with its file and its place, and nothing is skipped over.
//!
//! # Not here
//! Anything about files, devices or users: keys and values are bytes. No transactions that read while they hold a lock: a
//! caller serialises its own writes, or states preconditions. No second machine.
//!
//! # The way of a batch
//!
//! ```text
//! submit: judge preconditions against index + queued batches, give seq and place, lay over      (microseconds)
//! writer: write the group's frames -> fdatasync -> lay its rows over the index -> acknowledge
//!         nothing to do for a second, or too many rows over the index: put them into it, a few at a time
//! readers (`get`, `range`): the index with those rows, so only what is durable; `latest_*`: with the queued batches too
//! upkeep: snapshot of the index (synced, read back) -> drop the segments that it covers and whose blobs were released
//! ```
//!
//! # Invariants
//! - The journal and the newest snapshot are the truth; the index never is.
//! - Only the frames of one group are ever written and not synced. A segment begins only when all before is durable.
//! - Segment numbers have no gap; a segment file has its whole header before it has its name.
//! - Every opening begins a segment of its own with a new random epoch.
//! - A failed sync is the store's end ([`Error::Fatal`]); it is never tried again.
//!
//! # Files of a store's directory
//!
//! | name | what | format |
//! |---|---|---|
//! | `lock` | held by the process that has the store open | empty |
//! | `<20 digits>.journal` | a segment of the journal | `frame.rs`, payloads in `batch.rs` |
//! | `<20 digits>.snapshot` | the rows up to a seq | `snapshot.rs` |
//! | `index/` | sled's files | sled 0.34.7's own |
//! | `index.aside-<n>` | an index that was not believed | as it was |
//! | `clean` | the store was closed cleanly | `marker.rs` |
//! | `*.tmp` | a file that was never finished; removed at opening | – |

mod batch;
mod core;
mod disk;
mod error;
mod files;
mod frame;
mod import;
mod index;
mod journaled;
mod marker;
mod memory;
mod options;
mod overlay;
mod queue;
mod receipt;
mod recover;
mod snapshot;
mod store;
mod upkeep;
mod writer;

pub use batch::{Batch, Blob, BlobRef, BlobSlot, Key, MAX_BATCH, MAX_OPERATIONS, MAX_ROW, MAX_TAG};
pub use disk::{Disk, DiskFile, RealDisk, SimDisk};
pub use error::Error;
pub use journaled::Journaled;
pub use memory::Memory;
pub use options::{IndexKind, Options};
pub use receipt::Receipt;
pub use snapshot::{Record, Summary, read_export};
pub use store::{BLOB_PAGE, Epoch, MAX_PAGE, MetaStore, Report, Room, Row, chain_holds, commit};

/// The most openings that a store remembers. A cursor of an older one counts as one of another store.
pub const MAX_EPOCHS: usize = 65_536;
