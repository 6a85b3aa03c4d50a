//! The promises of the metadata store, over every backend and over disks that fail.

#![allow(clippy::unwrap_used, reason = "a test says with a panic that it failed")]

mod contract;
mod damage;
mod disks;
mod import;
mod index;
mod journal;
mod kill;
mod power;
