//! gRPC over HTTP/3 over QUIC: tonic's services and clients on `h3` and `quinn`.
//!
//! Each RPC has its own QUIC stream, so a large transfer never delays a small call. The same routes are served over
//! TCP with mutual TLS (HTTP/2) on the same port number, for networks that block UDP; a [`Channel`] falls back by itself
//! and returns to QUIC when it works again.
//!
//! ```text
//!  generated client            Channel ── QUIC ── quinn ── wire ── h3 ─┐
//!                                 └────── TCP + TLS 1.3 ── HTTP/2 ─────┤
//!                                                                      v
//!  Peer (certificate, URIs) ──> request extension ──> tonic Routes (layers, interceptors, health, reflection)
//! ```
//!
//! # Invariants
//! - Truncation never looks like a clean end: a message body that ends in any way but its proper one resets its stream
//!   (`wire` does that on drop), and a response that ends without a gRPC status is an error.
//! - Buffers are bounded by the flow-control windows of [`Tuning`], whatever the peer sends.
//! - A peer that is slow, silent or hostile costs what [`Limits`] says, and is cut off.
//! - Certificates are exchanged while running ([`Tls::replace`]); sessions are never resumed and 0-RTT is off, so that
//!   every connection shows a certificate that was judged now.
//!
//! # What it deliberately does not do
//! It knows nothing of files, users or roles, opens no files, and does not retry calls whose request may have been seen
//! by the server.
//!
//! # Web pages
//! tonic's `Routes` are an axum router, and are made from one: a [`Server`] with [`ClientAuth::NotAsked`] serves web pages to
//! anybody over HTTP/3, HTTP/2 and HTTP/1.1 as well as it serves gRPC to members. Behind a proxy that has the certificate, a
//! [`PlainServer`] serves them on loopback.

mod client;
mod congestion;
mod driver;
mod endpoint;
mod error;
mod network;
mod peer;
mod pin;
mod server;
mod socket;
mod status;
mod tasks;
mod timeout;
mod tls;
mod tuning;
mod wire;

pub use client::{Channel, ChannelConfig, Fallback, State, Timeouts};
pub use error::Error;
pub use network::{Network, neighbourhood};
pub use peer::{Peer, Transport, certificate_end};
pub use server::{Connections, Limits, PlainServer, Server, ServerConfig};
pub use tls::{ClientAuth, Tls};
pub use tuning::Tuning;
