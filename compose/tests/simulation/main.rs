//! The deterministic simulation: real engines, hostile timing, one seed a history.

#![allow(clippy::unwrap_used, reason = "a panic is how a history fails")]

mod answers;
mod disk;
mod folder;
mod network;
mod oracle;
mod people;
mod plain;
mod real;
mod rest;
mod side;
mod world;

use side::Side;
use world::{Plan, World};

fn run<S: Side>(plan: Plan) -> String {
    let mut world = World::<S>::new(plan);
    world.loud = std::env::var_os("QUICS_SIM_LOUD").is_some();
    world.run();
    world.trace
}

fn seeds<S: Side>(devices: usize, steps: usize, count: u64) {
    let first: u64 = std::env::var("QUICS_SIM_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let count = std::env::var("QUICS_SIM_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(count);
    let mut failed = Vec::new();
    for seed in first..first + count {
        let plan = Plan { seed, devices, steps };
        let result = std::panic::catch_unwind(|| (run::<S>(plan), run::<S>(plan)));
        match result {
            Ok((once, again)) => assert_eq!(once, again, "seed {seed} does not replay"),
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "{} of {count} seeds fail with {devices} devices: {failed:?}", failed.len());
}

/// The rules over maps.
#[test]
fn two_devices_converge_and_nothing_is_lost() {
    seeds::<plain::Plain>(2, 120, 500);
}

#[test]
fn three_devices_converge_and_nothing_is_lost() {
    seeds::<plain::Plain>(3, 200, 300);
}

/// sync-svc's own ledger, which dies now and then.
#[test]
fn two_devices_and_the_real_ledger_converge() {
    seeds::<real::Real>(2, 120, 500);
}

#[test]
fn three_devices_and_the_real_ledger_converge() {
    seeds::<real::Real>(3, 200, 350);
}

#[test]
fn four_devices_and_the_real_ledger_converge() {
    seeds::<real::Real>(4, 250, 200);
}

#[test]
fn five_devices_and_the_real_ledger_converge() {
    seeds::<real::Real>(5, 300, 150);
}
