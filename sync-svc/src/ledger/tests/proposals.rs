//! Proposals, verdicts, incarnations, conflicts.

use super::*;

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
