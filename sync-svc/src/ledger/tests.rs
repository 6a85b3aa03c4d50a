//! The ledger over stores that forget what was not synced.

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
            let page = self.ledger.feed(ROOT, whole.seq, 1 << 20, true).unwrap();
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

#[test]
fn an_accepted_file_is_in_feed_and_snapshot_with_its_content() {
    let mut world = World::new();
    let row = world.accept(A, create(1, "a", file(b"hello")), Some(b"hello"));
    let page = world.all(0);
    let [Told { seq: 1, change: Change::Row { entry, inline } }] = &page.changes[..] else { panic!("{page:?}") };
    assert_eq!((&entry.row, entry.device, entry.accepted_at), (&row, A, NOW));
    assert_eq!(inline.as_deref(), Some(&b"hello"[..]));
    assert_eq!(world.tree().0, [row]);
    let level = page.level.unwrap();
    assert_eq!((level.digest, level.count, level.cursor), (world.tree().1, 1, world.ledger.cursor(1)));
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut world = World::new();
    let mut judged = world.queue(A, create(1, "a", Value::Directory), None);
    assert!(judged.receipt.as_mut().unwrap().try_poll().is_none());
    assert!(world.all(0).changes.is_empty() && world.tree().0.is_empty());
    assert_eq!(world.ledger.level(ROOT).unwrap().cursor.seq, 0);
    world.meta.sync().unwrap();
    assert!(matches!(judged.receipt.unwrap().try_poll(), Some(Ok(_))));
    assert_eq!(world.all(0).changes.len(), 1);
}

#[test]
fn proposals_in_flight_are_judged_against_each_other() {
    let mut world = World::new();
    let directory = world.queue(A, create(1, "d", Value::Directory), None);
    let below = Place { parent: id(1), name: Name::new("f").unwrap() };
    let proposal = Proposal::Create { id: id(2), place: below, value: file(b""), mode: 0o600, mtime: Mtime::default() };
    let inside = world.queue(A, proposal, Some(b""));
    assert!(matches!(directory.entry.verdict, Verdict::Accepted(_)));
    assert!(matches!(inside.entry.verdict, Verdict::Accepted(_)));
    let refused = world.queue(B, delete(1, 1, Value::Directory), None);
    assert_eq!(refused.entry.verdict, Verdict::Refused(Refusal::NotEmpty));
    world.meta.sync().unwrap();
    assert_eq!(world.tree().0.len(), 2);
}

#[test]
fn a_proposal_that_is_sent_again_gets_its_verdict_again_and_changes_nothing() {
    let mut world = World::new();
    let request = world.request(A, create(1, "a", file(b"x")), Some(b"x"));
    let Answer::Judged(first) = world.ask(&request) else { panic!() };
    let Answer::Judged(queued) = world.ask(&request) else { panic!() };
    assert_eq!((&queued.entry, queued.changed), (&first.entry, false));
    assert!(queued.receipt.is_some(), "the first one is not durable yet");
    world.meta.sync().unwrap();
    world.accept(B, edit(1, 1, file(b"x"), file(b"y")), Some(b"y"));
    let Answer::Judged(again) = world.ask(&request) else { panic!() };
    assert_eq!((again.entry, again.receipt.is_none()), (first.entry, true));
    assert_eq!(world.ledger.level(ROOT).unwrap().cursor.seq, 2);
}

#[test]
fn an_older_incarnation_is_fenced_and_an_unknown_one_has_to_resume() {
    let mut world = World::new();
    let old = world.request(A, create(1, "a", Value::Directory), None);
    world.incarnation = 2;
    let new = world.request(A, create(1, "a", Value::Directory), None);
    assert!(matches!(world.ledger.propose(&new, NOW), Err(Error::ResumeFirst)));
    assert!(matches!(world.ledger.resume(ROOT, A, 2), Ok(Resumed::Begun(_))));
    assert!(matches!(world.ask(&old), Answer::Fenced));
    assert!(matches!(world.ledger.resume(ROOT, A, 1), Ok(Resumed::Fenced)));
    assert!(matches!(world.ask(&new), Answer::Judged(_)));
}

