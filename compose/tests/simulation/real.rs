//! sync-svc's real ledger over stores that lose what was not synced.

use std::sync::Arc;

use bytes::Bytes;
use quics_chunks::{ChunkStore as _, Chunker, ManifestBuilder, MemoryChunks, Packed, pack};
use quics_client::engine::Record;
use quics_meta::Memory;
use quics_reconcile::{Choice, Conflict, Proposal, RootDigest, Row, Unanswered, Verdict};
use quics_types::{Cursor, DeviceId, EntryId, Epoch, Name, ResolutionId, Settings};
use sync_svc::ledger::{
    Answer, Answering, Change, Inlined, Outcome, People, Request, Resolve, Resolved, Resumed, Scan, Undo, Unrecorded,
};
use sync_svc::{Contents, Ledger, WallTime};

use crate::disk::bytes_of;
use crate::side::{Answered, Side};
use crate::world::ROOT;

const PAGE: usize = 1 << 20;

pub(crate) struct Real {
    meta: Memory,
    chunks: MemoryChunks,
    ledger: Ledger,
    starts: u64,
    clock: u64,
    told: u64,
    answers: u64,
    /// The last answer, or the last taking back.
    last: Option<ResolutionId>,
    versions: Vec<Row>,
}

impl Default for Real {
    fn default() -> Self {
        let (meta, chunks) = (Memory::new(1), MemoryChunks::new());
        let ledger = open(&meta, &chunks);
        Self { meta, chunks, ledger, starts: 1, clock: 1, told: 0, answers: 0, last: None, versions: Vec::new() }
    }
}

fn open(meta: &Memory, chunks: &MemoryChunks) -> Ledger {
    let contents = Contents::new(Arc::new(meta.clone()), Arc::new(chunks.clone()));
    Ledger::new(Arc::new(meta.clone()), contents)
}

/// What the last answer settled, as devices are told.
fn settled(entry: &sync_svc::ConflictEntry) -> Conflict {
    let settled = entry.told().into_iter().flat_map(|resolution| &resolution.settled);
    Conflict { revision: 0, candidates: settled.map(|(key, settled)| (*key, settled.candidate.clone())).collect() }
}

impl Real {
    fn draw(&mut self) -> ResolutionId {
        self.clock += 1;
        self.answers += 1;
        let mut resolution = [0xaa; ResolutionId::LEN];
        resolution[8..].copy_from_slice(&self.answers.to_be_bytes());
        ResolutionId::from_bytes(resolution)
    }

    fn sync(&mut self) {
        self.meta.sync().expect("the store syncs");
        // Every commit becomes a version; read one by one, the compacted feed tells them all.
        let page = self.ledger.feed(ROOT, self.told, PAGE, Inlined::Nothing).expect("the feed is read");
        for told in page.changes {
            if let Change::Row { entry, .. } = told.change {
                self.versions.push(entry.row);
            }
        }
        self.told = page.seq;
    }
}

/// Everybody may answer, and devices are called by their numbers.
struct Everybody;

impl People for Everybody {
    fn may_answer(&self, _settings: &Settings, _whose: &[DeviceId]) -> Result<(), sync_svc::Error> {
        Ok(())
    }

    fn device_name(&self, device: DeviceId) -> Option<String> {
        Some(format!("D{}", device.as_bytes()[0]))
    }
}

impl Side for Real {
    fn resume(&mut self, device: DeviceId, incarnation: u64) -> Option<Vec<Answered>> {
        match self.ledger.resume(ROOT, device, incarnation).expect("a resume is stored") {
            Resumed::Begun(_receipt) => {}
            Resumed::Fenced => return None,
        }
        self.sync();
        let (mut at, mut all) = (Unrecorded::default(), Vec::new());
        while let Some(page) = self.ledger.unrecorded(ROOT, device, &mut at).expect("verdicts are read") {
            all.extend(page.into_iter().map(|it| ((it.incarnation, it.seq), it.entry.proposal, it.entry.verdict)));
        }
        all.retain(|(order, ..)| order.0 < incarnation);
        Some(all)
    }

    fn propose(
        &mut self,
        device: DeviceId,
        (incarnation, seq): (u64, u64),
        recorded: u64,
        proposal: &Proposal,
        inline: Option<Bytes>,
    ) -> Option<Verdict> {
        self.clock += 1;
        let proposal = proposal.clone();
        let request = Request { root: ROOT, device, incarnation, seq, recorded, proposal, inline };
        let verdict = loop {
            match self.ledger.propose(&request, WallTime(self.clock)).expect("a proposal is judged") {
                Answer::Judged(judged) => break judged.entry.verdict,
                Answer::Fenced => return None,
                Answer::Missing(digests) => return Some(Verdict::Missing(digests)),
                Answer::Unflushed(_) => drop(self.chunks.sync()),
            }
        };
        self.sync();
        Some(verdict)
    }

    fn len(&self) -> usize {
        usize::try_from(self.told).expect("a short history")
    }

    fn epoch(&self) -> Epoch {
        self.ledger.cursor(0).epoch
    }

    fn knows(&self, cursor: Cursor) -> bool {
        self.ledger.knows(ROOT, cursor).expect("the chain is read")
    }

