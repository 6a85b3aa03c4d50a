//! What becomes of calls whose connection dies under them: every one of them ends.

use std::sync::Arc;
use std::task::Poll;

use futures_util::stream::{self, FuturesUnordered};
use futures_util::{StreamExt, poll};
use quics_quic::{Channel, Fallback, Transport};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::*;
use crate::support::{channel, channel_config, serve, within};

/// Makes calls, many at a time, until one fails; waits for the end of all.
async fn flood(client: TestClient<Channel>, under_way: Arc<Semaphore>) -> Result<(), Status> {
    let mut calls = FuturesUnordered::new();
    let mut answer = Ok(());
    while answer.is_ok() && calls.len() < 3_000 {
        let mut client = client.clone();
        calls.push(async move { client.empty_call(Empty {}).await.map(drop) });
        under_way.add_permits(1);
        if let Poll::Ready(Some(ended)) = poll!(calls.next()) {
            answer = ended;
        }
    }
    while let Some(ended) = calls.next().await {
        answer = answer.and(ended);
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_made_while_their_connection_ends_all_end() {
    // Of a moment that is rarely met here; the unit tests of the client's gate meet it every time.
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        for _ in 0..100 {
            let channel = channel(&ca, server.address, transport);
            within(channel.connect()).await.unwrap();
            let under_way = Arc::new(Semaphore::new(0));
            let flood = || tokio::spawn(flood(TestClient::new(channel.clone()), under_way.clone()));
            let floods = [flood(), flood(), flood()];
            within(under_way.acquire_many(500)).await.unwrap().forget();
            server.connections.close(|_| true, "cut");
            channel.close();
            for flood in floods {
                if let Err(status) = within(flood).await.unwrap() {
                    assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
                }
            }
        }
    }
}

/// Makes a call of each shape, the requests of some without an end, all at the same time; what they end with.
async fn one_of_each(channel: Channel) -> [Option<Status>; 4] {
    let client = || TestClient::new(channel.clone());
    let (mut empty, mut hang, mut upload, mut duplex) = (client(), client(), client(), client());
    let endless = |size| stream::repeat(StreamingInputCallRequest { payload: Payload::zeros(size) });
    let (empty, hang, upload, duplex) = tokio::join!(
        empty.empty_call(Empty {}),
        hang.hang(Empty {}),
        upload.streaming_input(endless(10_000)),
        duplex.full_duplex(stream::pending()),
    );
    [empty.err(), hang.err(), upload.err(), duplex.err()]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_refused_at_any_moment_all_end() {
    let ca = Ca::new();
    let server = serve(&ca);
    let strangers = [ca.tls(None), ca.tls(Some(Ca::new().valid("quics://device/7")))];
    for fallback in [Fallback::QuicOnly, Fallback::TcpOnly, Fallback::Auto] {
        let calls = (0..300).map(|number| {
            let mut config = channel_config(&ca, server.address, Transport::Quic);
            config.fallback = fallback;
            config.tls = strangers[number % 2].clone();
            tokio::spawn(one_of_each(Channel::new(config)))
        });
        let mut calls = stream::iter(calls).buffer_unordered(8);
        while let Some(ended) = within(calls.next()).await {
            for status in ended.unwrap() {
                let code = status.as_ref().map(Status::code);
                assert_eq!(code, Some(Code::Unavailable), "{fallback:?}: {status:?}");
            }
        }
    }
    assert_eq!(server.seen.now().calls, 0);
}
