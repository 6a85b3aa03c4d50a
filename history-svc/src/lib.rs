//! What was: every version of every entry, and the way back to any moment.
//!
//! ```text
//!  sync-svc ── FollowEvents ──> relay ──> intake (event -> versions) ──> store: versions, timeline, places
//!  sync-svc <── ApplyGroup ──── restore <── plan (then against now) <─────┘ │
//!  devices  <── log, trees, previews ── query <────────────────────────────┘
//! ```
//!
//! Contents stay in sync-svc's chunk store; what is kept here are rows. `intake` and `plan` are pure; `store` reads and
//! writes; `relay` and `restore` speak with sync-svc; `keep` decides what of it stays; `grpc` is the only place that knows of calls and statuses.
//!
//! # Invariants
//! - Events are applied in their order and once each: a batch and the position behind it are one commit.
//! - Only what is durable is acknowledged to sync-svc, which keeps it until then.
//! - What was missed is found again by comparing, and shown as missing: never made up.
//! - A restore replans what its preview showed: versions behind the preview's cursor are not looked at.
//!
//! # What it deliberately does not do
//! It changes no entry itself: a restore is carried out by sync-svc, as ordinary changes. It forgets no version: `keep` takes
//! contents, by saying that they are not referenced any more, and sync-svc reclaims their space. It knows no users but through
//! registry-svc.

mod config;
mod db;
mod encode;
mod error;
mod globs;
mod grpc;
mod intake;
mod keep;
mod metrics;
mod plan;
mod query;
mod references;
mod relay;
mod repair;
mod restore;
mod run;
mod service;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod view;

pub use config::Config;
pub use error::{Error, RunError};
pub use keep::shown::Shares;
pub use quics_kit::access::Access;
pub use run::{routes, run};
pub use service::{Parts, Service};
pub use sync::Finder;

/// The version message with which this service opens streams.
fn version() -> quics_proto::common::v1::Version {
    quics_proto::version(concat!("history-svc ", env!("CARGO_PKG_VERSION")))
}
