//! Open disagreements on an entry.

use std::collections::BTreeMap;

use quics_types::{DeviceId, Mtime, limits};

use crate::{CandidateKey, Row, Value};

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
    /// What the device had before an answer that was taken back. The server keeps it on nobody's behalf: the device has
    /// gone on and neither replaces nor withdraws it. The number tells several of one device apart.
    Kept(u8),
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
    /// The candidates: at most two that a device has now, and what is kept for it. At most [`limits::CANDIDATES`].
    pub candidates: BTreeMap<(DeviceId, CandidateRole), Candidate>,
}

impl Conflict {
    /// Whether something that this device has now is a candidate.
    pub fn is_disputed_by(&self, device: DeviceId) -> bool {
        let now = |(of, role): &CandidateKey| *of == device && !matches!(role, CandidateRole::Kept(_));
        self.candidates.keys().any(now)
    }

    /// The conflict of an entry that gets a new version: whoever answers has to have seen it. The candidate that is done with
    /// is taken back, and everybody's that is what the entry is now; `None` if none is left.
    pub(crate) fn renewed(mut self, row: &Row, done: Option<CandidateKey>) -> Option<Conflict> {
        let now = if row.dead { CandidateState::Delete } else { CandidateState::Value(row.value.clone()) };
        self.candidates.retain(|key, candidate| Some(*key) != done && candidate.state != now);
        self.revision += 1;
        Some(self).filter(|left| !left.candidates.is_empty())
    }

    /// Takes candidates that an answer had settled back in: each is kept on nobody's behalf, under a number that is free.
    /// Names them; `None`, and nothing changes, if there is no room for all.
    pub fn keep(&mut self, candidates: impl IntoIterator<Item = (DeviceId, Candidate)>) -> Option<Vec<CandidateKey>> {
        let mut all = self.candidates.clone();
        let mut keys = Vec::new();
        for (device, candidate) in candidates {
            let mut free = (0..=u8::MAX).map(|number| (device, CandidateRole::Kept(number)));
            let key = free.find(|key| !all.contains_key(key))?;
            all.insert(key, candidate);
            keys.push(key);
        }
        if all.len() > limits::CANDIDATES {
            return None;
        }
        self.candidates = all;
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::device;

    #[test]
    fn what_is_kept_of_one_device_has_numbers_of_its_own_and_all_of_it_has_room_or_none() {
        let state = CandidateState::Delete;
        let candidate = Candidate { order: (1, 1), state, mtime: Mtime::default(), mode: 0, base: None };
        let mut conflict = Conflict::default();
        let two = [(device(1), candidate.clone()), (device(1), candidate.clone())];
        let kept = |number| (device(1), CandidateRole::Kept(number));
        assert_eq!(conflict.keep(two.clone()), Some(vec![kept(0), kept(1)]));
        assert_eq!(conflict.keep(two), Some(vec![kept(2), kept(3)]));
        assert!(!conflict.is_disputed_by(device(1)));
        let many = |count| std::iter::repeat_n((device(2), candidate.clone()), count);
        let before = conflict.clone();
        assert_eq!(conflict.keep(many(limits::CANDIDATES - 3)), None);
        assert_eq!(conflict, before);
        assert_eq!(conflict.keep(many(limits::CANDIDATES - 4)).map(|keys| keys.len()), Some(limits::CANDIDATES - 4));
    }
}
