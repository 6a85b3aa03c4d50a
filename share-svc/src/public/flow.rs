//! Bytes on their way out: as fast as they are taken, not slower than a minimum, and cut when the link is taken back.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use quics_quic::neighbourhood;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::body::Body;

use crate::desk::{End, Link, Opened, ReadFailure};

/// Pieces that wait for the reader.
const WAITING: usize = 2;
/// The time that every piece has on top of the minimum rate.
const GRACE: Duration = Duration::from_secs(30);

/// Bytes a second that a reader has to take.
const MIN_RATE: u64 = 4096;

/// How much may go out at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    pub(crate) per_link: usize,
    /// Of IPv6: per /64.
    pub(crate) per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 1024, per_link: 256, per_address: 256 }
    }
}

/// Counts what is on its way.
#[derive(Debug, Clone)]
pub(super) struct Flows {
    limits: Limits,
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
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// Counts a download; `None` if there are too many.
    pub(super) fn begin(&self, link: Link, address: IpAddr) -> Option<Counted> {
        let address = neighbourhood(address);
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

/// The body of an answer: what `pieces` gives, and an error wherever that is not all, also where nobody was there to take that
/// error: the end of a body is said, and never only the lack of more. `ended` hears how it ended, and after how many bytes.
pub(super) fn body(
    opened: &Opened,
    counted: Counted,
    pieces: impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static,
    ended: impl FnOnce(u64, End) + Send + 'static,
) -> Body {
    let (out, taken) = mpsc::channel(WAITING);
    let revoked = opened.revoked.clone();
    tokio::spawn(async move {
        let _counted = counted;
        let mut sent = 0;
        let sending = send(pieces, &out, &mut sent);
        let end = tokio::select! {
            biased;
            () = revoked.cancelled() => End::Revoked,
            end = sending => end,
        };
        ended(sent, end);
    });
    let pieces = stream::unfold(Some(taken), async |taken| {
        let mut taken = taken?;
        match taken.recv().await {
            Some(Message::Piece(piece)) => Some((Ok(piece), Some(taken))),
            Some(Message::End) => None,
            None => Some((Err(io::Error::other("the download was broken off")), None)),
        }
    });
    Body::new(axum::body::Body::from_stream(pieces))
}

/// What the reader hears.
enum Message {
    Piece(Bytes),
    /// That was all. Without it, it was not.
    End,
}

async fn send(
    pieces: impl Stream<Item = Result<Bytes, ReadFailure>>,
    out: &mpsc::Sender<Message>,
    sent: &mut u64,
) -> End {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(next) = within(out, pieces.next()).await {
        let (message, length) = match next {
            None => (Message::End, 0),
            Some(Ok(piece)) => {
                let length = piece.len() as u64;
                (Message::Piece(piece), length)
            }
            Some(Err(_)) => return End::Failed,
        };
        let last = matches!(message, Message::End);
        match timeout(GRACE + Duration::from_secs(length / MIN_RATE), out.send(message)).await {
            Ok(Ok(())) => *sent += length,
            Ok(Err(_)) => return End::Left,
            Err(_) => return End::Slow,
        }
        if last {
            return End::Whole;
        }
    }
    End::Left
}

/// What is waited for, unless the reader goes meanwhile.
async fn within<T>(out: &mpsc::Sender<Message>, next: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        next = next => Some(next),
        () = out.closed() => None,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use quics_types::Mtime;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::desk::{Item, ItemKind};

    fn opened() -> Opened {
        let item = Item { name: Bytes::new(), changed: Mtime::default(), kind: ItemKind::Folder };
        Opened {
            link: Link([1; 16]),
            label: String::new(),
            live: false,
            item,
            expires: None,
            left: None,
            begun: None,
            revoked: Arc::new(CancellationToken::new()),
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn counted() -> Counted {
        Flows::new(Limits::default()).begin(Link([1; 16]), address("::1")).unwrap()
    }

    /// Pieces without an end: a hundred that are there, then one that never comes.
    fn pieces() -> impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static {
        stream::iter((0..100).map(|_| Ok(Bytes::from_static(&[0; 1000])))).chain(stream::pending())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_too_slow_to_hear_that_it_was_broken_off_hears_it_all_the_same() {
        let opened = opened();
        let (told, heard) = tokio::sync::oneshot::channel();
        let body = body(&opened, counted(), pieces(), |_, end| told.send(end).expect("it is waited for"));
        opened.revoked.cancel();
        assert_eq!(heard.await, Ok(End::Revoked));
        // The reader comes back long after that.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(body.collect().await.is_err(), "it does not end as if it were whole");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_takes_nothing_is_given_up() {
        let (told, heard) = tokio::sync::oneshot::channel();
        let body = body(&opened(), counted(), pieces(), |sent, end| told.send((sent, end)).expect("it is waited for"));
        assert_eq!(heard.await, Ok((2000, End::Slow)));
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn what_is_whole_ends_and_what_fails_does_not() {
        let piece = || Ok(Bytes::from_static(b"abc"));
        let whole = body(&opened(), counted(), stream::iter([piece(), piece()]), |_, _| {});
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "abcabc");
        let failed = body(&opened(), counted(), stream::iter([piece(), Err(ReadFailure::Damaged)]), |_, _| {});
        assert!(failed.collect().await.is_err());
    }

    #[test]
    fn downloads_are_limited_in_all_of_one_link_and_of_one_address() {
        let flows = Flows::new(Limits { all: 4, per_link: 3, per_address: 2 });
        let begin = |link: u8, from: &str| flows.begin(Link([link; 16]), address(from));
        let first = [begin(1, "2001:db8::1"), begin(1, "2001:db8::2")];
        assert!(first.iter().all(Option::is_some));
        assert!(begin(2, "2001:db8::3").is_none(), "one network of IPv6 is one address");
        let third = begin(1, "192.0.2.1");
        assert!(third.is_some() && begin(1, "192.0.2.2").is_none(), "of one link");
        let fourth = begin(2, "192.0.2.2");
        assert!(fourth.is_some() && begin(3, "192.0.2.3").is_none(), "in all");
        drop(first);
        assert!(begin(3, "2001:db8::3").is_some(), "what has ended makes room");
    }
}
