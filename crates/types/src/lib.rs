//! The words of QUIC-S as types: ids, digests, names, logical time and limits.
//!
//! Nothing here does I/O or knows of a runtime. Everything that arrives from a peer is checked on
//! construction, so that a value of one of these types can be trusted by the code that holds it.

mod digest;
mod id;
pub mod limits;
mod name;
mod settings;
mod time;
mod units;

pub use digest::{Digest, Hasher};
pub use id::{DeviceId, EntryId, GroupId, LeaseId, ResolutionId, RootId, UserId};
pub use name::{Name, Place};
pub use settings::{Answerers, MergePolicy, Settings};
pub use time::{Cursor, Epoch, LogicalTime, Mtime, WallTime};
pub use units::UnitNames;

use thiserror::Error;

/// Says why bytes or text from outside are not a value of one of this crate's types.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// An id or digest has another length than its type.
    #[error("{what} has {found} bytes instead of {expected}")]
    Length {
        /// What was read, for example `root id`.
        what: &'static str,
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// Text is not the lower-case hexadecimal form of an id or digest.
    #[error("{what} is not hexadecimal text of {expected} digits")]
    Hex {
        /// What was read.
        what: &'static str,
        /// Digits that the text form has.
        expected: usize,
    },
    /// A name cannot be the name of a directory's member.
    #[error("not a name: {0}")]
    Name(&'static str),
    /// Names cannot be those of a root's unit directories.
    #[error("not names of units: {0}")]
    Units(&'static str),
}

/// What a member may do with a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees everything, changes nothing.
    Reader,
    /// Changes entries.
    Writer,
    /// Changes entries, members and settings.
    Owner,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
            Role::Owner => "owner",
        })
    }
}
