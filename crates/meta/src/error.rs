//! What can go wrong in a metadata store, and what a caller may do about it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BlobRef;

/// Says why a call of a metadata store failed.
///
/// It is cheap to clone, because one failed `fdatasync` answers every receipt of its group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another handle of this one) has the store open.
    #[error("the store in {dir} is held by another process")]
    Held {
        /// The store's directory.
        dir: String,
    },
    /// A precondition of the batch does not hold; nothing of the batch was queued.
    #[error("a precondition does not hold for key {}", hex(.key))]
    Precondition {
        /// The first key whose value is not the expected one.
        key: Bytes,
    },
    /// A row, a blob or a batch is over its bound; nothing of the batch was queued.
    #[error("{what} of {size} bytes or items is over the bound of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// The key is empty or begins with the byte 0, which the store keeps for itself.
    #[error("key {} is empty or begins with the reserved byte 0", hex(.key))]
    ReservedKey {
        /// The key.
        key: Bytes,
    },
    /// A value names a blob slot that its batch does not have.
    #[error("the batch has no blob in slot {slot}")]
    NoSuchSlot {
        /// The slot's number.
        slot: u32,
    },
    /// The queue is full. Wait for `MetaStore::room` and submit again; nothing was queued.
    #[error("the queue of batches is full")]
    Busy,
    /// The disk has no room for another journal segment.
    ///
    /// Every batch that was queued is refused with this error and is not, and will not become, durable.
    #[error("no space is left for the journal")]
    NoSpace,
    /// The store was closed, or it crashed in a simulation. What became of the batch is not known.
    #[error("the store is closed")]
    Closed,
    /// A write or a sync failed: the store takes no batch any more, and the process should end.
    ///
    /// Whether the batch is durable is known after the store was opened anew, and not before.
    #[error("the store failed for good")]
    Fatal {
        /// The first failure.
        #[source]
        source: Arc<Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file, relative to the store's directory.
        file: String,
        /// The first byte that is wrong.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that the others need is not there.
    #[error("{file} is missing: {reason}")]
    Missing {
        /// The file, relative to the store's directory.
        file: String,
        /// Why it is needed.
        reason: &'static str,
    },
    /// A store is to be made where there is one.
    #[error("{file} is in the way: the directory holds a store already")]
    NotEmpty {
        /// The first file of it that was found, relative to the directory.
        file: String,
    },
    /// A file was written by a newer version of this software; it is not touched.
    #[error("{file} has format version {version}, newer than the {known} that this software knows")]
    Newer {
        /// The file, relative to the store's directory.
        file: String,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The blob's journal segment was released and dropped: look the reference up again.
    #[error("blob {at} is no longer in the journal")]
    Gone {
        /// The reference.
        at: BlobRef,
    },
    /// The file system refused an operation.
    #[error("{op} {file}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file, relative to the store's directory.
        file: String,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The index refused an operation.
    #[error("index: {op}")]
    Index {
        /// What was tried.
        op: &'static str,
        /// The index's answer.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Wraps a file system's answer.
    pub(crate) fn io(op: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let file = file.into();
        move |source| Error::Io { op, file, source: Arc::new(source) }
    }

    /// Names damage.
    pub(crate) fn damaged(file: impl Into<String>, offset: u64, reason: &'static str) -> Error {
        Error::Damaged { file: file.into(), offset, reason }
    }

    /// Makes this error the store's last word.
    pub(crate) fn fatal(self) -> Error {
        match self {
            fatal @ Error::Fatal { .. } => fatal,
            other => Error::Fatal { source: Arc::new(other) },
        }
    }

    /// Tells whether the disk or the quota is full.
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Error::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Spells bytes for a message, shortened.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().take(24).map(|b| format!("{b:02x}")).collect();
    if bytes.len() > 24 {
        text.push('…');
    }
    text
}
