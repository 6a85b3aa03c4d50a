//! Answers: each way to choose, who comes too late, what cannot be, and taking it back.

use std::{fs, thread};

use quics_kit::names::Service;

use super::{at, both_have, listed, names, refused, resolve, write};
use crate::support::{Pair, text, until};

#[test]
fn each_side_can_be_taken_from_each_device() {
    for (from_left, take, wins) in [
        (true, "server", "the left one's\n"),
        (true, "mine", "the left one's\n"),
        (true, "right", "the right one's\n"),
        (false, "server", "the left one's\n"),
        (false, "mine", "the right one's\n"),
        (false, "newest", "the right one's\n"),
    ] {
        let pair = Pair::quarrel();
        let (device, folder) = if from_left { (&pair.left, &pair.here) } else { (&pair.right, &pair.there) };
        resolve(device, &[&at(folder, "plan.txt"), "--take", take]);
        pair.agreed();
        both_have(&pair, "plan.txt", wins);
        assert_eq!(names(&pair.here), ["plan.txt"], "no litter");
    }
}

#[test]
fn both_are_kept_under_the_name_that_was_shown_or_one_of_the_users() {
    let pair = Pair::quarrel();
    let shown = listed(&pair.left)[0]["candidates"][0]["second_name"]["path"].as_str().unwrap().to_owned();
    let would = resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "both", "--dry-run"]);
    assert!(would.contains(&shown) && would.contains("not done"), "{would}");
    assert_eq!(listed(&pair.left).len(), 1, "a dry run changes nothing");
    // A name that exists, and names that cannot be.
    fs::write(pair.at("taken"), "here").unwrap();
    until("it to arrive", || text(pair.on("taken")) == "here");
    for (name, told) in [("taken", "taken"), ("a/b", "a/b"), ("..", ".."), (".quics", "every device's own")] {
        let (code, said) = refused(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "both", "--name", name]);
        assert!(code == 1 && said.contains(told) && said.contains("--name"), "{said}");
    }
    assert_eq!(listed(&pair.left).len(), 1);
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "both"]);
    pair.agreed();
    both_have(&pair, "plan.txt", "the left one's\n");
    both_have(&pair, &shown, "the right one's\n");

    let pair = Pair::quarrel();
    resolve(&pair.right, &[&at(&pair.there, "plan.txt"), "--take", "both", "--name", "mine.txt"]);
    pair.agreed();
    both_have(&pair, "mine.txt", "the right one's\n");
}

#[test]
fn who_answers_too_late_is_told_who_chose_what() {
    let pair = Pair::quarrel();
    resolve(&pair.right, &[&at(&pair.there, "plan.txt"), "--take", "mine"]);
    pair.agreed();
    let (code, said) = refused(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "server"]);
    assert!(code == 1 && said.contains("is over: right kept its own version, 2"), "{said}");
    both_have(&pair, "plan.txt", "the right one's\n");
    let (_, said) = refused(&pair.left, &[&at(&pair.here, "never"), "--take", "server"]);
    assert!(said.contains("there is no conflict"), "{said}");
    let (_, said) = refused(&pair.left, &["/nowhere/x", "--take", "server"]);
    assert!(said.contains("not in a synced directory"), "{said}");
}

#[test]
fn who_comes_too_late_for_what_was_deleted_is_told_who_chose_that() {
    for directory in ["", "gone/"] {
        let name = &format!("{directory}plan.txt");
        let pair = Pair::apart(
            |it| {
                fs::create_dir(it.join("gone")).unwrap();
                write(it, name, "common\n");
            },
            |it| write(it, name, "edited\n"),
            |it| fs::remove_file(it.join(name)).unwrap(),
            1,
        );
        resolve(&pair.right, &[&at(&pair.there, name), "--take", "mine"]);
        pair.agreed();
        fs::remove_dir(pair.at("gone")).unwrap();
        pair.settle();
        assert!(names(&pair.there).is_empty());
        let (code, said) = refused(&pair.left, &[&at(&pair.here, name), "--take", "server"]);
        assert!(code == 1 && said.contains("is over: right kept its own version, 2"), "{said}");
        let (_, said) = refused(&pair.left, &[&at(&pair.here, "gone/never"), "--take", "server"]);
        assert!(said.contains("there is no conflict"), "{said}");
    }
}

