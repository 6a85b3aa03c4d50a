//! Answers to conflicts.

use quics_reconcile::{CandidateKey, CandidateRole, Choice};
use quics_types::ResolutionId;

use super::*;
use crate::db::answers::{Chosen, News};
use crate::db::records::Cause;
use crate::{ConflictEntry, Entry, Event};

pub(super) const OWN_A: CandidateKey = (A, CandidateRole::Own);
pub(super) const OWN_B: CandidateKey = (B, CandidateRole::Own);
pub(super) const THIRD: DeviceId = DeviceId::from_bytes([0xcc; 16]);

/// Everybody may answer.
pub(super) struct Anyone;

impl People for Anyone {
    fn may_answer(&self, _: &quics_types::Settings, _: &[DeviceId]) -> Result<(), Error> {
        Ok(())
    }
    fn device_name(&self, device: DeviceId) -> Option<String> {
        Some(format!("D{:x}", device.as_bytes()[0]))
    }
}

pub(super) fn rid(number: u8) -> ResolutionId {
    ResolutionId::from_bytes([number; 16])
}

pub(super) fn both() -> Choice {
    Choice::Both { names: Default::default() }
}

impl World {
    /// Entry 1 at `a.txt`: the server has `ours`, B's candidate is `theirs`, both made from `base`.
    pub(super) fn disputed() -> Self {
        let mut world = World::new();
        world.dispute(1, "a.txt");
        world
    }

    pub(super) fn dispute(&mut self, number: u8, name: &str) {
        self.accept(A, create(number, name, file(b"base")), Some(b"base"));
        self.accept(A, edit(number, 1, file(b"base"), file(b"ours")), Some(b"ours"));
        let verdict = self.propose(B, edit(number, 1, file(b"base"), file(b"theirs")), Some(b"theirs"));
        assert!(matches!(verdict, Verdict::Conflict { .. }), "{verdict:?}");
    }

    pub(super) fn open(&self, number: u8) -> ConflictEntry {
        let entry = self.ledger.conflict(ROOT, id(number)).unwrap().unwrap();
        assert!(entry.is_open());
        entry
    }

    pub(super) fn request_answer(&self, resolution: u8, number: u8, choice: Choice) -> Resolve {
        let revision = self.ledger.conflict(ROOT, id(number)).unwrap().map_or(0, |it| it.conflict.revision);
        let answers = vec![Answering { entry: id(number), revision, choice: Ok(choice), inline: None }];
        Resolve { root: ROOT, id: rid(resolution), device: A, answers }
    }

    pub(super) fn resolve(&self, request: &Resolve) -> Resolved {
        let resolved = self.ledger.resolve(request, &Anyone, NOW).unwrap();
        self.meta.sync().unwrap();
        resolved
    }

    /// Answers, and gives the rows of the first answer.
    pub(super) fn answer(&self, resolution: u8, number: u8, choice: Choice) -> Vec<Entry> {
        match self.resolve(&self.request_answer(resolution, number, choice)) {
            Resolved::Done(done) => rows(&done.outcomes[0].1),
            other => panic!("{other:?}"),
        }
    }

    /// What stands in the way of the only answer; the store has nothing of it.
    fn hindered(&self, request: &Resolve) -> Outcome {
        let before = self.meta.range(b"\x01", &[], 4096).unwrap();
        let Resolved::Not(mut outcomes) = self.resolve(request) else { panic!("it holds") };
        assert_eq!(self.meta.range(b"\x01", &[], 4096).unwrap(), before, "nothing changed");
        outcomes.pop().unwrap().1
    }

    pub(super) fn entry(&self, number: u8) -> Row {
        self.ledger.entry(ROOT, id(number)).unwrap().unwrap().row
    }

    pub(super) fn events(&self) -> Vec<Event> {
        let rows = self.ledger.durable().range(b"o", b"p", 4096).unwrap();
        let events = rows.into_iter().map(|(key, stored)| records::decode::<Event>(&key, stored).unwrap().record);
        events.collect()
    }
}

