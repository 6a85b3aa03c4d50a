//! Each row of the accept rule's table.

use super::*;
use crate::testing::{Plain, device, directory, entry, file, link, place};
use crate::{AttributesChange, PlaceChange};

const ID: u8 = 1;
const OWN: CandidateRole = CandidateRole::Own;
const NEW: CandidateRole = CandidateRole::New;
/// What rows of [`Plain::live`] have.
const MTIME: Mtime = Mtime { seconds: 1, nanos: 0 };
const LATER: Mtime = Mtime { seconds: 9, nanos: 0 };

/// An entry 1 at `top/a`: place changed at 1, attributes at 2, content at 3.
fn with(value: Value) -> Plain {
    let mut plain = Plain::default();
    plain.live(entry(ID), place(EntryId::TOP, "a"), value);
    plain
}

/// Judges a proposal of device 1 with the order (2, 4), and commits what comes of it.
fn propose(plain: &mut Plain, proposal: &Proposal) -> Verdict {
    let Ok(judged) = judge(plain, device(1), (2, 4), proposal);
    if let Some(row) = judged.row {
        plain.put(row);
    }
    match judged.conflict {
        Some((id, Some(conflict))) => drop(plain.conflicts.insert(id, conflict)),
        Some((id, None)) => drop(plain.conflicts.remove(&id)),
        None => {}
    }
    judged.verdict
}

fn create(at: Place, value: Value) -> Proposal {
    Proposal::Create { id: entry(50), place: at, value, mode: 0o600, mtime: LATER }
}

fn nothing() -> Change {
    Change { id: entry(ID), content: None, place: None, attributes: None }
}

/// An edit from a base: its time, the value there, and the new one.
fn edit(base_time: u64, base: Value, value: Value) -> Change {
    let content = ContentChange { base_time: LogicalTime(base_time), base: Some(base), value, mtime: LATER };
    Change { content: Some(content), ..nothing() }
}

fn to(base_time: u64, at: Place) -> Change {
    Change { place: Some(PlaceChange { base_time: LogicalTime(base_time), place: at }), ..nothing() }
}

fn attributes(base_time: u64, mode: u32, mtime: Mtime) -> Change {
    Change { attributes: Some(AttributesChange { base_time: LogicalTime(base_time), mode, mtime }), ..nothing() }
}

fn delete(base_time: u64) -> Proposal {
    Proposal::Delete { id: entry(ID), base_time: LogicalTime(base_time), base: file(0) }
}

