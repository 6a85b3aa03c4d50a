//! The kit that drives a whole system of real processes: a server, devices, folders; and what is asked of them.
//!
//! ```no_run
//! # use std::path::Path;
//! use quics_stack::harness::{Device, Program, Stack, tree};
//!
//! # fn main() -> anyhow::Result<()> {
//! let stack = Stack::start(&Program::at(Path::new("target/debug/quics-stack")))?;
//! let (laptop, desktop) = (Device::join(&stack, "laptop")?, Device::join(&stack, "desktop")?);
//! let (here, there) = (stack.dir("laptop/docs")?, stack.path().join("desktop/docs"));
//! laptop.add(&here)?;
//! desktop.clone_root("docs", &there)?;
//! std::fs::write(here.join("letter"), "Dear")?;
//! tree::wait_equal(&here, &there, std::time::Duration::from_secs(10))?;
//! # Ok(())
//! # }
//! ```
//!
//! Waits poll a condition and have a deadline; nothing sleeps for a time and hopes.

mod device;
pub mod process;
mod program;
mod scratch;
mod server;
mod terminal;
pub mod tree;
pub mod wait;

pub use device::Device;
pub use program::{Daemon, Program, feed, output, printed};
pub use scratch::Scratch;
pub use server::Stack;
pub use terminal::Terminal;
