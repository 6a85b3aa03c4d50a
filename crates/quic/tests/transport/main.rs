//! What the transport promises, over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod channel;
mod deadlines;
mod ends;
mod flow;
mod hostile;
mod identity;
mod layers;
mod limits;
mod losses;
mod migration;
mod plain;
mod shutdown;
mod web;

use quics_quic::Transport;

/// Both transports, for what must hold over either.
const BOTH: [Transport; 2] = [Transport::Quic, Transport::Tcp];
