//! Contents on their way to a server and back. The server is a stand-in for sync-svc behind the real contract, called
//! without a network, so that it can fail where a test wants it to.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "transfer/fetch.rs"]
mod fetch;
#[path = "transfer/ingest.rs"]
mod ingest;
#[path = "transfer/server.rs"]
mod server;
