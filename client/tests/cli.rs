//! The program as people use it: what it prints, how it ends, and that bad input changes nothing.

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
