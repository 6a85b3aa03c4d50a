//! The program as people use it: what it prints, how it ends, and that bad input changes nothing.

// A helper that cannot prepare its test has nothing better to do than to fail it.
#![allow(clippy::unwrap_used)]

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/running.rs"]
mod running;
#[path = "cli/server.rs"]
mod server;
#[path = "cli/world.rs"]
mod world;
