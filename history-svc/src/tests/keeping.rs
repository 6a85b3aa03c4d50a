//! What policies take and what they never take, by a clock that the test moves.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use quics_kit::clock::ManualClock;
use quics_kit::telemetry::Link;
use quics_types::{GroupId, Mtime};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::db::keys::Point;
use crate::encode::{Moment, Subject};
use crate::keep::open::Spared;
use crate::keep::policy::{FOREVER, Policy, Rule};
use crate::keep::shown::{Shares, Shown};
use crate::keep::sweep::{Round, Step, Sweep};
use crate::keep::{open, pins, sweep, usage};
use crate::view::At;
use crate::{Error, Finder, Parts, Service};

pub(super) const DAY: u64 = 86_400 * 1_000_000;
pub(super) const HOUR: u64 = 3600 * 1_000_000;
const LATEST: Point = Point { generation: u32::MAX, seq: u64::MAX };

struct Nowhere;

impl Finder for Nowhere {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>> {
        Box::pin(std::future::ready(Err(Error::SyncAway)))
    }
}

/// A share-svc of which it cannot be said whether there is one.
struct Unheard;

impl Shares for Unheard {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Option<Link>, Error>> + Send + '_>> {
        Box::pin(std::future::ready(Err(Error::ShareAway { reason: "registry-svc is away".into() })))
    }
}

/// A history with a clock, and the server that it follows.
pub(super) struct Kept {
    pub(super) server: Server,
    pub(super) history: History,
    pub(super) service: Arc<Service>,
    clock: Arc<ManualClock>,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self::beside(Arc::new(()))
    }

    fn beside(shares: Arc<dyn Shares>) -> Self {
        let (history, clock) = (History::new(), Arc::new(ManualClock::at(std::time::UNIX_EPOCH)));
        let service = Service::new(Parts {
            meta: history.meta.clone(),
            access: Arc::new(Everybody),
            sync: Arc::new(Nowhere),
            shares,
            clock: clock.clone(),
            shutdown: CancellationToken::new(),
        });
        Self { server: Server::default(), history, service, clock }
    }

    /// Something happens at a moment.
    pub(super) fn at(&mut self, time: u64, entry: u64, to: Option<(&str, u64)>) {
        let to = to.map(|(name, content)| (place(EntryId::TOP, name), file(content)));
        self.server.set(id(entry), to).unwrap();
        let accepted = quics_proto::timestamp(Mtime::from(WallTime(time)));
        self.server.events.last_mut().unwrap().accepted_at = Some(accepted);
    }

    pub(super) fn follow(&mut self) {
        self.history.follow(&self.server, 10);
    }

    pub(super) fn now(&self, time: u64) {
        self.clock.set(std::time::UNIX_EPOCH + Duration::from_micros(time));
    }

    pub(super) fn set(&self, policy: Policy) {
        policy.check().unwrap();
        let mut batch = quics_meta::Batch::new();
        quics_records::put(&mut batch, crate::db::keys::policy(ROOT), &policy, 0);
        self.commit(batch);
    }

    pub(super) fn commit(&self, batch: quics_meta::Batch) {
        self.history.meta.submit(batch).unwrap();
        self.history.meta.sync().unwrap();
    }

    /// One round, in steps of so many versions; says how many there were.
    fn sweep(&self, open: &[EntryId], versions: usize) -> usize {
        self.sweep_sparing(Spared { conflicts: open.iter().copied().collect(), ..Spared::default() }, versions)
    }

    fn sweep_sparing(&self, spared: Spared, versions: usize) -> usize {
        let mut round = Round::begin(&self.service, ROOT, spared).unwrap().unwrap();
        for steps in 1..10_000 {
            let step = round.step(&self.service, versions).unwrap();
            self.history.meta.sync().unwrap();
            match step {
                Step::More(_) => {}
                Step::Done(_) => return steps,
                other => panic!("{other:?}"),
            }
        }
        panic!("a round without end");
    }

    pub(super) fn versions(&self, entry: u64) -> Vec<At> {
        let mut versions = self.history.view().versions_before(id(entry), None, 4096).unwrap();
        versions.reverse();
        versions
    }

    /// The logical times of the versions of an entry whose contents are gone.
    pub(super) fn gone(&self, entry: u64) -> Vec<u64> {
        self.versions(entry).iter().filter(|at| at.version.removed.is_some()).map(|at| at.row().time.0).collect()
    }
}

