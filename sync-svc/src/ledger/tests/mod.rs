//! The ledger over stores that forget what was not synced.

mod answers;
mod brake;
mod contents;
mod feed;
mod group;
mod history;
mod outbox;
mod proposals;
mod undo;

use std::collections::BTreeSet;

use bytes::Bytes;
use quics_chunks::{ChunkStore, Chunker, ManifestBuilder, MemoryChunks, Packed, inline_content};
use quics_meta::Memory;
use quics_reconcile::{
    AttributesChange, CandidateState, ContentChange, PlaceChange, Proposal, Refusal, RootDigest, Row, Value, Verdict,
};
use quics_types::{Digest, EntryId, LogicalTime, Mtime, Name, Place, limits};

use super::*;
use crate::WallTime;

const ROOT: RootId = RootId::from_bytes([1; 16]);
const A: DeviceId = DeviceId::from_bytes([0xa; 16]);
const B: DeviceId = DeviceId::from_bytes([0xb; 16]);
const NOW: WallTime = WallTime(1_000_000);

fn id(number: u8) -> EntryId {
    EntryId::from_bytes([number; 16])
}

fn at(name: &str) -> Place {
    Place { parent: EntryId::TOP, name: Name::new(name.to_owned()).unwrap() }
}

fn file(bytes: &[u8]) -> Value {
    Value::File { content: inline_content(bytes).unwrap().0, size: bytes.len() as u64 }
}

fn create(number: u8, name: &str, value: Value) -> Proposal {
    Proposal::Create { id: id(number), place: at(name), value, mode: 0o644, mtime: Mtime::default() }
}

fn edit(number: u8, base_time: u64, base: Value, value: Value) -> Proposal {
    let content = ContentChange { base_time: LogicalTime(base_time), base: Some(base), value, mtime: Mtime::default() };
    Proposal::Change(quics_reconcile::Change { id: id(number), content: Some(content), place: None, attributes: None })
}

fn rename(number: u8, base_time: u64, name: &str) -> Proposal {
    let place = Some(PlaceChange { base_time: LogicalTime(base_time), place: at(name) });
    Proposal::Change(quics_reconcile::Change { id: id(number), content: None, place, attributes: None })
}

fn chmod(number: u8, base_time: u64, mode: u32) -> Proposal {
    let attributes = Some(AttributesChange { base_time: LogicalTime(base_time), mode, mtime: Mtime::default() });
    Proposal::Change(quics_reconcile::Change { id: id(number), content: None, place: None, attributes })
}

fn delete(number: u8, base_time: u64, base: Value) -> Proposal {
    Proposal::Delete { id: id(number), base_time: LogicalTime(base_time), base }
}

struct World {
    meta: Memory,
    chunks: MemoryChunks,
    ledger: Ledger,
    seqs: HashMap<DeviceId, u64>,
    incarnation: u64,
}

impl World {
    fn new() -> Self {
        let (meta, chunks) = (Memory::new(1), MemoryChunks::new());
        let world = Self::over(meta, chunks);
        for device in [A, B] {
            assert!(matches!(world.ledger.resume(ROOT, device, 1), Ok(Resumed::Begun(_))));
        }
        world.meta.sync().unwrap();
        world
    }

    fn over(meta: Memory, chunks: MemoryChunks) -> Self {
        let contents = Contents::new(Arc::new(meta.clone()), Arc::new(chunks.clone()));
        let ledger = Ledger::new(Arc::new(meta.clone()), contents);
        Self { meta, chunks, ledger, seqs: HashMap::new(), incarnation: 1 }
    }

    /// Loses what is not durable and starts the service again.
    fn crash(self, epoch: u64) -> Self {
        self.chunks.crash();
        let meta = self.meta.crash(0, epoch).unwrap();
        Self { seqs: self.seqs, ..Self::over(meta, self.chunks) }
    }

    fn request(&mut self, device: DeviceId, proposal: Proposal, inline: Option<&[u8]>) -> Request {
        let seq = self.seqs.entry(device).or_default();
        *seq += 1;
        let inline = inline.map(Bytes::copy_from_slice);
        Request { root: ROOT, device, incarnation: self.incarnation, seq: *seq, recorded: 0, proposal, inline }
    }

    fn ask(&self, request: &Request) -> Answer {
        self.ledger.propose(request, NOW).unwrap()
    }

    fn queue(&mut self, device: DeviceId, proposal: Proposal, inline: Option<&[u8]>) -> Judged {
        let request = self.request(device, proposal, inline);
        match self.ask(&request) {
            Answer::Judged(judged) => *judged,
            other => panic!("{other:?}"),
        }
    }

    fn propose(&mut self, device: DeviceId, proposal: Proposal, inline: Option<&[u8]>) -> Verdict {
        let judged = self.queue(device, proposal, inline);
        self.meta.sync().unwrap();
        judged.entry.verdict
    }

    fn accept(&mut self, device: DeviceId, proposal: Proposal, inline: Option<&[u8]>) -> Row {
        match self.propose(device, proposal, inline) {
            Verdict::Accepted(accepted) => accepted.row,
            other => panic!("{other:?}"),
        }
    }

    fn all(&self, after: u64) -> Page {
        let mut whole = Page { changes: Vec::new(), seq: after, level: None };
        while whole.level.is_none() {
            let page = self.ledger.feed(ROOT, whole.seq, 1 << 20, Inlined::All).unwrap();
            whole.changes.extend(page.changes);
            (whole.seq, whole.level) = (page.seq, page.level);
        }
        whole
    }

    /// The live rows and their sum, as a snapshot gives them.
    fn tree(&self) -> (Vec<Row>, RootDigest) {
        let (mut scan, mut rows, mut digest) = (Scan::default(), Vec::new(), RootDigest::EMPTY);
        while let Some(page) = self.ledger.snapshot(ROOT, &mut scan, 1 << 20, false).unwrap() {
            for told in page {
                let Change::Row { entry, .. } = told.change else { panic!() };
                digest.add(&entry.row);
                rows.push(entry.row);
            }
        }
        (rows, digest)
    }

    fn unrecorded(&self, device: DeviceId) -> Vec<Given> {
        let (mut at, mut all) = (Unrecorded::default(), Vec::new());
        while let Some(page) = self.ledger.unrecorded(ROOT, device, &mut at).unwrap() {
            all.extend(page);
        }
        all
    }
}
