//! Versions: every one kept, seen and brought back.

use std::{ffi::OsStr, path::Path, process::Output};

use quics_stack::harness::Device;
use serde_json::Value;

use crate::support::{Pair, until};

mod backup;
mod brake;
mod keeping;
mod kills;
mod life;
mod purge;
mod reclaim;
mod refusals;
mod restore;
mod service;
mod targets;
mod versions;

impl Pair {
    /// The number of the root's last commit.
    fn commit(&self) -> u64 {
        self.stack.statistics().unwrap().roots[0].seq
    }

    /// Waits until both devices are in sync and history-svc knows of everything; gives the root's last commit.
    fn known(&self) -> u64 {
        self.in_sync();
        self.told()
    }

    /// Waits until history-svc knows of everything that the server has; gives the root's last commit.
    fn told(&self) -> u64 {
        let commit = self.commit();
        until("history-svc to know everything", || {
            let at = format!("#{commit}");
            self.left
                .run([OsStr::new("ls"), self.here.as_os_str(), "--at".as_ref(), at.as_ref()])
                .unwrap()
                .status
                .success()
        });
        commit
    }
}

/// `PATH@T`.
fn at(path: impl AsRef<Path>, moment: impl std::fmt::Display) -> String {
    format!("{}@{moment}", path.as_ref().to_str().unwrap())
}

/// The versions that `quics log` lists, the newest first.
fn log(device: &Device, arguments: &[&str]) -> Vec<Value> {
    let said = device.quics(["log", "--json", "--limit", "0"].iter().chain(arguments)).unwrap();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Version and cause of each.
fn told(versions: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    versions.iter().map(|it| (text(&it["version"]), text(&it["cause"]))).collect()
}

/// The bytes of a version.
fn cat(device: &Device, path: &Path, moment: impl std::fmt::Display) -> Vec<u8> {
    let output = device.run(["cat", &at(path, moment)]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs `quics restore --yes`, which has to succeed, and gives the id under which it can be taken back.
fn restore(device: &Device, arguments: &[&str]) -> Option<String> {
    let said = device.quics(["restore", "--yes"].iter().chain(arguments)).unwrap();
    said.split("--undo ").nth(1).map(|rest| rest.split('`').next().unwrap().to_owned())
}

/// Runs a command that has to fail in one sentence, which is given.
fn fails(device: &Device, arguments: &[&str]) -> String {
    let Output { status, stderr, stdout } = device.run(arguments).unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{arguments:?} should have failed: {}", String::from_utf8_lossy(&stdout));
    assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    said
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