pub(super) fn policy(every: u32, daily: u32, weekly: u32) -> Policy {
    Policy { revision: 1, rules: vec![Rule { glob: String::new(), every, daily, weekly }], ..Policy::default() }
}

#[test]
fn versions_go_with_the_rule_that_took_them_and_what_is_there_never_does() {
    let mut it = Kept::new();
    for day in 0..5 {
        it.at(day * DAY, 0, Some(("plan", day)));
        it.at(day * DAY + HOUR, 0, Some(("plan", 100 + day)));
    }
    // Deleted, and only its deletion is its newest version.
    it.at(5 * DAY, 1, Some(("other", 7)));
    it.at(5 * DAY + HOUR, 1, None);
    it.follow();
    it.set(policy(2, 10, 0));
    it.now(5 * DAY + 2 * HOUR);
    it.sweep(&[], 4096);
    // The first of each day was replaced within the day; of two days and an hour ago, and before, these go.
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 3, 5, 7], vec![]));
    let why = it.versions(0)[0].version.removed.clone().unwrap();
    assert_eq!(why.why, "retention: every version for 2 days, then the last of each day for 10 days");
    assert_eq!(why.at, WallTime(5 * DAY + 2 * HOUR));
    it.now(8 * DAY);
    it.sweep(&[], 4096);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 3, 5, 7, 9], vec![1]));
    it.now(1000 * DAY);
    it.sweep(&[], 4096);
    assert_eq!(it.gone(0), (1..10).collect::<Vec<_>>(), "the tenth is there");
    assert!(it.versions(1)[1].version.removed.is_none(), "a deletion has nothing to take");
    // What is gone keeps its reason.
    assert_eq!(it.versions(0)[0].version.removed.clone().unwrap().at, WallTime(5 * DAY + 2 * HOUR));
}

#[test]
fn any_moment_day_and_week_that_a_policy_keeps_can_be_brought_back_whole_and_no_more_is_kept() {
    let (every, daily, weekly) = (10, 30, 60);
    for seed in 1..20 {
        let (mut it, mut dice) = (Kept::new(), Dice::of(seed));
        let mut time = 0;
        let mut trees = Vec::new();
        while time < 100 * DAY {
            let pause = if dice.roll(3) == 0 { 6 * DAY } else { 8 * HOUR };
            time += 1 + dice.roll(pause);
            let entry = dice.roll(6);
            let there = it.server.live(id(entry)).is_some();
            let to = (!there || dice.roll(6) > 0).then(|| dice.roll(1 << 40));
            let name = format!("{entry}");
            it.at(time, entry, to.map(|content| (name.as_str(), content)));
            trees.push((time, it.server.rows.clone()));
        }
        it.follow();
        it.set(policy(every, daily, weekly));
        let now = time + dice.roll(DAY);
        it.now(now);
        it.sweep(&[], 1 + seed as usize * 3);
        let gone: HashSet<(EntryId, u64)> =
            (0..6).flat_map(|entry| it.gone(entry).into_iter().map(move |time| (id(entry), time))).collect();
        let mut moments: Vec<u64> = (0..200).map(|_| now - dice.roll(u64::from(every) * DAY)).collect();
        moments.extend((1..=u64::from(daily)).map(|back| (now / DAY + 1 - back) * DAY - 1));
        // 1970-01-05 was a Monday.
        moments.extend((0..=8).map(|back| ((now / DAY + 3) / 7 - back) * 7 * DAY - 3 * DAY - 1));
        for moment in moments.into_iter().filter(|moment| *moment >= now.saturating_sub(u64::from(weekly) * DAY)) {
            let Some((_, rows)) = trees.iter().rev().find(|(time, _)| *time <= moment) else { continue };
            for row in rows.values().filter(|row| !row.dead) {
                assert!(!gone.contains(&(row.id, row.time.0)), "seed {seed}: {moment} lacks {}@{}", row.id, row.time);
            }
        }
        for entry in 0..6 {
            let versions = it.versions(entry);
            for (version, next) in versions.iter().zip(&versions[1.min(versions.len())..]) {
                if !version.is_live() || version.version.removed.is_some() {
                    continue;
                }
                let (from, until) = (version.version.accepted.0, next.version.accepted.0);
                let age = now - until;
                let reason = age <= u64::from(every) * DAY
                    || (from / DAY != until / DAY && age <= u64::from(daily) * DAY)
                    || ((from / DAY + 3) / 7 != (until / DAY + 3) / 7 && age <= u64::from(weekly) * DAY);
                assert!(reason, "seed {seed}: {}@{} is kept", version.row().id, version.row().time);
            }
        }
    }
}

