//! `quics-stack`: up, status, ticket, user, stop.

use std::{fs, time::Duration};

use quics_kit::names::Service;
use quics_stack::harness::{Scratch, output, printed, process};

use crate::support::{PATIENCE, program, stack, until};

#[test]
fn a_server_shows_what_runs_gives_tickets_and_stops() {
    let stack = stack();
    let status = printed(stack.command(&["status", "--json"]), PATIENCE).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["serves"], true, "{status}");
    assert_eq!(status["services"].as_array().unwrap().len(), Service::ALL.len());
    let (one, two) = (stack.ticket().unwrap(), stack.ticket().unwrap());
    assert!(one.starts_with("quics1-") && one != two);
    until("the line to paste to be printed", || {
        fs::read_to_string(stack.path().join("supervisor.log")).is_ok_and(|log| log.contains("quics join quics1-"))
    });

    let pids: Vec<u32> = stack.record().unwrap().services.iter().map(|service| service.pid).collect();
    printed(stack.command(&["stop"]), PATIENCE).unwrap();
    assert!(pids.iter().all(|pid| !process::runs(*pid)), "its services have ended");
    let again = output(stack.command(&["stop"]), PATIENCE).unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("no server runs"));
}

#[test]
fn a_service_that_crashes_is_started_again_and_that_is_told() {
    let stack = stack();
    stack.crash(Service::Sync).unwrap();
    stack.crash(Service::Registry).unwrap();
    let record = stack.record().unwrap();
    let restarts: Vec<_> = record.services.iter().map(|service| (service.name.as_str(), service.restarts)).collect();
    assert_eq!(restarts, [("registry", 1), ("sync", 1), ("history", 0), ("share", 0)]);
    stack.ticket().expect("it serves again");
    until("all of it to serve", || printed(stack.command(&["status"]), PATIENCE).is_ok());
    let log = fs::read_to_string(stack.path().join("supervisor.log")).unwrap();
    assert!(log.contains("signal 9") && log.contains("runs again"), "{log}");
}

#[test]
fn a_server_keeps_its_ports_and_its_devices_over_a_restart() {
    let mut stack = stack();
    let before = stack.record().unwrap();
    stack.down().unwrap();
    stack.up().unwrap();
    let after = stack.record().unwrap();
    assert_eq!(before.port_base, after.port_base);
    assert_eq!(before.services[0].address, after.services[0].address);
}

#[test]
fn users_are_made_and_have_tickets_of_their_own() {
    let stack = stack();
    printed(stack.command(&["user", "add", "ann"]), PATIENCE).unwrap();
    let users = printed(stack.command(&["user", "list", "--json"]), PATIENCE).unwrap();
    assert!(users.contains("\"ann\""), "{users}");
    assert!(printed(stack.command(&["ticket", "--user", "ann"]), PATIENCE).unwrap().starts_with("quics1-"));
    let twice = output(stack.command(&["user", "add", "ann"]), PATIENCE).unwrap();
    assert!(!twice.status.success());
    // With two users it has to be said whose device it will be.
    let whose = output(stack.command(&["ticket"]), PATIENCE).unwrap();
    assert!(!whose.status.success(), "{}", String::from_utf8_lossy(&whose.stdout));
}

#[test]
fn a_server_whose_data_directory_is_held_or_whose_port_is_in_use_says_so_in_one_sentence() {
    let stack = stack();
    let record = stack.record().unwrap();
    let second = output(stack.command(&["up", "--port-base", "0"]), PATIENCE).unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains("is held by") && said.contains(&record.pid.to_string()) && said.contains("stop"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");

    let other = Scratch::new().unwrap();
    let base = record.port_base.to_string();
    let mut command = program().command(["up", "--port-base", base.as_str(), "--data"]);
    command.arg(other.path().join("data"));
    let third = output(command, PATIENCE).unwrap();
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(!third.status.success());
    assert!(said.contains(&format!("port {}", record.port_base)) && said.contains("--port-base"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert_eq!(stack.record().unwrap(), record, "the first server is not disturbed");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_told_in_one_sentence() {
    let scratch = Scratch::new().unwrap();
    fs::write(scratch.path().join("file"), "in the way").unwrap();
    let mut command = program().command(["up", "--port-base", "0", "--data"]);
    command.arg(scratch.path().join("file/data"));
    let refused = output(command, Duration::from_secs(30)).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("file/data") && said.trim().lines().count() == 1, "{said}");
}
