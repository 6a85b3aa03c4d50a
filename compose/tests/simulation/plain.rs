//! The plain server: the accept rule and the answer rule over maps.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use quics_client::engine::Record;
use quics_reconcile::{
    Answer, Choice, Conflict, Proposal, RootDigest, Row, Unanswered, Value, Verdict, View, answer, judge,
};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, Place};

use crate::disk::{bytes_of, content_of};
use crate::side::{Answered, Side, digest_of};

#[derive(Debug, Clone)]
enum Change {
    Row(Row),
    Conflict(EntryId, Conflict),
    Closed(EntryId, Conflict, Row),
}

impl Change {
    fn key(&self) -> (EntryId, bool) {
        match self {
            Change::Row(row) => (row.id, true),
            Change::Conflict(id, _) | Change::Closed(id, ..) => (*id, false),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    rows: BTreeMap<EntryId, Row>,
    conflicts: BTreeMap<EntryId, Conflict>,
    feed: Vec<Change>,
    verdicts: BTreeMap<DeviceId, Vec<Answered>>,
    incarnations: BTreeMap<DeviceId, u64>,
    /// What the last answer to a conflict of an entry settled.
    settled: BTreeMap<EntryId, Conflict>,
    inline: BTreeMap<Digest, Bytes>,
    fresh: u64,
}

impl View for &Plain {
    type Error = Infallible;
    fn row(&self, id: EntryId) -> Result<Option<Row>, Infallible> {
        Ok(self.rows.get(&id).cloned())
    }
    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, Infallible> {
        Ok(self.rows.values().find(|row| !row.dead && row.place == *place).map(|row| row.id))
    }
    fn tombstone_at(&self, place: &Place) -> Result<Option<EntryId>, Infallible> {
        Ok(self
            .rows
            .values()
            .filter(|row| row.dead && row.place == *place)
            .max_by_key(|row| row.time)
            .map(|row| row.id))
    }
    fn has_children(&self, id: EntryId) -> Result<bool, Infallible> {
        Ok(self.rows.values().any(|row| !row.dead && row.place.parent == id))
    }
    fn conflict(&self, id: EntryId) -> Result<Option<Conflict>, Infallible> {
        Ok(self.conflicts.get(&id).cloned())
    }
}

impl Plain {
    fn commit(&mut self, row: Row) {
        self.feed.push(Change::Row(row.clone()));
        self.rows.insert(row.id, row);
    }

    fn set_conflict(&mut self, id: EntryId, conflict: Option<Conflict>) {
        match conflict {
            Some(conflict) => {
                self.feed.push(Change::Conflict(id, conflict.clone()));
                self.conflicts.insert(id, conflict);
            }
            None => {
                self.conflicts.remove(&id);
                let row = self.rows[&id].clone();
                self.feed.push(Change::Closed(id, Conflict::default(), row));
            }
        }
    }
}

impl Side for Plain {
    /// Begins an incarnation; answers with the verdicts that were given and not recorded.
    fn resume(&mut self, device: DeviceId, incarnation: u64) -> Option<Vec<Answered>> {
        let newest = self.incarnations.entry(device).or_default();
        if incarnation < *newest {
            return None;
        }
        *newest = incarnation;
        let stored = self.verdicts.entry(device).or_default();
        Some(stored.iter().filter(|(order, ..)| order.0 < incarnation).cloned().collect())
    }

    fn propose(
        &mut self,
        device: DeviceId,
        order: (u64, u64),
        recorded: u64,
        proposal: &Proposal,
        inline: Option<Bytes>,
    ) -> Option<Verdict> {
        if order.0 < self.incarnations.get(&device).copied().unwrap_or(0) {
            return None;
        }
        let stored = self.verdicts.entry(device).or_default();
        stored.retain(|(old, ..)| old.0 == order.0 && old.1 > recorded);
        if let Some((_, _, verdict)) = stored.iter().find(|(old, ..)| *old == order) {
            return Some(verdict.clone());
        }
        if let (Some((content, size)), Some(bytes)) = (proposal.value().and_then(Value::content), inline) {
            assert_eq!(quics_chunks::inline_content(&bytes).unwrap().0, content, "inline bytes are not the content");
            assert_eq!(bytes.len() as u64, size);
            self.inline.insert(content, bytes);
        }
        if let Some((content, size)) = proposal.value().and_then(Value::content)
            && size < 20_000
            && !self.inline.contains_key(&content)
        {
            return Some(Verdict::Missing(vec![content]));
        }
        let judged = judge(&&*self, device, order, proposal).unwrap();
        if let Some(row) = judged.row.clone() {
            self.commit(row);
        }
        if let Some((id, conflict)) = judged.conflict {
            self.set_conflict(id, conflict);
        }
        self.verdicts.entry(device).or_default().push((order, proposal.clone(), judged.verdict.clone()));
        Some(judged.verdict)
    }

    fn len(&self) -> usize {
        self.feed.len()
    }

    fn epoch(&self) -> Epoch {
        Epoch(1)
    }

    fn knows(&self, cursor: Cursor) -> bool {
        cursor.epoch == Epoch(1)
    }

    /// The feed from a position: what changed again is only told at its newest place.
    fn feed(&self, from: usize, to: usize) -> Vec<Record> {
        let mut records = Vec::new();
        for (at, change) in self.feed.iter().enumerate().take(to).skip(from) {
            if self.feed[at + 1..].iter().any(|later| later.key() == change.key()) {
                continue;
            }
            records.push(match change.clone() {
                Change::Row(row) => {
                    let inline = digest_of(&row.value).and_then(|content| self.inline.get(&content).cloned());
                    Record::Row { row, inline }
                }
                Change::Conflict(id, conflict) => {
                    let settled = self.settled.get(&id).cloned().unwrap_or_default();
                    Record::Conflict { id, conflict, settled }
                }
                Change::Closed(id, settled, row) => Record::Closed { id, settled, row: Some(row) },
            });
        }
        records
    }

    fn level(&self) -> ([u8; 32], u64) {
        let mut digest = RootDigest::EMPTY;
        let live: Vec<_> = self.rows.values().filter(|row| !row.dead).collect();
        live.iter().for_each(|row| digest.add(row));
        (*digest.as_bytes(), live.len() as u64)
    }

    fn row(&self, id: EntryId) -> Option<Row> {
        self.rows.get(&id).cloned()
    }

    fn rows(&self) -> Vec<Row> {
        self.rows.values().cloned().collect()
    }

    fn versions(&self) -> Vec<Row> {
        self.feed
            .iter()
            .filter_map(|change| if let Change::Row(row) = change { Some(row.clone()) } else { None })
            .collect()
    }

    fn open(&self) -> Vec<(EntryId, Conflict)> {
        self.conflicts.iter().map(|(id, it)| (*id, it.clone())).collect()
    }

    fn resolve(&mut self, id: EntryId, revision: u64, choice: &Choice) -> Result<(), Unanswered> {
        let tag = |from: Option<DeviceId>| from.map_or("back".to_owned(), |it| format!("from D{}", it.as_bytes()[0]));
        let mut drawn = self.fresh;
        let fresh = || {
            drawn += 1;
            let mut id = [0xff; 16];
            id[8..].copy_from_slice(&drawn.to_be_bytes());
            EntryId::from_bytes(id)
        };
        let Ok(answered) = answer(&&*self, id, revision, choice, tag, fresh);
        self.fresh = drawn;
        let Answer { rows, settled, row, .. } = answered?;
        rows.into_iter().for_each(|row| self.commit(row));
        self.conflicts.remove(&id);
        self.settled.insert(id, settled.clone());
        self.feed.push(Change::Closed(id, settled, row));
        Ok(())
    }

    fn ingest(&mut self, token: &str, big: bool) {
        self.inline.insert(content_of(token, big), bytes_of(token, big).into());
    }

    fn crash(&mut self) -> bool {
        false
    }
}
