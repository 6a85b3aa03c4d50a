//! Follows sync-svc's events and writes them down.
//!
//! ```text
//! Events ──> Writer: one batch ──> submit ──┬─> the next Events are prepared meanwhile
//!                                           └─> durable ──> acknowledge
//! ```
//!
//! After events were lost, or sync-svc was restored from an older backup, everything that it still has of events is applied
//! first, then each root is compared with its snapshot (`repair`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use quics_meta::{Batch, Receipt};
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::relay_service_client::RelayServiceClient;
use quics_records::Reads;
use quics_types::limits;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::grpc::lost;
use crate::intake::Told;
use crate::metrics::add;
use crate::service::Service;
use crate::store::{self, Writer};
use crate::{Error, repair};

/// Pauses between attempts to follow, jittered: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A stream that lived this long, or told anything, was a good one: the next pause is a short one again.
const GOOD: Duration = Duration::from_secs(30);
/// Batches that wait for the disk.
const QUEUED: usize = 8;
/// Acknowledgements that wait for the network.
const ACKNOWLEDGED: usize = 64;

/// Follows until shutdown; begins anew, with growing pauses, whenever sync-svc is lost.
///
/// # Errors
/// Those after which the service has to end: the store has failed.
pub(crate) async fn follow(service: Arc<Service>) -> Result<(), Error> {
    let mut pause = PAUSES.0;
    loop {
        let (begun, before) = (Instant::now(), service.metrics.events.load(Relaxed));
        let ended = tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            ended = session(&service) => ended,
        };
        service.following.store(false, Relaxed);
        match ended {
            Ok(Again::AtOnce) => {
                pause = PAUSES.0;
                continue;
            }
            Ok(Again::Later) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                add(&service.metrics.lost, 1);
                tracing::warn!(%error, "relay.lost");
            }
        }
        if begun.elapsed() > GOOD || service.metrics.events.load(Relaxed) > before {
            pause = PAUSES.0;
        }
        let wait = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        pause = (pause * 2).min(PAUSES.1);
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// When to follow again.
enum Again {
    AtOnce,
    Later,
}

/// Follows once, until the stream ends or has to be opened anew.
async fn session(service: &Arc<Service>) -> Result<Again, Error> {
    let mut client = RelayServiceClient::new(service.sync.find().await?)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let from = store::durable(&*service.meta)?;
    let (say, said) = mpsc::channel(ACKNOWLEDGED);
    let position = from.position.map(|(epoch, number)| sync::EventPosition { epoch, number });
    let open = sync::FollowOpen { version: Some(crate::version()), position };
    send(&say, sync::follow_events_request::Message::Open(open)).await?;
    let mut events = client.follow_events(ReceiverStream::new(said)).await.map_err(lost)?.into_inner();
    let opened = match events.message().await.map_err(lost)?.and_then(|first| first.message) {
        Some(sync::follow_events_response::Message::Opened(opened)) => opened,
        _ => return Err(Error::Relay("the stream did not begin with opened")),
    };
    let continuity = opened.continuity();
    tracing::info!(?continuity, "relay.followed");
    begin(service, continuity, from.position.is_some()).await?;
    service.following.store(true, Relaxed);

    let mut expected = match continuity {
        sync::Continuity::Whole => Some(from.position.map_or(1, |(_, number)| number + 1)),
        _ => None,
    };
    let mut queued: FuturesOrdered<Receipt> = FuturesOrdered::new();
    let mut positions: VecDeque<sync::EventPosition> = VecDeque::new();
    loop {
        tokio::select! {
            Some(durable) = queued.next() => {
                durable?;
                if let Some(position) = positions.pop_front() {
                    send(&say, sync::follow_events_request::Message::Acknowledge(position)).await?;
                }
            }
            message = events.message(), if queued.len() < QUEUED => {
                use sync::follow_events_response::Message;
                let message = message.map_err(lost)?;
                match message.and_then(|message| message.message) {
                    Some(Message::Events(batch)) => {
                        let (batch, position, count) = prepare(service, batch, expected).await?;
                        expected = Some(position.number + 1);
                        queued.push_back(submit(service, batch).await?);
                        positions.push_back(position);
                        add(&service.metrics.events, count);
                    }
                    Some(Message::Level(level)) => {
                        // Everything that was told is written: now sync-svc's trees can be compared.
                        while let Some(durable) = queued.next().await {
                            durable?;
                        }
                        if let Some(last) = positions.drain(..).next_back() {
                            send(&say, sync::follow_events_request::Message::Acknowledge(last)).await?;
                        }
                        if continuity != sync::Continuity::Whole
                            && let Some(position) = level.position
                        {
                            reach(service, position).await?;
                        }
                        if repair::step(service).await? == repair::Step::Again {
                            return Ok(Again::AtOnce);
                        }
                    }
                    Some(Message::Opened(_)) => return Err(Error::Relay("the stream was opened twice")),
                    None => return Ok(Again::Later),
                }
            }
        }
    }
}

