//! The server of a case: the two rules, and a feed that tells everything.

use std::collections::{BTreeMap, BTreeSet};

use quics_types::{DeviceId, EntryId, Name};

use super::Draw;
use super::disk::content;
use crate::testing::Plain;
use crate::{CandidateState, Choice, Conflict, Proposal, Row, Value, Verdict, answer, judge};

#[derive(Debug, Clone)]
pub(super) enum Record {
    Row(Row),
    Conflict(EntryId, Conflict),
    Closed(EntryId, Conflict, Row),
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) plain: Plain,
    pub(super) log: Vec<Record>,
    drawn: u64,
}

fn id(number: u64) -> EntryId {
    EntryId::from_bytes((u128::from(number) << 64).to_be_bytes())
}

impl Server {
    pub(super) fn fresh(&mut self) -> EntryId {
        self.drawn += 1;
        id(self.drawn)
    }

    pub(super) fn propose(&mut self, device: DeviceId, order: (u64, u64), proposal: &Proposal) -> Verdict {
        let Ok(judged) = judge(&self.plain, device, order, proposal);
        if let Some(row) = judged.row {
            self.check_nothing_silent(&row, proposal);
            self.plain.put(row.clone());
            self.log.push(Record::Row(row));
        }
        match judged.conflict {
            Some((id, Some(conflict))) => {
                self.plain.conflicts.insert(id, conflict.clone());
                self.log.push(Record::Conflict(id, conflict));
            }
            Some((id, None)) => {
                self.plain.conflicts.remove(&id);
                self.log.push(Record::Closed(id, Conflict::default(), self.plain.rows[&id].clone()));
            }
            None => {}
        }
        judged.verdict
    }

    /// No proposal takes away a value that its device has not had.
    fn check_nothing_silent(&self, row: &Row, proposal: &Proposal) {
        let Some(old) = self.plain.rows.get(&row.id).filter(|old| !old.dead) else { return };
        if old.value == row.value && !row.dead {
            return;
        }
        assert_eq!(proposal.base(), Some(&old.value), "silent overwrite of {old:?} by {proposal:?}");
    }

    /// Every open conflict is answered somehow, or `stubborn`ly for the server. Returns the contents that were decided about.
    pub(super) fn answer_all(&mut self, draw: &mut Draw, stubborn: bool) -> BTreeSet<u8> {
        let mut asked = BTreeSet::new();
        for (entry, conflict) in self.plain.conflicts.clone() {
            let keys: Vec<_> = conflict.candidates.keys().copied().collect();
            let choice = match draw.below(3) {
                _ if stubborn => Choice::Server,
                0 => Choice::Server,
                1 => Choice::Both { names: BTreeMap::new() },
                _ => Choice::Candidate(keys[draw.below(keys.len())]),
            };
            let mut drawn = self.drawn;
            let tag = |from: Option<DeviceId>| format!("from {from:?}");
            let fresh = || {
                drawn += 1;
                id(drawn)
            };
            let Ok(answered) = answer(&self.plain, entry, conflict.revision, &choice, tag, fresh);
            let Ok(answered) = answered else { continue }; // a full directory is not deleted
            self.drawn = drawn;
            asked.extend(content(&self.plain.rows[&entry].value));
            asked.extend(conflict.candidates.values().filter_map(|it| match &it.state {
                CandidateState::Value(value) => content(value),
                CandidateState::Delete => None,
            }));
            self.plain.commit(&answered);
            self.log.extend(answered.rows.into_iter().map(Record::Row));
            self.log.push(Record::Closed(entry, answered.settled, answered.row));
        }
        asked
    }

    /// Contents in live rows and in candidates.
    pub(super) fn kept(&self) -> BTreeSet<u8> {
        let rows = self.plain.rows.values().filter(|row| !row.dead).filter_map(|row| content(&row.value));
        let candidates = self.plain.conflicts.values().flat_map(|it| it.candidates.values());
        let candidates = candidates.filter_map(|it| match &it.state {
            CandidateState::Value(value) => content(value),
            CandidateState::Delete => None,
        });
        rows.chain(candidates).collect()
    }

    /// What every device should have.
    pub(super) fn view(&self) -> BTreeMap<Vec<Name>, (Value, u32)> {
        let path = |row: &Row| {
            let (mut names, mut at) = (vec![row.place.name.clone()], row.place.parent);
            while at != EntryId::TOP {
                names.push(self.plain.rows[&at].place.name.clone());
                at = self.plain.rows[&at].place.parent;
            }
            names.reverse();
            names
        };
        let mode = |row: &Row| if matches!(row.value, Value::Link { .. }) { 0 } else { row.mode };
        let live = self.plain.rows.values().filter(|row| !row.dead);
        live.map(|row| (path(row), (row.value.clone(), mode(row)))).collect()
    }
}
