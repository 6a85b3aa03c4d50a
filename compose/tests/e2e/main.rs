//! From end to end: separate processes, real files, the commands that a person types.
//!
//! One binary, so that everything is linked once. What takes gigabytes runs where `QUICS_HEAVY=1` is set; what needs a
//! tool that is not there says so loudly, and fails where `QUICS_NO_SKIP=1` is set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
pub(crate) mod clock;
mod conflicts;
mod crashes;
mod damage;
mod devices;
mod history;
mod kinds;
mod moves;
mod names;
mod network;
mod refusals;
mod safety;
mod server;
mod share;
mod strangers;
mod support;
mod terminal;
mod tools;
mod traces;
mod units;