#[test]
fn a_round_that_is_cut_off_anywhere_goes_on_where_it_was_and_comes_to_the_same() {
    let life = |it: &mut Kept| {
        for time in 0..60 {
            it.at(time * HOUR, time % 7, Some((format!("{}", time % 7).as_str(), time)));
        }
        it.follow();
        it.set(policy(1, 0, 0));
        it.now(30 * DAY);
    };
    let mut whole = Kept::new();
    life(&mut whole);
    whole.sweep(&[], 4096);
    let wanted: Vec<Vec<u64>> = (0..7).map(|entry| whole.gone(entry)).collect();
    assert_eq!(wanted.iter().map(Vec::len).sum::<usize>(), 60 - 7);
    for seed in 1..30 {
        let (mut it, mut dice) = (Kept::new(), Dice::of(seed));
        life(&mut it);
        let mut taken = 0;
        'rounds: for round in 0.. {
            assert!(round < 60, "it does not get on");
            let mut round = Round::begin(&it.service, ROOT, Spared::default()).unwrap().unwrap();
            for _ in 0..=dice.roll(4) {
                let step = round.step(&it.service, 10 + dice.roll(9) as usize).unwrap();
                it.history.meta.sync().unwrap();
                let now: usize = (0..7).map(|entry| it.gone(entry).len()).sum();
                assert!(now >= taken);
                taken = now;
                if matches!(step, Step::Done(_)) {
                    break 'rounds;
                }
            }
        }
        assert_eq!((0..7).map(|entry| it.gone(entry)).collect::<Vec<_>>(), wanted, "seed {seed}");
        let sweep = Sweep::of(it.history.view()).unwrap().unwrap();
        assert_eq!((sweep.ended, sweep.taken), (Some(WallTime(30 * DAY)), 53), "seed {seed}");
    }
}

