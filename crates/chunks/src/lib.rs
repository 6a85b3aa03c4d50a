//! Content: how files become chunks, how chunks become a file again, and where the server keeps them.
//!
//! - [`Chunker`] cuts a stream of bytes by its content (FastCDC), so that an insert moves few boundaries.
//! - [`Packed`] is a chunk in the form in which it travels and rests: compressed once, where that pays.
//! - [`ManifestBuilder`] and [`ManifestReader`] write and read a file's chunk list, whose pages are chunks themselves.
//!   The content id is the digest of the top page.
//! - [`Bundle`] is how a directory that is one thing with everything in it becomes one content.
//! - [`ChunkStore`] is where chunks rest: [`Segments`] on a disk, [`MemoryChunks`] in simulations.
//!
//! ```text
//! file -> Chunker -> (digest, bytes) -> pack -> Packed ==network==> ChunkStore::put -> Position
//!                         |                                              flush -> durable watermark >= Position
//!                         +-> ManifestBuilder -> pages (chunks too) -> content id
//! ```
//!
//! # Invariants
//! - Memory is bounded whatever the size of a file: one buffer in the chunker, one open page a level in a manifest.
//! - Nothing is believed that came from outside: lengths, counts, depth and digests are checked before they are used.
//! - A chunk belongs to a root. The same digest in another root is another chunk, so nothing can be probed.
//! - What a store hands out was verified on that very read; what fails is quarantined and reported, never served.
//! - A chunk is dropped only after two walks over all references have not reached it ([`Marks`]) and nobody has asked
//!   for it since the first began. What is unknown counts as needed.
//!
//! # What it does not do
//! It knows of no network, no runtime, no metadata and no reference counts: which chunks are still needed is known
//! by its callers. It does not encrypt; the record format has the room for it.

mod bundle;
mod chunker;
mod codec;
mod error;
mod manifest;
mod segments;
mod store;

pub use bundle::{Bundle, BundleError, Member, MemberKind};
pub use chunker::{Chunker, Cut, RawChunk, Sizes};
pub use codec::{Codec, Packed, pack};
pub use error::Error;
pub use manifest::{
    ChunkSource, Leaf, MAX_LEVEL, Manifest, ManifestBuilder, ManifestReader, Node, Page, PageEntry, Reference,
    inline_content, references,
};
pub use segments::{OpenReport, Options, SegmentInfo, Segments};
pub use store::{
    ChunkStore, Condemned, FlushCallback, Marks, MemoryChunks, Position, Progress, Reclaimable, RecordInfo, Rewritten,
    Stats, StoreSource, Verification,
};
