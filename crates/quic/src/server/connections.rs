//! The connections that are open now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quinn::VarInt;
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::congestion::close;
use crate::network::neighbourhood;
use crate::peer::Peer;

/// The application error code of connections that [`Connections::close`] closed ("QS" and 1).
pub(crate) const CLOSED_BY_SERVER: u32 = 0x5153_0001;

/// Lists and closes a server's live connections; clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    entries: HashMap<u64, Entry>,
    /// How many are open or being opened, by address.
    addresses: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    line: Line,
}

/// How a connection is cut.
#[derive(Debug)]
pub(crate) enum Line {
    /// Tells the peer the reason.
    Quic(quinn::Connection),
    /// Drops the connection.
    Tcp(CancellationToken),
}

impl Connections {
    /// Closes at once every connection, QUIC and TCP, whose peer `matches`, and says how many.
    ///
    /// Their calls end: at the client with UNAVAILABLE, here by being dropped. `reason` is told to QUIC peers and cut to
    /// 256 bytes. A peer that reconnects is judged by the handlers, so what makes them refuse it has to be in place
    /// before this is called.
    pub fn close(&self, matches: impl Fn(&Peer) -> bool, reason: &str) -> usize {
        let now = SystemTime::now();
        let reason = &reason.as_bytes()[..reason.len().min(256)];
        let mut closed = 0;
        for entry in self.lock().entries.values() {
            if matches(&entry.peer.clone().at(now)) {
                entry.line.cut(reason);
                closed += 1;
            }
        }
        closed
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// The peers that are connected now, one entry a connection, in no order.
    pub fn peers(&self) -> Vec<Peer> {
        let now = SystemTime::now();
        self.lock().entries.values().map(|entry| entry.peer.clone().at(now)).collect()
    }

    /// Counts a connection for its address as long as the guard lives; `None` if there are as many as may be.
    pub(crate) fn admit(&self, address: IpAddr, limits: &Limits) -> Option<Admitted> {
        let limit =
            if limits.trusted.iter().any(|network| network.holds(address)) { usize::MAX } else { limits.per_address };
        let address = neighbourhood(address);
        let mut open = self.lock();
        let count = open.addresses.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Admitted { connections: self.clone(), address })
    }

    /// Adds a connection for as long as the guard lives.
    pub(crate) fn add(&self, peer: Peer, line: Line) -> Listed {
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.entries.insert(id, Entry { peer, line });
        Listed { connections: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn cut(&self, reason: &[u8]) {
        match self {
            Line::Quic(connection) => close(connection, VarInt::from_u32(CLOSED_BY_SERVER), reason),
            Line::Tcp(token) => token.cancel(),
        }
    }
}

/// Counts a connection for its address.
pub(crate) struct Admitted {
    connections: Connections,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.addresses.remove(&self.address);
            }
        }
    }
}

/// Keeps a connection on the list.
pub(crate) struct Listed {
    connections: Connections,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.lock().entries.remove(&self.id);
    }
}