#[test]
fn resuming_brings_the_verdicts_that_were_not_recorded_with_their_proposals() {
    let mut world = World::new();
    for number in 1..=5 {
        let mut request = world.request(A, create(number, &number.to_string(), Value::Directory), None);
        request.recorded = u64::from(number / 4) * 2;
        assert!(matches!(world.ask(&request), Answer::Judged(_)));
    }
    world.meta.sync().unwrap();
    assert!(matches!(world.ledger.resume(ROOT, A, 2), Ok(Resumed::Begun(_))));
    world.meta.sync().unwrap();
    let found = world.unrecorded(A);
    let order: Vec<_> = found.iter().map(|given| (given.incarnation, given.seq)).collect();
    assert_eq!(order, [(1, 3), (1, 4), (1, 5)]);
    assert_eq!(found[0].entry.proposal, create(3, "3", Value::Directory));
    assert!(matches!(found[0].entry.verdict, Verdict::Accepted(_)));
    assert!(world.unrecorded(B).is_empty());
    // Once the new incarnation proposes, it has taken them.
    world.incarnation = 2;
    world.seqs.clear();
    world.propose(A, create(9, "9", Value::Directory), None);
    let order: Vec<_> = world.unrecorded(A).iter().map(|given| (given.incarnation, given.seq)).collect();
    assert_eq!(order, [(2, 1)]);
}

#[test]
fn recorded_verdicts_are_removed_so_that_their_number_stays_bounded() {
    let mut world = World::new();
    for number in 0..400_u64 {
        let mut request = world.request(A, chmod(1, 400, 0o600), None);
        request.recorded = number;
        assert!(matches!(world.ask(&request), Answer::Judged(_)));
        world.meta.sync().unwrap();
    }
    let (from, to) = keys::all(b'v', Some(ROOT));
    assert!(world.meta.range(&from, &to, 1000).unwrap().len() < 40);
}

#[test]
fn a_device_that_records_nothing_is_stopped() {
    let mut world = World::new();
    let mut request = world.request(A, chmod(1, 1, 0), None);
    request.seq = MAX_UNRECORDED + 1;
    assert!(matches!(world.ledger.propose(&request, NOW), Err(Error::TooManyUnrecorded)));
}

#[test]
fn the_feed_names_every_entry_once_however_often_it_changed() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"0")), Some(b"0"));
    world.accept(A, create(2, "b", Value::Directory), None);
    for turn in 1..50_u8 {
        let before = if turn == 1 { file(b"0") } else { file(&[turn - 1]) };
        world.accept(A, edit(1, u64::from(turn), before, file(&[turn])), Some(&[turn]));
    }
    let page = world.all(0);
    assert_eq!(page.changes.iter().map(|told| told.seq).collect::<Vec<_>>(), [2, 51]);
    let (from, to) = keys::feed_after(ROOT, 0);
    assert_eq!(world.meta.range(&from, &to, 100).unwrap().len(), 2);
    assert_eq!(page.level.unwrap().digest, world.tree().1);
}

#[test]
fn a_feed_read_in_small_pages_tells_the_same_and_is_level_only_at_its_end() {
    let mut world = World::new();
    for number in 1..=200 {
        world.accept(A, create(number, &format!("n{number}"), Value::Directory), None);
    }
    let (mut after, mut seen, mut levels) = (0, BTreeSet::new(), 0);
    for _ in 0..1000 {
        let page = world.ledger.feed(ROOT, after, 1000, false).unwrap();
        seen.extend(page.changes.iter().map(|told| told.seq));
        after = page.seq;
        if page.level.is_some() {
            levels += 1;
            break;
        }
    }
    assert_eq!((seen.len(), after, levels), (200, 200, 1));
}

#[test]
fn a_feed_of_several_index_pages_loses_nothing_between_them() {
    let mut world = World::new();
    for number in 0..1300_u32 {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let place = at(&number.to_string());
        let proposal = Proposal::Create {
            id: EntryId::from_bytes(bytes),
            place,
            value: Value::Directory,
            mode: 0,
            mtime: Mtime::default(),
        };
        world.queue(A, proposal, None);
    }
    world.meta.sync().unwrap();
    let page = world.all(0);
    assert_eq!(page.changes.iter().map(|told| told.seq).collect::<Vec<_>>(), (1..=1300).collect::<Vec<_>>());
}

