//! Random histories of three devices, with crashes: what is stored is one truth, whichever way it is read.

use std::collections::BTreeMap;

use quics_reconcile::Choice;
use quics_types::ResolutionId;

use super::answers::Anyone;
use super::*;

/// A generator of numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let count = u64::try_from(all.len()).unwrap();
        if count == 0 { None } else { all.get(self.below(count) as usize).cloned() }
    }

    fn resolution(&mut self) -> ResolutionId {
        let mut id = [self.below(256) as u8; 16];
        id[..8].copy_from_slice(&self.0.to_be_bytes());
        ResolutionId::from_bytes(id)
    }
}

/// A device that has heard of some of what happened.
struct Device {
    id: DeviceId,
    known: BTreeMap<EntryId, Row>,
    after: u64,
}

impl Device {
    fn hear(&mut self, world: &World) {
        let page = world.all(self.after);
        for told in page.changes {
            if let Change::Row { entry, .. } = told.change {
                self.known.insert(entry.row.id, entry.row);
            }
        }
        self.after = page.seq;
        // What it has is what the server has.
        let (mut digest, mut count) = (RootDigest::EMPTY, 0);
        for row in self.known.values().filter(|row| !row.dead) {
            digest.add(row);
            count += 1;
        }
        let level = page.level.unwrap();
        assert_eq!((digest, count), (level.digest, level.count));
    }

    fn wish(&self, dice: &mut Dice) -> (Proposal, Option<Vec<u8>>) {
        let content = vec![dice.below(4) as u8; dice.below(3) as usize];
        let known: Vec<_> = self.known.values().collect();
        let parents: Vec<_> =
            known.iter().filter(|row| row.is_live_directory()).map(|row| row.id).chain([EntryId::TOP]).collect();
        let parent = parents[dice.below(parents.len() as u64) as usize];
        let place = Place { parent, name: Name::new(vec![b'a' + dice.below(4) as u8]).unwrap() };
        let chosen = (!known.is_empty()).then(|| known[dice.below(known.len() as u64) as usize]);
        let change = |id| quics_reconcile::Change { id, content: None, place: None, attributes: None };
        match (dice.below(6), chosen) {
            (0 | 1, _) | (_, None) => {
                let value = if dice.below(3) == 0 { Value::Directory } else { file(&content) };
                let inline = (!value.is_directory()).then_some(content);
                let mut id = [dice.below(256) as u8; 16];
                id[..8].copy_from_slice(&dice.0.to_be_bytes());
                let id = EntryId::from_bytes(id);
                (Proposal::Create { id, place, value, mode: 0o644, mtime: Mtime::default() }, inline)
            }
            (2 | 3, Some(row)) => {
                let base = Some(row.value.clone());
                let value = file(&content);
                let content_change = ContentChange { base_time: row.content_time, base, value, mtime: row.mtime };
                let change = quics_reconcile::Change { content: Some(content_change), ..change(row.id) };
                (Proposal::Change(change), Some(content))
            }
            (4, Some(row)) => {
                let place = Some(PlaceChange { base_time: row.place_time, place });
                (Proposal::Change(quics_reconcile::Change { place, ..change(row.id) }), None)
            }
            (_, Some(row)) => {
                let delete = Proposal::Delete { id: row.id, base_time: row.content_time, base: row.value.clone() };
                (delete, None)
            }
        }
    }
}

fn check(world: &World) {
    let counts = world.ledger.counts(None, 10).unwrap();
    let Some(counts) = counts.first() else { return };
    let (rows, digest) = world.tree();
    let level = world.ledger.level(ROOT).unwrap();
    assert_eq!((level.digest, level.count, counts.entries), (digest, rows.len() as u64, rows.len() as u64));
    // The indexes say the same as the rows.
    let number = |tag| {
        let (from, to) = keys::all(tag, Some(ROOT));
        world.meta.range(&from, &to, 4096).unwrap().len() as u64
    };
    assert_eq!(number(b'p'), counts.entries);
    assert_eq!(number(b'e'), counts.entries + counts.tombstones);
    for row in &rows {
        let there = world.meta.get(&keys::place(ROOT, &row.place)).unwrap();
        assert_eq!(there.as_deref(), Some(&row.id.as_bytes()[..]), "one live entry a place");
        let parent = rows.iter().find(|parent| parent.id == row.place.parent);
        assert!(row.place.parent == EntryId::TOP || parent.is_some_and(Row::is_live_directory));
    }
    // The feed has each row and each conflict once.
    let feed = world.all(0).changes;
    assert_eq!((feed.len() as u64, number(b'f')), (number(b'e') + number(b'c'), number(b'e') + number(b'c')));
    let open = world.ledger.conflicts(ROOT, None, 4096).unwrap().conflicts.len() as u64;
    let events = world.meta.range(b"o", b"p", 4096).unwrap().len() as u64;
    assert_eq!((counts.conflicts, events), (open, counts.seq), "an event a commit");
}

