//! Giving back the room of what nothing refers to, while everything goes on.

use std::fs;

use quics_kit::names::Service;
use quics_stack::harness::{output, printed, process};
use rustix::process::Signal;

use super::cat;
use crate::support::{PATIENCE, Pair, refused, text, until, write_random};

impl Pair {
    /// Runs `quics-stack reclaim`, which has to succeed, and gives what it says.
    fn reclaim(&self, arguments: &[&str]) -> String {
        printed(self.stack.command(&[&["reclaim"], arguments].concat()), PATIENCE).unwrap()
    }
}

#[test]
fn every_version_reads_after_reclaiming_that_ran_while_files_were_uploaded_replaced_and_deleted() {
    const ROUNDS: usize = 6;
    let pair = Pair::new();
    let random = |name: &str, bytes| {
        write_random(&pair.at(name), bytes);
        fs::read(pair.at(name)).unwrap()
    };
    let mut contents = Vec::new();
    std::thread::scope(|scope| {
        let reclaiming = scope.spawn(|| {
            for round in 0..ROUNDS {
                let said = pair.reclaim(if round % 2 == 0 { &["--all"] } else { &[] });
                assert!(said.contains("examined"), "{said}");
            }
        });
        let mut round = 0;
        while !reclaiming.is_finished() || round < 4 {
            contents.push((random("replaced", 300_000), random(&format!("new {round}"), 200_000)));
            fs::write(pair.at("small"), format!("small {round}")).unwrap();
            pair.settle();
            if round > 0 {
                fs::remove_file(pair.at(format!("new {}", round - 1))).unwrap();
            }
            round += 1;
        }
        reclaiming.join().unwrap();
    });
    pair.settle();
    pair.known();
    pair.reclaim(&["--all"]);
    for (round, (replaced, new)) in contents.iter().enumerate() {
        assert!(cat(&pair.left, &pair.at("replaced"), round + 1) == *replaced, "version {round} of what was replaced");
        assert!(cat(&pair.right, &pair.on(format!("new {round}")), 1) == *new, "what was new in round {round}");
        assert_eq!(cat(&pair.left, &pair.at("small"), round + 1), format!("small {round}").as_bytes());
    }
    assert!(printed(pair.stack.command(&["verify"]), PATIENCE).unwrap().contains(" 0 damaged"));
    let said = pair.reclaim(&["--dry-run"]);
    assert!(said.contains("nothing to give back"), "every version is kept: {said}");
}

#[test]
fn nothing_is_given_back_while_history_svc_cannot_be_asked() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan"), "one").unwrap());
    fs::write(pair.at("plan"), "two").unwrap();
    pair.settle();
    pair.known();
    until("its events to be acknowledged", || pair.stack.statistics().unwrap().outbox_records == 0);
    let history = pair.stack.service(Service::History).unwrap().pid;
    process::signal(history, Signal::STOP).unwrap();
    let refusal = output(pair.stack.command(&["reclaim"]), 3 * PATIENCE).unwrap();
    process::signal(history, Signal::CONT).unwrap();
    refused(&refusal, &["history-svc cannot be asked", "nothing was taken away"]);
    until("it to be asked again", || {
        let said = printed(pair.stack.command(&["reclaim"]), PATIENCE);
        said.is_ok_and(|said| said.contains("nothing to give back"))
    });
    assert_eq!(cat(&pair.left, &pair.at("plan"), 1), b"one");
    assert_eq!(text(pair.on("plan")), "two");
}