/// Notes what the beginning of a stream says, before anything of it is applied.
async fn begin(service: &Arc<Service>, continuity: sync::Continuity, had: bool) -> Result<(), Error> {
    let broken = match continuity {
        sync::Continuity::Whole => return Ok(()),
        // Who had nothing has missed nothing that it could have known; but what there is has to be found.
        sync::Continuity::Gap => false,
        sync::Continuity::OtherChain => true,
        sync::Continuity::Unspecified => return Err(Error::Relay("the stream does not say what it follows on")),
    };
    if had {
        tracing::warn!(?continuity, "relay.broken");
    }
    let batch = service
        .blocking(move |service| {
            let reads = Reads::latest(&*service.meta);
            let mut writer = Writer::new(reads, &*service.access)?;
            if broken {
                // Numbers come again: what is applied from now on stands behind everything before.
                writer.applied.generation += 1;
                writer.applied.chains += 1;
                writer.applied.position = None;
            } else if had {
                writer.applied.gaps += 1;
            }
            let mut after = None;
            loop {
                let page = store::roots(reads, after, quics_meta::MAX_PAGE)?;
                after = page.last().map(|(root, _)| *root);
                page.iter().for_each(|(root, _)| writer.want_repair(*root));
                if page.len() < quics_meta::MAX_PAGE {
                    break;
                }
            }
            service.access.roots().into_iter().for_each(|root| writer.want_repair(root));
            Ok(writer.finish())
        })
        .await?;
    submit(service, batch).await?.await?;
    Ok(())
}

/// Notes that there is nothing more to come before a position, whatever was missed.
async fn reach(service: &Arc<Service>, position: sync::EventPosition) -> Result<(), Error> {
    let batch = service
        .blocking(move |service| {
            let mut writer = Writer::new(Reads::latest(&*service.meta), &*service.access)?;
            writer.applied.position = Some((position.epoch, position.number));
            Ok(writer.finish())
        })
        .await?;
    submit(service, batch).await?.await?;
    Ok(())
}

/// Makes a batch of events; says the position behind it and how many they are.
async fn prepare(
    service: &Arc<Service>,
    events: sync::Events,
    expected: Option<u64>,
) -> Result<(Batch, sync::EventPosition, u64), Error> {
    service
        .blocking(move |service| {
            let mut writer = Writer::new(Reads::latest(&*service.meta), &*service.access)?;
            let (mut expected, mut position) = (expected, None);
            let count = events.events.len() as u64;
            for event in events.events {
                let told = Told::try_from(event)?;
                let (epoch, number) = told.position;
                if expected.is_some_and(|expected| number > expected) {
                    return Err(Error::Relay("events are missing in the stream"));
                }
                writer.event(&told)?;
                expected = Some(number + 1);
                position = Some(sync::EventPosition { epoch, number });
            }
            let position = position.ok_or(Error::Relay("a message without events"))?;
            add(&service.metrics.versions, writer.versions);
            Ok((writer.finish(), position, count))
        })
        .await
}

/// Queues a batch, waiting for room where the queue is full.
pub(crate) async fn submit(service: &Service, batch: Batch) -> Result<Receipt, Error> {
    loop {
        match service.meta.submit(batch.clone()) {
            Err(quics_meta::Error::Busy) => service.meta.room().await,
            submitted => return Ok(submitted?),
        }
    }
}

async fn send(
    say: &mpsc::Sender<sync::FollowEventsRequest>,
    message: sync::follow_events_request::Message,
) -> Result<(), Error> {
    let request = sync::FollowEventsRequest { message: Some(message) };
    say.send(request).await.map_err(|_| Error::SyncAway)
}
