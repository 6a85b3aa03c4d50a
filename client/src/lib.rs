//! `quics`: the agent that keeps folders in sync, and its command line.

pub mod engine;
pub mod folder;
