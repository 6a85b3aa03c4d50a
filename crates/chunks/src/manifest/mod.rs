//! A file's chunk list, in pages that are chunks themselves.
//!
//! Leaf pages (level 0) list chunks with their lengths; a page of level n lists pages of level n − 1 with the bytes
//! of content below each. The content id is the digest of the one page at the top. A page ends where the digest of
//! its last entry has its low nine bits zero (after at least 64 entries, and at the latest after 2048), so that an
//! insert at the head of a large file changes one page a level and the others keep their names. An empty file is an
//! empty leaf page. The same list of chunks gives the same pages and the same content id.
//!
//! # Format of a page (integers are little-endian)
//!
//! | bytes | field |
//! |---|---|
//! | 4 | magic `QSMP` |
//! | 1 | version, 1 |
//! | 1 | level, 0 to 7 |
//! | 2 | number of entries |
//! | 8 | bytes of content below the page: the sum of the entries' lengths |
//! | 36 each | level 0: digest (32), length of the chunk (4) |
//! | 40 each | levels above: digest (32), bytes of content below that page (8) |

mod builder;
mod page;
mod reader;
mod references;

use bytes::Bytes;
use quics_types::Digest;

pub use builder::{Manifest, ManifestBuilder, inline_content};
pub use page::{MAX_LEVEL, Page, PageEntry};
pub use reader::{Leaf, ManifestReader, Node};
pub use references::{Reference, references};

use crate::Error;

/// Where the chunks and pages of a manifest come from: a store, a local version, the network.
pub trait ChunkSource {
    /// The unpacked bytes of a chunk; `None` if it is not there. What comes back is verified by the caller.
    ///
    /// # Errors
    /// Whatever keeps the source from answering.
    fn chunk(&self, digest: Digest) -> Result<Option<Bytes>, Error>;
}

impl ChunkSource for std::collections::HashMap<Digest, Bytes> {
    fn chunk(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.get(&digest).cloned())
    }
}

impl ChunkSource for std::collections::BTreeMap<Digest, Bytes> {
    fn chunk(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.get(&digest).cloned())
    }
}
