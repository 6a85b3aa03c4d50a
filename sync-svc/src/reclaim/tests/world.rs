//! A ledger over stores that lose what was not synced, devices that upload into it, a history, and rounds that go on step by
//! step between everything that they do.

use std::sync::Arc;

use bytes::Bytes;
use quics_chunks::{ChunkStore, Condemned, Marks, MemoryChunks};
use quics_meta::{Batch, Memory, MetaStore};
use quics_reconcile::{CandidateState, Choice, ContentChange, Proposal, Row, Verdict};
use quics_records::Reads;
use quics_types::{
    DeviceId, Digest, EntryId, GroupId, LeaseId, LogicalTime, Mtime, Name, Place, ResolutionId, RootId, Settings,
};
use tokio_util::sync::CancellationToken;

use super::Random;
use super::contents::{CONTENTS, Content, content};
use crate::contents::{Asking, Running};
use crate::db::keys;
use crate::db::records::{self, ConflictEntry, Entry};
use crate::ledger::{Answer, Answering, People, Request, Resolve, Resumed, Step, Undo};
use crate::reclaim::marking::{By, Found, Marking};
use crate::{Contents, Error, GroupChange, Ledger, Mover, Stage, WallTime};

pub(super) const ROOT: RootId = RootId::from_bytes([1; 16]);
const DEVICES: [DeviceId; 2] = [DeviceId::from_bytes([0xa; 16]), DeviceId::from_bytes([0xb; 16])];
const GROUP: u64 = 0x99;
const ENTRIES: u64 = 6;

/// What the oracle sees as a fault, so that a test shows that it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Nobody waits for those who asked before a round.
    NoWaiting,
    /// Questions do not mark.
    NoGate,
    /// History is not asked.
    NoHistory,
    /// Only the rows of entries are walked over.
    EntriesOnly,
}

/// Where a device is with a content that it uploads.
enum Upload {
    Ask,
    /// The service has looked, and has not answered.
    Looked {
        there: Vec<Digest>,
        _asking: Asking,
    },
    /// Told what is missing.
    Send(Vec<Digest>),
    /// The service has written, and has not put it under the lease.
    Written {
        digests: Vec<Digest>,
        _asking: Asking,
    },
    Propose,
}

pub(super) struct Task {
    content: Content,
    entry: EntryId,
    lease: LeaseId,
    at: Upload,
    /// What it was told is there, as long as that has to be so.
    pub(super) told: Vec<Digest>,
}

/// Where a round is.
pub(super) enum Round {
    Idle,
    Settling { running: Running, marks: Marks, ended: CancellationToken, barrier: Option<u64>, second: bool },
    Marking { running: Running, marks: Marks, marking: Box<Marking>, second: bool },
    Asking { running: Running, marks: Marks, marking: Box<Marking>, told: Vec<Digest>, second: bool },
    Sweeping { _running: Running, condemned: Condemned, left: Vec<u32> },
}

struct Anyone;

impl People for Anyone {
    fn may_answer(&self, _: &Settings, _: &[DeviceId]) -> Result<(), Error> {
        Ok(())
    }
    fn device_name(&self, _: DeviceId) -> Option<String> {
        None
    }
}

