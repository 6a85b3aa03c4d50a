//! Histories with real processes: people edit, move, remove and answer on two to four devices, while agents and services
//! are killed, stopped, paused and started; at the end everybody has the same and no writing is lost.
//!
//! Each history comes from a seed. `QUICS_HISTORY_SEED=17` runs that one, `QUICS_HISTORIES=1000` so many from the first
//! (or that) seed on; `QUICS_HISTORY_LOUD=1` shows what happened in those that pass, too. What the processes do meanwhile
//! is theirs, so a seed gives the same people and faults and not the same history to the last message.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod content;
mod faults;
mod folder;
mod oracle;
mod people;
mod rest;
mod world;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Result;
use world::{Lane, World};

/// Histories where nobody asks for more.
const FEW: u64 = 6;
/// Histories in the suites that take their time.
const MANY: u64 = 50;

/// Servers, each with devices, that run histories side by side.
const LANES: usize = 3;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs one history; where it fails, says everything that is known of it.
fn history(lane: &mut Lane, seed: u64) -> Result<(), String> {
    let mut world = World::new(lane, seed).map_err(|error| format!("{error:?}"))?;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        world.run()?;
        world.faults_end()?;
        world.rest()?;
        world.check()?;
        world.check_what_answers_keep()?;
        world.check_a_newcomer()
    }));
    let failed = match ran {
        Ok(Ok(())) if env::var_os("QUICS_HISTORY_LOUD").is_none() => {
            return world.end().map_err(|error| format!("{error:?}"));
        }
        Ok(Ok(())) => {
            eprintln!("{}", world.journal.join("\n"));
            return world.end().map_err(|error| format!("{error:?}"));
        }
        Ok(Err(error)) => format!("{error:?}"),
        Err(_) => "it panicked".to_owned(),
    };
    Err(format!("{failed}\n--- what happened\n{}\n--- how it stands\n{}", world.journal.join("\n"), world.describe()))
}

#[test]
fn random_histories_of_real_processes_converge_and_nothing_is_lost() {
    let seed = number("QUICS_HISTORY_SEED");
    let usual = if env::var_os("QUICS_HEAVY").is_some() { MANY } else { FEW };
    let count = number("QUICS_HISTORIES").unwrap_or(if seed.is_some() { 1 } else { usual });
    let first = seed.unwrap_or(1);
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let run = || {
        let mut lane = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let begun = std::time::Instant::now();
            let mut ready = lane.take().unwrap_or_else(|| Lane::new().expect("a server and devices start"));
            match history(&mut ready, seed) {
                Ok(()) => lane = Some(ready),
                // The next one begins with processes of which nothing is amiss.
                Err(what) => {
                    eprintln!("=== history {seed} failed; QUICS_HISTORY_SEED={seed} runs it again\n{what}\n");
                    failed.lock().unwrap().push(seed);
                }
            }
            eprintln!("history {seed}: {:?}", begun.elapsed());
        }
    };
    thread::scope(|scope| {
        for _ in 0..LANES.min(usize::try_from(count).unwrap_or(LANES)) {
            scope.spawn(run);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {count} histories failed: {failed:?}", failed.len());
}