/// Answers some of the durable conflicts at once, one way or another; some answers are stale by then.
fn answer(world: &mut World, dice: &mut Dice, device: DeviceId, answered: &mut Vec<ResolutionId>) {
    let mut open = world.ledger.conflicts(ROOT, None, 4096).unwrap().conflicts;
    open.truncate(1 + dice.below(3) as usize);
    let mut answers = Vec::new();
    for (entry, it) in open {
        let keys: Vec<_> = it.conflict.candidates.keys().copied().collect();
        let (choice, inline) = match dice.below(5) {
            0 => (Choice::Server, None),
            1 | 2 => (Choice::Candidate(dice.one_of(&keys).unwrap()), None),
            3 => (Choice::Both { names: BTreeMap::new() }, None),
            _ => {
                let content = vec![dice.below(256) as u8; 3];
                let value = file(&content);
                (Choice::Merged { value, mtime: Mtime::default() }, Some(Bytes::from(content)))
            }
        };
        answers.push(Answering { entry, revision: it.conflict.revision, choice: Ok(choice), inline });
    }
    let request = Resolve { root: ROOT, id: dice.resolution(), device, answers };
    if !request.answers.is_empty()
        && let Resolved::Done(_) = world.ledger.resolve(&request, &Anyone, NOW).unwrap()
    {
        answered.push(request.id);
    }
}

fn history(seed: u64, steps: usize) -> (Vec<Row>, u64, u64) {
    let mut dice = Dice(seed);
    let mut world = World::new();
    let third = DeviceId::from_bytes([0xcc; 16]);
    world.ledger.resume(ROOT, third, 1).unwrap();
    world.meta.sync().unwrap();
    let mut devices = [A, B, third].map(|id| Device { id, known: BTreeMap::new(), after: 0 });
    let mut times: BTreeMap<EntryId, u64> = BTreeMap::new();
    let mut answered = Vec::new();
    for step in 0..steps {
        let device = &mut devices[dice.below(3) as usize];
        match dice.below(14) {
            0 | 1 => device.hear(&world),
            2 => world.meta.sync().unwrap(),
            3 => {
                world = world.crash(1000 + step as u64);
                check(&world);
            }
            4 => check(&world),
            5 => answer(&mut world, &mut dice, device.id, &mut answered),
            6 => {
                if let Some(resolution) = dice.one_of(&answered) {
                    let id = dice.resolution();
                    let undo = Undo { root: ROOT, resolution, id, device: device.id };
                    if world.ledger.undo(&undo, &Anyone, NOW).unwrap().is_some_and(|undone| undone.committed) {
                        answered.push(id);
                    }
                }
            }
            _ => {
                let (proposal, inline) = device.wish(&mut dice);
                let judged = world.queue(device.id, proposal, inline.as_deref());
                if dice.below(2) == 0 {
                    world.meta.sync().unwrap();
                    if let (Verdict::Accepted(accepted), true) = (judged.entry.verdict, judged.changed) {
                        let before = times.insert(accepted.row.id, accepted.row.time.0).unwrap_or_default();
                        assert!(accepted.row.time.0 >= before, "a told time never regresses");
                    }
                }
            }
        }
    }
    world.meta.sync().unwrap();
    check(&world);
    for device in &mut devices {
        device.hear(&world);
    }
    let seq = world.ledger.level(ROOT).unwrap().cursor.seq;
    (world.tree().0, seq, world.ledger.counts(None, 1).unwrap().first().map_or(0, |counts| counts.resolutions))
}

#[test]
fn every_history_leaves_rows_indexes_feed_and_digest_of_one_mind() {
    let (mut commits, mut resolutions) = (0, 0);
    for seed in 0..120 {
        let (_, seq, answered) = history(seed, 150);
        (commits, resolutions) = (commits + seq, resolutions + answered);
    }
    assert!(commits > 3000, "the histories do something: {commits} commits");
    assert!(resolutions > 300, "and answer something: {resolutions} resolutions");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    assert_eq!(history(7, 400), history(7, 400));
}
