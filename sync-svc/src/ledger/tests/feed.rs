//! What is told: feed, levels, cursors, tombstones, crashes.

use super::*;

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
        let page = world.ledger.feed(ROOT, after, 1000, Inlined::Nothing).unwrap();
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
    assert_eq!(verdict, Verdict::Conflict { id: id(1), revision: 3 });
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
    assert_eq!(closed.conflict.revision, 4);
    assert_eq!(world.ledger.counts(None, 1).unwrap()[0].conflicts, 0);
    let verdict = world.propose(B, edit(1, 1, file(b"base"), file(b"from b")), Some(b"from b"));
    assert_eq!(verdict, Verdict::Conflict { id: id(1), revision: 5 });
    assert!(world.ledger.conflicts(ROOT, None, 10).unwrap().conflicts.len() == 1);
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
