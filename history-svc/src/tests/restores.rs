use quics_proto::history::v1 as history;
use quics_types::{EntryId, GroupId};

use super::*;
use crate::restore;

fn to_commit(seq: u64) -> history::RestorePlan {
    let moment = history::Moment { moment: Some(history::moment::Moment::Seq(seq)) };
    let to = history::RestoreTo { subject: None, moment: Some(moment) };
    history::RestorePlan { what: Some(history::restore_plan::What::To(to)), ..Default::default() }
}

fn undo(group: GroupId) -> history::RestorePlan {
    let id = Bytes::copy_from_slice(group.as_bytes());
    history::RestorePlan { what: Some(history::restore_plan::What::UndoGroupId(id)), ..Default::default() }
}

fn subject(path: &str) -> Option<history::Subject> {
    Some(history::Subject { subject: Some(history::subject::Subject::Path(Bytes::copy_from_slice(path.as_bytes()))) })
}

fn of_path(path: &str, seq: u64) -> history::RestorePlan {
    let moment = history::Moment { moment: Some(history::moment::Moment::Seq(seq)) };
    let to = history::RestoreTo { subject: subject(path), moment: Some(moment) };
    history::RestorePlan { what: Some(history::restore_plan::What::To(to)), ..Default::default() }
}

fn preview(told: &History, plan: history::RestorePlan) -> (Vec<history::RestoreChange>, history::RestoreSummary) {
    let planned = restore::plan(told.view(), plan, None, Server::moment(u64::from(u32::MAX))).unwrap();
    let mut changes = Vec::new();
    let summary = restore::preview::tell(&planned, |some| {
        changes.extend(some);
        true
    });
    (changes, summary.unwrap().unwrap())
}

/// Has the server carry a restore out by its rules; every change has to be allowed.
fn carry_out(server: &mut Server, told: &History, plan: history::RestorePlan, group: GroupId) -> Result<u64, String> {
    let planned = restore::plan(told.view(), plan, Some(server.seq), Server::moment(u64::from(u32::MAX))).unwrap();
    server.group = Bytes::copy_from_slice(group.as_bytes());
    let mut made = 0;
    for step in &planned.plan.steps {
        let change = planned.change(step).unwrap().unwrap();
        let target = Row::try_from(change.target.unwrap()).unwrap();
        let now = server.rows.get(&target.id);
        assert_eq!(now.map_or(0, |row| row.time.0), change.base_time, "{}", target.id);
        assert_eq!(now.is_some_and(|row| row.dead), change.base_tombstone);
        server.set(target.id, (!target.dead).then_some((target.place, target.value)))?;
        made += 1;
    }
    server.group = Bytes::new();
    Ok(made)
}

#[test]
fn every_moment_of_a_random_life_comes_back_and_goes_again() {
    for seed in 1..150 {
        let mut dice = Dice::of(seed);
        let (mut server, mut told) = (Server::default(), History::new());
        let mut copies = Vec::new();
        for _ in 0..80 {
            server.live_on(&mut dice);
            copies.push((server.seq, server.tree()));
        }
        told.follow(&server, 16);
        let before = server.tree();
        let (seq, then) = copies.swap_remove(dice.roll(copies.len() as u64) as usize);
        if seq == 0 {
            continue;
        }
        let (changes, summary) = preview(&told, to_commit(seq));
        assert!(changes.is_sorted_by_key(|change| match change.path_then.is_empty() {
            true => change.path_now.clone(),
            false => change.path_then.clone(),
        }));
        assert_eq!((summary.lost, summary.stays, summary.to_seq), (0, 0, seq));
        let group = GroupId::from_bytes([seed as u8; 16]);
        let made =
            carry_out(&mut server, &told, to_commit(seq), group).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(server.tree(), then, "seed {seed}");
        told.follow(&server, 16);
        let (again, _) = preview(&told, to_commit(seq));
        assert_eq!(again, [], "seed {seed}: it is so already");
        if made == 0 {
            continue;
        }
        let listed = crate::query::restores::list(told.view(), &Default::default(), &Default::default()).unwrap();
        assert_eq!((listed.restores.len(), listed.restores[0].changes), (1, made));
        carry_out(&mut server, &told, undo(group), GroupId::from_bytes([0xee; 16]))
            .unwrap_or_else(|why| panic!("seed {seed}, undone: {why}"));
        assert_eq!(server.tree(), before, "seed {seed}: undone");
    }
}

/// The device's own time of what was told last.
fn made_at(server: &mut Server, seq: u64) {
    let made = quics_types::Mtime::from(Server::moment(seq));
    server.events.last_mut().unwrap().changed_at = Some(quics_proto::timestamp(made));
}

#[test]
fn what_was_made_before_the_moment_and_came_after_it_is_listed_whatever_came_behind() {
    let top = EntryId::TOP;
    // What happened behind the moment (when it was made, by the device's clock), and whether something was late.
    let after = |made: &[u64], gone: bool, many: u64| {
        let mut server = Server::default();
        server.set(id(0), Some((place(top, "a"), file(1)))).unwrap();
        server.set(id(1), Some((place(top, "b"), file(1)))).unwrap();
        for (number, made) in (0..).zip(made) {
            server.set(id(0), Some((place(top, "a"), file(10 + number)))).unwrap();
            made_at(&mut server, *made);
            for again in 0..many {
                server.set(id(0), Some((place(top, "a"), file(1000 + again)))).unwrap();
                let seq = server.seq;
                made_at(&mut server, seq);
            }
        }
        if gone {
            server.set(id(0), None).unwrap();
        }
        let mut told = History::new();
        told.follow(&server, 100);
        let (changes, summary) = preview(&told, to_commit(2));
        assert_eq!((changes.len(), u64::from(changes[0].late)), (1, summary.late));
        changes[0].late
    };
    assert!(after(&[1], false, 0), "the newest");
    assert!(after(&[1, 4], false, 0), "one with another behind it");
    assert!(after(&[3, 2, 5], false, 0), "one in between");
    assert!(after(&[1], true, 0), "one that was deleted then");
    assert!(after(&[1], false, 1500), "one of very many");
    assert!(!after(&[3], false, 0) && !after(&[3, 4], false, 0) && !after(&[3], true, 600), "none");
}

