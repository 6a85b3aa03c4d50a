//! Proposals and verdicts.

use quics_types::{Digest, EntryId, LogicalTime, Mtime, Place};

use crate::{Row, Value};

/// A change that a device asks for, with the logical times that it was made from, one per aspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// Something new at a place.
    Create {
        /// The id that the device drew for it; a tombstone of that id or of that name goes on under its own id.
        id: EntryId,
        /// Where it is.
        place: Place,
        /// What it is.
        value: Value,
        /// Permission bits.
        mode: u32,
        /// Modification time.
        mtime: Mtime,
    },
    /// A change of an entry that the device knows.
    Change(Change),
    /// The entry is gone from the device.
    Delete {
        /// The entry.
        id: EntryId,
        /// The device's base of the content.
        base_time: LogicalTime,
        /// The value at that base.
        base: Value,
    },
    /// Takes back this device's `New` candidate: nothing lies under that name any more.
    Withdraw {
        /// The entry that the candidate stands against.
        id: EntryId,
    },
}

impl Proposal {
    /// The entry that the proposal is about.
    pub fn id(&self) -> EntryId {
        match self {
            Proposal::Create { id, .. } | Proposal::Delete { id, .. } | Proposal::Withdraw { id } => *id,
            Proposal::Change(change) => change.id,
        }
    }

    /// The value that the proposal brings, if any: its content has to be on the server first.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Proposal::Create { value, .. } => Some(value),
            Proposal::Change(change) => change.content.as_ref().map(|content| &content.value),
            Proposal::Delete { .. } | Proposal::Withdraw { .. } => None,
        }
    }

    /// The value that the proposal was made from, if it says: the only one that it may take away.
    pub fn base(&self) -> Option<&Value> {
        match self {
            Proposal::Delete { base, .. } => Some(base),
            Proposal::Change(change) => change.content.as_ref().and_then(|content| content.base.as_ref()),
            Proposal::Create { .. } | Proposal::Withdraw { .. } => None,
        }
    }
}

/// A change of an entry. Each aspect is judged by its own base: a base that covers one says nothing of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The entry.
    pub id: EntryId,
    /// A new content or kind.
    pub content: Option<ContentChange>,
    /// A new place.
    pub place: Option<PlaceChange>,
    /// New attributes.
    pub attributes: Option<AttributesChange>,
}

/// A new content or kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentChange {
    /// The device's base of the content. [`LogicalTime::NEVER`] with no base value asks a person whatever the times.
    pub base_time: LogicalTime,
    /// The value at that base.
    pub base: Option<Value>,
    /// The value that the device has.
    pub value: Value,
    /// Its modification time.
    pub mtime: Mtime,
}

/// A new place of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceChange {
    /// The device's base of the place.
    pub base_time: LogicalTime,
    /// Where the device has it.
    pub place: Place,
}

/// New attributes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributesChange {
    /// The device's base of the attributes.
    pub base_time: LogicalTime,
    /// Permission bits.
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
}

/// What an accepted proposal changed, with the row that resulted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The row after the commit.
    pub row: Row,
    /// The content is the proposed one now.
    pub content: bool,
    /// The place is the proposed one now.
    pub place: bool,
    /// The attributes are the proposed ones now.
    pub attributes: bool,
    /// An aspect that was refused while others were accepted.
    pub refused: Option<Refusal>,
}

/// The server's answer to one proposal. It is stored with the commit and replayed on a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The change is a version now.
    Accepted(Accepted),
    /// That state is already there and adopted; the row is the server's.
    Current(Row),
    /// The contents are not on the server (chunks or pages); to be uploaded, then proposed again. At most
    /// [`quics_types::limits::DIGESTS_PER_MESSAGE`] are named. Not stored.
    Missing(Vec<Digest>),
    /// The change is kept as this device's candidate. The places and attributes of the same proposal that were
    /// accepted come with the feed.
    Conflict {
        /// The entry in conflict.
        id: EntryId,
        /// The conflict's revision with this candidate in it.
        revision: u64,
    },
    /// The change is kept and waits for an owner: the device is braked.
    Held {
        /// The root's last commit when it was held: the end of the brake has a higher number. 0: the brake is over.
        seq: u64,
    },
    /// A candidate was taken back.
    Withdrawn,
    /// The change is not made; the server's state stands.
    Refused(Refusal),
}

/// Why a proposal, or one aspect of it, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The directory that should hold it is not a live directory.
    ParentGone,
    /// Its place has changed since the base.
    Moved,
    /// A directory cannot be moved below itself.
    Cycle,
    /// Another live entry has that name.
    NameTaken,
    /// A directory that is not empty cannot be deleted or become a file.
    NotEmpty,
    /// The attributes have changed since the base.
    Attributes,
    /// The server does not know the entry.
    Unknown,
    /// Nothing of the proposal applies any more.
    Stale,
    /// The device's user may only read.
    ReadOnly,
    /// The server's disk is nearly full.
    NoSpace,
    /// The root's quota is used up.
    Quota,
    /// The entry would lie deeper than [`quics_types::limits::DEPTH`].
    TooDeep,
    /// The entry's conflict has as many candidates as it can have.
    Crowded,
    /// Its content is not kept any more.
    ContentGone,
    /// It was held, and an owner has taken it back.
    TakenBack,
    /// Reserved.
    Locked,
    /// The proposal is not well formed.
    Malformed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::ParentGone => "its directory is gone",
            Refusal::Moved => "it was moved elsewhere first",
            Refusal::Cycle => "a directory cannot lie below itself",
            Refusal::NameTaken => "the name is taken",
            Refusal::NotEmpty => "the directory is not empty",
            Refusal::Attributes => "its attributes were changed elsewhere first",
            Refusal::Unknown => "the server does not know it",
            Refusal::Stale => "it was overtaken by another change",
            Refusal::ReadOnly => "you may only read this root",
            Refusal::NoSpace => "the server's disk is full",
            Refusal::Quota => "the root's quota is used up",
            Refusal::TooDeep => "it lies too deep",
            Refusal::Crowded => "its conflict has as many sides as it can have",
            Refusal::ContentGone => "its content is not kept any more",
            Refusal::TakenBack => "an owner has taken it back",
            Refusal::Locked => "it is locked",
            Refusal::Malformed => "the proposal is malformed",
        })
    }
}