#[test]
fn an_answer_for_what_a_listing_showed_holds_only_while_that_is_so() {
    let pair = Pair::quarrel();
    let before = listed(&pair.left)[0]["revision"].clone();
    fs::write(pair.on("plan.txt"), "the right one's second\n").unwrap();
    until("it to be told", || listed(&pair.left)[0]["revision"] != before);
    let plan = at(&pair.here, "plan.txt");
    let (code, said) = refused(&pair.left, &[&plan, "--take", "server", "--revision", &before.to_string()]);
    assert!(code == 1 && said.contains(&format!("no conflict has the revision {before} any more")), "{said}");
    let shown = listed(&pair.left)[0]["revision"].to_string();
    resolve(&pair.left, &[&plan, "--take", "right", "--revision", &shown]);
    pair.agreed();
    both_have(&pair, "plan.txt", "the right one's second\n");
}

#[test]
fn of_two_answers_at_once_one_holds_and_the_other_is_told() {
    let pair = Pair::quarrel();
    let ask = |device, folder| {
        let output = quics_stack::harness::Device::run(device, ["resolve", &at(folder, "plan.txt"), "--take", "mine"]);
        output.unwrap()
    };
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| ask(&pair.left, &pair.here));
        let two = ask(&pair.right, &pair.there);
        (one.join().unwrap(), two)
    });
    let done = [&one, &two].into_iter().filter(|it| it.status.success()).count();
    assert_eq!(done, 1, "{one:?} {two:?}");
    let late = if one.status.success() { &two } else { &one };
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(said.contains("it is over") || said.contains("is over: "), "{said}");
    pair.agreed();
    let wins = if one.status.success() { "the left one's\n" } else { "the right one's\n" };
    both_have(&pair, "plan.txt", wins);
}

#[test]
fn a_device_that_was_away_takes_the_answer_when_it_is_back() {
    for take in ["server", "right", "both"] {
        let mut pair = Pair::quarrel();
        pair.right.stop_agent().unwrap();
        resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", take]);
        pair.left.wait_in_sync().unwrap();
        pair.right.start_agent().unwrap();
        pair.agreed();
        both_have(&pair, "plan.txt", if take == "right" { "the right one's\n" } else { "the left one's\n" });
    }
}

#[test]
fn who_edits_on_from_a_loser_is_asked_anew() {
    let mut pair = Pair::quarrel();
    pair.right.stop_agent().unwrap();
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "server"]);
    pair.left.wait_in_sync().unwrap();
    fs::write(pair.on("plan.txt"), "the right one's, edited on\n").unwrap();
    pair.right.start_agent().unwrap();
    pair.open(1);
    assert_eq!(text(pair.on("plan.txt")), "the right one's, edited on\n");
    assert_eq!(text(pair.at("plan.txt")), "the left one's\n");
}

#[test]
fn an_agent_or_server_that_is_killed_around_the_answer_does_it_once() {
    let mut pair = Pair::quarrel();
    resolve(&pair.right, &[&at(&pair.there, "plan.txt"), "--take", "server"]);
    pair.right.kill_agent().unwrap();
    pair.stack.crash(Service::Sync).unwrap();
    pair.right.start_agent().unwrap();
    pair.agreed();
    both_have(&pair, "plan.txt", "the left one's\n");
    assert_eq!(names(&pair.there), ["plan.txt"]);
    let history = resolve(&pair.left, &["--history"]);
    assert_eq!(history.matches("plan.txt").count(), 1, "{history}");
}

