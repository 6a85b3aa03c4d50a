//! The kit that drives a whole system of real processes: a server, devices, folders; and what is asked of them.
//!
//! Waits poll a condition and have a deadline; nothing sleeps for a time and hopes.

pub mod process;
pub mod tree;
pub mod wait;
