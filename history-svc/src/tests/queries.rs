use quics_proto::history::v1 as history;
use quics_types::EntryId;

use super::*;
use crate::encode::{Moment, Subject};
use crate::{Error, encode, query};

fn told() -> (Server, History) {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "dir"), Value::Directory))).unwrap();
    server.set(id(1), Some((place(id(0), "plan"), file(1)))).unwrap();
    server.set(id(1), Some((place(id(0), "plan"), file(2)))).unwrap();
    server.set(id(0), Some((place(EntryId::TOP, "folder"), Value::Directory))).unwrap();
    server.set(id(1), Some((place(EntryId::TOP, "old"), file(2)))).unwrap();
    server.set(id(2), Some((place(id(0), "plan"), file(9)))).unwrap();
    server.set(id(1), None).unwrap();
    let mut history = History::new();
    history.follow(&server, 100);
    (server, history)
}

fn asked(path: &str) -> history::ListVersionsRequest {
    let subject = history::subject::Subject::Path(Bytes::copy_from_slice(path.as_bytes()));
    let subject = (!path.is_empty()).then_some(history::Subject { subject: Some(subject) });
    history::ListVersionsRequest { subject, ..Default::default() }
}

/// Asks in pages of this size until the last one.
fn list(told: &History, request: history::ListVersionsRequest, size: u32) -> Vec<history::Version> {
    let mut request = history::ListVersionsRequest { page_size: size, ..request };
    let mut versions = Vec::new();
    for _ in 0..1000 {
        let page = query::versions::list(told.view(), request.clone()).unwrap();
        assert!(page.versions.len() <= size as usize);
        versions.extend(page.versions);
        if page.next_page_token.is_empty() {
            return versions;
        }
        request.page_token = page.next_page_token;
    }
    panic!("the pages do not end");
}

fn shown(versions: &[history::Version]) -> Vec<(String, u64, history::Cause)> {
    let path = |version: &history::Version| String::from_utf8_lossy(&version.path).into_owned();
    versions.iter().map(|it| (path(it), it.row.as_ref().unwrap().time, it.cause())).collect()
}

#[test]
fn a_files_versions_follow_it_through_its_moves_and_those_above_it() {
    let (_, told) = told();
    use history::Cause;
    let life = [
        ("old".to_owned(), 4, Cause::Delete),
        ("old".to_owned(), 3, Cause::Move),
        ("dir/plan".to_owned(), 2, Cause::Edit),
        ("dir/plan".to_owned(), 1, Cause::Create),
    ];
    for size in [1, 2, 100] {
        let versions = list(&told, asked("old"), size);
        assert_eq!(shown(&versions), life);
        assert_eq!(&versions[1].moved_from[..], b"folder/plan");
        assert!(versions.iter().all(|version| version.missing == 0 && version.device_name == "device 2"));
        // A path that only the directory's old name makes, of what is not there any more.
        assert_eq!(shown(&list(&told, asked("folder/plan"), size)), [("folder/plan".to_owned(), 1, Cause::Create)]);
    }
}

#[test]
fn a_paths_versions_are_of_all_that_had_it() {
    let (_, told) = told();
    let request = history::ListVersionsRequest { by_path: true, ..asked("folder/plan") };
    for size in [1, 2, 100] {
        let shown: Vec<_> =
            shown(&list(&told, request.clone(), size)).into_iter().map(|(path, time, _)| (path, time)).collect();
        let all = [("folder/plan".to_owned(), 1), ("dir/plan".to_owned(), 2), ("dir/plan".to_owned(), 1)];
        assert_eq!(shown, all);
    }
}

#[test]
fn a_roots_versions_can_be_filtered_and_come_in_pages_without_gaps() {
    let (_, told) = told();
    let all = list(&told, asked(""), 100);
    assert_eq!(all.len(), 7);
    let seqs: Vec<u64> = all.iter().map(|version| version.cursor.unwrap().seq).collect();
    assert_eq!(seqs, [7, 6, 5, 4, 3, 2, 1]);
    for size in [1, 2, 3] {
        assert_eq!(list(&told, asked(""), size), all);
    }
    let count = |change: &dyn Fn(&mut history::ListVersionsRequest)| {
        let mut request = asked("");
        change(&mut request);
        list(&told, request, 2).iter().map(|version| version.cursor.unwrap().seq).collect::<Vec<_>>()
    };
    assert_eq!(count(&|request| request.since = encode::stamp(Server::moment(6))), [7, 6]);
    assert_eq!(count(&|request| request.until = encode::stamp(Server::moment(2))), [2, 1]);
    assert_eq!(count(&|request| request.deleted = true), [7]);
    assert_eq!(count(&|request| request.device = "device 2".into()).len(), 7);
    assert_eq!(count(&|request| request.device = DEVICE.to_string()).len(), 7);
    assert_eq!(count(&|request| request.device = "device 3".into()).len(), 0);
    assert_eq!(count(&|request| request.user = "eve".into()).len(), 0);
}

