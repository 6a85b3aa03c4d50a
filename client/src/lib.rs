//! `quics`: the agent that keeps folders in sync, and its command line.
//!
//! ```text
//!  main ──> cli ── one file a command ──> api (Unix socket) ──> agent ── session ──> sync-svc
//!            └──> account ──> registry-svc                        ├── engine: what to do, stepped
//!                                                                 ├── folder, watch: the disk
//!                                                                 └── transfer: contents
//! ```
//!
//! # What it deliberately does not do
//! It decides nothing that the server has to decide, keeps no second copy of anybody's files, and writes nothing outside of
//! its home and the `.quics` directories of the folders that it syncs.

pub mod account;
pub mod agent;
pub mod api;
pub mod cli;
pub mod engine;
pub mod folder;
pub mod group;
pub mod home;
pub mod merge;
pub mod text;
pub mod transfer;
pub mod watch;

/// The program and its version, as it introduces itself.
pub const PROGRAM: &str = concat!("quics ", env!("CARGO_PKG_VERSION"));