#[test]
fn pinned_versions_and_those_of_an_open_conflict_are_not_taken() {
    let mut it = Kept::new();
    for entry in 0..2 {
        for time in 0..3 {
            it.at(entry * HOUR + time, entry, Some((format!("{entry}").as_str(), 10 * entry + time)));
        }
    }
    it.follow();
    it.set(policy(1, 0, 0));
    it.now(30 * DAY);
    let second = it.versions(0)[1].clone();
    let pin = |it: &Kept, at: &At| {
        let batch = pins::pin(it.history.view(), at, &pins::by(&it.service, DEVICE, "before the move".into()));
        batch.map(|batch| it.commit(batch)).map_err(|error| error.to_string())
    };
    pin(&it, &second).unwrap();
    it.sweep(&[id(1)], 4096);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1], vec![]));
    let shown = crate::encode::version(it.history.view(), &second).unwrap();
    assert!(shown.pinned);
    let listed = pins::list(it.history.view(), &Default::default()).unwrap();
    assert_eq!((listed.pins.len(), listed.pins[0].note.as_str()), (1, "before the move"));
    // The first one is gone by now.
    let first = it.versions(0)[0].clone();
    assert!(pin(&it, &first).unwrap_err().contains("not kept any more: it went on 1970-01-31 00:00 UTC, retention"));
    it.commit(pins::unpin(it.history.view(), &second).unwrap());
    assert!(pins::unpin(it.history.view(), &second).unwrap_err().to_string().contains("not pinned"));
    it.sweep(&[], 4096);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 2], vec![1, 2]));
}

/// Spares what links show: these contents.
fn showing(contents: &[u64]) -> Spared {
    let mut shown = Shown::default();
    contents.iter().for_each(|content| shown.add(&file(*content).content().unwrap().0));
    Spared { shown, ..Spared::default() }
}

#[test]
fn what_links_show_is_taken_neither_by_age_nor_by_size_wherever_it_is_and_goes_when_they_do() {
    let mut it = Kept::new();
    for time in 0..4 {
        it.at(time * HOUR, 0, Some(("shared", 1000 + time)));
    }
    // A copy of what was shared lived under another name, which is gone.
    it.at(5 * HOUR, 1, Some(("copy", 1001)));
    it.at(6 * HOUR, 1, None);
    it.follow();
    it.now(30 * DAY);
    let capped = Policy { cap: Some(1), ..policy(FOREVER, 0, 0) };
    let preview = |policy: Policy, spared: &Spared| {
        let (versions, bytes, _) = sweep::preview(it.history.view(), policy, it.service.now(), spared).unwrap();
        (versions, bytes)
    };
    assert_eq!(preview(capped.clone(), &Spared::default()), (4, 3003));
    assert_eq!(preview(capped.clone(), &showing(&[1001])), (2, 2002), "the preview leaves it out too");
    assert_eq!(preview(policy(1, 0, 0), &showing(&[1001])), (2, 2002));
    it.set(capped);
    it.sweep_sparing(showing(&[1001]), 2);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 3], vec![]));
    it.set(Policy { revision: 2, ..policy(1, 0, 0) });
    it.sweep_sparing(showing(&[1001]), 2);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 3], vec![]));
    it.sweep_sparing(showing(&[]), 2);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 2, 3], vec![1]));
}

#[test]
fn what_ended_after_the_services_were_asked_waits_for_the_next_round() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a", 1)));
    it.at(3 * HOUR, 0, Some(("a", 2)));
    it.follow();
    // The day's last version only: the first goes at once.
    it.set(policy(0, 1, 0));
    it.now(4 * HOUR);
    it.sweep_sparing(Spared { asked: Some(WallTime(2 * HOUR)), ..Spared::default() }, 10);
    assert!(it.gone(0).is_empty(), "a link may show it since");
    it.sweep_sparing(Spared { asked: Some(WallTime(4 * HOUR)), ..Spared::default() }, 10);
    assert_eq!(it.gone(0), [1]);
}

#[test]
fn what_has_no_content_of_its_own_cannot_be_pinned() {
    let mut it = Kept::new();
    it.server.set(id(0), Some((place(EntryId::TOP, "folder"), Value::Directory))).unwrap();
    it.at(HOUR, 1, Some(("file", 1)));
    it.at(2 * HOUR, 1, None);
    it.follow();
    let pin = |at: &At| pins::pin(it.history.view(), at, &pins::by(&it.service, DEVICE, String::new()));
    assert!(pin(&it.versions(0)[0]).unwrap_err().to_string().contains("it is no file"));
    assert!(pin(&it.versions(1)[1]).unwrap_err().to_string().contains("its deletion"));
    assert!(pin(&it.versions(1)[0]).is_ok());
    let long = pins::by(&it.service, DEVICE, "x".repeat(1025));
    assert!(pins::pin(it.history.view(), &it.versions(1)[0], &long).is_err());
}

