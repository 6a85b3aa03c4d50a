//! history-svc away, killed, behind; members who may less.

use std::fs;

use quics_kit::names::Service;
use quics_stack::harness::process;
use serde_json::Value;

use super::{cat, fails, log, path};
use crate::support::{Ann, Pair, text, until};

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
fn how_far_history_svc_is_behind_is_shown() {
    let pair = Pair::with(|folder| fs::write(folder.join("first"), "x").unwrap());
    let behind = || {
        let status = pair.stack.command(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let services = status["services"].as_array().unwrap().clone();
        services.iter().find(|service| service["name"] == "history").unwrap()["changes_behind"].as_u64()
    };
    pair.known();
    until("it to have taken all", || behind() == Some(0));
    let pid = pair.stack.service(Service::History).unwrap().pid;
    process::signal(pid, rustix::process::Signal::STOP).unwrap();
    (0..30).for_each(|number| fs::write(pair.at(number.to_string()), "x").unwrap());
    pair.settle();
    assert!(behind().is_some_and(|behind| behind >= 30));
    let said = pair.stack.command(&["status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("changes behind"), "{said:?}");
    process::signal(pid, rustix::process::Signal::CONT).unwrap();
    until("it to have taken all again", || behind() == Some(0));
}

#[test]
fn a_reader_reads_versions_and_restores_nothing_and_who_left_reads_nothing() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one\n").unwrap());
    fs::write(pair.at("plan.txt"), "two\n").unwrap();
    pair.settle();
    pair.known();
    let Ann { device: ann, folder } = Ann::of(&pair, "reader");
    until("her copy", || text(folder.join("plan.txt")) == "two\n");
    assert_eq!(cat(&ann, &folder.join("plan.txt"), 1), b"one\n");
    let said = fails(&ann, &["restore", "--yes", &super::at(folder.join("plan.txt"), 1)]);
    assert!(said.contains("a reader may not"), "{said}");
    assert_eq!(text(pair.on("plan.txt")), "two\n");
    Ann::role(&pair, "writer");
    until("her to be a writer", || {
        ann.run(["restore", "--yes", &super::at(folder.join("plan.txt"), 1)]).unwrap().status.success()
    });
    until("the plan to be back", || text(pair.on("plan.txt")) == "one\n");
    Ann::role(&pair, "none");
    until("her to be none any more", || !ann.run(["log", path(&folder)]).unwrap().status.success());
    // What she did stays hers.
    let versions = log(&pair.left, &[path(&pair.at("plan.txt"))]);
    assert_eq!((versions[0]["device"].as_str(), versions[0]["user"].as_str()), (Some("anns"), Some("ann")));
}
