//! The real folder, over the file system of the temporary directory.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "folder/common.rs"]
mod common;

#[path = "folder/attack.rs"]
mod attack;
#[path = "folder/crash.rs"]
mod crash;
#[path = "folder/look.rs"]
mod look;
#[path = "folder/operations.rs"]
mod operations;
#[path = "folder/permissions.rs"]
mod permissions;
#[path = "folder/setup.rs"]
mod setup;
#[path = "folder/units.rs"]
mod units;