#[test]
fn the_size_cap_takes_what_ended_first_and_counts_each_content_once() {
    let mut it = Kept::new();
    // Contents of 1000 bytes and a few; two files have had the same one.
    for (time, entry, content) in
        [(1, 0, 1000), (2, 0, 1001), (3, 0, 1002), (4, 1, 1001), (5, 1, 1003), (6, 1, 1004), (7, 0, 1005)]
    {
        it.at(time * HOUR, entry, Some((format!("{entry}").as_str(), content)));
    }
    it.follow();
    it.now(DAY);
    // In history are 1000 (until 2 h), 1001 (until 3 h and 5 h), 1003 (until 6 h), 1002 (until 7 h).
    let capped = |bytes| Policy { cap: Some(bytes), ..policy(FOREVER, 0, 0) };
    let open = Spared::default();
    let preview = |bytes| sweep::preview(it.history.view(), capped(bytes), WallTime(DAY), &open).unwrap();
    assert_eq!(preview(5000), (0, 0, false));
    assert_eq!(preview(4005), (1, 1000, false));
    assert_eq!(preview(3005), (3, 2001, false), "1001 goes with both that have it, or not at all");
    assert_eq!(preview(1), (5, 4006, false));
    it.set(capped(3005));
    it.sweep(&[], 3);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 2], vec![1]));
    assert!(it.versions(0)[0].version.removed.clone().unwrap().why.contains("3005 bytes"));
    it.sweep(&[], 3);
    assert_eq!((it.gone(0), it.gone(1)), (vec![1, 2], vec![1]), "what is left fits");
}

#[test]
fn versions_in_a_row_with_one_content_have_one_fate() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a", 1)));
    it.at(HOUR, 0, Some(("b", 1)));
    it.at(2 * HOUR, 0, Some(("b", 2)));
    it.at(3 * HOUR, 0, Some(("c", 2)));
    it.follow();
    it.set(policy(1, 0, 0));
    it.now(30 * DAY);
    it.sweep(&[], 1);
    // The third has the content that is there.
    assert_eq!(it.gone(0), vec![1, 2]);
}

#[test]
fn rules_are_by_the_path_that_a_file_has_or_had_last() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a.iso", 1)));
    it.at(HOUR, 0, Some(("a.txt", 2)));
    it.at(2 * HOUR, 0, Some(("a.txt", 3)));
    it.at(3 * HOUR, 1, Some(("b.txt", 4)));
    it.at(4 * HOUR, 1, Some(("b.iso", 5)));
    it.at(5 * HOUR, 1, None);
    it.follow();
    let mut rules = policy(1, 0, 0);
    rules.rules[0].glob = "*.iso".into();
    rules.rules.push(Rule { glob: String::new(), every: 100, daily: 0, weekly: 0 });
    it.set(rules);
    it.now(30 * DAY);
    it.sweep(&[], 4096);
    assert_eq!((it.gone(0), it.gone(1)), (vec![], vec![1, 2]));
    assert_eq!(it.versions(1)[0].version.removed.clone().unwrap().why, "retention of *.iso: every version for a day");
}

