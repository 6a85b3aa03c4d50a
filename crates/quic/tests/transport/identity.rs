//! Who is at the other end, and who gets in.

use quics_quic::{Channel, ClientAuth, Peer, ServerConfig, Transport};
use tonic::{Code, Status};

use super::BOTH;
use crate::support::ca::{Ca, Identity};
use crate::support::client::TestClient;
use crate::support::messages::Empty;
use crate::support::{Running, channel, channel_config, serve, serve_with, within};

/// Calls with an identity (or none) and tells whom the server saw.
async fn visit(
    ca: &Ca,
    server: &Running,
    transport: Transport,
    identity: Option<Identity>,
) -> Result<Option<Peer>, Status> {
    let mut config = channel_config(ca, server.address, transport);
    config.tls = ca.tls(identity);
    let mut client = TestClient::new(Channel::new(config));
    within(client.empty_call(Empty {})).await?;
    Ok(server.seen.now().peers.last().cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_see_the_certificate_of_their_peer() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let identity = ca.valid("quics://device/7");
        let certificate = identity.0[0].clone();
        let peer = visit(&ca, &server, transport, Some(identity)).await.unwrap().unwrap();
        assert_eq!(peer.certificate, Some(certificate));
        assert_eq!(peer.uris, ["quics://device/7"]);
        assert_eq!(peer.transport, transport);
        assert!(!peer.expired);
        assert!(peer.not_after.is_some_and(|end| end > std::time::SystemTime::now()));
        assert!(peer.remote.ip().is_loopback());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_kept_out_where_a_certificate_is_required() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let strange = Ca::new().valid("quics://device/7");
        for identity in [None, Some(strange), Some(ca.expired("quics://device/7"))] {
            let status = visit(&ca, &server, transport, identity).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        }
        assert_eq!(server.seen.now().calls, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_without_a_certificate_get_in_where_it_is_optional() {
    for transport in BOTH {
        let ca = Ca::new();
        let mut config = ServerConfig::new(ca.server());
        config.client_auth = ClientAuth::Optional;
        let server = serve_with(config);
        let peer = visit(&ca, &server, transport, None).await.unwrap().unwrap();
        assert_eq!((peer.certificate, peer.uris.len(), peer.expired), (None, 0, false));
        visit(&ca, &server, transport, Some(ca.expired("quics://device/7"))).await.unwrap_err();
        visit(&ca, &server, transport, Some(Ca::new().valid("quics://device/7"))).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificates_of_our_ca_get_in_where_allowed_and_say_so() {
    for transport in BOTH {
        let ca = Ca::new();
        let mut config = ServerConfig::new(ca.server());
        config.client_auth = ClientAuth::OptionalAllowExpired;
        let server = serve_with(config);
        let peer = visit(&ca, &server, transport, Some(ca.expired("quics://device/7"))).await.unwrap().unwrap();
        assert!(peer.expired);
        assert_eq!(peer.uris, ["quics://device/7"]);
        assert!(visit(&ca, &server, transport, None).await.unwrap().unwrap().certificate.is_none());
        assert!(!visit(&ca, &server, transport, Some(ca.valid("x:y"))).await.unwrap().unwrap().expired);
        visit(&ca, &server, transport, Some(Ca::new().expired("quics://device/7"))).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_ca_or_name_is_not_believed() {
    for transport in BOTH {
        let (ca, other) = (Ca::new(), Ca::new());
        let server = serve(&ca);
        let mut config = channel_config(&other, server.address, transport);
        let status = within(TestClient::new(Channel::new(config.clone())).empty_call(Empty {})).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        config.tls = ca.client("quics://device/1");
        config.server_name = "example.org".to_owned();
        let status = within(TestClient::new(Channel::new(config.clone())).empty_call(Empty {})).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        config.server_name = "127.0.0.1".to_owned();
        within(TestClient::new(Channel::new(config)).empty_call(Empty {})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_used_without_a_restart() {
    for transport in BOTH {
        let (old, new) = (Ca::new(), Ca::new());
        let tls = old.server();
        let server = serve_with(ServerConfig::new(tls.clone()));
        let first = channel(&old, server.address, transport);
        within(TestClient::new(first.clone()).empty_call(Empty {})).await.unwrap();

        tls.replace(vec![new.certificate()], Some(new.valid("quics://service/test"))).unwrap();
        // Who was connected stays connected; who comes now needs the new CA, on both sides.
        within(TestClient::new(first).empty_call(Empty {})).await.unwrap();
        visit(&old, &server, transport, Some(old.valid("quics://device/1"))).await.unwrap_err();
        visit(&new, &server, transport, Some(new.valid("quics://device/1"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_uses_its_new_certificate_when_it_connects_again() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let config = channel_config(&ca, server.address, transport);
        let tls = config.tls.clone();
        let channel = Channel::new(config);
        let mut client = TestClient::new(channel.clone());
        within(client.empty_call(Empty {})).await.unwrap();
        tls.replace(vec![ca.certificate()], Some(ca.valid("quics://device/2"))).unwrap();
        channel.reconnect();
        within(client.empty_call(Empty {})).await.unwrap();
        let uris: Vec<_> = server.seen.now().peers.into_iter().flat_map(|peer| peer.uris).collect();
        assert_eq!(uris, ["quics://device/1", "quics://device/2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_peer_is_cut_off_at_once_and_others_are_not() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut clients = Vec::new();
        for uri in ["quics://device/good", "quics://device/bad"] {
            let mut config = channel_config(&ca, server.address, transport);
            config.tls = ca.client(uri);
            let mut client = TestClient::new(Channel::new(config));
            within(client.empty_call(Empty {})).await.unwrap();
            clients.push(client);
        }
        let (mut bad, mut good) = (clients.pop().unwrap(), clients.pop().unwrap());
        let hanging = tokio::spawn(async move { bad.hang(Empty {}).await });
        server.seen.until(|record| record.hanging == 1).await;
        let closed = server.connections.close(|peer| peer.uris == ["quics://device/bad"], "revoked");
        assert_eq!(closed, 1);
        let status = within(hanging).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{transport}: {status:?}");
        server.seen.until(|record| record.abandoned == 1).await;
        within(good.empty_call(Empty {})).await.unwrap();
        within(async {
            while server.connections.peers().len() != 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[test]
fn unusable_material_is_refused_by_name() {
    let ca = Ca::new();
    let (chain, _) = ca.valid("x:y");
    let (_, other_key) = ca.valid("x:y");
    let trust = vec![ca.certificate()];
    assert!(matches!(quics_quic::Tls::new(Vec::new(), None), Err(quics_quic::Error::Trust(_))));
    assert!(matches!(quics_quic::Tls::new(trust, Some((chain, other_key))), Err(quics_quic::Error::Tls(_))));
}