fn rows(outcome: &Outcome) -> Vec<Entry> {
    match outcome {
        Outcome::Resolved(rows) => rows.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_servers_state_stands_and_the_record_says_what_was_settled() {
    let world = World::disputed();
    let before = world.open(1);
    let after = world.answer(1, 1, Choice::Server);
    assert_eq!((after.len(), &after[0].row.value, after[0].seq), (1, &file(b"ours"), 2), "no new version");
    let closed = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
    assert!(!closed.is_open() && closed.conflict.revision > before.conflict.revision);
    assert_eq!(closed.news, News::Resolved);
    let resolution = closed.resolution.clone().unwrap();
    assert_eq!((resolution.id, resolution.device, resolution.resolved_at), (rid(1), A, NOW));
    assert_eq!((resolution.chosen, resolution.created.len()), (Chosen::Server, 0));
    let settled = &resolution.settled[&OWN_B];
    assert_eq!(settled.candidate, before.conflict.candidates[&OWN_B]);
    assert_eq!(settled.accepted_at, before.accepted[&OWN_B]);
    // Those who watch are told, with the row.
    let told = world.all(2).changes;
    let [Told { change: Change::Closed(of, told, row), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*of, told, &row.as_ref().unwrap().row), (id(1), &closed, &after[0].row));
    let last = world.events().pop().unwrap();
    assert_eq!((last.cause, last.new, last.resolution), (Cause::Answer, None, Some(resolution)));
    assert_eq!(world.ledger.counts(None, 1).unwrap()[0].conflicts, 0);
}

#[test]
fn a_chosen_candidate_becomes_a_version_of_the_one_who_answered() {
    let world = World::disputed();
    let after = world.answer(1, 1, Choice::Candidate(OWN_B));
    assert_eq!((&after[0].row.value, after[0].row.time, after[0].device), (&file(b"theirs"), LogicalTime(3), A));
    // Its row and the end of its conflict are one commit with one event.
    let told = world.all(3).changes;
    assert_eq!(told.iter().map(|told| told.seq).collect::<Vec<_>>(), [4, 4]);
    let event = world.events().pop().unwrap();
    assert_eq!((event.cursor.seq, event.cause, event.old.unwrap().value), (4, Cause::Answer, file(b"ours")));
    assert_eq!(event.conflict, Some((id(1), None)));
    assert_eq!(event.resolution.unwrap().chosen, Chosen::Candidate(OWN_B));
    assert_eq!(world.tree().1, world.all(0).level.unwrap().digest);
}

#[test]
fn both_makes_entries_of_their_own_each_with_a_commit_and_an_event() {
    let mut world = World::disputed();
    world.ledger.resume(ROOT, THIRD, 1).unwrap();
    world.propose(THIRD, edit(1, 1, file(b"base"), file(b"other")), Some(b"other"));
    let names = [(OWN_B, Name::new("theirs.txt").unwrap())].into();
    let after = world.answer(1, 1, Choice::Both { names });
    let names: Vec<_> = after.iter().map(|entry| entry.row.place.name.to_string()).collect();
    assert_eq!(names, ["a.txt", "theirs.txt", "a (from Dcc).txt"]);
    assert_eq!(
        after[1..].iter().map(|entry| &entry.row.value).collect::<Vec<_>>(),
        [&file(b"theirs"), &file(b"other")]
    );
    let events = world.events();
    assert_eq!(events.iter().map(|event| event.cursor.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(events[4..].iter().all(|event| event.cause == Cause::Answer));
    let created = events[6].resolution.clone().unwrap().created;
    assert_eq!(created, after[1..].iter().map(|entry| entry.row.id).collect::<Vec<_>>());
    assert_eq!(world.tree().0.len(), 3);
    assert_eq!(world.tree().1, world.all(0).level.unwrap().digest);
}

#[test]
fn a_merged_content_rides_along_or_is_missing_or_has_to_be_durable() {
    let world = World::disputed();
    let merged = |content: &[u8]| Choice::Merged { value: file(content), mtime: Mtime { seconds: 7, nanos: 0 } };
    let mut request = world.request_answer(1, 1, merged(b"together"));
    let Value::File { content, .. } = file(b"together") else { panic!() };
    assert_eq!(world.hindered(&request), Outcome::Missing(vec![content]));
    request.answers[0].inline = Some(Bytes::from_static(b"another"));
    assert!(matches!(world.ledger.resolve(&request, &Anyone, NOW), Err(Error::Inline)));
    request.answers[0].inline = Some(Bytes::from_static(b"together"));
    let Resolved::Done(done) = world.resolve(&request) else { panic!() };
    let row = rows(&done.outcomes[0].1)[0].row.clone();
    assert_eq!((row.value, row.mtime.seconds), (file(b"together"), 7));
    let page = world.all(3);
    let inline = page.changes.iter().find_map(|told| match &told.change {
        Change::Row { inline, .. } => inline.clone(),
        _ => None,
    });
    assert_eq!(inline.as_deref(), Some(&b"together"[..]));

    // One that was uploaded waits until the chunk store has it.
    let mut world = world;
    world.dispute(2, "b.txt");
    let (_, page, chunk) = inline_content(b"uploaded").unwrap();
    world.chunks.put(ROOT, &Packed::of(chunk.unwrap(), Bytes::from_static(b"uploaded"))).unwrap();
    let Value::File { content, .. } = file(b"uploaded") else { panic!() };
    world.chunks.put(ROOT, &Packed::raw(content, page)).unwrap();
    let request = world.request_answer(2, 2, merged(b"uploaded"));
    assert!(matches!(world.ledger.resolve(&request, &Anyone, NOW), Ok(Resolved::Unflushed(_))));
    world.chunks.sync();
    assert!(matches!(world.resolve(&request), Resolved::Done(_)));
}

#[test]
fn an_answer_that_is_stale_by_one_candidate_changes_nothing_and_is_shown_the_state() {
    let mut world = World::disputed();
    let request = world.request_answer(1, 1, Choice::Candidate(OWN_B));
    world.ledger.resume(ROOT, THIRD, 1).unwrap();
    world.propose(THIRD, edit(1, 1, file(b"base"), file(b"late")), Some(b"late"));
    assert_eq!(world.hindered(&request), Outcome::Stale(Box::new(world.open(1))));
    // So it is by a new version.
    let request = world.request_answer(1, 1, Choice::Candidate(OWN_B));
    world.accept(A, edit(1, 2, file(b"ours"), file(b"newer")), Some(b"newer"));
    assert_eq!(world.open(1).news, News::NewVersion);
    assert!(matches!(world.hindered(&request), Outcome::Stale(_)));
    world.answer(2, 1, Choice::Candidate(OWN_B));
}

#[test]
fn of_two_answers_at_once_exactly_one_wins_and_the_other_hears_of_it() {
    let world = World::disputed();
    let mine = world.request_answer(1, 1, Choice::Server);
    let yours = Resolve { device: B, id: rid(2), ..world.request_answer(1, 1, Choice::Candidate(OWN_B)) };
    // Neither is durable when the second one comes.
    let first = world.ledger.resolve(&mine, &Anyone, NOW).unwrap();
    let second = world.ledger.resolve(&yours, &Anyone, NOW).unwrap();
    assert!(matches!(first, Resolved::Done(_)));
    let Resolved::Not(outcomes) = second else { panic!("{second:?}") };
    let Outcome::Closed(Some(by)) = &outcomes[0].1 else { panic!("{outcomes:?}") };
    assert_eq!((by.id, by.device, by.chosen), (rid(1), A, Chosen::Server));
    world.meta.sync().unwrap();
    assert_eq!(world.entry(1).value, file(b"ours"));
}

#[test]
fn what_is_over_or_never_was_or_is_not_there_or_cannot_be_is_told_by_itself() {
    let mut world = World::disputed();
    assert_eq!(world.hindered(&world.request_answer(1, 9, Choice::Server)), Outcome::Closed(None));
    let gone = world.hindered(&world.request_answer(1, 1, Choice::Candidate(OWN_A)));
    assert_eq!(gone, Outcome::CandidateGone(Box::new(world.open(1))));
    let wish = |name: &str| Choice::Both { names: [(OWN_B, Name::new(name.to_owned()).unwrap())].into() };
    let taken = world.hindered(&world.request_answer(1, 1, wish("a.txt")));
    assert_eq!(taken, Outcome::BadName { name: "a.txt".into(), reason: "it is taken" });
    let mut request = world.request_answer(1, 1, Choice::Server);
    request.answers[0].choice = Err("a/b".into());
    assert!(matches!(world.hindered(&request), Outcome::BadName { .. }));
    // A directory with something in it is not deleted.
    world.accept(A, create(2, "d", Value::Directory), None);
    world.accept(A, chmod(2, 1, 0o700), None);
    let below = Place { parent: id(2), name: Name::new("f").unwrap() };
    let inside = Proposal::Create { id: id(3), place: below, value: file(b""), mode: 0o600, mtime: Mtime::default() };
    world.propose(A, inside, Some(b""));
    world.propose(B, delete(2, 0, Value::Directory), None);
    let full = world.hindered(&world.request_answer(1, 2, Choice::Candidate(OWN_B)));
    assert!(matches!(full, Outcome::NotPossible(_)), "{full:?}");
    // Taken back: over, by no answer.
    world.propose(B, edit(1, 1, file(b"base"), file(b"base")), Some(b"base"));
    assert_eq!(world.ledger.conflict(ROOT, id(1)).unwrap().unwrap().news, News::Withdrawn);
    assert_eq!(world.hindered(&world.request_answer(1, 1, Choice::Server)), Outcome::Closed(None));
}

#[test]
fn all_answers_hold_or_none() {
    let mut world = World::disputed();
    world.dispute(2, "b.txt");
    let mut request = world.request_answer(1, 1, Choice::Candidate(OWN_B));
    request.answers.extend(world.request_answer(1, 2, Choice::Candidate(OWN_A)).answers);
    let Resolved::Not(outcomes) = world.resolve(&request) else { panic!() };
    assert!(matches!(&outcomes[..], [(_, Outcome::Resolved(_)), (_, Outcome::CandidateGone(_))]), "{outcomes:?}");
    assert_eq!((world.open(1).conflict.candidates.len(), world.entry(1).value), (1, file(b"ours")));
    request.answers[1].choice = Ok(both());
    let before = world.ledger.level(ROOT).unwrap().cursor.seq;
    let Resolved::Done(done) = world.resolve(&request) else { panic!() };
    // The row and the end of the first, the new entry and the end of the second.
    assert_eq!((done.outcomes.len(), done.seq), (2, before + 3));
    assert_eq!(world.entry(1).value, file(b"theirs"));
    assert_eq!(world.tree().0.len(), 3);
}

#[test]
fn later_answers_of_one_call_see_what_earlier_ones_made() {
    let mut world = World::disputed();
    world.dispute(2, "b.txt");
    let wish = |name: &str| Choice::Both { names: [(OWN_B, Name::new(name.to_owned()).unwrap())].into() };
    let mut request = world.request_answer(1, 1, wish("same"));
    request.answers.extend(world.request_answer(1, 2, wish("same")).answers);
    let Resolved::Not(outcomes) = world.resolve(&request) else { panic!() };
    assert!(matches!(&outcomes[..], [(_, Outcome::Resolved(_)), (_, Outcome::BadName { .. })]), "{outcomes:?}");
}

#[test]
fn the_same_answer_again_gets_the_same_outcomes_and_changes_nothing_also_after_a_restart() {
    let world = World::disputed();
    let request = world.request_answer(1, 1, both());
    let Ok(Resolved::Done(first)) = world.ledger.resolve(&request, &Anyone, NOW) else { panic!() };
    let Ok(Resolved::Done(queued)) = world.ledger.resolve(&request, &Anyone, NOW) else { panic!() };
    assert!(queued.receipt.is_some() && !queued.changed, "the first one is not durable yet");
    world.meta.sync().unwrap();
    let Resolved::Done(again) = world.resolve(&request) else { panic!() };
    let world = world.crash(7);
    let Resolved::Done(later) = world.resolve(&request) else { panic!() };
    for replayed in [queued, again, later] {
        assert_eq!((&replayed.outcomes, replayed.seq), (&first.outcomes, first.seq));
    }
    assert_eq!(world.ledger.level(ROOT).unwrap().cursor.seq, first.seq);
    let others = Resolve { device: B, ..request };
    assert!(matches!(world.ledger.resolve(&others, &Anyone, NOW), Err(Error::Protocol(_))));
}

#[test]
fn an_answer_that_was_not_durable_leaves_the_conflict_as_it_was() {
    let world = World::disputed();
    let before = world.open(1);
    let request = world.request_answer(1, 1, Choice::Candidate(OWN_B));
    assert!(matches!(world.ledger.resolve(&request, &Anyone, NOW), Ok(Resolved::Done(_))));
    let world = world.crash(7);
    assert_eq!((world.open(1), world.entry(1).value), (before, file(b"ours")));
    assert!(world.ledger.resolutions(ROOT, None, 10).unwrap().resolutions.is_empty());
    assert!(matches!(world.resolve(&request), Resolved::Done(_)), "it can be given again");
}

#[test]
fn whoever_may_not_answer_changes_nothing() {
    struct Nobody;
    impl People for Nobody {
        fn may_answer(&self, settings: &quics_types::Settings, whose: &[DeviceId]) -> Result<(), Error> {
            assert_eq!((settings.revision, whose), (0, &[B][..]));
            Err(quics_kit::members::Denied::NotMember.into())
        }
        fn device_name(&self, _: DeviceId) -> Option<String> {
            None
        }
    }
    let world = World::disputed();
    let request = world.request_answer(1, 1, Choice::Server);
    assert!(matches!(world.ledger.resolve(&request, &Nobody, NOW), Err(Error::Denied(_))));
    world.answer(1, 1, Choice::Server);
    let undo = Undo { root: ROOT, resolution: rid(1), id: rid(2), device: A };
    assert!(matches!(world.ledger.undo(&undo, &Nobody, NOW), Err(Error::Denied(_))));
}

#[test]
fn a_conflict_that_opens_again_tells_those_who_were_away_what_was_settled() {
    let mut world = World::disputed();
    world.answer(1, 1, Choice::Server);
    let settled = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
    world.ledger.resume(ROOT, THIRD, 1).unwrap();
    world.propose(THIRD, edit(1, 1, file(b"base"), file(b"late")), Some(b"late"));
    let told = world.all(0).changes;
    let Some(Told { change: Change::Conflict(_, open), .. }) = told.last() else { panic!("{told:?}") };
    assert_eq!((open.is_open(), &open.resolution), (true, &settled.resolution));
    assert!(open.conflict.revision > settled.conflict.revision);
    assert_eq!(open.news, News::NewCandidate);
}

#[test]
fn a_conflict_has_no_more_candidates_than_it_can_have() {
    let mut world = World::disputed();
    for device in 1..limits::CANDIDATES {
        let device = DeviceId::from_bytes([device as u8 + 0x10; 16]);
        world.ledger.resume(ROOT, device, 1).unwrap();
        let verdict = world.propose(device, edit(1, 1, file(b"base"), file(b"more")), Some(b"more"));
        assert!(matches!(verdict, Verdict::Conflict { .. }));
    }
    world.ledger.resume(ROOT, THIRD, 1).unwrap();
    let verdict = world.propose(THIRD, edit(1, 1, file(b"base"), file(b"one")), Some(b"one"));
    assert_eq!(verdict, Verdict::Refused(Refusal::Crowded));
    let verdict = world.propose(B, edit(1, 1, file(b"base"), file(b"other")), Some(b"other"));
    assert!(matches!(verdict, Verdict::Conflict { .. }), "one that is there is replaced");
}

#[test]
fn what_is_too_much_for_one_commit_changes_nothing_and_a_thousand_answers_fit() {
    let mut world = World::new();
    let mut many = Resolve { root: ROOT, id: rid(1), device: A, answers: Vec::new() };
    for number in 0..limits::ANSWERS as u32 {
        let mut id = [0x11; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let id = EntryId::from_bytes(id);
        let (value, mtime) = (file(b"base"), Mtime::default());
        let place = at(&format!("{number}.txt"));
        world.queue(A, Proposal::Create { id, place, value, mode: 0o644, mtime }, Some(b"base"));
        let change = |base_time, base, value| {
            let content = Some(ContentChange { base_time: LogicalTime(base_time), base: Some(base), value, mtime });
            Proposal::Change(quics_reconcile::Change { id, content, place: None, attributes: None })
        };
        world.queue(A, change(1, file(b"base"), file(b"ours")), Some(b"ours"));
        let judged = world.queue(B, change(1, file(b"base"), file(b"theirs")), Some(b"theirs"));
        let Verdict::Conflict { revision, .. } = judged.entry.verdict else { panic!() };
        world.meta.sync().unwrap();
        let content = vec![number as u8; limits::INLINE_BYTES - number as usize];
        let choice = Ok(Choice::Merged { value: file(&content), mtime });
        many.answers.push(Answering { entry: id, revision, choice, inline: Some(content.into()) });
    }
    let seq = world.ledger.level(ROOT).unwrap().cursor.seq;
    let refused = world.ledger.resolve(&many, &Anyone, NOW);
    assert!(matches!(refused, Err(Error::Meta(quics_meta::Error::TooLarge { .. }))), "{refused:?}");
    world.meta.sync().unwrap();
    assert_eq!(world.ledger.level(ROOT).unwrap().cursor.seq, seq);
    for answering in &mut many.answers {
        (answering.choice, answering.inline) = (Ok(both()), None);
    }
    let Resolved::Done(done) = world.resolve(&many) else { panic!() };
    assert_eq!((done.outcomes.len(), done.seq), (limits::ANSWERS, seq + 2 * limits::ANSWERS as u64));
    assert_eq!(world.tree().0.len(), 2 * limits::ANSWERS);
    let undo = Undo { root: ROOT, resolution: rid(1), id: rid(2), device: A };
    let undone = world.ledger.undo(&undo, &Anyone, NOW).unwrap().unwrap();
    assert_eq!((undone.turned.len(), undone.changed.len()), (limits::ANSWERS, 0));
    world.meta.sync().unwrap();
    assert_eq!(world.tree().0.len(), limits::ANSWERS);
    assert_eq!(world.tree().1, world.ledger.level(ROOT).unwrap().digest);
}

#[test]
fn only_so_many_resolutions_are_kept_and_listed_the_newest_first() {
    let mut world = World::new();
    world.accept(A, create(1, "a.txt", file(b"base")), Some(b"base"));
    world.accept(A, edit(1, 1, file(b"base"), file(b"ours")), Some(b"ours"));
    let count = RESOLUTIONS + 3;
    let resolution = |number: u64| {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        ResolutionId::from_bytes(id)
    };
    for number in 0..count {
        world.propose(B, edit(1, 1, file(b"base"), file(b"theirs")), Some(b"theirs"));
        let request = Resolve { id: resolution(number), ..world.request_answer(1, 1, Choice::Server) };
        assert!(matches!(world.resolve(&request), Resolved::Done(_)), "{number}");
    }
    let (mut before, mut listed) = (None, Vec::new());
    for _ in 0..100 {
        let page = world.ledger.resolutions(ROOT, before, 100).unwrap();
        listed.extend(page.resolutions.into_iter().map(|(id, _)| id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let newest: Vec<_> = (3..count).rev().map(resolution).collect();
    assert_eq!(listed, newest);
    assert_eq!(world.ledger.counts(None, 1).unwrap()[0].resolutions, RESOLUTIONS);
    for tag in [b'q', b'u', b't'] {
        let (from, to) = keys::all(tag, Some(ROOT));
        assert_eq!(world.meta.range(&from, &to, 4096).unwrap().len() as u64, RESOLUTIONS);
    }
    let undo = Undo { root: ROOT, resolution: resolution(0), id: rid(9), device: A };
    assert!(world.ledger.undo(&undo, &Anyone, NOW).unwrap().is_none(), "it is forgotten");
}

#[test]
fn settings_are_told_and_changed_only_from_what_they_are() {
    let mut world = World::new();
    world.accept(A, create(1, "a", Value::Directory), None);
    let mut settings = world.ledger.settings(ROOT).unwrap();
    assert_eq!(settings, quics_types::Settings::default());
    settings.reminder_hours = 5;
    let Changed::Done(_, changed) = world.ledger.set_settings(ROOT, A, settings.clone(), NOW).unwrap() else {
        panic!()
    };
    assert_eq!((changed.revision, changed.reminder_hours), (1, 5));
    assert_eq!(world.ledger.settings(ROOT).unwrap().revision, 0, "it is not durable yet");
    world.meta.sync().unwrap();
    let stale = world.ledger.set_settings(ROOT, A, settings, NOW).unwrap();
    assert!(matches!(stale, Changed::Stale(there) if there == changed));
    let told = world.all(1).changes;
    assert_eq!(told, [Told { seq: 2, change: Change::Settings(changed.clone()) }]);
    let again = world.ledger.set_settings(ROOT, B, changed, NOW).unwrap();
    assert!(matches!(again, Changed::Done(..)));
    world.meta.sync().unwrap();
    assert_eq!(world.all(1).changes.iter().map(|told| told.seq).collect::<Vec<_>>(), [3], "only the newest are told");
    assert_eq!(world.events()[2].cause, Cause::Settings);
    world.ledger.acknowledge(ROOT, A, world.ledger.cursor(3)).unwrap();
    world.ledger.write_acknowledged().unwrap();
    world.meta.sync().unwrap();
    world.ledger.prune(ROOT, &[A]).unwrap();
    world.meta.sync().unwrap();
    assert_eq!(world.all(0).changes.len(), 2, "settings are not pruned");
}