#[test]
fn the_digest_of_the_level_is_that_of_the_tree_after_moves_deletes_and_returns() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"1")), Some(b"1"));
    world.accept(A, create(2, "b", file(b"2")), Some(b"2"));
    world.accept(A, rename(1, 1, "c"), None);
    world.accept(A, chmod(2, 1, 0o600), None);
    world.accept(A, delete(2, 1, file(b"2")), None);
    let back = world.accept(A, create(3, "b", file(b"3")), Some(b"3"));
    assert_eq!((back.id, back.time), (id(2), LogicalTime(4)), "the name goes on under its id");
    world.accept(A, create(4, "a", Value::Link { target: Bytes::from(vec![b'x'; 4096]) }), None);
    let level = world.ledger.level(ROOT).unwrap();
    let (rows, digest) = world.tree();
    assert_eq!((level.digest, level.count), (digest, rows.len() as u64));
    let counts = world.ledger.counts(None, 10).unwrap();
    assert_eq!((counts[0].entries, counts[0].tombstones, counts[0].seq), (3, 0, 7));
}

#[test]
fn a_crash_takes_back_only_what_nobody_was_told() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"kept")), Some(b"kept"));
    let mut lost = world.queue(A, create(2, "b", file(b"lost")), Some(b"lost"));
    let request = world.request(A, create(3, "c", Value::Directory), None);
    world.ask(&request);
    let mut world = world.crash(2);
    assert!(matches!(lost.receipt.as_mut().unwrap().try_poll(), Some(Err(quics_meta::Error::Closed))));
    assert_eq!(world.tree().0.len(), 1);
    let page = world.all(0);
    let Change::Row { inline, .. } = &page.changes[0].change else { panic!() };
    assert_eq!(inline.as_deref(), Some(&b"kept"[..]));
    // The number that was lost is given again, and the same proposal is judged as if it came for the first time.
    let Answer::Judged(judged) = world.ask(&request) else { panic!() };
    assert_eq!(judged.entry.cursor, Cursor { epoch: Epoch(2), seq: 2 });
    let row = world.accept(A, create(2, "b", file(b"lost")), Some(b"lost"));
    assert_eq!(row.time, LogicalTime(1));
}

#[test]
fn a_conflict_keeps_candidate_and_base_and_goes_through_the_feed() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"base")), Some(b"base"));
    world.accept(A, edit(1, 1, file(b"base"), file(b"from a")), Some(b"from a"));
    let verdict = world.propose(B, edit(1, 1, file(b"base"), file(b"from b")), Some(b"from b"));
    assert_eq!(verdict, Verdict::Conflict { id: id(1), revision: 1 });
    let kept = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
    let candidate = &kept.conflict.candidates[&(B, quics_reconcile::CandidateRole::Own)];
    assert_eq!(candidate.state, CandidateState::Value(file(b"from b")));
    assert_eq!(candidate.base, Some(file(b"base")));
    for content in [&b"base"[..], b"from a", b"from b"] {
        let Value::File { content: digest, size } = file(content) else { panic!() };
        let found = world.ledger.contents().read_small(ROOT, digest, size).unwrap();
        assert_eq!(found.as_deref(), Some(content));
    }
    let page = world.ledger.conflicts(ROOT, None, 10).unwrap();
    assert_eq!(page, ConflictPage { conflicts: vec![(id(1), kept)], next: None });
    assert!(matches!(world.all(2).changes[..], [Told { seq: 3, change: Change::Conflict(..) }]));
    // The candidate is taken back: closed, and a later one goes on with the revision.
    world.propose(B, edit(1, 1, file(b"base"), file(b"base")), Some(b"base"));
    let page = world.all(2);
    let [Told { seq: 4, change: Change::Closed(_, closed, Some(_)) }] = &page.changes[..] else { panic!("{page:?}") };
    assert_eq!(closed.conflict.revision, 2);
    assert_eq!(world.ledger.counts(None, 1).unwrap()[0].conflicts, 0);
    let verdict = world.propose(B, edit(1, 1, file(b"base"), file(b"from b")), Some(b"from b"));
    assert_eq!(verdict, Verdict::Conflict { id: id(1), revision: 3 });
    assert!(world.ledger.conflicts(ROOT, None, 10).unwrap().conflicts.len() == 1);
}