#[tokio::test]
async fn nothing_is_taken_while_sync_svc_cannot_be_asked_a_restore_runs_or_the_root_is_compared() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a", 1)));
    it.at(HOUR, 0, Some(("a", 2)));
    it.follow();
    it.set(policy(1, 0, 0));
    it.now(30 * DAY);
    assert!(matches!(sweep::sweep(&it.service, ROOT).await, Err(Error::SyncAway)));
    let alone = Kept::beside(Arc::new(Unheard)).service;
    assert!(matches!(sweep::sweep(&alone, ROOT).await, Err(Error::ShareAway { .. })), "it may have links");
    assert!(it.gone(0).is_empty());

    // A restore that begins while a round is on its way stops it.
    let mut round = Round::begin(&it.service, ROOT, Spared::default()).unwrap().unwrap();
    let begin = open::begin(&it.service, ROOT, DEVICE, GroupId::from_bytes([5; 16]));
    let (in_hand, ()) = tokio::join!(begin, async {
        while open::begun(Reads::latest(&*it.history.meta), ROOT).unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        it.history.meta.sync().unwrap();
    });
    assert!(matches!(round.step(&it.service, 10).unwrap(), Step::Stopped));
    assert!(open::is_restoring(&it.service, ROOT).await.unwrap());
    drop(in_hand.unwrap());
    // Of one that was begun and is not in hand, sync-svc has to say what became of it.
    assert!(matches!(open::is_restoring(&it.service, ROOT).await, Err(Error::SyncAway)));

    let mut compared = quics_meta::Batch::new();
    compared.put(crate::db::keys::repair(ROOT), Bytes::from_static(&[1]));
    it.commit(compared);
    assert!(matches!(round.step(&it.service, 10).unwrap(), Step::Stopped));
    assert!(Round::begin(&it.service, ROOT, Spared::default()).unwrap().is_none());
    let mut over = quics_meta::Batch::new();
    over.delete(crate::db::keys::repair(ROOT));
    it.commit(over);
    // Another policy by now: the round was by the old one.
    it.set(Policy { revision: 2, ..policy(100, 0, 0) });
    assert!(matches!(round.step(&it.service, 10).unwrap(), Step::Stopped));
    assert!(it.gone(0).is_empty());
}

#[test]
fn the_loser_of_a_conflict_ages_from_its_answer() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a", 1)));
    it.follow();
    let mut lost = it.versions(0)[0].version.clone();
    lost.row.value = file(9);
    // It was made an hour later, and lost two days later.
    lost.accepted = WallTime(HOUR);
    let mut batch = quics_meta::Batch::new();
    let point = Point { generation: 0, seq: 2 };
    quics_records::put(&mut batch, crate::db::keys::version(ROOT, id(0), point, 1), &lost, 0);
    let timeline = crate::db::keys::timeline(ROOT, point, id(0), 1);
    batch.put(timeline, Bytes::copy_from_slice(&(2 * DAY).to_be_bytes()));
    it.commit(batch);
    it.set(policy(1, 0, 0));
    it.now(3 * DAY);
    it.sweep(&[], 4096);
    assert!(it.gone(0).is_empty());
    it.now(3 * DAY + 1);
    it.sweep(&[], 4096);
    let gone: Vec<u32> = it.versions(0).iter().filter(|at| at.version.removed.is_some()).map(|at| at.side).collect();
    assert_eq!(gone, [1], "what it lost to is there");
}

