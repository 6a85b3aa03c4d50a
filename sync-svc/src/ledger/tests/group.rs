//! Groups: made as a whole or not at all, whatever crashes.

use quics_records::Reads;
use quics_types::GroupId;

use super::*;
use crate::{Cause, GroupChange, GroupEntry, Stage};

const GROUP: GroupId = GroupId::from_bytes([0x99; 16]);

fn numbered(number: u32) -> EntryId {
    let mut bytes = [0x77; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    EntryId::from_bytes(bytes)
}

fn change(base_time: u64, base_dead: bool, target: &Row) -> GroupChange {
    GroupChange { base_time: LogicalTime(base_time), base_dead, target: target.clone() }
}

/// What a change is to make of a row as it is.
fn turn(row: &Row, turn: impl FnOnce(&mut Row)) -> GroupChange {
    let mut target = row.clone();
    turn(&mut target);
    change(row.time.0, row.dead, &target)
}

impl World {
    /// Makes so many directories at once, without waiting for each.
    fn many(&mut self, count: u32) -> Vec<Row> {
        let mut rows = Vec::new();
        for number in 0..count {
            let place = at(&format!("directory {number}"));
            let (id, mtime) = (numbered(number), Mtime::default());
            let proposal = Proposal::Create { id, place, value: Value::Directory, mode: 0o755, mtime };
            match self.queue(A, proposal, None).entry.verdict {
                Verdict::Accepted(accepted) => rows.push(accepted.row),
                other => panic!("{other:?}"),
            }
        }
        self.meta.sync().unwrap();
        rows
    }

    fn step(&self, refused: Option<Refusal>) -> Step {
        self.ledger.step_group(ROOT, GROUP, refused, NOW).unwrap()
    }

    /// Opens, stages and begins a group; every commit is durable.
    fn begin(&self, changes: &[GroupChange]) {
        self.ledger.open_group(ROOT, GROUP, B).unwrap();
        self.ledger.stage_group(ROOT, GROUP, 0, changes).unwrap();
        self.ledger.begin_group(ROOT, GROUP, changes.len() as u64).unwrap();
        self.meta.sync().unwrap();
    }

    fn carry_out(&self, refused: Option<Refusal>) -> GroupEntry {
        loop {
            let step = self.step(refused);
            self.meta.sync().unwrap();
            match step {
                Step::More(..) => {}
                Step::Finished(..) => return self.ledger.group(ROOT, GROUP).unwrap().unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn group(&self, changes: &[GroupChange]) -> GroupEntry {
        self.begin(changes);
        self.carry_out(None)
    }

    fn row_of(&self, id: EntryId) -> Option<Row> {
        let kept = records::get::<crate::Entry>(Reads::durable(&self.meta), &keys::entry(ROOT, id)).unwrap();
        kept.map(|kept| kept.record.row)
    }

    fn staged(&self) -> usize {
        let (from, to) = keys::staged_all(ROOT, GROUP);
        self.meta.range(&from, &to, 4096).unwrap().len()
    }

    /// Does what a service does at its start, and crashes after each commit of it.
    fn recover(mut self, epoch: &mut u64) -> Self {
        loop {
            let Unfinished { groups, next } = self.ledger.unfinished_groups(None).unwrap();
            assert_eq!(next, None);
            match groups[..] {
                [] => return self,
                [(ROOT, GROUP, Stage::Open)] => drop(self.ledger.withdraw_group(ROOT, GROUP).unwrap()),
                [(ROOT, GROUP, Stage::Begun)] => drop(self.step(None)),
                ref other => panic!("{other:?}"),
            }
            self.meta.sync().unwrap();
            *epoch += 1;
            self = self.crash(*epoch);
        }
    }
}

#[test]
fn a_group_is_finished_or_withdrawn_wherever_it_is_interrupted() {
    const COUNT: u32 = 600;
    let (mut epoch, mut withdrawn, mut finished, mut durable) = (100, 0, 0, 0);
    loop {
        for kept in [0, 1] {
            let mut world = World::new();
            let rows = world.many(COUNT);
            let changes: Vec<_> = rows.iter().map(|row| turn(row, |row| row.mode = 0o700)).collect();
            // So many commits are durable; the next one is submitted, and the crash keeps it or not.
            let mut commits = 0;
            let mut over = |world: &World| {
                commits += 1;
                if commits <= durable {
                    world.meta.sync().unwrap();
                }
                commits > durable
            };
            let mut ended = false;
            'flow: {
                world.ledger.open_group(ROOT, GROUP, B).unwrap();
                if over(&world) {
                    break 'flow;
                }
                for (part, changes) in changes.chunks(150).enumerate() {
                    world.ledger.stage_group(ROOT, GROUP, part as u64 * 150, changes).unwrap();
                    if over(&world) {
                        break 'flow;
                    }
                }
                world.ledger.begin_group(ROOT, GROUP, COUNT.into()).unwrap();
                if over(&world) {
                    break 'flow;
                }
                while !matches!(world.step(None), Step::Nothing) {
                    if over(&world) {
                        break 'flow;
                    }
                }
                ended = true;
            }
            epoch += 1;
            let meta = world.meta.crash(kept, epoch).unwrap();
            let world = World::over(meta, world.chunks).recover(&mut epoch);
            assert_eq!(world.staged(), 0);
            let (found, _) = world.tree();
            let modes: BTreeSet<u32> = found.iter().map(|row| row.mode).collect();
            assert_eq!((found.len() as u32, modes.len()), (COUNT, 1), "all or none: {modes:?}");
            let events = world.ledger.events(COUNT.into()).unwrap().events.len()
                + world.ledger.events(u64::from(COUNT) + 512).map_or(0, |page| page.events.len());
            match world.ledger.group(ROOT, GROUP).unwrap() {
                None => {
                    withdrawn += 1;
                    assert_eq!((found[0].mode, events), (0o755, 0));
                }
                Some(entry) => {
                    finished += 1;
                    assert_eq!((entry.stage, entry.changes, entry.made), (Stage::Finished, COUNT.into(), COUNT.into()));
                    assert_eq!((entry.left_out, entry.seq), (0, 2 * u64::from(COUNT)));
                    assert_eq!(events, COUNT as usize, "each once");
                    assert!(found.iter().all(|row| row.mode == 0o700 && row.time == LogicalTime(2)));
                }
            }
            if ended {
                assert!(withdrawn >= 10 && finished >= 5, "{withdrawn} withdrawn, {finished} finished");
                return;
            }
        }
        durable += 1;
    }
}

#[test]
fn a_group_makes_what_it_can_in_its_order_and_names_the_rest() {
    let mut world = World::new();
    let folder = world.accept(A, create(1, "folder", Value::Directory), None);
    let moved = world.accept(A, create(2, "moved", file(b"moved")), Some(b"moved"));
    let edited = world.accept(A, create(3, "edited", file(b"old")), Some(b"old"));
    let same = world.accept(A, create(4, "same", file(b"same")), Some(b"same"));
    let gone = world.accept(A, create(5, "gone", file(b"gone")), Some(b"gone"));
    let late = turn(&edited, |row| row.mode = 0o600);
    world.accept(B, edit(3, 1, file(b"old"), file(b"new")), Some(b"new"));
    let dead = world.accept(A, delete(5, 1, file(b"gone")), None);
    let absent = Value::File { content: Digest::of(b"nobody has this"), size: 100_000 };
    let changes = [
        // Into a folder that is moved before, in the same group.
        turn(&folder, |row| row.place = at("renamed")),
        turn(&moved, |row| row.place = Place { parent: id(1), name: Name::new("in").unwrap() }),
        // The same entry again, from the time that the first change gave it.
        change(
            2,
            false,
            &Row { mode: 0o600, place: Place { parent: id(1), name: Name::new("in").unwrap() }, ..moved.clone() },
        ),
        late,
        turn(&same, |_| ()),
        turn(&dead, |row| row.dead = false),
        turn(&same, |row| row.value = absent.clone()),
    ];
    let entry = world.group(&changes);
    assert_eq!((entry.changes, entry.made, entry.same, entry.left_out), (7, 4, 1, 2));
    assert_eq!(entry.named, [(id(3), Refusal::Stale), (id(4), Refusal::ContentGone)]);
    let there = world.row_of(id(2)).unwrap();
    assert_eq!((there.place.parent, there.mode, there.time), (id(1), 0o600, LogicalTime(3)));
    let back = world.row_of(id(5)).unwrap();
    assert_eq!((back.dead, back.time, &back.value), (false, dead.time.next(), &gone.value));
    assert_eq!(world.row_of(id(3)).unwrap().value, file(b"new"));
    let events = world.ledger.events(7).unwrap().events;
    assert_eq!(events.len(), 4);
    for (_, event) in &events {
        assert_eq!((event.device, event.cause), (B, Cause::Group(GROUP)));
        assert!(event.old.is_some() && event.new.is_some());
    }
    // Devices are told as of any change, and the sums hold.
    let page = world.all(7);
    let level = page.level.unwrap();
    assert_eq!((level.cursor.seq, level.digest), (entry.seq, world.tree().1));
    assert!(matches!(world.step(None), Step::Nothing), "it is finished");
}

#[test]
fn a_tombstone_that_was_forgotten_comes_back_under_its_id_with_times_that_go_on() {
    let mut world = World::new();
    let made = world.accept(A, create(1, "file", file(b"text")), Some(b"text"));
    let dead = world.accept(A, delete(1, 1, file(b"text")), None);
    for device in [A, B] {
        world.ledger.acknowledge(ROOT, device, world.ledger.cursor(2)).unwrap();
    }
    world.ledger.write_acknowledged().unwrap();
    world.meta.sync().unwrap();
    world.ledger.prune(ROOT, &[A, B]).unwrap().unwrap();
    world.meta.sync().unwrap();
    assert_eq!(world.row_of(id(1)), None);
    let unsure = change(dead.time.0, false, &made);
    let known = change(dead.time.0, true, &made);
    let entry = world.group(&[unsure, known]);
    assert_eq!((entry.made, &entry.named[..]), (1, &[(id(1), Refusal::Stale)][..]));
    let back = world.row_of(id(1)).unwrap();
    assert_eq!((back.id, back.time, back.dead, back.content_time), (made.id, LogicalTime(3), false, LogicalTime(3)));
    assert_eq!((&back.place, &back.value), (&made.place, &made.value));
    let page = world.all(2);
    assert!(matches!(&page.changes[..], [Told { change: Change::Row { entry, .. }, .. }] if entry.row == back));
}

#[test]
fn who_may_not_change_the_root_any_more_changes_nothing_and_the_group_ends() {
    let mut world = World::new();
    let rows = world.many(300);
    let changes: Vec<_> = rows.iter().map(|row| turn(row, |row| row.dead = true)).collect();
    world.begin(&changes);
    assert!(matches!(world.step(None), Step::More(..)));
    let entry = world.carry_out(Some(Refusal::ReadOnly));
    assert_eq!((entry.made, entry.left_out), (256, 44));
    assert!(entry.named.iter().all(|(_, why)| *why == Refusal::ReadOnly));
    assert_eq!(world.tree().0.len(), 44);
}

#[test]
fn directories_and_what_is_in_them_go_in_one_step() {
    let mut world = World::new();
    let mut changes = Vec::new();
    for directory in 1..21 {
        let parent = world.accept(A, create(directory, &format!("directory {directory}"), Value::Directory), None);
        for name in ["one", "two"] {
            let place = Place { parent: parent.id, name: Name::new(name).unwrap() };
            let value = Value::Link { target: Bytes::from_static(b"there") };
            let number = 100 + 2 * directory + u8::from(name == "two");
            let proposal = Proposal::Create { id: id(number), place, value, mode: 0o777, mtime: Mtime::default() };
            let row = world.accept(A, proposal, None);
            changes.push(turn(&row, |row| row.dead = true));
        }
        changes.push(turn(&parent, |row| row.dead = true));
    }
    let entry = world.group(&changes);
    assert_eq!((entry.made, entry.left_out), (60, 0));
    assert!(world.tree().0.is_empty());
}

#[test]
fn results_are_kept_and_the_oldest_is_forgotten() {
    let world = World::new();
    let group = |number: usize| {
        GroupId::from_bytes([(number >> 8) as u8, number as u8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    };
    for number in 0..GROUPS + 2 {
        world.ledger.open_group(ROOT, group(number), A).unwrap();
        world.ledger.begin_group(ROOT, group(number), 0).unwrap();
        let step = world.ledger.step_group(ROOT, group(number), None, WallTime(number as u64)).unwrap();
        assert!(matches!(step, Step::Finished(_, false)));
    }
    world.meta.sync().unwrap();
    let kept = |number| world.ledger.group(ROOT, group(number)).unwrap().is_some();
    assert_eq!([kept(0), kept(1), kept(2), kept(GROUPS + 1)], [false, false, true, true]);
}
