//! The server of the simulation: the accept rule over a plain map, with the answers that people give.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use quics_client::engine::Record;
use quics_reconcile::{
    Answer, CandidateState, Choice, Conflict, Proposal, RootDigest, Row, Unanswered, Value, Verdict, View, answer,
    judge,
};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, Place};

pub(crate) type Answered = ((u64, u64), Proposal, Verdict);

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

/// What the world needs of a server.
pub(crate) trait Side: Default {
    /// Begins an incarnation; the verdicts that older ones did not record. `None`: a newer one has begun.
    fn resume(&mut self, device: DeviceId, incarnation: u64) -> Option<Vec<Answered>>;
    /// `None`: an older incarnation asks.
    fn propose(
        &mut self,
        device: DeviceId,
        order: (u64, u64),
        recorded: u64,
        proposal: &Proposal,
        inline: Option<Bytes>,
    ) -> Option<Verdict>;
    /// The last commit.
    fn len(&self) -> usize;
    fn epoch(&self) -> Epoch;
    fn knows(&self, cursor: Cursor) -> bool;
    /// The feed from a position: what changed again is only told at its newest place.
    fn feed(&self, from: usize, to: usize) -> Vec<Record>;
    fn level(&self) -> ([u8; 32], u64);
    /// All live rows, and tombstones where they are at hand.
    fn rows(&self) -> Vec<Row>;
    /// The rows in the order of their commits.
    fn versions(&self) -> Vec<Row>;
    fn open(&self) -> Vec<(EntryId, Conflict)>;
    fn candidates(&self) -> BTreeSet<Digest>;
    /// A person answers a conflict of which they saw this revision.
    fn resolve(&mut self, id: EntryId, revision: u64, choice: &Choice) -> Result<(), Unanswered>;
    /// Whether people can answer here.
    fn can_answer(&self) -> bool;
    /// A large content is brought.
    fn ingest(&mut self, token: &str, big: bool);
    /// The server dies and starts again; `false`: not here.
    fn crash(&mut self) -> bool;
    /// Contents that were ever kept, that a proposal took away, that a person decided about.
    fn sets(&self) -> (&BTreeSet<Digest>, &BTreeSet<Digest>, &BTreeSet<Digest>);
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) rows: BTreeMap<EntryId, Row>,
    pub(crate) conflicts: BTreeMap<EntryId, Conflict>,
    feed: Vec<Change>,
    verdicts: BTreeMap<DeviceId, Vec<Answered>>,
    incarnations: BTreeMap<DeviceId, u64>,
    /// Every content that was ever kept: in a row or a candidate.
    pub(crate) kept: BTreeSet<Digest>,
    /// Contents that a proposal took away, and those that a person decided about.
    pub(crate) replaced: BTreeSet<Digest>,
    pub(crate) asked: BTreeSet<Digest>,
    inline: BTreeMap<Digest, Bytes>,
    fresh: u64,
}

pub(crate) fn digest_of(value: &Value) -> Option<Digest> {
    if let Value::File { content, .. } = value { Some(*content) } else { None }
}

impl View for &Server {
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

impl Server {
    fn commit(&mut self, row: Row) {
        if let Some(content) = digest_of(&row.value) {
            self.kept.insert(content);
        }
        self.feed.push(Change::Row(row.clone()));
        self.rows.insert(row.id, row);
    }

    fn set_conflict(&mut self, id: EntryId, conflict: Option<Conflict>) {
        match conflict {
            Some(conflict) => {
                for candidate in conflict.candidates.values() {
                    if let CandidateState::Value(value) = &candidate.state {
                        self.kept.extend(digest_of(value));
                    }
                }
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

    /// No proposal takes away a value that its device has not had.
    fn check_nothing_silent(&mut self, row: &Row, proposal: &Proposal) {
        let Some(old) = self.rows.get(&row.id).filter(|old| !old.dead) else { return };
        if old.value == row.value && !row.dead {
            return;
        }
        let base = match proposal {
            Proposal::Delete { base, .. } => Some(base),
            Proposal::Change(change) => change.content.as_ref().and_then(|content| content.base.as_ref()),
            Proposal::Create { .. } | Proposal::Withdraw { .. } => None,
        };
        assert_eq!(base, Some(&old.value), "silent overwrite of {old:?} by {proposal:?}");
        self.replaced.extend(digest_of(&old.value));
    }
}

impl Side for Server {
    /// Begins an incarnation; answers with the verdicts that were given and not recorded.
    fn resume(&mut self, device: DeviceId, incarnation: u64) -> Option<Vec<Answered>> {
        let newest = self.incarnations.entry(device).or_default();
        assert!(incarnation >= *newest, "an old incarnation resumes");
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
        if let (Some(Value::File { content, size }), Some(bytes)) = (proposal.value(), inline) {
            assert_eq!(quics_chunks::inline_content(&bytes).unwrap().0, *content, "inline bytes are not the content");
            assert_eq!(bytes.len() as u64, *size);
            self.inline.insert(*content, bytes);
        }
        if let Some(Value::File { content, size }) = proposal.value()
            && *size < 20_000
            && !self.inline.contains_key(content)
        {
            return Some(Verdict::Missing(vec![*content]));
        }
        let judged = judge(&&*self, device, order, proposal).unwrap();
        if let Some(row) = judged.row.clone() {
            self.check_nothing_silent(&row, proposal);
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
                Change::Conflict(id, conflict) => Record::Conflict { id, conflict },
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

    fn candidates(&self) -> BTreeSet<Digest> {
        let all = self.conflicts.values().flat_map(|it| it.candidates.values());
        all.filter_map(|it| if let CandidateState::Value(value) = &it.state { digest_of(value) } else { None })
            .collect()
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
        self.asked.extend(digest_of(&self.rows[&id].value));
        for candidate in settled.candidates.values() {
            if let CandidateState::Value(value) = &candidate.state {
                self.asked.extend(digest_of(value));
            }
        }
        rows.into_iter().for_each(|row| self.commit(row));
        self.conflicts.remove(&id);
        self.feed.push(Change::Closed(id, settled, row));
        Ok(())
    }

    fn can_answer(&self) -> bool {
        true
    }

    fn ingest(&mut self, _token: &str, _big: bool) {}

    fn crash(&mut self) -> bool {
        false
    }

    fn sets(&self) -> (&BTreeSet<Digest>, &BTreeSet<Digest>, &BTreeSet<Digest>) {
        (&self.kept, &self.replaced, &self.asked)
    }
}