#[test]
fn what_was_not_there_is_told_in_one_sentence() {
    let (_, told) = told();
    let get = |path: &str, moment: Option<Moment>| {
        let subject = Subject::Path(encode::path(path.as_bytes()).unwrap());
        match query::version(told.view(), &subject, moment, Server::moment(100)) {
            Ok(at) => Ok((at.row().id, at.row().time.0)),
            Err(Error::Nothing(why)) => Err(why),
            Err(other) => panic!("{other}"),
        }
    };
    let time = |time| Some(Moment::Version { time, side: 0 });
    assert_eq!(get("folder/plan", None), Ok((id(2), 1)));
    assert_eq!(get("dir/plan", Some(Moment::Seq(3))), Ok((id(1), 2)));
    assert_eq!(get("old", time(2)), Ok((id(1), 2)), "by the number, whatever its path was");
    assert_eq!(get("folder", Some(Moment::Seq(2))), Ok((id(0), 1)), "what is there now was elsewhere then");
    assert!(get("old", None).unwrap_err().contains("deleted; its last version before that is 3"));
    assert!(get("old", time(9)).unwrap_err().contains("not there yet: the newest is 4"));
    assert!(get("old", Some(Moment::Version { time: 2, side: 1 })).unwrap_err().contains("no side 1"));
    assert!(get("folder/plan", Some(Moment::Seq(1))).is_err());
    assert!(get("nowhere", None).unwrap_err().contains("nothing ever had this path"));
    assert!(get("old", Some(Moment::Seq(8))).unwrap_err().contains("reaches up to commit 7"));
    assert!(get("old", Some(Moment::Time(WallTime(5)))).unwrap_err().contains("begins later"));
    let future = query::point(told.view(), Some(Moment::Time(WallTime(5))), WallTime(4)).unwrap_err();
    assert!(future.to_string().contains("still to come"));
    assert!(encode::path(b"a/../b").is_err() && encode::path(b"/a").is_err());
}

#[test]
fn what_lost_a_conflict_is_a_version_beside_what_it_lost_to() {
    let (mut server, mut told) = told();
    let candidate = |device: u8, content: u64| sync::Candidate {
        device_id: vec![device; 16].into(),
        role: sync::CandidateRole::Own as i32,
        value: Some((&file(content)).into()),
        mode: 0o600,
        ..Default::default()
    };
    let answer = |server: &mut Server, settled: Vec<sync::Candidate>| {
        let event = server.tell(None, None);
        event.cause = sync::EventCause::Answer as i32;
        event.answered_entry_id = Bytes::copy_from_slice(id(2).as_bytes());
        event.resolution =
            Some(sync::Resolution { choice: sync::ResolutionChoice::Server as i32, settled, ..Default::default() });
    };
    answer(&mut server, vec![candidate(7, 70), candidate(8, 80)]);
    told.follow(&server, 10);
    // Another conflict at the same logical time: its losers are further sides.
    answer(&mut server, vec![candidate(9, 90)]);
    told.follow(&server, 10);
    let versions = list(&told, asked("folder/plan"), 100);
    let shown: Vec<_> =
        versions.iter().map(|it| (it.row.as_ref().unwrap().time, it.side, it.device_name.as_str())).collect();
    assert_eq!(shown, [(1, 3, "device 9"), (1, 2, "device 8"), (1, 1, "device 7"), (1, 0, "device 2")]);
    let subject = Subject::Entry(id(2));
    for (side, content) in [(0, 9), (1, 70), (2, 80), (3, 90)] {
        let moment = Some(Moment::Version { time: 1, side });
        let at = query::version(told.view(), &subject, moment, Server::moment(100)).unwrap();
        assert_eq!(at.row().value, file(content), "side {side}");
    }
    // What lost is no state of the entry.
    let now = query::version(told.view(), &subject, None, Server::moment(100)).unwrap();
    assert_eq!(now.row().value, file(9));
}

#[test]
fn versions_that_were_never_told_are_shown_as_missing() {
    let (server, _) = told();
    let told = History::new();
    let events: Vec<_> = server.events.iter().filter(|event| event.cursor.unwrap().seq != 3).cloned().collect();
    told.apply(&events);
    let missing: Vec<_> = list(&told, asked("old"), 100).iter().map(|version| version.missing).collect();
    assert_eq!(missing, [0, 1, 0]);
}
