//! How QUIC-S is put together: the services as local processes, supervised; the demonstration; and the kit with which
//! the end-to-end tests and the benchmarks drive real processes on real files.
//!
//! ```text
//! quics-stack up ── supervisor ──┬── quics-stack internal service registry
//!                                └── quics-stack internal service sync
//! quics-stack demo ── the same, and two agents (quics-stack internal quics …)
//! ```
//!
//! One program holds everything, so that `cargo run` is enough; it starts each service and each agent as a process of
//! its own by executing itself again. Nothing of the product's logic is here.

pub mod cli;
mod commands;
pub mod data;
pub mod demo;
pub mod harness;
mod internal;
pub mod lifeline;
pub mod ports;
pub mod supervisor;