pub(super) struct World {
    pub(super) random: Random,
    flaw: Flaw,
    pub(super) meta: Memory,
    pub(super) chunks: MemoryChunks,
    pub(super) ledger: Ledger,
    mover: Mover,
    epoch: u64,
    seqs: [u64; 2],
    drawn: u64,
    now: u64,
    pub(super) tasks: Vec<Task>,
    /// So many steps a round goes on at a time.
    pace: u64,
    /// What history refers to, once each version.
    pub(super) past: Vec<Row>,
    pub(super) resolutions: Vec<ResolutionId>,
    pub(super) round: Round,
    pub(super) rounds: u64,
    pub(super) dropped: u64,
    pub(super) purges: u64,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Flaw) -> Self {
        let (meta, chunks) = (Memory::with(1, 4096, 1 << 20, false), MemoryChunks::new());
        let (ledger, mover) = Self::open(&meta, &chunks);
        for device in DEVICES {
            assert!(matches!(ledger.resume(ROOT, device, 1), Ok(Resumed::Begun(_))));
        }
        meta.sync().unwrap();
        Self {
            random: Random(seed),
            flaw,
            meta,
            chunks,
            ledger,
            mover,
            epoch: 1,
            seqs: [0; 2],
            drawn: 0,
            now: 1,
            tasks: Vec::new(),
            pace: [1, 6, 40][seed as usize % 3],
            past: Vec::new(),
            resolutions: Vec::new(),
            round: Round::Idle,
            rounds: 0,
            dropped: 0,
            purges: 0,
        }
    }

    fn open(meta: &Memory, chunks: &MemoryChunks) -> (Ledger, Mover) {
        let contents = Contents::new(Arc::new(meta.clone()), Arc::new(chunks.clone()));
        (Ledger::new(Arc::new(meta.clone()), contents.clone()), Mover::new(contents))
    }

    pub(super) fn contents(&self) -> &Contents {
        self.ledger.contents()
    }

    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        u128::from(self.drawn).to_be_bytes()
    }

    fn time(&mut self) -> WallTime {
        self.now += 1;
        WallTime(self.now)
    }

    pub(super) fn entry(number: u64) -> EntryId {
        EntryId::from_bytes((u128::from(number) + 1).to_be_bytes())
    }

    fn row(&self, id: EntryId) -> Option<Row> {
        records::get::<Entry>(Reads::latest(&self.meta), &keys::entry(ROOT, id)).unwrap().map(|kept| kept.record.row)
    }

    /// Loses what is not durable; the service starts again.
    pub(super) fn crash(&mut self) {
        self.epoch += 1;
        let kept = self.random.below(4) as usize;
        self.round = Round::Idle;
        self.chunks.crash();
        self.meta = self.meta.crash(kept, self.epoch).unwrap();
        (self.ledger, self.mover) = Self::open(&self.meta, &self.chunks);
        for task in &mut self.tasks {
            task.told.clear();
            // What the device was told it still knows; what it was not told it asks for again, or takes for granted.
            let at = std::mem::replace(&mut task.at, Upload::Ask);
            task.at = match at {
                Upload::Written { .. } if self.random.below(2) == 0 => Upload::Propose,
                Upload::Looked { .. } | Upload::Written { .. } => Upload::Ask,
                known => known,
            };
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        match self.random.below(100) {
            0..10 => self.begin_upload(),
            10..48 => self.go_on(),
            48..52 => self.delete(),
            52..57 => self.meta.sync_some(self.random.below(6) as usize).unwrap(),
            57..60 => drop(self.chunks.sync()),
            60..64 => drop(self.move_some()),
            64..68 => self.history_takes(),
            68..71 => self.history_forgets(),
            71..74 => self.restore(),
            74..77 => self.answer(),
            77..79 => self.expire(),
            79..81 if self.random.below(4) == 0 => self.crash(),
            81..82 if self.random.below(3) == 0 => drop(self.purge()),
            _ => {
                for _ in 0..1 + self.random.below(self.pace) {
                    self.round();
                }
            }
        }
        self.check();
    }

    fn begin_upload(&mut self) {
        if self.tasks.len() < 4 {
            let content = content(self.random.below(CONTENTS));
            let entry = Self::entry(self.random.below(ENTRIES));
            let lease = LeaseId::from_bytes(self.draw());
            self.tasks.push(Task { content, entry, lease, at: Upload::Ask, told: Vec::new() });
        }
    }

    fn go_on(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let at = self.random.below(self.tasks.len() as u64) as usize;
        let mut task = self.tasks.swap_remove(at);
        let now = self.time();
        let contents = self.contents().clone();
        let mine = |digests: &[Digest]| contents.hold(ROOT, task.lease, DEVICES[0], digests, now).map(drop);
        task.at = match task.at {
            Upload::Ask => {
                let asking = contents.asking();
                let digests = task.content.packed.iter().map(|chunk| chunk.digest);
                let there = digests.filter(|digest| contents.find(ROOT, *digest, false).unwrap().is_some()).collect();
                Upload::Looked { there, _asking: asking }
            }
            Upload::Looked { there, _asking } => {
                mine(&there).unwrap();
                self.meta.sync().unwrap();
                let digests = task.content.packed.iter().map(|chunk| chunk.digest);
                let missing = digests.filter(|digest| !there.contains(digest)).collect();
                task.told = there;
                Upload::Send(missing)
            }
            Upload::Send(missing) => {
                let asking = contents.asking();
                for chunk in task.content.packed.iter().filter(|chunk| missing.contains(&chunk.digest)) {
                    contents.put(ROOT, chunk).unwrap();
                }
                Upload::Written { digests: missing, _asking: asking }
            }
            Upload::Written { digests, _asking } => {
                mine(&digests).unwrap();
                self.meta.sync().unwrap();
                contents.chunks().flush().unwrap();
                Upload::Propose
            }
            Upload::Propose => {
                if self.propose(&task.content, task.entry) {
                    return;
                }
                Upload::Ask
            }
        };
        self.tasks.push(task);
    }

    fn request(&mut self, device: usize, proposal: Proposal, inline: Option<Bytes>) -> Request {
        self.seqs[device] += 1;
        let seq = self.seqs[device];
        Request { root: ROOT, device: DEVICES[device], incarnation: 1, seq, recorded: seq - 1, proposal, inline }
    }

    /// Proposes a content for an entry, from a base that may be old; `false` if it is missing.
    fn propose(&mut self, content: &Content, entry: EntryId) -> bool {
        let device = self.random.below(2) as usize;
        let proposal = match self.row(entry).filter(|row| !row.dead) {
            None => {
                let name = Name::new(format!("{entry}")).unwrap();
                let place = Place { parent: EntryId::TOP, name };
                Proposal::Create {
                    id: entry,
                    place,
                    value: content.value.clone(),
                    mode: 0o644,
                    mtime: Mtime::default(),
                }
            }
            Some(row) => {
                let stale = self.random.below(4) == 0 && row.content_time.0 > 1;
                let base_time = LogicalTime(row.content_time.0 - u64::from(stale));
                let (base, value) = (Some(row.value), content.value.clone());
                let content = Some(ContentChange { base_time, base, value, mtime: Mtime::default() });
                Proposal::Change(quics_reconcile::Change { id: entry, content, place: None, attributes: None })
            }
        };
        // A small one rides along, most of the time.
        let inline = content.inline.clone().filter(|_| self.random.below(3) > 0);
        let request = self.request(device, proposal, inline);
        let now = self.time();
        loop {
            match self.ledger.propose(&request, now).unwrap() {
                Answer::Judged(judged) => {
                    assert!(!matches!(judged.entry.verdict, Verdict::Refused(quics_reconcile::Refusal::Malformed)));
                    return true;
                }
                Answer::Missing(_) => return false,
                Answer::Unflushed(_) => drop(self.chunks.sync()),
                Answer::Fenced => panic!("nobody else proposes"),
            }
        }
    }

    fn delete(&mut self) {
        let id = Self::entry(self.random.below(ENTRIES));
        if let Some(row) = self.row(id).filter(|row| !row.dead) {
            let proposal = Proposal::Delete { id, base_time: row.content_time, base: row.value };
            let request = self.request(0, proposal, None);
            let now = self.time();
            drop(self.ledger.propose(&request, now).unwrap());
        }
    }

    /// History takes every durable event, and sync-svc removes them.
    fn history_takes(&mut self) {
        let mut last = None;
        let after = self.ledger.removed_events().unwrap().map_or(0, |position| position.number);
        for (number, event) in self.ledger.events(after).unwrap().events {
            last = Some(number);
            let live = event.new.clone().filter(|row| !row.dead);
            let settled = event.resolution.iter().flat_map(|it| it.settled.values());
            let losers = settled.filter_map(|it| match (&it.candidate.state, &event.new) {
                (CandidateState::Value(value), Some(row)) => Some(Row { value: value.clone(), ..row.clone() }),
                _ => None,
            });
            self.past.extend(live.into_iter().chain(losers));
        }
        let Some(last) = last else { return };
        let position = self.ledger.event_position(last).unwrap().unwrap();
        assert!(self.ledger.applied_events(position).unwrap());
        while self.ledger.remove_applied().unwrap().is_some() {
            self.meta.sync().unwrap();
        }
    }

    fn history_forgets(&mut self) {
        if !self.past.is_empty() {
            let at = self.random.below(self.past.len() as u64) as usize;
            self.past.swap_remove(at);
        }
    }

    fn group() -> GroupId {
        GroupId::from_bytes(u128::from(GROUP).to_be_bytes())
    }

    /// Brings a version back, or goes on with that. What it brings back stays in history meanwhile.
    fn restore(&mut self) {
        let group = Self::group();
        let stage = records::get::<crate::GroupEntry>(Reads::latest(&self.meta), &keys::group(ROOT, group)).unwrap();
        match stage.map(|kept| kept.record.stage) {
            Some(Stage::Begun) => {
                let now = self.time();
                if let Step::Unflushed(_) = self.ledger.step_group(ROOT, group, None, now).unwrap() {
                    self.chunks.sync();
                }
            }
            Some(Stage::Open) => drop(self.ledger.withdraw_group(ROOT, group).unwrap()),
            _ if self.past.is_empty() => {}
            _ => {
                let at = self.random.below(self.past.len() as u64) as usize;
                let target = self.past[at].clone();
                let Some(row) = self.row(target.id) else { return };
                let change = GroupChange { base_time: row.time, base_dead: row.dead, target };
                drop(self.ledger.open_group(ROOT, group, DEVICES[0]).unwrap());
                drop(self.ledger.stage_group(ROOT, group, 0, &[change]).unwrap());
                drop(self.ledger.begin_group(ROOT, group, 1).unwrap());
            }
        }
    }

    /// Answers an open conflict, or takes an answer back.
    fn answer(&mut self) {
        let (id, now) = (ResolutionId::from_bytes(self.draw()), self.time());
        if self.random.below(3) == 0 {
            let Some(resolution) = self.resolutions.pop() else { return };
            let undo = Undo { root: ROOT, resolution, id, device: DEVICES[0] };
            if self.ledger.undo(&undo, &Anyone, now).unwrap().is_some() {
                self.resolutions.push(id);
            }
            return;
        }
        let entry = Self::entry(self.random.below(ENTRIES));
        let kept = records::get::<ConflictEntry>(Reads::latest(&self.meta), &keys::conflict(ROOT, entry)).unwrap();
        let Some(open) = kept.map(|kept| kept.record).filter(ConflictEntry::is_open) else { return };
        let theirs = *open.conflict.candidates.keys().next().unwrap();
        let choice = if self.random.below(2) == 0 { Choice::Server } else { Choice::Candidate(theirs) };
        let answers = vec![Answering { entry, revision: open.conflict.revision, choice: Ok(choice), inline: None }];
        let request = Resolve { root: ROOT, id, device: DEVICES[0], answers };
        drop(self.ledger.resolve(&request, &Anyone, now).unwrap());
        self.resolutions.push(id);
    }

    fn expire(&mut self) {
        self.now += 8 * 24 * 3600 * 1_000_000;
        self.tasks.iter_mut().for_each(|task| task.told.clear());
        let now = self.time();
        drop(self.contents().expire_leases(None, now).unwrap());
    }

    fn begin_marks(&mut self, marks: Marks) -> (Running, CancellationToken) {
        let (running, mut ended) = self.contents().gate().begin(marks.clone());
        if self.flaw == Flaw::NoWaiting {
            ended = CancellationToken::new();
            ended.cancel();
        }
        if self.flaw == Flaw::NoGate {
            // Marks of which nothing is kept.
            running.goes_on(MemoryChunks::new().begin_marks());
        }
        (running, ended)
    }

    /// Goes on with a round by one step.
    fn round(&mut self) {
        let never = || false;
        let contents = self.contents().clone();
        let whole = self.flaw != Flaw::EntriesOnly;
        self.round = match std::mem::replace(&mut self.round, Round::Idle) {
            Round::Idle => {
                contents.chunks().seal().unwrap();
                let marks = contents.chunks().begin_marks();
                let (running, ended) = self.begin_marks(marks.clone());
                Round::Settling { running, marks, ended, barrier: None, second: false }
            }
            Round::Settling { running, marks, ended, barrier: None, second } => {
                let settled = ended.is_cancelled();
                let barrier = settled.then(|| self.meta.submit(Batch::new()).unwrap().seq());
                Round::Settling { running, marks, ended, barrier, second }
            }
            Round::Settling { running, marks, ended, barrier: Some(barrier), second } => {
                if self.meta.applied() < barrier {
                    self.meta.sync_some(1).unwrap();
                    Round::Settling { running, marks, ended, barrier: Some(barrier), second }
                } else {
                    let mut marking = Box::new(Marking::of_all(marks.clone()));
                    if !whole {
                        marking.entries_only();
                    }
                    Round::Marking { running, marks, marking, second }
                }
            }
            Round::Marking { running, marks, mut marking, second } => match marking.step(&contents, &never).unwrap() {
                true => Round::Marking { running, marks, marking, second },
                false => {
                    let told = self.past.iter().filter_map(|row| row.value.content()).map(|(id, _)| id).collect();
                    Round::Asking { running, marks, marking, told, second }
                }
            },
            Round::Asking { running, marks, mut marking, mut told, second } => {
                if self.flaw == Flaw::NoHistory {
                    told.clear();
                }
                let rest = told.split_off(told.len().min(4));
                marking.told(&contents, ROOT, (By::History, &told), &never).unwrap();
                if !rest.is_empty() {
                    Round::Asking { running, marks, marking, told: rest, second }
                } else {
                    self.marked(running, marks, *marking, second)
                }
            }
            Round::Sweeping { _running, condemned, mut left } => match left.pop() {
                Some(number) => {
                    let done = contents.chunks().rewrite(number, &condemned).unwrap();
                    self.dropped += done.map_or(0, |done| done.dropped);
                    Round::Sweeping { _running, condemned, left }
                }
                None => {
                    self.rounds += 1;
                    Round::Idle
                }
            },
        };
    }

    fn marked(&mut self, running: Running, marks: Marks, marking: Marking, second: bool) -> Round {
        let contents = self.contents().clone();
        let Found { torn, .. } = marking.finish(&contents).unwrap();
        assert!(torn.is_empty(), "no page is lost");
        if second {
            let condemned = marks.condemn().unwrap();
            let left = contents.chunks().reclaimable(&condemned).unwrap();
            let left = left.into_iter().filter(|it| it.unneeded_bytes > 0).map(|it| it.number).collect();
            return Round::Sweeping { _running: running, condemned, left };
        }
        let next = marks.again();
        if self.flaw != Flaw::NoGate {
            running.goes_on(next.clone());
        }
        Round::Settling { running, marks: next, ended: CancellationToken::new(), barrier: Some(0), second: true }
    }

    /// Moves small contents out of the journal; it waits until that is durable.
    fn move_some(&mut self) -> bool {
        let (mover, meta) = (&mut self.mover, &self.meta);
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| mover.step().unwrap());
            while !moving.is_finished() {
                meta.sync().unwrap();
                std::thread::yield_now();
            }
            moving.join().unwrap()
        })
    }

    /// Everything small leaves the journal.
    pub(super) fn empty_journal(&mut self) {
        drop(self.meta.seal().unwrap());
        self.meta.sync().unwrap();
        while self.move_some() {}
    }

    /// Faults stop, everybody comes to an end, and two rounds are made: what is left is what is needed.
    pub(super) fn rest(&mut self) {
        self.tasks.clear();
        self.round = Round::Idle;
        self.meta.sync().unwrap();
        while matches!(
            self.ledger.group(ROOT, Self::group()).unwrap().map(|entry| entry.stage),
            Some(Stage::Begun | Stage::Open)
        ) {
            self.restore();
            self.meta.sync().unwrap();
        }
        self.expire();
        self.meta.sync().unwrap();
        self.history_takes();
        self.empty_journal();
        for _ in 0..2 {
            let before = self.rounds;
            while self.rounds == before {
                self.round();
                self.check();
            }
        }
        let (records, needed) = (self.records(), self.closure());
        let garbage: Vec<_> = records.difference(&needed).collect();
        assert!(garbage.is_empty(), "{} chunks that nothing needs have stayed", garbage.len());
    }
}
