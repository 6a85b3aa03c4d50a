//! Processes that are killed in the middle of things.

use std::{fs, path::Path, time::Duration};

use quics_kit::names::Service;
use quics_stack::harness::{Device, Stack, process, wait};

use crate::support::{Pair, heavy, shows, stack, text, until, write_random};

/// How long a transfer with kills in it may take.
const LONG: Duration = Duration::from_secs(300);

/// What sync-svc has of contents, in bytes; 0 while it does not answer.
fn stored(stack: &Stack) -> u64 {
    stack.statistics().map_or(0, |statistics| statistics.chunk_bytes)
}

/// Waits until sync-svc has at least so much.
fn until_stored(stack: &Stack, bytes: u64) {
    wait::until_true(&format!("{bytes} bytes on the server"), LONG, || stored(stack) >= bytes).unwrap();
}

fn sized(small: u64, large: u64) -> u64 {
    if heavy("kills in the middle of 1 GiB (done with 96 MiB instead)") { large } else { small }
}

#[test]
fn an_agent_that_is_killed_while_it_sends_goes_on_where_it_was() {
    let size = sized(96 << 20, 1 << 30);
    let mut pair = Pair::new();
    write_random(&pair.at("film"), size);
    until_stored(&pair.stack, size / 4);
    pair.left.kill_agent().unwrap();
    let there = stored(&pair.stack);
    assert!(there < size, "the kill came too late to be of use");
    pair.left.start_agent().unwrap();
    shows(&pair.here, &pair.there, LONG);
    pair.in_sync();
    let in_all = stored(&pair.stack);
    assert!(in_all <= size + size / 50, "what was there was not stored again: {in_all} of {size}");
}

#[test]
fn an_agent_that_is_killed_while_it_receives_goes_on() {
    let size = sized(96 << 20, 1 << 30);
    let mut pair = Pair::new();
    write_random(&pair.at("film"), size);
    // The other side has begun when something lies in its staging directory.
    let staging = pair.on(".quics");
    wait::until_true("the other device to receive", LONG, || holds_more_than(&staging, size / 4)).unwrap();
    pair.right.kill_agent().unwrap();
    assert!(!pair.on("film").exists(), "the kill came too late to be of use");
    pair.right.start_agent().unwrap();
    shows(&pair.here, &pair.there, LONG);
    pair.in_sync();
    until("the staging directory to be empty again", || !holds_more_than(&staging, size / 100));
}

fn holds_more_than(directory: &Path, bytes: u64) -> bool {
    fn sum(directory: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        let one = |path: &Path| match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => sum(path),
            Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
            Err(_) => 0,
        };
        entries.flatten().map(|entry| one(&entry.path())).sum()
    }
    sum(directory) > bytes
}

#[test]
fn sync_svc_that_is_killed_in_a_transfer_is_started_again_and_the_transfer_goes_on() {
    let size = sized(96 << 20, 1 << 30);
    let pair = Pair::new();
    write_random(&pair.at("film"), size);
    until_stored(&pair.stack, size / 4);
    pair.stack.crash(Service::Sync).unwrap();
    shows(&pair.here, &pair.there, LONG);
    pair.in_sync();
    let in_all = stored(&pair.stack);
    assert!(in_all <= size + size / 20, "what was durable was not stored again: {in_all} of {size}");
}

#[test]
fn registry_svc_that_is_killed_in_a_transfer_disturbs_nothing() {
    let size = sized(96 << 20, 1 << 30);
    let pair = Pair::new();
    write_random(&pair.at("film"), size);
    until_stored(&pair.stack, size / 4);
    pair.stack.crash(Service::Registry).unwrap();
    shows(&pair.here, &pair.there, LONG);
    pair.in_sync();
}

#[test]
fn kills_of_everything_while_small_files_change_lose_nothing() {
    let mut pair = Pair::new();
    for round in 0..6 {
        for number in 0..40 {
            fs::write(pair.at(format!("{number}")), format!("round {round}, file {number}")).unwrap();
        }
        match round % 3 {
            0 => {
                pair.left.kill_agent().unwrap();
                pair.left.start_agent().unwrap();
            }
            1 => pair.stack.crash(Service::Sync).unwrap(),
            _ => {
                pair.right.kill_agent().unwrap();
                pair.right.start_agent().unwrap();
            }
        }
    }
    pair.settle();
    assert_eq!(text(pair.on("39")), "round 5, file 39");
}

#[test]
fn the_services_end_with_their_supervisor_however_it_ends() {
    let stack = stack();
    let pids: Vec<u32> = stack.record().unwrap().services.iter().map(|service| service.pid).collect();
    assert_eq!(pids.len(), quics_kit::names::Service::ALL.len());
    process::kill(stack.supervisor_pid().unwrap()).unwrap();
    for pid in pids {
        process::wait_ended(pid, Duration::from_secs(30)).unwrap();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_the_whole_server_was_killed() {
    let mut stack = stack();
    let device = Device::join(&stack, "one").unwrap();
    let folder = stack.dir("one/docs").unwrap();
    device.add(&folder).unwrap();
    for number in 0..50 {
        fs::write(folder.join(format!("{number}")), format!("{number}")).unwrap();
    }
    device.wait_in_sync().unwrap();
    let record = stack.record().unwrap();
    // The supervisor first: nobody starts the services again.
    process::kill(stack.supervisor_pid().unwrap()).unwrap();
    for service in &record.services {
        // It may have read the end of its lifeline already.
        let _ = process::kill(service.pid);
        process::wait_ended(service.pid, Duration::from_secs(30)).unwrap();
    }
    stack.up().unwrap();
    let late = Device::join(&stack, "two").unwrap();
    let there = stack.path().join("two/docs");
    late.clone_root("docs", &there).unwrap();
    shows(&folder, &there, Duration::from_secs(60));
}
