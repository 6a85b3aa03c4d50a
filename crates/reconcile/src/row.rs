//! An entry's state.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_types::{Digest, EntryId, LogicalTime, Mtime, Place};

/// What an entry is and holds: its content aspect. A change of kind is a change of content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A directory. What lies in it are rows of their own.
    Directory,
    /// A regular file.
    File {
        /// The content id: the BLAKE3 of the top page of the file's manifest.
        content: Digest,
        /// The file's length in bytes.
        size: u64,
    },
    /// A directory that is one thing with everything in it, like a version control system's repository: it changes,
    /// conflicts and is chosen only as a whole. Nothing in it has a row.
    Unit {
        /// The content id of its bundle.
        content: Digest,
        /// The bundle's length in bytes.
        size: u64,
    },
    /// A symbolic link, never followed.
    Link {
        /// The target as it stands in the link, 1 to 3072 bytes.
        target: Bytes,
    },
}

impl Value {
    /// Whether this is a directory whose members have rows of their own.
    pub fn is_directory(&self) -> bool {
        matches!(self, Value::Directory)
    }

    /// Whether both are of one kind. Permission bits are of a kind: those of a file are none for a directory.
    pub fn is_like(&self, other: &Value) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The content id and its length in bytes, of what has a content in the chunk store.
    pub fn content(&self) -> Option<(Digest, u64)> {
        match self {
            Value::File { content, size } | Value::Unit { content, size } => Some((*content, *size)),
            Value::Directory | Value::Link { .. } => None,
        }
    }
}

/// The state of one entry at one logical time, live or a tombstone. The top directory of a root has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The entry, through all changes and moves.
    pub id: EntryId,
    /// Where it is; for a tombstone, where it was.
    pub place: Place,
    /// What it is; for a tombstone, what it was.
    pub value: Value,
    /// Permission bits, `0o777` at most.
    pub mode: u32,
    /// When the content was modified, by its author's clock; never compared when changes are judged.
    pub mtime: Mtime,
    /// Further attributes; those who do not know one keep it.
    pub attributes: BTreeMap<Bytes, Bytes>,
    /// Whether this is a tombstone.
    pub dead: bool,
    /// The entry's logical time.
    pub time: LogicalTime,
    /// At which time the content (kind included) last changed.
    pub content_time: LogicalTime,
    /// At which time the place last changed.
    pub place_time: LogicalTime,
    /// At which time the attributes last changed.
    pub attributes_time: LogicalTime,
}

impl Row {
    /// Whether this is a live directory.
    pub fn is_live_directory(&self) -> bool {
        !self.dead && self.value.is_directory()
    }

    /// The tombstone that follows on it.
    pub fn deleted(mut self) -> Row {
        self.dead = true;
        self.stamp(true, true, true);
        self
    }

    /// Raises the time, and says which aspects changed with it.
    pub(crate) fn stamp(&mut self, content: bool, place: bool, attributes: bool) {
        self.time = self.time.next();
        if content {
            self.content_time = self.time;
        }
        if place {
            self.place_time = self.time;
        }
        if attributes {
            self.attributes_time = self.time;
        }
    }
}
