//! How the words of the domain stand in the rows of a metadata store.
//!
//! ```text
//! a record ── code: fields in order ──> bytes ── record: version in front ──> value ── wide: split if long ──> rows
//! ```
//!
//! Several services keep the same things (rows, candidates, times), so they write them in the same way. What records there
//! are, and under which keys, is theirs. What is *not* here: messages of the network, which are the contracts' concern.
//!
//! # Invariants
//! - What was written reads back the same, or is told as damage: never as another value, and never with a panic.
//! - A record of a newer version is refused by name and not guessed at.
//! - A reader of durable rows never joins pieces of two values.

mod code;
mod domain;
mod error;
pub mod keys;
mod record;
pub mod testing;
pub mod wide;

pub use bytes::Bytes;
pub use code::{Code, Damaged};
pub use error::Error;
pub use record::{Kept, VERSION, decode, encode, get, pieces, put};
pub use wide::{Reads, Stored};
