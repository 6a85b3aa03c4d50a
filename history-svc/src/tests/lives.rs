use std::collections::BTreeMap;

use quics_types::EntryId;

use super::*;
use crate::db::keys::Point;
use crate::encode::{Moment, Subject};
use crate::query;

fn tree(history: &History, moment: Moment) -> BTreeMap<String, (EntryId, Value)> {
    let mut found = BTreeMap::new();
    let out = |entries: Vec<quics_proto::history::v1::Version>| {
        for entry in entries {
            let row = Row::try_from(entry.row.unwrap()).unwrap();
            let path = String::from_utf8(entry.path.to_vec()).unwrap();
            assert!(path.rsplit_once('/').is_none_or(|(above, _)| found.contains_key(above)), "{path} comes too soon");
            found.insert(path, (row.id, row.value));
        }
        true
    };
    let top = Subject::Path(Vec::new());
    let now = Server::moment(u64::from(u32::MAX));
    let count = query::tree::list(history.view(), &top, Some(moment), true, now, out).unwrap();
    assert_eq!(count, Some(found.len() as u64));
    found
}

#[test]
fn the_tree_of_every_moment_of_a_random_life_is_what_it_was() {
    for seed in 1..40 {
        let mut dice = Dice::of(seed);
        let (mut server, mut history) = (Server::default(), History::new());
        let mut copies = vec![server.tree()];
        while server.seq < 120 {
            let before = server.seq;
            server.live_on(&mut dice);
            if server.seq > before {
                copies.push(server.tree());
            }
        }
        history.follow(&server, 1 + seed as usize);
        for (seq, copy) in copies.iter().enumerate().skip(1) {
            let seq = seq as u64;
            assert_eq!(tree(&history, Moment::Seq(seq)), *copy, "seed {seed}, commit {seq}");
            let later = WallTime(Server::moment(seq).0 + 999_999);
            assert_eq!(tree(&history, Moment::Time(later)), *copy, "seed {seed}, a moment after {seq}");
        }
    }
}

#[test]
fn a_batch_that_comes_again_changes_nothing() {
    let mut dice = Dice::of(7);
    let mut server = Server::default();
    (0..200).for_each(|_| server.live_on(&mut dice));
    let mut history = History::new();
    history.follow(&server, 10);
    let (state, rows) = (history.view().state().unwrap(), history.meta.range(b"\x01", &[], 4096).unwrap());
    history.apply(&server.events);
    history.apply(&server.events[3..9]);
    assert_eq!(history.view().state().unwrap(), state);
    assert_eq!(history.meta.range(b"\x01", &[], 4096).unwrap(), rows);
    assert_eq!(state.unwrap().versions, server.events.len() as u64);
}

#[test]
fn a_version_is_found_by_its_logical_time() {
    let mut dice = Dice::of(3);
    let mut server = Server::default();
    (0..600).for_each(|_| server.live_on(&mut dice));
    let mut history = History::new();
    history.follow(&server, 50);
    let view = history.view();
    for row in server.rows.values() {
        for time in 1..=row.time.0 {
            let at = view.with_time(row.id, time).unwrap().unwrap();
            assert_eq!((at.row().id, at.row().time.0), (row.id, time));
        }
        assert_eq!(view.with_time(row.id, row.time.0 + 1).unwrap(), None);
    }
}

#[test]
fn what_another_chain_tells_stands_behind_everything_before() {
    let mut server = Server::default();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(1)))).unwrap();
    server.set(id(0), Some((place(EntryId::TOP, "a"), file(2)))).unwrap();
    let mut history = History::new();
    history.follow(&server, 10);
    // The server goes back to its first commit and goes on otherwise.
    let mut other = Server::default();
    other.set(id(0), Some((place(EntryId::TOP, "a"), file(1)))).unwrap();
    other.set(id(0), Some((place(EntryId::TOP, "b"), file(3)))).unwrap();
    let mut writer = Writer::new(Reads::latest(&*history.meta), &Everybody).unwrap();
    (writer.applied.generation, writer.applied.position) = (1, None);
    writer.event(&Told::try_from(other.events[1].clone()).unwrap()).unwrap();
    history.meta.submit(writer.finish()).unwrap();
    history.meta.sync().unwrap();

    let view = history.view();
    let value = |point| view.at(id(0), point).unwrap().unwrap().version.row.value;
    assert_eq!(value(Point { generation: 0, seq: 2 }), file(2));
    assert_eq!(value(Point { generation: 1, seq: 1 }), file(2), "nothing has happened in the new chain yet");
    assert_eq!(value(Point { generation: 1, seq: 2 }), file(3));
    assert_eq!(view.with_time(id(0), 2).unwrap().unwrap().row().value, file(3), "of the newest chain");
    assert_eq!(view.with_time(id(0), 1).unwrap().unwrap().row().value, file(1));
    assert_eq!(tree(&history, Moment::Seq(2)), other.tree());
}
