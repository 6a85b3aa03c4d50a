//! history-svc away, killed, behind; members who may less.

use std::fs;

use quics_kit::names::Service;
use quics_stack::harness::{Device, printed};
use serde_json::Value;

use super::{cat, fails, log, path};
use crate::support::{PATIENCE, Pair, text, until};

#[test]
fn history_svc_that_is_killed_again_and_again_has_every_version_once() {
    const ROUNDS: usize = 20;
    let mut pair = Pair::new();
    for round in 0..ROUNDS {
        // The supervisor's patience with a service that ends again and again is not what is tested here.
        if round % 5 == 4 {
            pair.stack.down().unwrap();
            pair.stack.up().unwrap();
        }
        for number in 0..10 {
            fs::write(pair.at(format!("{number}.txt")), format!("round {round}\n")).unwrap();
        }
        // It is in the middle of taking them.
        pair.stack.crash(Service::History).unwrap();
        pair.settle();
    }
    pair.known();
    for number in 0..10 {
        let versions = log(&pair.left, &[path(&pair.at(format!("{number}.txt")))]);
        let numbers: Vec<u64> = versions.iter().map(|it| it["version"].as_str().unwrap().parse().unwrap()).collect();
        let wanted: Vec<u64> = (1..=numbers.len() as u64).rev().collect();
        assert_eq!(numbers, wanted, "every version once, none missing");
        assert_eq!(
            cat(&pair.left, &pair.at(format!("{number}.txt")), numbers[0]),
            format!("round {}\n", ROUNDS - 1).as_bytes()
        );
    }
}

/// Waits until the list of restores says what became of one.
fn ended(pair: &Pair, id: &str) -> Value {
    let mut listed = Value::Null;
    until("its end to be known", || {
        let output = pair.left.run(["restore", "--list", "--json"]).unwrap();
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        listed = all.as_array().into_iter().flatten().find(|it| it["id"] == id).cloned().unwrap_or_default();
        matches!(listed["state"].as_str(), Some("finished" | "withdrawn"))
    });
    let shown = pair.left.quics(["restore", "--list"]).unwrap();
    let line = shown.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains(listed["state"].as_str().unwrap()), "{shown}");
    listed
}

#[test]
fn a_restore_that_history_svc_or_sync_svc_dies_in_is_finished_or_withdrawn() {
    let pair = Pair::with(|folder| {
        (0..2000).for_each(|number| fs::write(folder.join(number.to_string()), format!("{number} then\n")).unwrap());
    });
    let before = pair.known();
    (0..2000).for_each(|number| fs::write(pair.at(number.to_string()), format!("{number} now\n")).unwrap());
    pair.settle();
    pair.known();
    for service in [Service::Sync, Service::History] {
        let killing = std::thread::scope(|scope| {
            let stack = &pair.stack;
            let killer = scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(150));
                stack.crash(service)
            });
            let restored =
                pair.left.run(["restore", "--yes", path(&pair.here), "--at", &format!("#{before}")]).unwrap();
            killer.join().unwrap().unwrap();
            restored
        });
        let said = String::from_utf8_lossy(&killing.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&killing.stdout).into_owned();
        // Cut off or not, the list says what became of it, unless not even the preview had ended.
        let words = |text: &str| text.split(|it: char| !it.is_ascii_hexdigit()).map(str::to_owned).collect::<Vec<_>>();
        let id = words(&stdout).into_iter().chain(words(&said)).find(|word| word.len() == 32);
        assert!(id.is_some() || !killing.status.success(), "{stdout}");
        if let Some(id) = id {
            let listed = ended(&pair, &id);
            assert!(!killing.status.success() || listed["state"] == "finished", "{listed} {stdout}");
            assert!(listed["state"] == "finished" || listed["changes"] == 0, "{listed} {said}");
        }
        // Asking once more brings what is left.
        until("it to be possible again", || {
            let again = pair.left.run(["restore", "--yes", path(&pair.here), "--at", &format!("#{before}")]).unwrap();
            again.status.success()
        });
        until(&format!("all to be as it was ({said})"), || {
            (0..2000).all(|number| text(pair.on(number.to_string())) == format!("{number} then\n"))
        });
        pair.known();
        (0..2000).for_each(|number| fs::write(pair.at(number.to_string()), format!("{number} again\n")).unwrap());
        pair.settle();
        pair.known();
    }
}

#[test]
fn syncing_goes_on_while_history_svc_is_away_and_it_catches_up() {
    let pair = Pair::new();
    for round in 0..3 {
        pair.stack.crash(Service::History).unwrap();
        for number in 0..300 {
            fs::write(pair.at(format!("{number}")), format!("{round} {number}")).unwrap();
        }
        pair.settle();
    }
    pair.known();
    assert_eq!(pair.stack.statistics().unwrap().roots[0].seq, pair.commit());
    until("the backlog to be taken", || pair.stack.statistics().unwrap().outbox_records == 0);
    assert_eq!(cat(&pair.left, &pair.at("7"), 1), b"0 7");
}

#[test]
fn a_reader_reads_versions_and_restores_nothing_and_who_left_reads_nothing() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one\n").unwrap());
    fs::write(pair.at("plan.txt"), "two\n").unwrap();
    pair.settle();
    pair.known();
    let stack = &pair.stack;
    printed(stack.command(&["user", "add", "ann"]), PATIENCE).unwrap();
    let ticket = printed(stack.command(&["ticket", "--user", "ann"]), PATIENCE).unwrap();
    let mut ann = Device::new(stack, "anns").unwrap();
    ann.quics(["join", ticket.trim(), "--name", "anns"]).unwrap();
    ann.start_agent().unwrap();
    let role = |role| printed(stack.command(&["member", "docs", "ann", role]), PATIENCE).unwrap();
    role("reader");
    let folder = stack.path().join("ann/docs");
    ann.clone_root("docs", &folder).unwrap();
    until("her copy", || text(folder.join("plan.txt")) == "two\n");
    assert_eq!(cat(&ann, &folder.join("plan.txt"), 1), b"one\n");
    let said = fails(&ann, &["restore", "--yes", &super::at(folder.join("plan.txt"), 1)]);
    assert!(said.contains("a reader may not"), "{said}");
    assert_eq!(text(pair.on("plan.txt")), "two\n");
    role("writer");
    until("her to be a writer", || {
        ann.run(["restore", "--yes", &super::at(folder.join("plan.txt"), 1)]).unwrap().status.success()
    });
    until("the plan to be back", || text(pair.on("plan.txt")) == "one\n");
    role("none");
    until("her to be none any more", || !ann.run(["log", path(&folder)]).unwrap().status.success());
    // What she did stays hers.
    let versions = log(&pair.left, &[path(&pair.at("plan.txt"))]);
    assert_eq!((versions[0]["device"].as_str(), versions[0]["user"].as_str()), (Some("anns"), Some("ann")));
}
