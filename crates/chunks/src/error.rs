//! What can go wrong with chunks, manifests and the store.

use std::{io, path::PathBuf, sync::Arc};

use quics_types::{Digest, RootId};
use thiserror::Error;

/// Why a chunk, a manifest or the store did not do what was asked.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes are not what their digest says. The sender is at fault: INVALID_ARGUMENT.
    #[error("chunk {digest}: its bytes are not what the digest says")]
    Mismatch {
        /// What the bytes claim to be.
        digest: Digest,
    },
    /// A chunk's lengths contradict each other or pass the limits.
    #[error("chunk {digest}: a length of {length} is not possible here")]
    Length {
        /// The chunk.
        digest: Digest,
        /// The length that is not possible, in bytes.
        length: u64,
    },
    /// A compressed chunk does not decompress within its stated length.
    #[error("chunk {digest}: it does not decompress: {source}")]
    Unpack {
        /// The chunk.
        digest: Digest,
        /// What zstd says.
        source: Arc<io::Error>,
    },
    /// A manifest page has the right digest but is not a page, or contradicts the page above it.
    #[error("manifest page {digest}: {reason}")]
    Page {
        /// The page.
        digest: Digest,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A manifest needs a chunk that its source does not have.
    #[error("chunk {digest} is absent")]
    Absent {
        /// The chunk.
        digest: Digest,
    },
    /// A stored record does not verify. It is quarantined: from now on it is absent and can be put again.
    #[error("chunk {digest} of root {root} is damaged in segment {segment} at {offset}; it is quarantined")]
    Damaged {
        /// The root that the chunk belongs to.
        root: RootId,
        /// The chunk.
        digest: Digest,
        /// The segment's number.
        segment: u32,
        /// Where the record starts in the segment, in bytes.
        offset: u32,
    },
    /// The disk is full. Nothing was stored; the store stays usable and the call may be made again.
    #[error("no space left for chunks")]
    NoSpace,
    /// An operation of the file system failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried, for example `read`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// An earlier write or fsync failed, so that nobody knows what is durable. The store takes nothing any more; the
    /// process has to end and to open the store anew.
    #[error("the chunk store failed earlier: {0}")]
    Failed(Arc<str>),
    /// A file was written by a newer version of this program.
    #[error("{file} has format version {found}; this program knows up to {known}")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u16,
        /// The newest known version.
        known: u16,
    },
    /// Another process holds the store.
    #[error("{0} is in use by another process")]
    Held(PathBuf),
    /// The options contradict the limits of the format.
    #[error("these options are not possible: {0}")]
    Options(&'static str),
}

impl Error {
    pub(crate) fn io(action: &'static str, file: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io { action, file: file.into(), source: Arc::new(source) },
        }
    }
}
