//! history-svc is killed twenty times in the middle of everything that it does.

use std::fs;
use std::thread;

use quics_kit::names::Service;
use quics_stack::harness::Device;

use super::{at, cat, log, path};
use crate::support::{Pair, until};

const ROUNDS: usize = 20;
const FILES: usize = 10;

/// What is asked of history-svc while it dies, a command a time; each is asked again until it is done.
fn asked(pair: &Pair, round: usize) -> Vec<Vec<String>> {
    let here = path(&pair.here).to_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let version = at(pair.at("0.txt"), 1);
    match round % 7 {
        // Nothing: it is taking what is written.
        0 => Vec::new(),
        1 => vec![words(&["restore", "--dry-run", &here, "--at", "#5"])],
        2 => vec![words(&["restore", "--yes", &at(pair.at("kept.txt"), 1)])],
        // It looks through everything by the new policy.
        3 => vec![words(&["policy", "set", &here, "--every", &format!("{}d", 30 + round), "--yes"])],
        4 => vec![words(&["pin", &version]), words(&["unpin", &version])],
        5 => vec![words(&["purge", path(&pair.at(secret(round))), "--yes", "--reason", "a test"])],
        _ => vec![words(&["usage", &here]), words(&["log", &here]), words(&["cat", &version])],
    }
}

fn secret(round: usize) -> String {
    format!("secret {round}.txt")
}

/// Runs a command until it succeeds, or says that what it is about has been done by the time before.
fn insist(device: &Device, command: &[String]) {
    until(&format!("{command:?} to be done"), || {
        let output = device.run(command).expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let done =
            ["pinned already", "not pinned", "nothing to restore", "already"].iter().any(|words| said.contains(words));
        output.status.success() || done
    });
}

#[test]
fn history_svc_that_is_killed_in_the_middle_of_everything_has_every_version_once() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("kept.txt"), "as it was").unwrap());
    fs::write(pair.at("kept.txt"), "as it became").unwrap();
    pair.settle();
    for round in 0..ROUNDS {
        // The supervisor's patience with a service that ends again and again is not what is tested here.
        if round % 5 == 4 {
            pair.stack.down().unwrap();
            pair.stack.up().unwrap();
        }
        let commands = asked(&pair, round);
        if round % 7 == 5 {
            fs::write(pair.at(secret(round)), format!("what nobody may know {round}")).unwrap();
            pair.settle();
            fs::remove_file(pair.at(secret(round))).unwrap();
            pair.settle();
            pair.known();
        }
        for number in 0..FILES {
            fs::write(pair.at(format!("{number}.txt")), format!("round {round}\n")).unwrap();
        }
        thread::scope(|scope| {
            scope.spawn(|| commands.iter().for_each(|command| insist(&pair.left, command)));
            pair.stack.crash(Service::History).unwrap();
        });
        pair.in_sync();
    }
    pair.known();
    for number in 0..FILES {
        let file = pair.at(format!("{number}.txt"));
        let versions = log(&pair.left, &[path(&file)]);
        let numbers: Vec<u64> = versions.iter().map(|it| it["version"].as_str().unwrap().parse().unwrap()).collect();
        let wanted: Vec<u64> = (1..=numbers.len() as u64).rev().collect();
        assert_eq!(numbers, wanted, "every version once, none missing");
        assert_eq!(cat(&pair.left, &file, numbers[0]), format!("round {}\n", ROUNDS - 1).as_bytes());
    }
    // What was asked for was done, and done once.
    assert_eq!(cat(&pair.left, &pair.at("kept.txt"), 1), b"as it was");
    assert_eq!(fs::read(pair.on("kept.txt")).unwrap(), b"as it was");
    for round in (0..ROUNDS).filter(|round| round % 7 == 5) {
        let read = pair.left.run(["cat", &at(pair.at(secret(round)), 1)]).unwrap();
        assert!(!read.status.success(), "{}", String::from_utf8_lossy(&read.stdout));
    }
    assert_eq!(pair.left.quics(["pins", path(&pair.here)]).unwrap(), "Nothing is pinned.\n");
}