#[test]
fn a_directory_comes_back_and_what_is_around_it_stays() {
    let mut server = Server::default();
    let top = EntryId::TOP;
    server.set(id(0), Some((place(top, "dir"), Value::Directory))).unwrap();
    server.set(id(1), Some((place(id(0), "a"), file(1)))).unwrap();
    server.set(id(2), Some((place(id(0), "b"), file(2)))).unwrap();
    server.set(id(3), Some((place(top, "other"), file(3)))).unwrap();
    let then = server.tree();
    server.set(id(1), Some((place(id(0), "a"), file(10)))).unwrap();
    server.set(id(2), Some((place(top, "moved"), file(2)))).unwrap();
    server.set(id(4), Some((place(id(0), "new"), file(4)))).unwrap();
    server.set(id(3), Some((place(top, "other"), file(30)))).unwrap();
    let mut told = History::new();
    told.follow(&server, 100);

    let (changes, summary) = preview(&told, of_path("dir", 4));
    let kinds: Vec<_> =
        changes.iter().map(|change| (String::from_utf8_lossy(&change.path_then).into_owned(), change.kind())).collect();
    use history::RestoreKind as Kind;
    assert_eq!(
        kinds,
        [("dir/a".to_owned(), Kind::Change), ("dir/b".to_owned(), Kind::Move), (String::new(), Kind::Delete),]
    );
    assert_eq!((summary.changed, summary.moved, summary.deleted, summary.bytes), (1, 1, 1, 1));
    let kept = history::RestorePlan { keep_new: true, ..of_path("dir", 4) };
    let (changes, summary) = preview(&told, kept);
    assert_eq!((changes.len(), summary.changed, summary.unchanged), (1, 1, 2));
    let only = history::RestorePlan { only: vec!["n*".into()], ..of_path("dir", 4) };
    let (changes, _) = preview(&told, only);
    assert_eq!(changes.iter().map(|change| change.kind()).collect::<Vec<_>>(), [Kind::Delete]);

    carry_out(&mut server, &told, of_path("dir", 4), GroupId::from_bytes([1; 16])).unwrap();
    let mut expected = then;
    expected.insert("other".into(), (id(3), file(30)));
    assert_eq!(server.tree(), expected);
}

#[test]
fn a_file_of_a_deleted_directory_comes_back_with_its_directory() {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "dir"), Value::Directory))).unwrap();
    server.set(id(1), Some((place(id(0), "a"), file(1)))).unwrap();
    server.set(id(2), Some((place(id(0), "b"), file(2)))).unwrap();
    let seq = server.seq;
    for gone in [1, 2, 0] {
        server.set(id(gone), None).unwrap();
    }
    let mut told = History::new();
    told.follow(&server, 100);
    let (changes, summary) = preview(&told, of_path("dir/a", seq));
    assert_eq!(changes.iter().map(|change| &change.path_then[..]).collect::<Vec<_>>(), [&b"dir"[..], b"dir/a"]);
    assert_eq!(summary.created, 2);
    carry_out(&mut server, &told, of_path("dir/a", seq), GroupId::from_bytes([1; 16])).unwrap();
    assert_eq!(server.tree().keys().collect::<Vec<_>>(), ["dir", "dir/a"]);
}

#[test]
fn what_has_changed_since_a_restore_stays_when_it_is_undone() {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(1)))).unwrap();
    server.set(id(1), Some((place(EntryId::TOP, "b"), file(1)))).unwrap();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(2)))).unwrap();
    server.set(id(1), Some((place(EntryId::TOP, "b"), file(2)))).unwrap();
    let mut told = History::new();
    told.follow(&server, 100);
    let group = GroupId::from_bytes([1; 16]);
    assert_eq!(carry_out(&mut server, &told, to_commit(2), group), Ok(2));
    server.set(id(1), Some((place(EntryId::TOP, "b"), file(7)))).unwrap();
    told.follow(&server, 100);
    let (changes, summary) = preview(&told, undo(group));
    use history::RestoreKind as Kind;
    assert_eq!(changes.iter().map(|change| change.kind()).collect::<Vec<_>>(), [Kind::Change, Kind::Stays]);
    assert_eq!((summary.changed, summary.stays), (1, 1));
}

#[test]
fn a_restore_that_cannot_be_is_refused_in_one_sentence() {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(1)))).unwrap();
    server.set(id(1), Some((place(EntryId::TOP, "b"), file(1)))).unwrap();
    let mut told = History::new();
    told.follow(&server, 100);
    let refused = |plan, from| match restore::plan(told.view(), plan, from, Server::moment(100)) {
        Ok(_) => panic!("it is refused"),
        Err(error) => error.to_string(),
    };
    assert!(refused(of_path("b", 1), None).contains("not there then"));
    assert!(refused(of_path("c", 1), None).contains("nothing ever had this path"));
    assert!(refused(undo(GroupId::from_bytes([9; 16])), None).contains("no restore"));
    assert!(refused(history::RestorePlan::default(), None).contains("missing"));
    assert!(refused(to_commit(1), Some(9)).contains("preview"));
    let bad = history::RestorePlan { only: vec!["a".into(); 300], ..to_commit(1) };
    assert!(refused(bad, None).contains("patterns"));
}
