//! What peers may cost.

use std::net::UdpSocket;
use std::time::Duration;

use quics_quic::{Channel, Error, Server, ServerConfig, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::{TestClient, with_timeout};
use crate::support::messages::Empty;
use crate::support::relay::Relay;
use crate::support::{channel, channel_config, loopback, serve, serve_with, within};

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_are_refused_until_one_ends() {
    for transport in BOTH {
        let ca = Ca::new();
        let mut config = ServerConfig::new(ca.server());
        config.limits.connections = 1;
        let server = serve_with(config);
        let first = channel(&ca, server.address, transport);
        within(TestClient::new(first.clone()).empty_call(Empty {})).await.unwrap();
        let mut second = channel_config(&ca, server.address, transport);
        second.timeouts.backoff = Duration::from_millis(1);
        second.timeouts.backoff_max = Duration::from_millis(20);
        let mut second = TestClient::new(Channel::new(second));
        let status = within(second.empty_call(Empty {})).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        first.close();
        within(async {
            while second.empty_call(Empty {}).await.is_err() {
                tokio::task::yield_now().await
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_above_the_limit_of_a_connection_wait() {
    for transport in BOTH {
        let ca = Ca::new();
        let mut config = ServerConfig::new(ca.server());
        config.limits.streams = 2;
        let server = serve_with(config);
        let client = TestClient::new(channel(&ca, server.address, transport));
        within(client.clone().empty_call(Empty {})).await.unwrap();
        let hang = |mut client: TestClient<Channel>| tokio::spawn(async move { client.hang(Empty {}).await });
        let (one, two) = (hang(client.clone()), hang(client.clone()));
        server.seen.until(|record| record.calls == 3).await;
        let late = with_timeout(Empty {}, Duration::from_millis(200));
        let status = within(client.clone().empty_call(late)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{transport}: {status:?}");
        assert_eq!(server.seen.now().calls, 3);
        one.abort();
        within(client.clone().empty_call(Empty {})).await.unwrap();
        two.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_newcomers_prove_their_address() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.limits.retry_above = 0;
    let server = serve_with(config);
    let relay = Relay::start(server.address).await;
    let mut client = TestClient::new(channel(&ca, relay.address, Transport::Quic));
    within(client.empty_call(Empty {})).await.unwrap();
    assert_eq!(relay.retries(), 1);

    let calm = serve(&ca);
    let relay = Relay::start(calm.address).await;
    let mut client = TestClient::new(channel(&ca, relay.address, Transport::Quic));
    within(client.empty_call(Empty {})).await.unwrap();
    assert_eq!(relay.retries(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_peer_that_says_nothing_is_dropped() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.limits.handshake_timeout = Duration::from_millis(100);
    let server = serve_with(config);
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = [0; 1];
    assert!(matches!(within(silent.read(&mut nothing)).await, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanished_is_forgotten_after_the_idle_timeout() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.tuning.idle_timeout = Duration::from_millis(500);
    let server = serve_with(config);
    let relay = Relay::start(server.address).await;
    let mut client = TestClient::new(channel(&ca, relay.address, Transport::Quic));
    let hanging = {
        let mut client = client.clone();
        tokio::spawn(async move { client.hang(Empty {}).await })
    };
    within(client.empty_call(Empty {})).await.unwrap();
    server.seen.until(|record| record.hanging == 1).await;
    relay.block_udp(true);
    server.seen.until(|record| record.abandoned == 1).await;
    hanging.abort();
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let ca = Ca::new();
    let taken = UdpSocket::bind(loopback(0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(ServerConfig::new(ca.server()), address).unwrap_err();
    assert!(matches!(&error, Error::Bind { address: named, .. } if *named == address), "{error}");
    assert!(error.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn a_server_without_an_identity_does_not_begin() {
    let ca = Ca::new();
    let server = Server::bind(ServerConfig::new(ca.tls(None)), loopback(0)).unwrap();
    let ended = server.serve(tonic::service::Routes::default(), tokio_util::sync::CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::NoIdentity)));
}
