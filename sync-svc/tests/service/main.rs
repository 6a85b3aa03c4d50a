//! The service over the real transport and real stores, with devices made up by the test.

#![allow(clippy::unwrap_used)]

mod access;
mod answers;
mod child;
mod contents;
mod groups;
mod purge;
mod relay;
mod roles;
mod server;
mod session;
mod sync;

use sync_svc::Access;