fn accepted(verdict: Verdict) -> Accepted {
    match verdict {
        Verdict::Accepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn refused(why: Refusal) -> Verdict {
    Verdict::Refused(why)
}

fn conflict(revision: u64) -> Verdict {
    Verdict::Conflict { id: entry(ID), revision }
}

fn states(plain: &Plain) -> Vec<(u8, CandidateRole, CandidateState)> {
    let Some(conflict) = plain.conflicts.get(&entry(ID)) else { return Vec::new() };
    let all = conflict.candidates.iter();
    all.map(|((device, role), candidate)| (device.as_bytes()[0], *role, candidate.state.clone())).collect()
}

fn state(value: Value) -> CandidateState {
    CandidateState::Value(value)
}

fn top(name: &str) -> Place {
    place(EntryId::TOP, name)
}

mod creates {
    use super::*;

    #[test]
    fn a_free_name_is_taken_at_time_1() {
        let mut plain = Plain::default();
        let row = accepted(propose(&mut plain, &create(top("b"), file(5)))).row;
        assert_eq!((row.id, row.time, row.place_time, row.attributes_time), {
            (entry(50), LogicalTime(1), LogicalTime(1), LogicalTime(1))
        });
        assert_eq!((row.mode, row.mtime, row.content_time), (0o600, LATER, LogicalTime(1)));
    }

    #[test]
    fn below_what_is_no_live_directory_it_is_refused() {
        let mut plain = with(file(0));
        assert_eq!(propose(&mut plain, &create(place(entry(9), "b"), file(5))), refused(Refusal::ParentGone));
        assert_eq!(propose(&mut plain, &create(place(entry(ID), "b"), file(5))), refused(Refusal::ParentGone));
        let mut plain = with(directory());
        plain.kill(entry(ID));
        assert_eq!(propose(&mut plain, &create(place(entry(ID), "b"), file(5))), refused(Refusal::ParentGone));
    }

    #[test]
    fn below_the_deepest_directory_it_is_refused() {
        let mut plain = Plain::default();
        let id = |depth: usize| EntryId::from_bytes((depth as u128 + 1).to_be_bytes());
        for depth in 0..limits::DEPTH {
            let parent = if depth == 0 { EntryId::TOP } else { id(depth - 1) };
            plain.live(id(depth), place(parent, "d"), directory());
        }
        let deepest = |plain: &mut Plain, depth| propose(plain, &create(place(id(depth), "b"), file(1)));
        accepted(deepest(&mut plain, limits::DEPTH - 2));
        assert_eq!(deepest(&mut plain, limits::DEPTH - 1), refused(Refusal::TooDeep));
    }

    #[test]
    fn the_same_thing_is_adopted_and_takes_the_newcomers_candidate_back() {
        for value in [file(0), directory(), link("t")] {
            let mut plain = with(value.clone());
            plain.dispute(entry(ID), &[((device(1), NEW), state(file(3))), ((device(2), OWN), state(file(4)))]);
            let row = plain.rows[&entry(ID)].clone();
            assert_eq!(propose(&mut plain, &create(top("a"), value)), Verdict::Current(row));
            assert_eq!(states(&plain), [(2, OWN, state(file(4)))]);
        }
    }

    #[test]
    fn something_else_of_that_name_becomes_a_newcomer() {
        for (there, here) in [(file(0), file(5)), (directory(), file(5)), (file(0), directory()), (link("t"), file(0))]
        {
            let mut plain = with(there.clone());
            assert_eq!(propose(&mut plain, &create(top("a"), here.clone())), conflict(1));
            assert_eq!(states(&plain), [(1, NEW, state(here))]);
            assert_eq!(plain.rows[&entry(ID)].value, there);
        }
    }

    #[test]
    fn a_tombstone_of_its_own_id_goes_on() {
        let mut plain = Plain::default();
        plain.live(entry(50), top("old"), file(0));
        plain.kill(entry(50));
        let row = accepted(propose(&mut plain, &create(top("b"), file(5)))).row;
        assert_eq!((row.id, row.time, row.dead, row.place), (entry(50), LogicalTime(5), false, top("b")));

        // Whoever answers has to have seen it.
        plain.kill(entry(50));
        plain.dispute(entry(50), &[((device(2), OWN), state(file(4)))]);
        accepted(propose(&mut plain, &create(top("b"), file(6))));
        assert_eq!(plain.conflicts[&entry(50)].revision, 8);
    }

    #[test]
    fn a_tombstone_of_its_name_goes_on_unless_a_conflict_is_open_on_it() {
        let mut plain = with(file(0));
        plain.kill(entry(ID));
        let mut disputed = plain.clone();
        let row = accepted(propose(&mut plain, &create(top("a"), file(5)))).row;
        assert_eq!((row.id, row.time), (entry(ID), LogicalTime(5)));
        disputed.dispute(entry(ID), &[((device(2), OWN), state(file(4)))]);
        let row = accepted(propose(&mut disputed, &create(top("a"), file(5)))).row;
        assert_eq!((row.id, row.time), (entry(50), LogicalTime(1)));
    }

    #[test]
    fn an_id_that_lives_elsewhere_is_malformed() {
        let mut plain = Plain::default();
        plain.live(entry(50), top("elsewhere"), file(0));
        assert_eq!(propose(&mut plain, &create(top("b"), file(5))), refused(Refusal::Malformed));
        let up = Proposal::Create { id: EntryId::TOP, place: top("b"), value: directory(), mode: 0, mtime: MTIME };
        assert_eq!(propose(&mut plain, &up), refused(Refusal::Malformed));
    }
}

mod contents {
    use super::*;

    #[test]
    fn an_edit_of_what_the_device_has_seen_is_accepted() {
        let mut plain = with(file(0));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        let told = accepted(propose(&mut plain, &Proposal::Change(edit(3, file(0), file(5)))));
        assert_eq!((told.content, told.place, told.attributes), (true, false, false));
        let row = &plain.rows[&entry(ID)];
        assert_eq!((&row.value, row.mtime, row.content_time), (&file(5), LATER, LogicalTime(4)));
        assert_eq!((row.place_time, row.attributes_time), (LogicalTime(1), LogicalTime(2)));
        assert_eq!(states(&plain), [], "its candidate is done with");
    }

    #[test]
    fn a_version_answers_the_candidates_that_are_the_same() {
        let mut plain = with(file(0));
        let others = [((device(2), OWN), state(file(5))), ((device(3), NEW), state(file(5)))];
        plain.dispute(entry(ID), &others);
        let mut more = plain.clone();
        accepted(propose(&mut plain, &Proposal::Change(edit(3, file(0), file(5)))));
        assert_eq!(states(&plain), [], "nobody has to be asked");
        more.dispute(entry(ID), &[others[0].clone(), ((device(4), OWN), state(file(6)))]);
        accepted(propose(&mut more, &Proposal::Change(edit(3, file(0), file(5)))));
        assert_eq!(states(&more), [(4, OWN, state(file(6)))]);
    }

    #[test]
    fn a_change_of_kind_is_an_edit() {
        let mut plain = with(file(0));
        accepted(propose(&mut plain, &Proposal::Change(edit(3, file(0), directory()))));
        assert!(plain.rows[&entry(ID)].is_live_directory());
    }

    #[test]
    fn what_is_there_already_is_done_whatever_the_times() {
        let mut plain = with(file(0));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        let told = accepted(propose(&mut plain, &Proposal::Change(edit(1, file(7), file(0)))));
        assert!(told.content);
        assert_eq!(told.row.time, LogicalTime(3), "nothing is written");
        assert_eq!(states(&plain), []);
    }

    #[test]
    fn an_edit_of_what_has_changed_since_is_a_candidate() {
        let mut plain = with(file(0));
        assert_eq!(propose(&mut plain, &Proposal::Change(edit(2, file(7), file(5)))), conflict(1));
        assert_eq!(states(&plain), [(1, OWN, state(file(5)))]);
        let kept = &plain.conflicts[&entry(ID)].candidates[&(device(1), OWN)];
        assert_eq!((kept.order, kept.base.as_ref(), kept.mtime), ((2, 4), Some(&file(7)), LATER));
        assert_eq!(plain.rows[&entry(ID)].value, file(0));
    }

    #[test]
    fn an_edit_of_what_was_deleted_is_a_candidate_whatever_the_times() {
        let mut plain = with(file(0));
        plain.kill(entry(ID));
        assert_eq!(propose(&mut plain, &Proposal::Change(edit(9, file(0), file(5)))), conflict(1));
        assert!(plain.rows[&entry(ID)].dead);
    }

    #[test]
    fn going_back_to_the_base_takes_the_candidate_back() {
        for dead in [false, true] {
            let mut plain = with(file(0));
            plain.dispute(entry(ID), &[((device(1), OWN), state(file(4))), ((device(1), NEW), state(file(3)))]);
            if dead {
                plain.kill(entry(ID));
            }
            let verdict = propose(&mut plain, &Proposal::Change(edit(2, file(7), file(7))));
            match verdict {
                Verdict::Current(row) if dead => assert!(row.dead),
                other => assert!(!accepted(other).content),
            }
            assert_eq!(states(&plain), [(1, NEW, state(file(3)))], "the other voice stays");
        }
    }

    #[test]
    fn a_directory_with_children_does_not_become_a_file() {
        let mut plain = with(directory());
        plain.live(entry(2), place(entry(ID), "b"), file(2));
        let change = Proposal::Change(edit(3, directory(), file(5)));
        assert_eq!(propose(&mut plain, &change), refused(Refusal::NotEmpty));
        plain.kill(entry(2));
        assert!(accepted(propose(&mut plain, &change)).content);
    }

    #[test]
    fn a_later_candidate_replaces_and_an_earlier_one_does_not() {
        let mut plain = with(file(0));
        let change = Proposal::Change(edit(2, file(7), file(5)));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        assert_eq!(propose(&mut plain, &change), conflict(8));
        assert_eq!(states(&plain), [(1, OWN, state(file(5)))]);

        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        plain.conflicts.get_mut(&entry(ID)).unwrap().candidates.get_mut(&(device(1), OWN)).unwrap().order = (2, 5);
        assert_eq!(propose(&mut plain, &change), conflict(7));
        assert_eq!(states(&plain), [(1, OWN, state(file(4)))]);
    }

    #[test]
    fn a_new_version_raises_the_revision_of_others_conflicts() {
        let mut plain = with(file(0));
        plain.dispute(entry(ID), &[((device(2), OWN), state(file(4)))]);
        accepted(propose(&mut plain, &Proposal::Change(edit(3, file(0), file(5)))));
        assert_eq!(plain.conflicts[&entry(ID)].revision, 8);
    }
}

mod places {
    use super::*;

    #[test]
    fn a_move_of_what_has_not_moved_since_is_accepted() {
        let mut plain = with(file(0));
        let told = accepted(propose(&mut plain, &Proposal::Change(to(1, top("b")))));
        assert_eq!((told.content, told.place, told.attributes, told.refused), (false, true, false, None));
        assert_eq!((told.row.place, told.row.place_time, told.row.content_time), {
            (top("b"), LogicalTime(4), LogicalTime(3))
        });
    }

    #[test]
    fn where_it_is_already_it_is_done_whatever_the_times() {
        let mut plain = with(file(0));
        let told = accepted(propose(&mut plain, &Proposal::Change(to(0, top("a")))));
        assert_eq!((told.place, told.row.time), (true, LogicalTime(3)));
    }

    #[test]
    fn of_two_moves_the_servers_stands() {
        let mut plain = with(file(0));
        assert_eq!(propose(&mut plain, &Proposal::Change(to(0, top("b")))), refused(Refusal::Moved));
    }

    #[test]
    fn a_taken_name_refuses() {
        let mut plain = with(file(0));
        plain.live(entry(2), top("b"), file(2));
        assert_eq!(propose(&mut plain, &Proposal::Change(to(1, top("b")))), refused(Refusal::NameTaken));
    }

    #[test]
    fn what_is_no_live_directory_refuses() {
        let mut plain = with(file(0));
        plain.live(entry(2), top("b"), file(2));
        for parent in [entry(2), entry(9)] {
            let change = Proposal::Change(to(1, place(parent, "x")));
            assert_eq!(propose(&mut plain, &change), refused(Refusal::ParentGone));
        }
    }

    #[test]
    fn a_directory_does_not_go_below_itself() {
        let mut plain = with(directory());
        plain.live(entry(2), place(entry(ID), "b"), directory());
        for parent in [entry(ID), entry(2)] {
            let change = Proposal::Change(to(1, place(parent, "x")));
            assert_eq!(propose(&mut plain, &change), refused(Refusal::Cycle));
        }
    }

    #[test]
    fn a_refused_place_leaves_the_other_aspects_alone() {
        let mut plain = with(file(0));
        let both = Change { place: to(0, top("b")).place, ..edit(3, file(0), file(5)) };
        let told = accepted(propose(&mut plain, &Proposal::Change(both)));
        assert_eq!((told.content, told.place, told.refused), (true, false, Some(Refusal::Moved)));
        assert_eq!((&told.row.value, &told.row.place), (&file(5), &top("a")));
    }

    #[test]
    fn a_move_goes_through_beside_a_conflict_on_the_content() {
        let mut plain = with(file(0));
        let both = Change { place: to(1, top("b")).place, ..edit(2, file(7), file(5)) };
        assert_eq!(propose(&mut plain, &Proposal::Change(both)), conflict(1));
        assert_eq!((&plain.rows[&entry(ID)].place, &plain.rows[&entry(ID)].value), (&top("b"), &file(0)));
    }

    #[test]
    fn what_was_deleted_is_not_moved() {
        let mut plain = with(file(0));
        plain.kill(entry(ID));
        let row = plain.rows[&entry(ID)].clone();
        assert_eq!(propose(&mut plain, &Proposal::Change(to(9, top("b")))), Verdict::Current(row));
    }
}

mod attributes_ {
    use super::*;

    #[test]
    fn permissions_that_have_not_changed_since_are_set() {
        let mut plain = with(file(0));
        let told = accepted(propose(&mut plain, &Proposal::Change(attributes(2, 0o755, LATER))));
        assert!(told.attributes);
        assert_eq!((told.row.mode, told.row.mtime, told.row.attributes_time), (0o755, LATER, LogicalTime(4)));
        assert_eq!(told.row.content_time, LogicalTime(3));
    }

    #[test]
    fn of_two_changes_of_permissions_the_servers_stands() {
        let mut plain = with(file(0));
        let verdict = propose(&mut plain, &Proposal::Change(attributes(1, 0o755, MTIME)));
        assert_eq!(verdict, refused(Refusal::Attributes));
    }

    #[test]
    fn a_modification_time_alone_never_conflicts() {
        let mut plain = with(file(0));
        let told = accepted(propose(&mut plain, &Proposal::Change(attributes(1, 0o644, LATER))));
        assert_eq!((told.attributes, told.row.mtime, told.row.time), (true, MTIME, LogicalTime(3)));
        let told = accepted(propose(&mut plain, &Proposal::Change(attributes(2, 0o644, LATER))));
        assert_eq!((told.attributes, told.row.mtime, told.row.time), (true, LATER, LogicalTime(4)));
    }
}

mod deletes {
    use super::*;

    #[test]
    fn what_the_device_has_seen_is_deleted() {
        let mut plain = with(file(0));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        let row = accepted(propose(&mut plain, &delete(3))).row;
        assert!(row.dead);
        assert_eq!((row.content_time, row.place_time, row.attributes_time), {
            (LogicalTime(4), LogicalTime(4), LogicalTime(4))
        });
        assert_eq!(states(&plain), [], "its candidate is done with");
    }

    #[test]
    fn what_is_dead_is_deleted_already() {
        let mut plain = with(file(0));
        plain.kill(entry(ID));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4)))]);
        let row = plain.rows[&entry(ID)].clone();
        assert_eq!(propose(&mut plain, &delete(3)), Verdict::Current(row));
        assert_eq!(states(&plain), []);
    }

    #[test]
    fn an_edit_that_the_device_has_not_seen_is_not_deleted() {
        let mut plain = with(file(0));
        assert_eq!(propose(&mut plain, &delete(2)), conflict(1));
        assert_eq!(states(&plain), [(1, OWN, CandidateState::Delete)]);
        assert!(!plain.rows[&entry(ID)].dead);
    }

    #[test]
    fn while_others_disagree_nothing_is_deleted() {
        for other in [(device(2), OWN), (device(1), NEW)] {
            let mut plain = with(file(0));
            plain.dispute(entry(ID), &[(other, state(file(4)))]);
            assert_eq!(propose(&mut plain, &delete(3)), conflict(8));
            assert!(!plain.rows[&entry(ID)].dead);
        }
    }

    #[test]
    fn a_move_meanwhile_does_not_save_it() {
        let mut plain = with(file(0));
        accepted(propose(&mut plain, &Proposal::Change(to(1, top("b")))));
        assert!(accepted(propose(&mut plain, &delete(3))).row.dead);
    }

    #[test]
    fn a_directory_with_children_is_not_deleted() {
        let mut plain = with(directory());
        plain.live(entry(2), place(entry(ID), "b"), file(2));
        assert_eq!(propose(&mut plain, &delete(3)), refused(Refusal::NotEmpty));
    }
}

