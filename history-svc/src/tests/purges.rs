//! What a purge finds, refuses and marks.

use std::collections::HashSet;

use quics_types::GroupId;

use super::keeping::{HOUR, Kept};
use super::*;
use crate::Error;
use crate::encode::{Moment, Subject};
use crate::keep::pins;
use crate::keep::purge::{Asked, Found, Purge, Step, find, step, write};

const PURGE: GroupId = GroupId::from_bytes([9; 16]);

fn asked(path: &str, time: Option<u64>) -> Asked {
    let path = path.split('/').map(|name| Name::new(name.to_owned()).unwrap());
    Asked {
        subject: Subject::Path(path.collect()),
        moment: time.map(|time| Moment::Version { time, side: 0 }),
        reason: "a key".into(),
        until: None,
    }
}

fn found(it: &Kept, asked: &Asked) -> Result<Found, Error> {
    find(&it.service, it.history.view(), DEVICE, asked, &HashSet::new())
}

fn refused(it: &Kept, asked: &Asked) -> String {
    found(it, asked).map(|_| ()).unwrap_err().to_string()
}

/// Two files have had the secret; one of them is deleted, the other has something else by now.
fn secret() -> Kept {
    let mut it = Kept::new();
    it.at(HOUR, 0, Some(("keys", 1)));
    it.at(2 * HOUR, 0, Some(("keys", 666)));
    it.at(3 * HOUR, 1, Some(("copy", 666)));
    it.at(4 * HOUR, 1, Some(("copy", 2)));
    it.at(5 * HOUR, 0, None);
    it.at(6 * HOUR, 2, Some(("other", 3)));
    it.at(7 * HOUR, 2, Some(("other", 4)));
    it.follow();
    it.now(10 * HOUR);
    it
}

/// Marks everything, in steps of so many versions.
fn mark(it: &Kept, contents: &[quics_types::Digest], versions: usize) -> Step {
    let mut stand = None;
    for _ in 0..1000 {
        let done = step(&it.service, ROOT, PURGE, contents, stand.take(), versions).unwrap();
        it.history.meta.sync().unwrap();
        match done {
            Step::More(next, _) => stand = Some(next),
            other => return other,
        }
    }
    panic!("it does not end")
}

#[test]
fn every_version_with_the_content_goes_of_whatever_file_and_says_who_and_why() {
    for versions in [1, 2, 100] {
        let it = secret();
        let found = found(&it, &asked("keys", Some(2))).unwrap();
        assert_eq!((found.purge.versions, found.purge.contents, found.purge.bytes), (2, 1, 666));
        assert_eq!(found.purge.path, "keys");
        assert!(it.gone(0).is_empty(), "nothing is done before it is written down");
        it.commit(write(ROOT, PURGE, &found));
        assert!(matches!(mark(&it, &found.contents, versions), Step::Done(_)));
        assert_eq!((it.gone(0), it.gone(1), it.gone(2)), (vec![2], vec![1], vec![]));
        assert_eq!(it.versions(1)[0].version.removed.clone().unwrap().why, "purged by ada: a key");
        // Once more: there is nothing left to write.
        assert!(matches!(mark(&it, &found.contents, 100), Step::Done(None)));
    }
}

#[test]
fn a_deleted_file_goes_with_all_its_contents_and_what_comes_late_goes_too() {
    let mut it = secret();
    let found = found(&it, &asked("keys", None)).unwrap();
    assert_eq!((found.purge.versions, found.purge.contents), (3, 2));
    it.commit(write(ROOT, PURGE, &found));
    assert!(matches!(mark(&it, &found.contents, 3), Step::Done(_)));
    // An event that was on its way tells of the same content.
    it.at(8 * HOUR, 3, Some(("late", 666)));
    it.at(9 * HOUR, 3, Some(("late", 5)));
    it.follow();
    assert!(matches!(mark(&it, &found.contents, 3), Step::Done(_)));
    assert_eq!((it.gone(0), it.gone(3)), (vec![1, 2], vec![1]));
}

#[test]
fn what_is_there_pinned_or_in_question_is_not_purged() {
    let mut it = secret();
    let there = "copy is still there with this content on 0 devices: replace or delete it first";
    assert_eq!(refused(&it, &asked("copy", None)), there);
    assert_eq!(refused(&it, &asked("copy", Some(2))), there);
    let open: HashSet<EntryId> = [id(1)].into();
    let answer = find(&it.service, it.history.view(), DEVICE, &asked("keys", Some(2)), &open).map(|_| ()).unwrap_err();
    assert!(answer.to_string().contains("a conflict on copy is open"), "{answer}");
    assert!(refused(&it, &asked("nothing", None)).contains("nothing ever had this path"));
    assert!(refused(&it, &asked("keys", Some(3))).contains("no file"), "its deletion");
    it.server.set(id(4), Some((place(EntryId::TOP, "folder"), Value::Directory))).unwrap();
    it.follow();
    assert!(refused(&it, &asked("folder", None)).contains("no file"));
    let long = Asked { reason: "x".repeat(1025), ..asked("keys", None) };
    assert!(refused(&it, &long).contains("1024 bytes"));

    let pinned = it.versions(1)[0].clone();
    it.commit(pins::pin(it.history.view(), &pinned, &pins::by(&it.service, DEVICE, String::new())).unwrap());
    assert!(refused(&it, &asked("keys", Some(2))).contains("copy@1 is pinned"));
}

#[test]
fn a_purge_that_is_written_down_waits_for_what_came_back_and_goes_on_then() {
    let mut it = secret();
    let found = found(&it, &asked("keys", Some(2))).unwrap();
    it.commit(write(ROOT, PURGE, &found));
    it.at(8 * HOUR, 2, Some(("other", 666)));
    it.follow();
    assert!(
        matches!(mark(&it, &found.contents, 100), Step::Held(held) if held.sentence(&it.service).contains("other"))
    );
    it.at(9 * HOUR, 2, Some(("other", 7)));
    it.follow();
    assert!(matches!(mark(&it, &found.contents, 100), Step::Done(_)));
    assert_eq!((it.gone(0), it.gone(1), it.gone(2)), (vec![2], vec![1], vec![3]));
    let purge = Purge::of(it.history.view(), PURGE).unwrap().unwrap();
    assert_eq!((purge.ended, purge.why().as_str()), (None, "purged by ada: a key"));
}

#[test]
fn a_content_that_retention_took_is_purged_all_the_same() {
    let it = secret();
    it.set(super::keeping::policy(1, 0, 0));
    it.now(100 * 24 * HOUR);
    let mut round = crate::keep::sweep::Round::begin(&it.service, ROOT, Default::default()).unwrap().unwrap();
    round.step(&it.service, 100).unwrap();
    it.history.meta.sync().unwrap();
    assert_eq!(it.gone(0), [1, 2]);
    let found = found(&it, &asked("keys", None)).unwrap();
    it.commit(write(ROOT, PURGE, &found));
    assert!(matches!(mark(&it, &found.contents, 100), Step::Done(Some(_))));
    assert_eq!(it.versions(0)[0].version.removed.clone().unwrap().why, "purged by ada: a key");
}