#[test]
fn usage_tells_what_is_there_and_what_history_costs_by_child() {
    let mut it = Kept::new();
    it.server.set(id(10), Some((place(EntryId::TOP, "letters"), Value::Directory))).unwrap();
    let set = |it: &mut Kept, time: u64, entry: u64, parent, name: &str, content: u64| {
        it.server.set(id(entry), Some((place(parent, name), file(content)))).unwrap();
        let accepted = quics_proto::timestamp(Mtime::from(WallTime(time)));
        it.server.events.last_mut().unwrap().accepted_at = Some(accepted);
    };
    for (time, entry, parent, name, content) in [
        (1, 0, EntryId::TOP, "plan", 1000),
        (2, 0, EntryId::TOP, "plan", 2000),
        (3, 1, id(10), "a", 100),
        (4, 1, id(10), "a", 200),
        // The same content as an old one of the plan.
        (5, 2, id(10), "b", 1000),
        (6, 2, id(10), "b", 10),
    ] {
        set(&mut it, time * DAY, entry, parent, name, content);
    }
    it.follow();
    let first = it.versions(1)[0].clone();
    it.commit(pins::pin(it.history.view(), &first, &pins::by(&it.service, DEVICE, String::new())).unwrap());
    let of = |path: &str| {
        let path = path.split('/').filter(|name| !name.is_empty()).map(|name| Name::new(name.to_owned()).unwrap());
        usage::usage(it.history.view(), &Subject::Path(path.collect()), WallTime(7 * DAY)).unwrap()
    };
    let amounts = |usage: &quics_proto::history::v1::Usage| {
        let pair = |amount: Option<quics_proto::history::v1::Amount>| {
            let amount = amount.unwrap();
            (amount.versions, amount.bytes)
        };
        [pair(usage.now), pair(usage.history), pair(usage.pinned), pair(usage.soon)]
    };
    let whole = of("");
    // 1000 is counted once in the root, and goes with neither of its versions alone.
    assert_eq!(amounts(whole.total.as_ref().unwrap()), [(3, 2210), (3, 1100), (1, 100), (0, 0)]);
    let children: HashMap<&[u8], _> =
        whole.children.iter().map(|child| (child.path.as_ref(), amounts(child))).collect();
    assert_eq!(children[&b"plan"[..]], [(1, 2000), (1, 1000), (0, 0), (0, 0)]);
    assert_eq!(children[&b"letters"[..]], [(2, 210), (2, 1100), (1, 100), (0, 0)]);
    assert_eq!(whole.children[0].path, "plan", "the biggest first");
    let letters = of("letters");
    assert_eq!(amounts(letters.total.as_ref().unwrap()), children[&b"letters"[..]]);
    assert_eq!(letters.children.len(), 2);
    assert_eq!(amounts(of("letters/a").total.as_ref().unwrap()), [(1, 200), (1, 100), (1, 100), (0, 0)]);
    // Soon: with the usual policy all were there at the end of a week or the time in which all are kept is not over.
    it.set(policy(20, 0, 0));
    assert_eq!(amounts(of("").total.as_ref().unwrap())[3], (2, 1000));
}

#[test]
fn a_version_that_is_gone_is_told_with_its_reason_and_cannot_be_restored() {
    let mut it = Kept::new();
    it.at(0, 0, Some(("a", 1)));
    it.at(HOUR, 0, Some(("a", 2)));
    it.follow();
    it.set(policy(1, 0, 0));
    it.now(30 * DAY);
    it.sweep(&[], 4096);
    let subject = Subject::Path(vec![Name::new("a").unwrap()]);
    let moment = Some(Moment::Version { time: 1, side: 0 });
    let at = crate::query::version(it.history.view(), &subject, moment, it.service.now()).unwrap();
    let told = crate::encode::version(it.history.view(), &at).unwrap().removed.unwrap();
    assert_eq!(told.why, "retention: every version for a day");
    let to = quics_proto::history::v1::RestoreTo {
        subject: Some(quics_proto::history::v1::Subject {
            subject: Some(quics_proto::history::v1::subject::Subject::Path("a".into())),
        }),
        moment: Some(quics_proto::history::v1::Moment {
            moment: Some(quics_proto::history::v1::moment::Moment::Version(quics_proto::history::v1::VersionNumber {
                time: 1,
                side: 0,
            })),
        }),
    };
    let plan = quics_proto::history::v1::RestorePlan {
        what: Some(quics_proto::history::v1::restore_plan::What::To(to)),
        ..Default::default()
    };
    let refused = crate::restore::plan(it.history.view(), plan, None, it.service.now()).map(|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains("it went on 1970-01-31 00:00 UTC, retention: every version for a day"),
        "{refused}"
    );
    assert!(it.history.view().at(id(0), LATEST).unwrap().unwrap().version.removed.is_none());
}
