//! FollowEvents: every change of every root, for the one who keeps history.
//!
//! The follower reads the durable outbox in its own time; nothing is buffered for it but a message or two. What it says was
//! durably applied is removed, lazily and many at a time: no event costs a commit of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use prost::Message as _;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::follow_events_request::Message as Asked;
use quics_proto::sync::v1::follow_events_response::Message;
use quics_types::limits;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::db::records::EventPosition;
use crate::ledger::{Continuity, Start};
use crate::metrics::add;
use crate::service::{IDLE, Service};
use crate::{Error, encode};

/// Applied events wait so long before they are removed …
const REMOVE: Duration = Duration::from_secs(1);
/// … or until so many wait.
const WAITING: u64 = 8192;
/// Bytes that a message takes beside an event's own: its tag and length.
const FRAME: usize = 8;

type Told = Result<sync::FollowEventsResponse, Error>;

/// Serves one stream of events until it ends.
pub(crate) async fn serve(
    service: Arc<Service>,
    requests: impl Stream<Item = Result<sync::FollowEventsRequest, Error>> + Send,
    out: mpsc::Sender<Told>,
) {
    let mut requests = std::pin::pin!(requests);
    let ended = match open(&service, &mut requests, &out).await {
        Ok(mut relay) => relay.run(requests, &out).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        // A client that is gone does not need to know.
        drop(out.send(Err(error)).await);
    }
}

struct Relay {
    service: Arc<Service>,
    /// A newer stream has come.
    replaced: CancellationToken,
    /// Commits since the last look.
    news: watch::Receiver<()>,
    /// Everything up to this event was sent.
    sent: u64,
    /// Up to here it was said to be applied, and to here it was removed.
    applied: u64,
    removed: u64,
    level: bool,
}

/// Takes the first message and says where the events begin.
async fn open(
    service: &Arc<Service>,
    requests: &mut Pin<&mut (impl Stream<Item = Result<sync::FollowEventsRequest, Error>> + Send)>,
    out: &mpsc::Sender<Told>,
) -> Result<Relay, Error> {
    let first = tokio::select! {
        () = service.shutdown.cancelled() => return Err(Error::Draining),
        () = out.closed() => return Err(Error::Cut),
        first = requests.next() => first.ok_or(Error::Cut)??,
    };
    let Some(Asked::Open(open)) = first.message else {
        return Err(Error::Protocol("following begins with open, then come acknowledgements"));
    };
    let replaced = service.follows_now();
    // Before the first look: no commit falls between them.
    let news = service.hub.follow();
    let position = open.position.map(encode::event_position);
    let judge = move |service: &Service| {
        let start = service.ledger.follow(position)?;
        // What was durably applied is told again by whoever begins anew.
        if let Some(position) = position {
            service.ledger.applied_events(position)?;
        }
        Ok(start)
    };
    let Start { continuity, after } = service.blocking(judge).await?;
    if continuity != Continuity::Whole {
        tracing::warn!(?continuity, after, "relay.not_whole");
    }
    let opened =
        sync::FollowOpened { version: Some(crate::version()), continuity: encode::continuity(continuity) as i32 };
    out.send(Ok(response(Message::Opened(opened)))).await.map_err(|_| Error::Cut)?;
    let service = service.clone();
    Ok(Relay { service, replaced, news, sent: after, applied: after, removed: after, level: false })
}

impl Relay {
    async fn run(
        &mut self,
        mut requests: Pin<&mut (impl Stream<Item = Result<sync::FollowEventsRequest, Error>> + Send)>,
        out: &mpsc::Sender<Told>,
    ) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        let mut idle = ticks(IDLE);
        // The first tick comes at once.
        idle.tick().await;
        let mut tidy = ticks(REMOVE);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Error::Draining),
                () = self.replaced.cancelled() => return Err(Error::Replaced),
                () = out.closed() => return Ok(()),
                request = requests.next() => match request {
                    Some(request) => self.acknowledged(request?).await?,
                    None => return Ok(()),
                },
                // Only who has room for a message has one read for it.
                permit = out.reserve(), if !self.level => {
                    let message = self.next().await?;
                    permit.map_err(|_| Error::Cut)?.send(Ok(response(message)));
                }
                changed = self.news.changed(), if self.level => {
                    changed.map_err(|_| Error::Draining)?;
                    self.level = false;
                }
                _ = idle.tick(), if self.level => self.level = false,
                _ = tidy.tick() => self.remove().await?,
            }
        }
    }

    async fn acknowledged(&mut self, request: sync::FollowEventsRequest) -> Result<(), Error> {
        let Some(Asked::Acknowledge(position)) = request.message else {
            return Err(Error::Protocol("following begins with open, then come acknowledgements"));
        };
        let position = encode::event_position(position);
        if position.number > self.sent || !self.service.ledger.applied_events(position)? {
            return Err(Error::Protocol("an event is acknowledged that was not sent"));
        }
        self.applied = self.applied.max(position.number);
        if self.applied.saturating_sub(self.removed) >= WAITING { self.remove().await } else { Ok(()) }
    }

    /// The next message: events, or that there are none.
    async fn next(&mut self) -> Result<Message, Error> {
        // Noted before the look: what is committed behind it is news again.
        self.news.borrow_and_update();
        let after = self.sent;
        let batch = self.service.blocking(move |service| batch(service, after)).await?;
        if batch.is_empty() {
            self.level = true;
            let position = self.service.ledger.event_position(after)?;
            return Ok(Message::Level(sync::FollowLevel { position: position.map(encode::position) }));
        }
        self.sent += batch.len() as u64;
        add(&self.service.metrics.events, batch.len() as u64);
        Ok(Message::Events(sync::Events { events: batch }))
    }

    /// Removes what was applied.
    async fn remove(&mut self) -> Result<(), Error> {
        let until = self.applied;
        loop {
            match self.service.blocking(|service| service.ledger.remove_applied()).await {
                Ok(Some(receipt)) => drop(receipt.await?),
                Ok(None) => break,
                Err(error) if error.is_busy() => self.service.ledger.meta().room().await,
                Err(error) => return Err(error),
            }
        }
        self.removed = until;
        Ok(())
    }
}

/// Reads events behind a number until a message is full.
fn batch(service: &Service, mut after: u64) -> Result<Vec<sync::Event>, Error> {
    let (mut batch, mut size) = (Vec::new(), 0);
    loop {
        let page = service.ledger.events(after)?;
        for (number, event) in page.events {
            let position = EventPosition { epoch: event.cursor.epoch, number };
            let event = encode::event(position, &event);
            size += event.encoded_len() + FRAME;
            if size > limits::BATCH_BYTES && !batch.is_empty() {
                return Ok(batch);
            }
            batch.push(event);
            after = number;
        }
        if !page.more {
            return Ok(batch);
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn response(message: Message) -> sync::FollowEventsResponse {
    sync::FollowEventsResponse { message: Some(message) }
}
