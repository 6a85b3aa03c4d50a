//! What is now: the entries, contents, change feed and conflicts of every root.
//!
//! ```text
//!  Push ──> push ────────┐                            ┌─> quics-meta: rows, feed, verdicts, outbox, small contents
//!  Resolve ─> resolve ───┼─> ledger (judges, commits) ┤
//!  Watch <─ watch ───────┤     ^ receipt resolved: hub ──> watch, prompt
//!  Prompt <─ prompt ─────┤
//!  FollowEvents <─ relay ┤
//!  ApplyGroup ─> group ──┘
//!  Upload ─> upload ──┐                               └─> quics-chunks: chunks and pages
//!  Fetch <─ download ─┴─> contents ───────────────────────^   ^ mover: small contents leave the journal
//!                                  reclaim: what nothing refers to any more goes ─┘
//! ```
//!
//! The [`ledger`] and [`Contents`] are stepped and synchronous; `push`, `watch`, `resolve`, `prompt`, `upload`,
//! `download`, `relay` and `group` put them on the network; `grpc` is the only place that knows of calls and statuses.
//!
//! # Invariants
//! - Contents durable, then metadata durable, then the acknowledgement. Nothing is told that a crash could take back.
//! - One proposal, one verdict, stored with what it changed; told again when it is asked again.
//! - The role is checked with every proposal, every message of chunks and every page that is sent.
//! - Memory is bounded whatever clients send and however slowly they read: feeds are read anew, not buffered.
//! - Answers given at once hold together or not at all; who may answer is checked where they are judged.
//! - What can be asked of a root depends on nothing that other roots hold.
//!
//! # What it deliberately does not do
//! It keeps no versions (history-svc takes them from the outbox) and knows no users but through registry-svc.

mod access;
mod brake;
mod config;
mod contents;
mod db;
mod download;
mod encode;
mod error;
mod group;
mod grpc;
mod hub;
pub mod ledger;
mod metrics;
mod prompt;
mod push;
mod reclaim;
mod relay;
mod resolve;
mod room;
mod run;
mod service;
mod upkeep;
mod upload;
mod watch;

pub use access::Access;
pub use config::Config;
pub use contents::{Contents, Mover, Presence};
pub use db::answers::{Chosen, News, Resolution, ResolutionEntry, Settled};
pub use db::brakes::{Brake, BrakeStage, Brakes, HeldEntry};
pub use db::groups::{GroupChange, GroupEntry, Stage};
pub use db::records::{Cause, ConflictEntry, Entry, Event, EventPosition, VerdictEntry};
pub use error::{Error, RunError};
pub use ledger::Ledger;
pub use quics_types::WallTime;
pub use reclaim::{Finding, Holders};
pub use run::{routes, run};
pub use service::{Parts, Service};

/// The version message with which this service opens streams.
fn version() -> quics_proto::common::v1::Version {
    quics_proto::version(concat!("sync-svc ", env!("CARGO_PKG_VERSION")))
}
