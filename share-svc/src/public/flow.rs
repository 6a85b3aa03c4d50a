//! Bytes on their way out: as fast as they are taken, not slower than a minimum, and cut when the link is taken back.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use crate::desk::{End, Link, Opened, ReadFailure};

/// Pieces that wait for the reader.
const WAITING: usize = 2;
/// The time that every piece has on top of the minimum rate.
const GRACE: Duration = Duration::from_secs(30);

/// How much may go out at a time.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_link: usize,
    pub(super) per_address: usize,
    /// Bytes a second that a reader has to take.
    pub(super) min_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 1024, per_link: 256, per_address: 256, min_rate: 1024 }
    }
}

/// Counts what is on its way.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    limits: Arc<Limits>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    links: HashMap<Link, usize>,
    addresses: HashMap<IpAddr, usize>,
}

/// One download that is counted as long as this lives.
pub(super) struct Counted {
    flows: Flows,
    link: Link,
    address: IpAddr,
}

impl Flows {
    /// Counts a download; `None` if there are too many.
    pub(super) fn begin(&self, link: Link, address: IpAddr) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let of = |count: Option<&usize>| count.copied().unwrap_or_default();
        let full = counts.all >= self.limits.all
            || of(counts.links.get(&link)) >= self.limits.per_link
            || of(counts.addresses.get(&address)) >= self.limits.per_address;
        if full {
            return None;
        }
        counts.all += 1;
        *counts.links.entry(link).or_default() += 1;
        *counts.addresses.entry(address).or_default() += 1;
        drop(counts);
        Some(Counted { flows: self.clone(), link, address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.flows.counts.lock();
        counts.all -= 1;
        lower(&mut counts.links, &self.link);
        lower(&mut counts.addresses, &self.address);
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The body of an answer: what `pieces` gives, and an error wherever that is not all. `ended` hears how it ended, and after how
/// many bytes.
pub(super) fn body(
    opened: &Opened,
    counted: Counted,
    pieces: impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static,
    ended: impl FnOnce(u64, End) + Send + 'static,
) -> Body {
    let (out, taken) = mpsc::channel(WAITING);
    let (revoked, min_rate) = (opened.revoked.clone(), counted.flows.limits.min_rate);
    tokio::spawn(async move {
        let _counted = counted;
        let mut sent = 0;
        let sending = send(pieces, &out, min_rate, &mut sent);
        let end = tokio::select! {
            biased;
            () = revoked.cancelled() => End::Revoked,
            end = sending => end,
        };
        if end != End::Whole {
            // Whoever reads on learns that this was not all; whoever has gone does not need to. One who is slow has no room.
            let told = io::Error::other("the download was broken off");
            drop(timeout(GRACE, out.send(Err(told))).await);
        }
        ended(sent, end);
    });
    Body::new(axum::body::Body::from_stream(ReceiverStream::new(taken)))
}

async fn send(
    pieces: impl Stream<Item = Result<Bytes, ReadFailure>>,
    out: &mpsc::Sender<io::Result<Bytes>>,
    min_rate: u64,
    sent: &mut u64,
) -> End {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(next) = within(out, pieces.next()).await {
        let piece = match next {
            None => return End::Whole,
            Some(Ok(piece)) => piece,
            Some(Err(_)) => return End::Failed,
        };
        let length = piece.len() as u64;
        let patience = GRACE + Duration::from_secs(length / min_rate.max(1));
        match timeout(patience, out.send(Ok(piece))).await {
            Ok(Ok(())) => *sent += length,
            Ok(Err(_)) => return End::Left,
            Err(_) => return End::Slow,
        }
    }
    End::Left
}

/// What is waited for, unless the reader goes meanwhile.
async fn within<T>(out: &mpsc::Sender<io::Result<Bytes>>, next: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        next = next => Some(next),
        () = out.closed() => None,
    }
}
