//! How a channel finds, loses and finds its server again.

use std::time::Duration;

use quics_quic::{Channel, ChannelConfig, Fallback, ServerConfig, State, Transport};
use tonic::Code;
use tonic::service::Routes;

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::{TestClient, with_timeout};
use crate::support::messages::Empty;
use crate::support::relay::Relay;
use crate::support::service::{Seen, TestService};
use crate::support::{Running, channel, channel_config, loopback, serve, serve_routes, serve_with, within};

fn quick(mut config: ChannelConfig) -> ChannelConfig {
    config.timeouts.connect = Duration::from_millis(500);
    config.timeouts.fallback = Duration::from_millis(50);
    config.timeouts.probe = Duration::from_millis(100);
    config.timeouts.backoff = Duration::from_millis(5);
    config.timeouts.backoff_max = Duration::from_millis(50);
    config
}

fn serve_at(ca: &Ca, port: u16) -> Running {
    let seen = Seen::default();
    serve_routes(ServerConfig::new(ca.server()), port, Routes::new(TestService::new(seen.clone())), seen)
}

/// Calls until it works.
async fn eventually(client: &mut TestClient<Channel>) {
    within(async {
        while client.empty_call(Empty {}).await.is_err() {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_calls_fail_with_unavailable_however_often() {
    for fallback in [Fallback::Auto, Fallback::QuicOnly, Fallback::TcpOnly] {
        let ca = Ca::new();
        let free = std::net::UdpSocket::bind(loopback(0)).unwrap();
        let mut config = quick(channel_config(&ca, free.local_addr().unwrap(), Transport::Quic));
        config.fallback = fallback;
        config.timeouts.connect = Duration::from_millis(50);
        let channel = Channel::new(config);
        assert_eq!(channel.state(), State::Idle);
        let mut client = TestClient::new(channel.clone());
        for _ in 0..50 {
            let status = within(client.empty_call(Empty {})).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{fallback:?}: {status:?}");
        }
        assert_eq!(channel.transport(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_calls_share_one_connection() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let client = TestClient::new(channel(&ca, server.address, transport));
        let calls = (0..50).map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.empty_call(Empty {}).await.map(drop) })
        });
        for call in calls.collect::<Vec<_>>() {
            within(call).await.unwrap().unwrap();
        }
        assert_eq!(server.connections.count(), 1, "{transport}");
        let mut remotes: Vec<_> = server.seen.now().peers.into_iter().map(|peer| peer.remote).collect();
        remotes.dedup();
        assert_eq!(remotes.len(), 1, "{transport}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_found_again() {
    for transport in BOTH {
        let ca = Ca::new();
        let first = serve(&ca);
        let address = first.address;
        let mut client = TestClient::new(Channel::new(quick(channel_config(&ca, address, transport))));
        within(client.empty_call(Empty {})).await.unwrap();
        first.stop().await;
        let status = within(client.empty_call(Empty {})).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        let second = serve_at(&ca, address.port());
        eventually(&mut client).await;
        assert!(second.seen.now().calls >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_wait_for_the_server() {
    let ca = Ca::new();
    let first = serve(&ca);
    let address = first.address;
    first.stop().await;
    let mut config = quick(channel_config(&ca, address, Transport::Quic));
    config.wait_for_ready = true;
    let client = TestClient::new(Channel::new(config));
    let late = with_timeout(Empty {}, Duration::from_millis(50));
    assert_eq!(within(client.clone().hang(late)).await.unwrap_err().code(), Code::DeadlineExceeded);
    let _second = serve_at(&ca, address.port());
    // The attempt under way may fail yet; those after it meet the server.
    eventually(&mut client.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_name_is_tried() {
    let ca = Ca::new();
    let server = serve(&ca);
    for transport in BOTH {
        let mut config = channel_config(&ca, server.address, transport);
        // Resolves to ::1 too where the machine has it, and nobody listens there.
        config.address = format!("localhost:{}", server.address.port());
        within(TestClient::new(Channel::new(config)).empty_call(Empty {})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_udp_is_blocked_tcp_carries_calls_until_udp_works_again() {
    let ca = Ca::new();
    let server = serve(&ca);
    let relay = Relay::start(server.address).await;
    relay.block_udp(true);
    let mut config = quick(channel_config(&ca, relay.address, Transport::Quic));
    config.fallback = Fallback::Auto;
    config.timeouts.connect = Duration::from_secs(5);
    config.tuning.idle_timeout = Duration::from_millis(600);
    config.tuning.keep_alive = Duration::from_millis(100);
    let channel = Channel::new(config);
    let mut client = TestClient::new(channel.clone());
    within(client.empty_call(Empty {})).await.unwrap();
    assert_eq!(channel.transport(), Some(Transport::Tcp));
    assert_eq!(channel.state(), State::Ready(Transport::Tcp));

    relay.block_udp(false);
    let on = |transport| {
        let (channel, mut client) = (channel.clone(), client.clone());
        within(async move {
            while client.empty_call(Empty {}).await.is_err() || channel.transport() != Some(transport) {
                tokio::task::yield_now().await;
            }
        })
    };
    on(Transport::Quic).await;
    within(client.clone().empty_call(Empty {})).await.unwrap();
    assert_eq!(server.seen.now().peers.last().unwrap().transport, Transport::Quic);

    relay.block_udp(true);
    on(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_udp_works_it_is_used() {
    let ca = Ca::new();
    let server = serve(&ca);
    let mut config = channel_config(&ca, server.address, Transport::Quic);
    config.fallback = Fallback::Auto;
    let channel = Channel::new(config);
    assert_eq!(within(channel.connect()).await.unwrap(), Transport::Quic);
    within(TestClient::new(channel.clone()).empty_call(Empty {})).await.unwrap();
    assert_eq!(channel.transport(), Some(Transport::Quic));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_and_restarted_says_so_at_once() {
    let ca = Ca::new();
    let start = || {
        let mut config = ServerConfig::new(ca.server());
        config.reset_key = Some([7; 32]);
        serve_with(config)
    };
    let (killed, restarted) = (start(), start());
    let relay = Relay::start(killed.address).await;
    let mut config = channel_config(&ca, relay.address, Transport::Quic);
    config.tuning.keep_alive = Duration::from_millis(100);
    let mut client = TestClient::new(Channel::new(config));
    let hanging = {
        let mut client = client.clone();
        tokio::spawn(async move { client.hang(Empty {}).await })
    };
    killed.seen.until(|record| record.hanging == 1).await;
    let begun = std::time::Instant::now();
    relay.redirect(restarted.address);
    let status = within(hanging).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(15), "the idle timeout is 30 s");
    within(client.empty_call(Empty {})).await.unwrap();
    assert_eq!(restarted.seen.now().calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_channel_ends_its_calls_and_makes_no_more() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let channel = channel(&ca, server.address, transport);
        let mut client = TestClient::new(channel.clone());
        let hanging = {
            let mut client = client.clone();
            tokio::spawn(async move { client.hang(Empty {}).await })
        };
        server.seen.until(|record| record.hanging == 1).await;
        channel.close();
        assert_eq!(channel.state(), State::Closed);
        assert_eq!(within(hanging).await.unwrap().unwrap_err().code(), Code::Unavailable, "{transport}");
        assert_eq!(within(client.empty_call(Empty {})).await.unwrap_err().code(), Code::Unavailable);
        server.seen.until(|record| record.abandoned == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_channel_leaves_no_connection() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        within(client.empty_call(Empty {})).await.unwrap();
        assert_eq!(server.connections.count(), 1);
        drop(client);
        within(async {
            while server.connections.count() > 0 {
                tokio::task::yield_now().await
            }
        })
        .await;
    }
}
