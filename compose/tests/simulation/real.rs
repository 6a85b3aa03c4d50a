//! sync-svc's real ledger over stores that lose what was not synced. People's answers are not part of it yet.

use std::sync::Arc;

use bytes::Bytes;
use quics_chunks::{ChunkStore as _, Chunker, ManifestBuilder, MemoryChunks, Packed, pack};
use quics_client::engine::Record;
use quics_meta::Memory;
use quics_reconcile::{Choice, Conflict, Proposal, RootDigest, Row, Unanswered, Verdict};
use quics_types::{Cursor, DeviceId, EntryId, Epoch};
use sync_svc::ledger::{Answer, Change, Inlined, Request, Resumed, Scan, Unrecorded};
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
    versions: Vec<Row>,
}

impl Default for Real {
    fn default() -> Self {
        let (meta, chunks) = (Memory::new(1), MemoryChunks::new());
        let ledger = open(&meta, &chunks);
        Self { meta, chunks, ledger, starts: 1, clock: 1, told: 0, versions: Vec::new() }
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

    fn can_answer(&self) -> bool {
        false
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
            Change::Settings(_) => None,
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

    fn resolve(&mut self, _id: EntryId, _revision: u64, _choice: &Choice) -> Result<(), Unanswered> {
        Ok(())
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
