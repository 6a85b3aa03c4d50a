//! What the tests of the rules share: a server's state as plain maps, and short ways to write values.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use quics_types::{DeviceId, Digest, EntryId, LogicalTime, Mtime, Name, Place};

use crate::{Answer, Candidate, CandidateKey, CandidateState, Conflict, Row, Value, View};

pub(crate) fn entry(number: u8) -> EntryId {
    EntryId::from_bytes([number; 16])
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.to_owned()).unwrap()
}

pub(crate) fn place(parent: EntryId, text: &str) -> Place {
    Place { parent, name: name(text) }
}

pub(crate) fn file(content: u8) -> Value {
    Value::File { content: Digest::from_bytes([content; 32]), size: 1 }
}

pub(crate) fn directory() -> Value {
    Value::Directory
}

pub(crate) fn link(target: &'static str) -> Value {
    Value::Link { target: target.into() }
}

/// A server's rows and open conflicts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    pub(crate) rows: BTreeMap<EntryId, Row>,
    pub(crate) conflicts: BTreeMap<EntryId, Conflict>,
}

impl Plain {
    /// Puts a live row of time 3 there, whose aspects changed at 1 (place), 2 (attributes) and 3 (content).
    pub(crate) fn live(&mut self, id: EntryId, place: Place, value: Value) {
        let row = Row {
            id,
            place,
            value,
            mode: 0o644,
            mtime: Mtime { seconds: 1, nanos: 0 },
            attributes: BTreeMap::new(),
            dead: false,
            time: LogicalTime(3),
            content_time: LogicalTime(3),
            place_time: LogicalTime(1),
            attributes_time: LogicalTime(2),
        };
        self.rows.insert(id, row);
    }

    pub(crate) fn kill(&mut self, id: EntryId) {
        let row = self.rows.get_mut(&id).unwrap();
        row.dead = true;
        row.stamp(true, true, true);
    }

    /// Opens a conflict of revision 7; each candidate came with the order (1, 5).
    pub(crate) fn dispute(&mut self, id: EntryId, candidates: &[(CandidateKey, CandidateState)]) {
        let candidate = |state: &CandidateState| Candidate {
            order: (1, 5),
            state: state.clone(),
            mtime: Mtime { seconds: 2, nanos: 0 },
            mode: 0o640,
            base: None,
        };
        let candidates = candidates.iter().map(|(key, state)| (*key, candidate(state))).collect();
        self.conflicts.insert(id, Conflict { revision: 7, candidates });
    }

    /// Commits an answer, and checks that times have no gap and that the tree is one.
    pub(crate) fn commit(&mut self, answer: &Answer) {
        let mut written = BTreeSet::new();
        for row in &answer.rows {
            assert!(written.insert(row.id), "an entry is written twice");
            self.put(row.clone());
        }
        self.conflicts.remove(&answer.row.id);
        assert_eq!(self.rows[&answer.row.id], answer.row);
    }

    /// Commits a row, and checks that its time has no gap, that its directory is live and that its name is its own.
    pub(crate) fn put(&mut self, row: Row) {
        let before = self.rows.get(&row.id).map_or(LogicalTime::NEVER, |old| old.time);
        assert_eq!(row.time, before.next(), "a gap in the times of {row:?}");
        if !row.dead {
            let parent = row.place.parent;
            assert!(parent == EntryId::TOP || self.rows[&parent].is_live_directory(), "{row:?} has no directory");
            let there = self.live_at(&row.place).unwrap_or(None);
            assert!(there.is_none_or(|there| there == row.id), "{row:?} has another's name");
        }
        self.rows.insert(row.id, row);
    }
}

impl View for Plain {
    type Error = Infallible;

    fn row(&self, id: EntryId) -> Result<Option<Row>, Infallible> {
        assert_ne!(id, EntryId::TOP, "the top has no row");
        Ok(self.rows.get(&id).cloned())
    }

    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, Infallible> {
        Ok(self.rows.values().find(|row| !row.dead && row.place == *place).map(|row| row.id))
    }

    fn tombstone_at(&self, place: &Place) -> Result<Option<EntryId>, Infallible> {
        let dead = self.rows.values().filter(|row| row.dead && row.place == *place);
        Ok(dead.max_by_key(|row| row.time).map(|row| row.id))
    }

    fn has_children(&self, id: EntryId) -> Result<bool, Infallible> {
        Ok(self.rows.values().any(|row| !row.dead && row.place.parent == id))
    }

    fn conflict(&self, id: EntryId) -> Result<Option<Conflict>, Infallible> {
        Ok(self.conflicts.get(&id).cloned())
    }
}
