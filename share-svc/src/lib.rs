//! What strangers may have: links to files and folders of roots.
//!
//! What is kept here are links. What a link shows comes from history-svc, bytes come from sync-svc, and who may make a link is
//! known from registry-svc.
//!
//! ```text
//! devices ── grpc ── making, listing, policy ──┐
//!                                              ├── store ── db         links, grants, logs, policies
//! strangers ── public ── desk: clerk ──────────┘
//!                               └── upstream, reading                  versions from history-svc, bytes from sync-svc
//! sync-svc ── grpc::references                                         what reclaiming has to leave
//! ```
//!
//! # Invariants
//! - Nothing that opens a link is in the store or in the logs: tokens are kept as hashes.
//! - Whatever is wrong with a link has one answer for strangers.
//! - A limited download is counted durably before it begins: a crash may spend one, and never grants one more.
//! - What a pinned link shows is kept as long as the link is open, and a day longer.
//!
//! # What it deliberately does not do
//! It keeps no contents and changes no entry.

mod clerk;
mod config;
mod db;
mod desk;
mod error;
mod grpc;
mod listing;
mod making;
mod policy;
mod public;
mod reading;
mod references;
mod run;
mod service;
mod session;
mod store;
mod sums;
mod tidy;
mod token;
mod upstream;

pub use config::{Config, Links};
pub use error::{Error, RunError};
pub use run::run;