mod others {
    use super::*;

    #[test]
    fn what_the_server_does_not_know_is_refused() {
        let mut plain = Plain::default();
        for proposal in [delete(3), Proposal::Change(to(1, top("b")))] {
            assert_eq!(propose(&mut plain, &proposal), refused(Refusal::Unknown));
        }
        let top_itself = Proposal::Delete { id: EntryId::TOP, base_time: LogicalTime(9), base: directory() };
        assert_eq!(propose(&mut plain, &top_itself), refused(Refusal::Unknown));
    }

    #[test]
    fn a_withdrawal_takes_the_newcomer_back_and_nothing_else() {
        let mut plain = with(file(0));
        plain.dispute(entry(ID), &[((device(1), OWN), state(file(4))), ((device(1), NEW), state(file(3)))]);
        let withdraw = Proposal::Withdraw { id: entry(ID) };
        assert_eq!(propose(&mut plain, &withdraw), Verdict::Withdrawn);
        assert_eq!(states(&plain), [(1, OWN, state(file(4)))]);
        assert_eq!(plain.conflicts[&entry(ID)].revision, 8);
        assert_eq!(propose(&mut plain, &withdraw), Verdict::Withdrawn, "again does nothing");
        assert_eq!(plain.conflicts[&entry(ID)].revision, 8);
    }

