//! A client whose address changes in the middle of a transfer goes on without a new handshake.

use quics_quic::Transport;

use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::*;
use crate::support::{channel, serve, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_survives_a_change_of_address() {
    const SIZE: i32 = 100_000;
    const COUNT: usize = 300;
    let ca = Ca::new();
    let server = serve(&ca);
    let channel = channel(&ca, server.address, Transport::Quic);
    let mut client = TestClient::new(channel.clone());
    let parameters = vec![ResponseParameters { size: SIZE, interval_us: 0 }; COUNT];
    let request = StreamingOutputCallRequest { response_parameters: parameters, ..Default::default() };
    let mut responses = within(client.streaming_output(request)).await.unwrap().into_inner();
    for index in 0..COUNT {
        if index == 10 || index == 150 {
            channel.rebind().unwrap();
        }
        let message = within(responses.message()).await.unwrap().unwrap();
        assert_eq!(size_of(&message.payload), usize::try_from(SIZE).unwrap());
    }
    assert!(within(responses.message()).await.unwrap().is_none());
    // The connection is the one from before: its stream went on, and the server has no other.
    assert_eq!(server.connections.count(), 1);
    within(client.empty_call(Empty {})).await.unwrap();
    let peers = server.seen.now().peers;
    assert_ne!(peers[0].remote, peers[1].remote, "the handlers see the new address");
}
