//! registry-svc as its callers see it: the real service on QUIC, in this process.

// clippy.toml allows it in test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

mod enrolment;
mod identity;
mod joining;
mod operations;
mod process;
mod roots;
mod support;
mod watching;
