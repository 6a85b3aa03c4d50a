//! What other services are told.

use quics_kit::names;
use quics_meta::MetaStore;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::follow_events_request::Message as Ask;
use quics_proto::sync::v1::follow_events_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::server::{A, ROOT, Running};
use crate::session::{Push, create, file, id_bytes, soon};

pub(crate) const HISTORY: names::Subject = names::Subject::Service(names::Service::History);

/// A stream of events.
pub(crate) struct Follow {
    requests: mpsc::Sender<sync::FollowEventsRequest>,
    responses: Streaming<sync::FollowEventsResponse>,
    continuity: sync::Continuity,
}

impl Follow {
    pub(crate) async fn open(server: &Running, position: Option<sync::EventPosition>) -> Self {
        let mut client = server.ca.relay(HISTORY, server.address);
        let (requests, stream) = mpsc::channel(16);
        let open = sync::FollowOpen { version: Some(quics_proto::version("test")), position };
        requests.send(sync::FollowEventsRequest { message: Some(Ask::Open(open)) }).await.unwrap();
        let responses = soon(client.follow_events(ReceiverStream::new(stream))).await.unwrap().into_inner();
        let mut follow = Self { requests, responses, continuity: sync::Continuity::Unspecified };
        match follow.next().await.unwrap() {
            Told::Opened(opened) => follow.continuity = opened.continuity(),
            other => panic!("{other:?}"),
        }
        follow
    }

    async fn next(&mut self) -> Result<Told, Status> {
        Ok(soon(self.responses.message()).await?.expect("the stream has not ended").message.unwrap())
    }

    /// The events up to the next time that there are none.
    pub(crate) async fn until_level(&mut self) -> (Vec<sync::Event>, Option<sync::EventPosition>) {
        let mut events = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Told::Events(batch) => events.extend(batch.events),
                Told::Level(level) => return (events, level.position),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn acknowledge(&self, position: sync::EventPosition) {
        self.requests.send(sync::FollowEventsRequest { message: Some(Ask::Acknowledge(position)) }).await.unwrap();
    }
}

async fn make(push: &mut Push, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let content = number.to_string().into_bytes();
        push.accept(&create(number, file(&content)), Some(&content)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_follows_from_where_it_was_and_what_it_has_is_gone() {
    let server = Running::start().await;
    let mut follow = Follow::open(&server, None).await;
    assert_eq!(follow.continuity, sync::Continuity::Whole);
    assert_eq!(follow.until_level().await, (Vec::new(), None));
    let mut push = Push::open(&mut server.client(A), ROOT, 1).await.unwrap();
    make(&mut push, 0..20).await;
    let mut events = Vec::new();
    while events.len() < 20 {
        events.extend(follow.until_level().await.0);
    }
    for (number, event) in (1..).zip(&events) {
        assert_eq!(event.position.unwrap().number, number);
        assert_eq!(event.root_id, id_bytes(ROOT));
        assert_eq!(event.cause(), sync::EventCause::Proposal);
        assert!(event.before.is_none() && event.after.is_some() && event.accepted_at.is_some());
        assert_eq!(event.changed_at.unwrap().seconds, 1, "the device's own time");
    }
    let middle = events[9].position.unwrap();
    follow.acknowledge(middle).await;
    // Another stream takes its place and goes on behind what was applied.
    let mut newer = Follow::open(&server, Some(middle)).await;
    assert_eq!(newer.continuity, sync::Continuity::Whole);
    let (again, level) = newer.until_level().await;
    assert_eq!(again, events[10..]);
    assert_eq!(level, events[19].position);
    let ended = loop {
        match follow.next().await {
            Ok(Told::Level(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Aborted);
    // Who begins anew misses what is gone.
    let mut applied = server.meta.watch_applied();
    while server.meta.range(b"o", b"p", 100).unwrap().len() > 10 {
        soon(applied.changed()).await.unwrap();
    }
    let mut third = Follow::open(&server, None).await;
    assert_eq!(third.continuity, sync::Continuity::Gap);
    assert_eq!(third.until_level().await.0, events[10..]);
    let foreign = sync::EventPosition { epoch: middle.epoch ^ 1, number: middle.number };
    assert_eq!(Follow::open(&server, Some(foreign)).await.continuity, sync::Continuity::OtherChain);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_is_not_acknowledged() {
    let server = Running::start().await;
    let mut push = Push::open(&mut server.client(A), ROOT, 1).await.unwrap();
    make(&mut push, 0..1).await;
    let mut follow = Follow::open(&server, None).await;
    let (_, level) = follow.until_level().await;
    let mut beyond = level.unwrap();
    beyond.number += 1;
    follow.acknowledge(beyond).await;
    assert_eq!(follow.next().await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_history_follows() {
    let server = Running::start().await;
    for subject in [names::Subject::Device(A), names::Subject::Service(names::Service::Share)] {
        let mut client = server.ca.relay(subject, server.address);
        let (_requests, stream) = mpsc::channel(1);
        let refused = soon(client.follow_events(ReceiverStream::new(stream))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    server.stop().await;
}
