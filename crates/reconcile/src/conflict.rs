//! Open disagreements on an entry.

use std::collections::BTreeMap;

use quics_types::{DeviceId, Mtime};

use crate::Value;

/// Which of a device's two voices a candidate is.
///
/// A device can have its own edited copy of an entry and something else under the name to which that entry moved.
/// With one slot for both, each would replace the other for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateRole {
    /// The device's copy of the entry.
    Own,
    /// Something new that the device has under the entry's name.
    New,
}

/// What a candidate would make of the entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateState {
    /// This value.
    Value(Value),
    /// A delete.
    Delete,
}

/// One side of a conflict: what one device wants instead of the server's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The proposal that it came with: incarnation and seq of its agent. A lower one never replaces it.
    pub order: (u64, u64),
    /// What the device has.
    pub state: CandidateState,
    /// The device's modification time of it.
    pub mtime: Mtime,
    /// The device's permission bits of it.
    pub mode: u32,
    /// What the device had before its change, if it knew the entry.
    pub base: Option<Value>,
}

/// An open disagreement on one entry. It has at least one candidate; without one it is closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflict {
    /// Raised by every candidate that comes, changes or goes, and by every new version; an answer names it.
    pub revision: u64,
    /// The candidates, at most two a device.
    pub candidates: BTreeMap<(DeviceId, CandidateRole), Candidate>,
}
