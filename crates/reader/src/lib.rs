//! Reads contents from sync-svc by their ids, for whoever shows them or keeps them.
//!
//! ```text
//! content id ── leaf_pages: manifest, level by level ──> leaf pages ── leaves ──> chunks, with their places
//! read: leaf pages of a range ──> windows of chunks, the next ones in flight ──> verified, cut ──> bytes in order
//! ```
//!
//! # Invariants
//! - Nothing is believed: every page and chunk that comes is checked against its digest and against what the page above
//!   it says. A wrong byte is never given out.
//! - Memory is bounded whatever the size of a content: a stream holds about 12 MiB, and 48 bytes for each leaf page of its
//!   range (one for some 36 MiB).
//! - Of a range, only the pages and chunks that cover it are fetched.
//! - Dropping a stream or future ends its work: calls are broken off, blocking pieces of at most a message run out.
//!
//! # What it does not do
//! It keeps nothing, does not retry and does not wait for a connection; failures say whether trying again makes sense.

mod failure;
mod manifest;
mod read;
mod service;
mod source;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test that cannot go on fails.
mod testing;

pub use failure::Failure;
pub use manifest::{Kept, LeafPage, leaf_pages, leaves};
pub use read::{Near, read};
pub use service::SyncService;
pub use source::{Answers, Source};