#[test]
fn many_long_candidates_fit_one_conflict() {
    let mut world = World::new();
    let link = |fill: u8| Value::Link { target: Bytes::from(vec![fill; 4096]) };
    world.accept(A, create(1, "a", link(1)), None);
    world.accept(A, edit(1, 1, link(1), link(2)), None);
    for device in 0x20..0x40_u8 {
        let device = DeviceId::from_bytes([device; 16]);
        world.ledger.resume(ROOT, device, 1).unwrap();
        assert!(matches!(world.propose(device, edit(1, 1, link(1), link(3)), None), Verdict::Conflict { .. }));
    }
    let kept = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
    assert_eq!(kept.conflict.candidates.len(), 32);
}

#[test]
fn tombstones_go_when_every_attached_device_has_them_and_not_before() {
    let mut world = World::new();
    world.accept(A, create(1, "a", Value::Directory), None);
    world.accept(A, create(2, "b", Value::Directory), None);
    world.accept(A, delete(1, 1, Value::Directory), None);
    assert_eq!(world.all(0).changes.len(), 2);
    let cursor = world.ledger.cursor(3);
    world.ledger.acknowledge(ROOT, A, cursor).unwrap();
    world.ledger.write_acknowledged().unwrap();
    world.meta.sync().unwrap();
    assert!(world.ledger.prune(ROOT, &[A, B]).unwrap().is_none(), "b has acknowledged nothing");
    assert!(world.ledger.prune(ROOT, &[]).unwrap().is_none());
    world.ledger.acknowledge(ROOT, B, cursor).unwrap();
    assert!(world.ledger.prune(ROOT, &[A, B]).unwrap().is_none(), "not durable yet");
    world.ledger.write_acknowledged().unwrap();
    world.meta.sync().unwrap();
    assert!(world.ledger.prune(ROOT, &[A, B]).unwrap().is_some());
    world.meta.sync().unwrap();
    assert!(world.ledger.prune(ROOT, &[A, B]).unwrap().is_none(), "nothing is left to do");
    assert_eq!(world.all(0).changes.len(), 1);
    assert_eq!(world.ledger.counts(None, 1).unwrap()[0].tombstones, 0);
    assert!(world.ledger.entry(ROOT, id(1)).unwrap().is_none());
    assert!(world.ledger.knows(ROOT, cursor).unwrap());
    assert!(!world.ledger.knows(ROOT, world.ledger.cursor(2)).unwrap(), "a delete would be missed behind it");
    // A name whose tombstone is gone begins anew.
    assert_eq!(world.accept(B, create(5, "a", Value::Directory), None).id, id(5));
}

#[test]
fn a_tombstone_with_an_open_conflict_stays() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"1")), Some(b"1"));
    world.accept(A, delete(1, 1, file(b"1")), None);
    world.propose(B, edit(1, 1, file(b"1"), file(b"2")), Some(b"2"));
    let cursor = world.ledger.cursor(3);
    for device in [A, B] {
        world.ledger.acknowledge(ROOT, device, cursor).unwrap();
    }
    world.ledger.write_acknowledged().unwrap();
    world.meta.sync().unwrap();
    world.ledger.prune(ROOT, &[A, B]).unwrap();
    world.meta.sync().unwrap();
    assert!(world.ledger.entry(ROOT, id(1)).unwrap().is_some());
    assert_eq!(world.all(0).changes.len(), 2);
}

