//! What strangers may have: links to files and folders of roots.
//!
//! What is kept here are links. What a link shows comes from history-svc, bytes come from sync-svc, and who may make a link is
//! known from registry-svc. `store` reads and writes; `grpc` is the only place that knows of calls and statuses.
//!
//! # What it deliberately does not do
//! It keeps no contents and changes no entry. Nothing that opens a link is in its store or in its logs.

mod config;
mod db;
mod error;
mod grpc;
mod run;
mod service;
mod store;

pub use config::Config;
pub use error::{Error, RunError};
pub use run::run;