    fn feed(&self, from: usize, _to: usize) -> Vec<Record> {
        let page = self.ledger.feed(ROOT, from as u64, PAGE, Inlined::All).expect("the feed is read");
        let record = |change| match change {
            Change::Row { entry, inline } => Some(Record::Row { row: entry.row, inline }),
            Change::Conflict(id, it) => {
                let settled = settled(&it);
                Some(Record::Conflict { id, conflict: it.conflict, settled })
            }
            Change::Closed(id, it, row) => {
                Some(Record::Closed { id, settled: settled(&it), row: row.map(|entry| entry.row) })
            }
            Change::Settings(_) | Change::Brakes(_) => None,
        };
        page.changes.into_iter().filter_map(|told| record(told.change)).collect()
    }

    fn level(&self) -> ([u8; 32], u64) {
        let level = self.ledger.level(ROOT).expect("the level is read");
        (*level.digest.as_bytes(), level.count)
    }

    fn row(&self, id: EntryId) -> Option<Row> {
        self.ledger.entry(ROOT, id).expect("an entry is read").map(|entry| entry.row)
    }

    fn rows(&self) -> Vec<Row> {
        let (mut at, mut rows) = (Scan::default(), Vec::new());
        while let Some(page) = self.ledger.snapshot(ROOT, &mut at, PAGE, false).expect("the tree is read") {
            for told in page {
                if let Change::Row { entry, .. } = told.change {
                    rows.push(entry.row);
                }
            }
        }
        let mut digest = RootDigest::EMPTY;
        rows.iter().for_each(|row| digest.add(row));
        assert_eq!(*digest.as_bytes(), self.level().0, "the root's digest is not the sum of its rows");
        rows
    }

    fn versions(&self) -> Vec<Row> {
        self.versions.clone()
    }

    fn open(&self) -> Vec<(EntryId, Conflict)> {
        let page = self.ledger.conflicts(ROOT, None, 1000).expect("the conflicts are read");
        page.conflicts.into_iter().map(|(id, it)| (id, it.conflict)).collect()
    }

    fn resolve(&mut self, id: EntryId, revision: u64, choice: &Choice) -> Result<(), Unanswered> {
        let resolution = self.draw();
        let answers = vec![Answering { entry: id, revision, choice: Ok(choice.clone()), inline: None }];
        let device = DeviceId::from_bytes([0xee; DeviceId::LEN]);
        let request = Resolve { root: ROOT, id: resolution, device, answers };
        let outcome = loop {
            match self.ledger.resolve(&request, &Everybody, WallTime(self.clock)).expect("an answer is judged") {
                Resolved::Done(_) => {
                    self.last = Some(resolution);
                    self.sync();
                    return Ok(());
                }
                Resolved::Not(mut outcomes) => break outcomes.pop().expect("one answer has one outcome").1,
                Resolved::Unflushed(_) => drop(self.chunks.sync()),
            }
        };
        Err(match (outcome, choice) {
            (Outcome::Closed(_), _) => Unanswered::Closed,
            (Outcome::Stale(entry), _) => Unanswered::Stale { revision: entry.conflict.revision },
            (Outcome::CandidateGone(_), Choice::Candidate(key)) => Unanswered::NoCandidate(*key),
            (Outcome::CandidateGone(_), Choice::Both { names }) => {
                Unanswered::NoCandidate(*names.keys().next().expect("only a wish can have no candidate"))
            }
            (Outcome::BadName { name, .. }, _) => Unanswered::NameTaken(Name::new(name).expect("a wish was a name")),
            (Outcome::NotPossible(_), _) => Unanswered::NotEmpty,
            (outcome, choice) => panic!("{outcome:?} for {choice:?}"),
        })
    }

    fn undo(&mut self) -> bool {
        let Some(resolution) = self.last else { return false };
        let id = self.draw();
        let undo = Undo { root: ROOT, resolution, id, device: DeviceId::SERVER };
        let undone = self.ledger.undo(&undo, &Everybody, WallTime(self.clock)).expect("an answer is taken back");
        let committed = undone.expect("it is kept").committed;
        if committed {
            self.last = Some(id);
        }
        self.sync();
        committed
    }

    fn ingest(&mut self, token: &str, big: bool) {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        for chunk in Chunker::new(std::io::Cursor::new(bytes_of(token, big))) {
            let chunk = chunk.expect("memory is read");
            self.chunks.put(ROOT, &pack(&chunk.data)).expect("a chunk is put");
            builder
                .push(chunk.digest, u32::try_from(chunk.data.len()).expect("a chunk is small"), &mut pages)
                .expect("a chunk is pushed");
        }
        builder.finish(&mut pages).expect("a small file has a manifest");
        for (digest, page) in pages {
            self.chunks.put(ROOT, &Packed::of(digest, page)).expect("a page is put");
        }
        self.chunks.sync();
    }

    /// What was not synced is gone; a new epoch begins.
    fn crash(&mut self) -> bool {
        self.starts += 1;
        self.meta = self.meta.crash(0, self.starts).expect("the store survives");
        self.chunks.crash();
        self.ledger = open(&self.meta, &self.chunks);
        true
    }
}