#[test]
fn an_answer_is_taken_back_once_and_everything_is_open_again() {
    let pair = Pair::quarrel();
    let said = resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "right"]);
    let id = said.split("--undo ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    pair.agreed();
    let (_, told) = refused(&pair.left, &["--undo", "ffffffffffff"]);
    assert!(told.contains("there is no answer"), "{told}");
    resolve(&pair.left, &["--undo", &id]);
    pair.open(1);
    both_have(&pair, "plan.txt", "the left one's\n");
    let (_, told) = refused(&pair.left, &["--undo", &id]);
    assert!(told.contains("taken back already"), "{told}");
    let (_, told) = refused(&pair.left, &["--undo"]);
    assert!(told.contains("there is no answer of yours"), "{told}");
    // The loser can be chosen after all.
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "right"]);
    pair.agreed();
    both_have(&pair, "plan.txt", "the right one's\n");
}

#[test]
fn many_are_answered_by_a_pattern_and_only_those() {
    let fill = |folder: &std::path::Path, what: &str| {
        for name in ["a.lock", "b.lock", "c.txt"] {
            write(folder, name, what);
        }
    };
    let pair = Pair::apart(|it| fill(it, "common"), |it| fill(it, "left"), |it| fill(it, "right one"), 3);
    let would = resolve(&pair.left, &["--glob", "*.lock", "--take", "newest", "--dry-run"]);
    assert_eq!(would.lines().filter(|line| line.contains("not done")).count(), 2, "{would}");
    assert_eq!(listed(&pair.left).len(), 3);
    resolve(&pair.left, &["--glob", "*.lock", "--take", "newest"]);
    pair.open(1);
    both_have(&pair, "a.lock", "right one");
    both_have(&pair, "b.lock", "right one");
    // One that cannot be answered so keeps the others from it.
    let (_, said) = refused(&pair.left, &["--glob", "*", "--take", "nobody"]);
    assert!(said.contains("nobody"), "{said}");
    // One that matches nothing that is open, and one that is none.
    let (code, said) = refused(&pair.left, &["--glob", "zz*", "--take", "newest"]);
    assert!(code == 1 && said.contains("no open conflict matches \"zz*\""), "{said}");
    let (code, said) = refused(&pair.left, &["--glob", "a{b", "--take", "newest"]);
    assert!(code == 2 && said.contains("this pattern cannot be used"), "{said}");
    assert_eq!(listed(&pair.left).len(), 1);
}

#[test]
fn without_a_terminal_it_lists_and_ends_with_2() {
    let pair = Pair::quarrel();
    let output = pair.left.run(["resolve"]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("plan.txt"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--take"), "{output:?}");
    assert_eq!(listed(&pair.left).len(), 1);
}

#[test]
fn who_may_not_answer_is_told_why_and_a_revoked_device_too() {
    let pair = Pair::quarrel();
    let shown = pair.left.quics(["config", "docs"]).unwrap();
    assert!(shown.contains("merge=ask") && shown.contains("answerers=writers"), "{shown}");
    pair.left.quics(["config", "docs", "reminder-hours=24"]).unwrap();
    let json = pair.right.json(["config", at(&pair.there, "").as_str(), "--json"]).unwrap();
    assert_eq!((json["reminder_hours"].as_u64(), json["revision"].as_u64()), (Some(24), Some(1)));
    let output = pair.left.run(["config", "docs", "merge=never"]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // Its own user revokes the other device.
    pair.left.quics(["devices", "revoke", "right", "--yes"]).unwrap();
    until("it to learn that", || pair.right.status().unwrap()["connection"] == "revoked");
    let (_, said) = refused(&pair.right, &[&at(&pair.there, "plan.txt"), "--take", "mine"]);
    assert!(said.contains("revoked"), "{said}");
    assert_eq!(listed(&pair.left).len(), 1);
}