    #[test]
    fn a_change_of_nothing_is_stale() {
        let mut plain = with(file(0));
        assert_eq!(propose(&mut plain, &Proposal::Change(nothing())), refused(Refusal::Stale));
    }
}

#[test]
fn permission_bits_go_with_a_candidate_of_another_kind_and_are_none_for_what_is_there() {
    for (there, other, mode) in
        [(directory(), file(2), 0o644), (file(3), directory(), 0o644), (file(3), file(2), 0o600)]
    {
        let mut plain = with(there.clone());
        let known = LogicalTime(2);
        let mut change = edit(1, file(1), other);
        change.attributes = Some(AttributesChange { base_time: known, mode: 0o600, mtime: Mtime::default() });
        assert!(matches!(propose(&mut plain, &Proposal::Change(change)), Verdict::Conflict { .. }));
        assert_eq!(plain.rows[&entry(1)].mode, mode, "{there:?}");
        let candidates: Vec<u32> = plain.conflicts[&entry(1)].candidates.values().map(|it| it.mode).collect();
        assert_eq!(candidates, [0o600]);
    }
}

#[test]
fn a_change_of_kind_brings_permission_bits_of_its_own_whatever_those_before_are() {
    for (base_time, mode) in [(2, 0o644), (1, 0o755)] {
        let mut plain = with(file(0));
        assert_eq!(plain.rows[&entry(ID)].mode, 0o644);
        let mut change = edit(3, file(0), directory());
        change.attributes = Some(AttributesChange { base_time: LogicalTime(base_time), mode, mtime: MTIME });
        assert!(accepted(propose(&mut plain, &Proposal::Change(change))).attributes);
        let row = &plain.rows[&entry(ID)];
        assert_eq!((row.mode, row.attributes_time), (mode, row.time));
    }
}
