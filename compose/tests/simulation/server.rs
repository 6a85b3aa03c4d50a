//! The server of the simulation: the accept rule over a plain map, with the answers that people give.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use quics_client::engine::Record;
use quics_reconcile::{
    CandidateRole, CandidateState, Conflict, Proposal, RootDigest, Row, Value, Verdict, View, judge,
};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, LogicalTime, Mtime, Name, Place};

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
    fn open(&self) -> Vec<(EntryId, Vec<(DeviceId, CandidateRole)>)>;
    fn candidates(&self) -> BTreeSet<Digest>;
    /// A person answers: `None` keeps the server's, `Some(None)` both, otherwise a candidate. `false`: not here.
    fn resolve(&mut self, id: EntryId, choice: Option<Option<(DeviceId, CandidateRole)>>) -> bool;
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
    fn live_there(&self, place: &Place) -> Option<EntryId> {
        View::live_at(&self, place).unwrap_or(None)
    }

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

    // ---- answers of people

    fn free_name(&self, parent: EntryId, name: &Name, tag: &str) -> Name {
        let mut bytes = format!("{name}~{tag}");
        loop {
            let name = Name::new(bytes.clone()).unwrap();
            if self.live_there(&Place { parent, name: name.clone() }).is_none() {
                return name;
            }
            bytes.push('+');
        }
    }

    fn stamped(mut row: Row, content: bool, place: bool) -> Row {
        row.time = row.time.next();
        if content {
            row.content_time = row.time;
        }
        if place {
            (row.place_time, row.attributes_time) = (row.time, row.time);
        }
        row
    }

    /// The live directory that stands for `id`: itself, or its tombstoned chain brought back where names are free.
    fn revive(&mut self, id: EntryId) -> EntryId {
        if id == EntryId::TOP {
            return id;
        }
        let mut row = self.rows[&id].clone();
        if row.is_live_directory() {
            return id;
        }
        let parent = self.revive(row.place.parent);
        let there = self.live_there(&Place { parent, name: row.place.name.clone() });
        if let Some(there) = there.filter(|there| self.rows[there].is_live_directory()) {
            return there;
        }
        if !row.dead || !row.value.is_directory() {
            return parent; // a file took its id or its name: stay one above
        }
        row.place.parent = parent;
        row.dead = false;
        if there.is_some() {
            row.place.name = self.free_name(parent, &row.place.name, "dir");
        }
        self.commit(Self::stamped(row, true, true));
        id
    }

    fn new_row(&mut self, id: EntryId, place: Place, value: Value, mtime: Mtime) {
        let never = LogicalTime::NEVER;
        let row = Row {
            id,
            place,
            value,
            mode: 0o644,
            mtime,
            attributes: BTreeMap::new(),
            dead: false,
            time: never,
            content_time: never,
            place_time: never,
            attributes_time: never,
        };
        self.commit(Self::stamped(row, true, true));
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

    fn open(&self) -> Vec<(EntryId, Vec<(DeviceId, CandidateRole)>)> {
        self.conflicts.iter().map(|(id, it)| (*id, it.candidates.keys().copied().collect())).collect()
    }

    fn candidates(&self) -> BTreeSet<Digest> {
        let all = self.conflicts.values().flat_map(|it| it.candidates.values());
        all.filter_map(|it| if let CandidateState::Value(value) = &it.state { digest_of(value) } else { None })
            .collect()
    }

    /// A person answers: `None` keeps the server's, `Some(None)` both, otherwise a candidate.
    fn resolve(&mut self, id: EntryId, choice: Option<Option<(DeviceId, CandidateRole)>>) -> bool {
        let Some(conflict) = self.conflicts.remove(&id) else { return true };
        let row = self.rows[&id].clone();
        self.asked.extend(digest_of(&row.value));
        for candidate in conflict.candidates.values() {
            if let CandidateState::Value(value) = &candidate.state {
                self.asked.extend(digest_of(value));
            }
        }
        let is_file = |state: &CandidateState| matches!(state, CandidateState::Value(value) if !value.is_directory());
        let both = choice == Some(None);
        let pick = match choice {
            None => None,
            Some(None) => conflict.candidates.values().find(|it| is_file(&it.state)).cloned(),
            Some(Some(key)) => conflict.candidates.get(&key).cloned(),
        };
        let has_children = View::has_children(&&*self, id).unwrap();
        let blocked = (row.value.is_directory() && has_children) || (row.dead && self.live_there(&row.place).is_some());
        match pick.map(|it| (it.state, it.mtime, it.mode)) {
            Some((CandidateState::Value(value), mtime, _)) if !value.is_directory() && (both || blocked) => {
                let parent = self.revive(row.place.parent);
                let place = Place { parent, name: row.place.name.clone() };
                let free = self.live_there(&place).is_none();
                let name = if free { place.name } else { self.free_name(parent, &row.place.name, "both") };
                self.fresh += 1;
                let mut id = [0xff; 16];
                id[8..].copy_from_slice(&self.fresh.to_be_bytes());
                self.new_row(EntryId::from_bytes(id), Place { parent, name }, value, mtime);
            }
            Some((CandidateState::Delete, ..)) if !has_children && !row.dead => {
                let row = Row { dead: true, ..row };
                self.commit(Self::stamped(row, true, true));
            }
            Some((CandidateState::Value(value), mtime, mode)) if !blocked => {
                let was_dead = row.dead;
                let is_link = |value: &Value| matches!(value, Value::Link { .. });
                let attributes = is_link(&row.value) && !is_link(&value);
                let mode = if attributes { mode } else { row.mode };
                let mut row = Row { value, mtime, mode, dead: false, ..row };
                if was_dead {
                    row.place.parent = self.revive(row.place.parent);
                    if self.live_there(&row.place).is_some() {
                        row.place.name = self.free_name(row.place.parent, &row.place.name, "back");
                    }
                }
                let mut row = Self::stamped(row, true, was_dead);
                if attributes {
                    row.attributes_time = row.time;
                }
                self.commit(row);
            }
            _ => {}
        }
        let row = self.rows[&id].clone();
        self.feed.push(Change::Closed(id, conflict, row));
        true
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