#[test]
fn a_cursor_of_another_past_is_not_known() {
    let mut world = World::new();
    world.accept(A, create(1, "a", Value::Directory), None);
    let (mine, ahead) = (world.ledger.cursor(1), world.ledger.cursor(2));
    assert!(world.ledger.knows(ROOT, mine).unwrap());
    assert!(!world.ledger.knows(ROOT, ahead).unwrap());
    assert!(!world.ledger.knows(ROOT, Cursor { epoch: Epoch(99), seq: 1 }).unwrap());
    assert!(world.ledger.knows(ROOT, Cursor { epoch: Epoch(99), seq: 0 }).unwrap());
    let mut world = world.crash(2);
    assert!(world.ledger.knows(ROOT, mine).unwrap(), "an older epoch of the same chain");
    // Another commit 2 than the one that epoch 1 may have given before the backup was made.
    world.accept(A, create(2, "b", Value::Directory), None);
    assert!(!world.ledger.knows(ROOT, ahead).unwrap());
    assert!(world.ledger.knows(ROOT, world.ledger.cursor(2)).unwrap());
    assert!(world.ledger.knows(ROOT, mine).unwrap());
    let world = world.crash(3);
    assert!(world.ledger.knows(ROOT, Cursor { epoch: Epoch(2), seq: 2 }).unwrap());
    assert!(!world.ledger.knows(ROOT, ahead).unwrap());
}

/// Packs a content of some chunks: the chunks and pages, and the value.
fn large(seed: u8) -> (Vec<Packed>, Value) {
    let mut state = u64::from(seed) + 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(600_000)
    .collect();
    let (mut builder, mut pages, mut packed) = (ManifestBuilder::new(), Vec::new(), Vec::new());
    for chunk in Chunker::new(&bytes[..]) {
        let chunk = chunk.unwrap();
        builder.push(chunk.digest, chunk.data.len() as u32, &mut pages).unwrap();
        packed.push(chunk.pack());
    }
    let manifest = builder.finish(&mut pages).unwrap();
    packed.extend(pages.into_iter().map(|(digest, page)| Packed::raw(digest, page)));
    (packed, Value::File { content: manifest.content, size: manifest.size })
}

#[test]
fn a_large_content_is_missing_until_all_of_it_is_there_and_durable() {
    let mut world = World::new();
    let (packed, value) = large(1);
    let Value::File { content, size } = value else { panic!() };
    let request = world.request(A, create(1, "a", value), None);
    assert!(world.ledger.is_slow(&request));
    let missing = |answer| match answer {
        Answer::Missing(digests) => digests,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(world.ask(&request)), [content]);
    let page = packed.last().unwrap();
    world.chunks.put(ROOT, page).unwrap();
    let named: BTreeSet<Digest> = missing(world.ask(&request)).into_iter().collect();
    assert_eq!(named, packed.iter().map(|chunk| chunk.digest).filter(|digest| *digest != content).collect());
    for chunk in &packed {
        world.chunks.put(ROOT, chunk).unwrap();
    }
    assert!(matches!(world.ask(&request), Answer::Unflushed(_)));
    world.chunks.sync();
    let Answer::Judged(judged) = world.ask(&request) else { panic!() };
    assert!(matches!(judged.entry.verdict, Verdict::Accepted(_)));
    // In another root nothing of it is there.
    let other = Request { root: RootId::from_bytes([2; 16]), ..request.clone() };
    world.ledger.resume(other.root, A, 1).unwrap();
    assert_eq!(missing(world.ask(&other)), [content]);
    // A size that is not the content's.
    let wrong = world.request(A, create(2, "b", Value::File { content, size: size + 1 }), None);
    let Answer::Judged(judged) = world.ask(&wrong) else { panic!() };
    assert_eq!(judged.entry.verdict, Verdict::Refused(Refusal::Malformed));
}

#[test]
fn an_inline_content_that_is_not_what_it_says_is_an_error() {
    let mut world = World::new();
    let long = vec![0; limits::INLINE_BYTES + 1];
    for (value, bytes) in [(file(b"x"), &b"y"[..]), (Value::Directory, b"x"), (file(b"x"), &long)] {
        let request = world.request(A, create(1, "a", value), Some(bytes));
        assert!(world.ledger.propose(&request, NOW).is_err());
    }
    let Value::File { content, .. } = file(b"x") else { panic!() };
    let request = world.request(A, create(1, "a", Value::File { content, size: 2 }), Some(b"x"));
    assert!(matches!(world.ledger.propose(&request, NOW), Err(Error::Inline)));
}

