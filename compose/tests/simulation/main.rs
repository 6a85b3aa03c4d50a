//! The deterministic simulation: real engines, hostile timing, one seed a history.

mod disk;
mod server;
mod world;

use world::{Plan, World};

fn run(plan: Plan) -> String {
    let mut world = World::new(plan);
    world.loud = std::env::var_os("QUICS_SIM_LOUD").is_some();
    world.run();
    world.trace
}

fn seeds(devices: usize, steps: usize, count: u64) {
    let first: u64 = std::env::var("QUICS_SIM_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let count = std::env::var("QUICS_SIM_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(count);
    let mut failed = Vec::new();
    for seed in first..first + count {
        let plan = Plan { seed, devices, steps };
        let result = std::panic::catch_unwind(|| (run(plan), run(plan)));
        match result {
            Ok((once, again)) => assert_eq!(once, again, "seed {seed} does not replay"),
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "{} of {count} seeds fail with {devices} devices: {failed:?}", failed.len());
}

#[test]
fn two_devices_converge_and_nothing_is_lost() {
    seeds(2, 120, 500);
}

#[test]
fn three_devices_converge_and_nothing_is_lost() {
    seeds(3, 200, 500);
}
