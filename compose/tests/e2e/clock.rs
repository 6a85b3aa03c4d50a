//! Clocks that are wrong. `libfaketime` (Debian's package `faketime`) gives a process another clock.

use std::{fs, path::PathBuf, process::Command};

use quics_stack::harness::{Device, Program, Scratch, Stack, output};

use crate::support::{PATIENCE, Pair, has, program, refused, stack, text, until};

/// A clock of its own for the processes that are started with it; it can be moved while they run.
pub(crate) struct Clock {
    _directory: Scratch,
    offset: PathBuf,
    library: String,
}

impl Clock {
    /// A clock that is right at first; `None` where `faketime` is not installed, which is said.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !has("faketime", test) {
            return None;
        }
        // The tool itself says where its library is.
        let told = Command::new("faketime").args(["-m", "-f", "+0", "env"]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let library = told.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).unwrap().to_owned();
        let directory = Scratch::new().unwrap();
        let offset = directory.path().join("offset");
        fs::write(&offset, "+0").unwrap();
        Some(Self { _directory: directory, offset, library })
    }

    /// How far it is from the right time: `-90d`, `+11m`.
    pub(crate) fn set(&self, offset: &str) {
        fs::write(&self.offset, offset).unwrap();
    }

    /// The program, by this clock. What files say of their times, and how long things take, stays right.
    pub(crate) fn program(&self) -> Program {
        program()
            .with("LD_PRELOAD", &self.library)
            .with("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .with("FAKETIME_NO_CACHE", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("NO_FAKE_STAT", "1")
    }
}

#[test]
fn a_computer_whose_clock_is_months_wrong_is_told_so_when_it_joins() {
    let Some(clock) = Clock::new("a_computer_whose_clock_is_months_wrong_is_told_so_when_it_joins") else { return };
    let stack = stack();
    let ticket = stack.ticket().unwrap();
    let mut device = Device::new(&stack, "device").unwrap();
    device.run_by(clock.program());
    for (offset, words) in [("-90d", "not valid yet"), ("+90d", "out of date")] {
        clock.set(offset);
        let refusal = device.run(["join", ticket.as_str()]).unwrap();
        refused(&refusal, &["this computer's clock", words, "set the clock right"]);
        assert_eq!(refusal.status.code(), Some(1));
        assert!(!device.home().join("settings.toml").exists(), "it has not joined");
    }
    // The refusals used nothing up.
    clock.set("+0");
    device.quics(["join", ticket.as_str(), "--name", "device"]).unwrap();
}

#[test]
fn an_agent_whose_clock_is_months_wrong_says_so_and_goes_on_once_it_is_right() {
    let test = "an_agent_whose_clock_is_months_wrong_says_so_and_goes_on_once_it_is_right";
    let Some(clock) = Clock::new(test) else { return };
    let mut pair = Pair::new();
    pair.right.stop_agent().unwrap();
    clock.set("-90d");
    pair.right.run_by(clock.program());
    pair.right.start_agent().unwrap();
    fs::write(pair.at("news"), "n").unwrap();
    fs::write(pair.on("own"), "o").unwrap();
    until("the status to say what is wrong", || {
        let page = pair.right.quics(["status"]).unwrap();
        page.contains("not connected") && page.contains("this computer's clock") && page.contains("set the clock right")
    });
    // A wait says once what it waits for.
    let waiting = output(pair.right.command(["status", "--wait", "--timeout", "2"]), PATIENCE).unwrap();
    let said = String::from_utf8_lossy(&waiting.stderr).into_owned();
    assert_eq!(waiting.status.code(), Some(1));
    assert!(said.contains("waiting for the server") && said.contains("clock") && said.lines().count() == 2, "{said}");
    let other = pair.stack.dir("right/other").unwrap();
    let refusal = pair.right.run([std::ffi::OsStr::new("add"), other.as_os_str()]).unwrap();
    refused(&refusal, &["this computer's clock"]);
    assert!(!other.join(".quics").exists(), "it changed nothing");

    clock.set("+0");
    until("both to arrive", || text(pair.on("news")) == "n" && text(pair.at("own")) == "o");
    pair.in_sync();
}

#[test]
fn a_ticket_lets_nobody_in_after_ten_minutes() {
    let Some(clock) = Clock::new("a_ticket_lets_nobody_in_after_ten_minutes") else { return };
    let stack = Stack::start(&clock.program()).unwrap();
    let device = Device::new(&stack, "device").unwrap();
    let ticket = stack.ticket().unwrap();
    clock.set("+9m");
    let other = Device::new(&stack, "other").unwrap();
    let good = stack.ticket().unwrap();
    other.quics(["join", good.as_str(), "--name", "other"]).unwrap();
    clock.set("+11m");
    let refusal = device.run(["join", ticket.as_str()]).unwrap();
    refused(&refusal, &["ticket", "expired", "quics ticket"]);
    assert_eq!(refusal.status.code(), Some(1));
    assert!(!device.home().join("settings.toml").exists());
    let fresh = stack.ticket().unwrap();
    device.quics(["join", fresh.as_str(), "--name", "device"]).unwrap();
}
