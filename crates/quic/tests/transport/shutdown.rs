//! Draining, and what clients notice of it.

use std::time::Duration;

use quics_quic::ServerConfig;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::*;
use crate::support::relay::Relay;
use crate::support::service::End;
use crate::support::{channel, serve, serve_with, within};

fn ask(size: i32) -> StreamingOutputCallRequest {
    let response_parameters = vec![ResponseParameters { size, interval_us: 0 }];
    StreamingOutputCallRequest { response_parameters, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_end_properly_and_new_ones_are_refused() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let (send, requests) = mpsc::channel(1);
        let mut responses = within(client.full_duplex(ReceiverStream::new(requests))).await.unwrap().into_inner();
        send.send(ask(10)).await.unwrap();
        within(responses.message()).await.unwrap().unwrap();
        server.shutdown.cancel();
        // Refused as soon as the client has heard of it; until then a call is still served.
        within(async {
            loop {
                match client.empty_call(Empty {}).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(status) => break assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}"),
                }
            }
        })
        .await;
        assert!(!server.task.is_finished());
        send.send(ask(1_000_000)).await.unwrap();
        let message = within(responses.message()).await.unwrap().unwrap();
        assert_eq!(size_of(&message.payload), 1_000_000);
        drop(send);
        assert!(within(responses.message()).await.unwrap().is_none());
        within(server.task).await.unwrap().unwrap();
        assert_eq!(server.seen.now().ends, [End::Clean]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_bytes_of_a_response_arrive_though_the_server_goes_down() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let response_parameters = vec![ResponseParameters { size: 200_000, interval_us: 0 }; 100];
        let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
        let mut responses = within(client.streaming_output(request)).await.unwrap().into_inner();
        within(responses.message()).await.unwrap().unwrap();
        server.shutdown.cancel();
        for _ in 1..100 {
            within(responses.message()).await.unwrap().unwrap();
        }
        assert!(within(responses.message()).await.unwrap().is_none(), "{transport}");
        within(server.task).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlast_the_grace_period_are_cut_off() {
    for transport in BOTH {
        let ca = Ca::new();
        let mut config = ServerConfig::new(ca.server());
        config.limits.shutdown_grace = Duration::from_millis(100);
        let server = serve_with(config);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let hanging = tokio::spawn(async move { client.hang(Empty {}).await });
        server.seen.until(|record| record.hanging == 1).await;
        server.shutdown.cancel();
        let status = within(hanging).await.unwrap().unwrap_err();
        assert!(matches!(status.code(), Code::Unavailable | Code::Cancelled), "{transport}: {status:?}");
        within(server.task).await.unwrap().unwrap();
        assert_eq!(server.seen.now().abandoned, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_does_not_delay_the_end() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        within(client.empty_call(Empty {})).await.unwrap();
        let begun = std::time::Instant::now();
        server.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{transport}: the grace period is 10 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_with_a_full_window_says_so_at_once() {
    let ca = Ca::new();
    let server = serve(&ca);
    let relay = Relay::start(server.address).await;
    let channel = channel(&ca, relay.address, quics_quic::Transport::Quic);
    let mut client = TestClient::new(channel.clone());
    let response_parameters = [100_000, -1].map(|size| ResponseParameters { size, interval_us: 0 }).to_vec();
    let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
    let mut responses = within(client.streaming_output(request)).await.unwrap().into_inner();
    within(responses.message()).await.unwrap().unwrap();
    // Unacknowledged packets fill the congestion window; a probe on top shows that it has been full for a while.
    relay.block_udp(true);
    within(async {
        while relay.dropped() < 3 {
            tokio::task::yield_now().await
        }
    })
    .await;
    relay.block_udp(false);
    let begun = std::time::Instant::now();
    assert_eq!(server.connections.close(|_| true, "enough"), 1);
    let status = within(async {
        loop {
            if let Err(status) = responses.message().await {
                break status;
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(15), "the idle timeout is 30 s");
}
