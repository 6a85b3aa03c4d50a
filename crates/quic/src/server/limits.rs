//! What peers may cost.

use std::time::Duration;

use crate::{ClientAuth, Network, Tls, Tuning};

/// Configures a [`Server`](crate::Server).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The server's certificate and the CAs of its clients.
    pub tls: Tls,
    /// Which clients are let in; [`ClientAuth::Required`] by default.
    pub client_auth: ClientAuth,
    /// What peers may cost.
    pub limits: Limits,
    /// Windows, timers and datagram size.
    pub tuning: Tuning,
    /// A secret that outlives the process, with which a restarted server tells the clients of its former life that their
    /// connections are gone. Without one they notice after [`Tuning::idle_timeout`].
    pub reset_key: Option<[u8; 32]>,
    /// Whether TCP is served beside QUIC, on the same port number; `true` by default.
    pub tcp: bool,
}

impl ServerConfig {
    /// Configures a server with the defaults of every field.
    pub fn new(tls: Tls) -> Self {
        ServerConfig {
            tls,
            client_auth: ClientAuth::Required,
            limits: Limits::default(),
            tuning: Tuning::default(),
            reset_key: None,
            tcp: true,
        }
    }
}

/// Bounds what peers may cost a [`Server`](crate::Server).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time, QUIC and TCP each: 16 384. Further ones are refused.
    pub connections: usize,
    /// Connections at a time from one address (of IPv6, one /64), QUIC and TCP together: any number. Further ones are refused.
    pub per_address: usize,
    /// Proxies, which bring the connections of many: [`Limits::per_address`] is not for them. None.
    pub trusted: Vec<Network>,
    /// Handshakes in flight, QUIC and TCP each: 512. Further ones are refused.
    pub handshakes: usize,
    /// Handshakes in flight above which a QUIC client must show that it receives at its address (Retry): 64.
    pub retry_above: usize,
    /// How long a handshake may take: 10 s.
    pub handshake_timeout: Duration,
    /// How long a request's headers may take once its stream is open: 10 s.
    pub header_timeout: Duration,
    /// Calls that one connection may have open: 256. Further ones wait at the client.
    pub streams: u32,
    /// Bytes of a request's headers: 16 KiB.
    pub header_bytes: u32,
    /// Bytes a second that a message, once begun, must arrive with on average while the handler waits for it: 1 KiB.
    ///
    /// The time between messages is free, so that a call may idle for days.
    pub min_rate: u32,
    /// The time that every message has on top of that: 20 s.
    pub min_rate_grace: Duration,
    /// How long calls in flight may go on at shutdown: 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 16_384,
            per_address: usize::MAX,
            trusted: Vec::new(),
            handshakes: 512,
            retry_above: 64,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            streams: 256,
            header_bytes: 16 << 10,
            min_rate: 1 << 10,
            min_rate_grace: Duration::from_secs(20),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
