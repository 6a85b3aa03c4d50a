//! Clients that break the rules harm nobody but themselves.

use std::time::Duration;

use quics_quic::ServerConfig;
use tonic::Code;

use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::Empty;
use crate::support::raw::{Raw, data, message};
use crate::support::service::End;
use crate::support::{Running, channel, serve, serve_with, within};

/// The server still answers others.
async fn assert_well(ca: &Ca, server: &Running) {
    let mut client = TestClient::new(channel(ca, server.address, quics_quic::Transport::Quic));
    within(client.empty_call(Empty {})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_within_a_frame_is_no_clean_end() {
    let ca = Ca::new();
    let server = serve(&ca);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    let frame = data(&message(1_000));
    send.write_all(&frame[..500]).await.unwrap();
    send.finish().unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert_eq!(record.ends, [End::Failed(Code::Internal)]);
    // The same exactly at the end of the frame's head, where h3 has nothing buffered.
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&frame[..5]).await.unwrap();
    send.finish().unwrap();
    let record = server.seen.until(|record| record.ends.len() == 2).await;
    assert_eq!(record.ends[1], End::Failed(Code::Internal));
    assert_well(&ca, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_within_a_message_is_no_clean_end() {
    let ca = Ca::new();
    let server = serve(&ca);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&data(&message(1_000)[..500])).await.unwrap();
    send.finish().unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert!(matches!(record.ends[..], [End::Failed(_)]), "{:?}", record.ends);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_is_no_clean_end() {
    let ca = Ca::new();
    let server = serve(&ca);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&data(&message(1_000))).await.unwrap();
    server.seen.until(|record| record.received == 1_000).await;
    // H3_REQUEST_CANCELLED, which tonic alone would take for the end.
    send.reset(quinn::VarInt::from_u32(0x10c)).unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert_eq!(record.ends, [End::Failed(Code::Aborted)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_unknown_frames_do_not_end_a_body() {
    let ca = Ca::new();
    let server = serve(&ca);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&data(&message(10))).await.unwrap();
    send.write_all(&data(&[])).await.unwrap();
    send.write_all(&[0x21, 3, 1, 2, 3]).await.unwrap();
    send.write_all(&data(&message(20))).await.unwrap();
    send.finish().unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert_eq!((record.received, record.ends), (30, vec![End::Clean]));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_measure_are_refused() {
    let ca = Ca::new();
    let server = serve(&ca);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.connection.open_bi().await.unwrap();
    // A HEADERS frame that announces 2^32 bytes.
    send.write_all(&[0x01, 0xc0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
    assert!(within(send.stopped()).await.unwrap().is_some());
    assert_well(&ca, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_do_not_come_are_not_waited_for() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.limits.header_timeout = Duration::from_millis(100);
    let server = serve_with(config);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.connection.open_bi().await.unwrap();
    send.write_all(&[0x01]).await.unwrap();
    assert!(within(send.stopped()).await.unwrap().is_some());
    assert_well(&ca, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_trickles_in_is_cut_off() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.limits.min_rate_grace = Duration::from_millis(200);
    let server = serve_with(config);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&data(&message(1_000)[..500])).await.unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert_eq!(record.ends, [End::Failed(Code::DeadlineExceeded)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_between_messages_is_no_trickle() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.limits.min_rate_grace = Duration::from_millis(20);
    let server = serve_with(config);
    let raw = Raw::connect(&ca, server.address).await;
    let (mut send, _recv) = raw.call("StreamingInputCall", &[]).await;
    send.write_all(&data(&message(1_000))).await.unwrap();
    server.seen.until(|record| record.received == 1_000).await;
    // Another stream is cut off for trickling meanwhile, which shows that the time has passed.
    let (mut slow, _recv_slow) = raw.call("StreamingInputCall", &[]).await;
    slow.write_all(&data(&[0, 0])).await.unwrap();
    let record = server.seen.until(|record| !record.ends.is_empty()).await;
    assert_eq!(record.ends, [End::Failed(Code::DeadlineExceeded)]);
    send.write_all(&data(&message(1_000))).await.unwrap();
    send.finish().unwrap();
    let record = server.seen.until(|record| record.ends.len() == 2).await;
    assert_eq!((record.received, record.ends[1]), (2_000, End::Clean));
}
