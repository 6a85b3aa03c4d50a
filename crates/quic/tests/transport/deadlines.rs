//! `grpc-timeout` is honoured on both sides.

use std::time::Duration;

use tonic::Code;

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::{TestClient, with_timeout};
use crate::support::messages::*;
use crate::support::raw::connect_quic;
use crate::support::{channel, serve, within};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_ends_at_its_deadline_on_both_sides() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        client.empty_call(Empty {}).await.unwrap();
        let status = within(client.hang(with_timeout(Empty {}, SHORT))).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{transport}");
        server.seen.until(|record| record.abandoned == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_stream_ends_at_the_deadline_of_its_call() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let endless =
            vec![ResponseParameters { size: 10, interval_us: 5_000 }, ResponseParameters { size: -1, interval_us: 0 }];
        let request = StreamingOutputCallRequest { response_parameters: endless, ..Default::default() };
        let mut responses = within(client.streaming_output(with_timeout(request, SHORT))).await.unwrap().into_inner();
        let status = within(async {
            loop {
                match responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("an endless stream ended"),
                    Err(status) => break status,
                }
            }
        })
        .await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{transport}");
        server.seen.until(|record| record.abandoned == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_keeps_the_deadline_of_a_client_that_does_not() {
    let ca = Ca::new();
    let server = serve(&ca);
    let (_endpoint, connection) = connect_quic(&ca, server.address).await;
    let (mut driver, mut requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    let driving = tokio::spawn(async move { driver.wait_idle().await });
    let request = http::Request::post("https://localhost/grpc.testing.TestService/Hang")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "50m")
        .body(())
        .unwrap();
    let mut stream = requests.send_request(request).await.unwrap();
    stream.send_data(bytes::Bytes::from_static(&[0, 0, 0, 0, 0])).await.unwrap();
    stream.finish().await.unwrap();
    let response = within(stream.recv_response()).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    assert!(within(stream.recv_data()).await.unwrap().is_none());
    assert_eq!(server.seen.now().abandoned, 1);
    driving.abort();
}