#[test]
fn a_small_content_is_written_once_and_serves_chunk_and_page() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"same")), Some(b"same"));
    let before = world.meta.range(b"b", b"c", 100).unwrap();
    world.accept(A, create(2, "b", file(b"same")), Some(b"same"));
    world.accept(A, create(3, "c", file(b"same")), None);
    world.accept(A, create(4, "d", file(b"")), None);
    assert_eq!(world.meta.range(b"b", b"c", 100).unwrap(), before);
    let (content, page, chunk) = inline_content(b"same").unwrap();
    let contents = world.ledger.contents();
    assert_eq!(contents.read(ROOT, content).unwrap().unwrap().data, page);
    assert_eq!(contents.read(ROOT, chunk.unwrap()).unwrap().unwrap().data, &b"same"[..]);
    assert_eq!(contents.read(RootId::from_bytes([2; 16]), content).unwrap(), None);
    let (empty, page, _) = inline_content(b"").unwrap();
    assert_eq!(contents.read(ROOT, empty).unwrap().unwrap().unpack().unwrap(), page);
}

#[test]
fn the_outbox_has_dense_numbers_and_one_event_a_commit() {
    let mut world = World::new();
    world.accept(A, create(1, "a", file(b"1")), Some(b"1"));
    world.propose(B, chmod(9, 1, 0), None);
    world.accept(A, edit(1, 1, file(b"1"), file(b"2")), Some(b"2"));
    world.propose(B, edit(1, 1, file(b"1"), file(b"3")), Some(b"3"));
    let rows = world.meta.range(b"o", b"p", 100).unwrap();
    let numbers: Vec<_> = rows.iter().map(|(key, _)| key[1..].to_vec()).collect();
    assert_eq!(numbers, [1_u64, 2, 3].map(|number| number.to_be_bytes().to_vec()));
    let event =
        |number| records::get::<crate::Event>(world.ledger.durable(), &keys::outbox(number)).unwrap().unwrap().record;
    assert_eq!(event(2).old.unwrap().value, file(b"1"));
    assert_eq!(event(2).new.unwrap().value, file(b"2"));
    assert_eq!((event(3).device, event(3).new.is_none(), event(3).conflict.is_some()), (B, true, true));
    assert_eq!(world.ledger.outbox_records().unwrap(), 3);
}

#[test]
fn a_full_queue_changes_nothing_and_the_proposal_can_be_made_again() {
    let meta = Memory::with(1, 1 << 20, 1, false);
    let mut world = World::over(meta, MemoryChunks::new());
    world.ledger.resume(ROOT, A, 1).unwrap();
    let request = world.request(A, create(1, "a", Value::Directory), None);
    let busy = world.ledger.propose(&request, NOW);
    assert!(busy.as_ref().is_err_and(Error::is_busy), "{busy:?}");
    world.meta.sync().unwrap();
    let Answer::Judged(judged) = world.ask(&request) else { panic!() };
    assert_eq!(judged.entry.cursor.seq, 1);
}

#[test]
fn small_contents_are_moved_out_of_the_journal_before_its_segment_is_released() {
    let meta = Memory::with(1, 4096, 1 << 20, true);
    let mut world = World::over(meta, MemoryChunks::new());
    world.ledger.resume(ROOT, A, 1).unwrap();
    for number in 1..=30_u8 {
        world.accept(A, create(number, &number.to_string(), file(&[number; 500])), Some(&[number; 500]));
    }
    let mut mover = crate::Mover::new(world.ledger.contents().clone());
    assert!(!world.meta.draining(1).is_empty());
    for _ in 0..1000 {
        if !mover.step().unwrap() {
            break;
        }
    }
    assert!(world.chunks.stats().chunks > 20);
    for told in world.all(0).changes {
        let Change::Row { entry, inline } = told.change else { panic!() };
        assert_eq!(inline.unwrap(), vec![entry.row.id.as_bytes()[0]; 500]);
    }
    assert!(world.meta.range(b"b", b"c", 100).unwrap().len() < 20, "the rows of what was moved are gone");
}
