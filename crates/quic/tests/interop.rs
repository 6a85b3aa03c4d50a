//! The published gRPC interoperability test cases, over QUIC and over TCP.
//!
//! Written after the descriptions of the cases, not after any implementation of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use futures_util::{StreamExt, stream};
use quics_quic::{Channel, Transport};
use std::time::Duration;
use support::ca::Ca;
use support::client::{TestClient, with_timeout};
use support::messages::*;
use support::service::End;
use support::{Running, channel, serve, within};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

/// A server, and a client of it over one transport.
struct Case {
    server: Running,
    client: TestClient<Channel>,
}

impl Case {
    fn new(transport: Transport) -> Self {
        let ca = Ca::new();
        let server = serve(&ca);
        let client = TestClient::new(channel(&ca, server.address, transport));
        Case { server, client }
    }
}

/// Makes two tests of a case, one over each transport.
macro_rules! over_both {
    ($($case:ident),+ $(,)?) => {
        mod quic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::support::within(super::$case(super::Case::new(super::Transport::Quic))).await;
            })+
        }
        mod tcp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::support::within(super::$case(super::Case::new(super::Transport::Tcp))).await;
            })+
        }
    };
}

over_both![
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    custom_metadata,
];

const REQUEST_SIZES: [usize; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSE_SIZES: [i32; 4] = [31_415, 9, 2_653, 58_979];

fn wanted(sizes: &[i32]) -> Vec<ResponseParameters> {
    sizes.iter().map(|&size| ResponseParameters { size, interval_us: 0 }).collect()
}

async fn empty_unary(mut case: Case) {
    let response = case.client.empty_call(Empty {}).await.unwrap();
    assert_eq!(response.into_inner(), Empty {});
    case.server.stop().await;
}

fn large_request() -> SimpleRequest {
    SimpleRequest { response_size: 314_159, payload: Payload::zeros(271_828), response_status: None }
}

async fn large_unary(mut case: Case) {
    let response = case.client.unary_call(large_request()).await.unwrap().into_inner();
    assert_eq!(response.payload, Payload::zeros(314_159));
}

async fn client_streaming(mut case: Case) {
    let requests = REQUEST_SIZES.map(|size| StreamingInputCallRequest { payload: Payload::zeros(size) });
    let response = case.client.streaming_input(stream::iter(requests)).await.unwrap().into_inner();
    assert_eq!(response.aggregated_payload_size, 74_922);
}

async fn server_streaming(mut case: Case) {
    let request = StreamingOutputCallRequest { response_parameters: wanted(&RESPONSE_SIZES), ..Default::default() };
    let responses = case.client.streaming_output(request).await.unwrap().into_inner();
    let sizes: Vec<_> = responses.map(|response| size_of(&response.unwrap().payload)).collect().await;
    assert_eq!(sizes, [31_415, 9, 2_653, 58_979]);
}

async fn ping_pong(mut case: Case) {
    let (send, requests) = mpsc::channel(1);
    let mut responses = case.client.full_duplex(ReceiverStream::new(requests)).await.unwrap().into_inner();
    for (request, response) in REQUEST_SIZES.into_iter().zip(RESPONSE_SIZES) {
        let message = StreamingOutputCallRequest {
            response_parameters: wanted(&[response]),
            payload: Payload::zeros(request),
            ..Default::default()
        };
        send.send(message).await.unwrap();
        let answer = responses.message().await.unwrap().unwrap();
        assert_eq!(size_of(&answer.payload), usize::try_from(response).unwrap());
    }
    drop(send);
    assert!(responses.message().await.unwrap().is_none());
}

async fn empty_stream(mut case: Case) {
    let mut responses = case.client.full_duplex(stream::empty()).await.unwrap().into_inner();
    assert!(responses.message().await.unwrap().is_none());
}

/// tonic cancels a call by dropping it; the server has to notice.
async fn cancel_after_begin(mut case: Case) {
    let (send, requests) = mpsc::channel::<StreamingInputCallRequest>(1);
    let mut client = case.client.clone();
    let call = tokio::spawn(async move { client.streaming_input(ReceiverStream::new(requests)).await });
    case.server.seen.until(|record| record.calls == 1).await;
    call.abort();
    let record = case.server.seen.until(|record| record.ends.len() == 1).await;
    assert_ne!(record.ends, [End::Clean]);
    drop(send);
    case.client.empty_call(Empty {}).await.unwrap();
}

async fn cancel_after_first_response(mut case: Case) {
    let (send, requests) = mpsc::channel(1);
    let mut responses = case.client.full_duplex(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let message = StreamingOutputCallRequest {
        response_parameters: wanted(&[31_415]),
        payload: Payload::zeros(27_182),
        ..Default::default()
    };
    send.send(message).await.unwrap();
    assert_eq!(size_of(&responses.message().await.unwrap().unwrap().payload), 31_415);
    drop(responses);
    let record = case.server.seen.until(|record| record.ends.len() == 1).await;
    assert_ne!(record.ends, [End::Clean]);
    case.client.empty_call(Empty {}).await.unwrap();
}

async fn timeout_on_sleeping_server(mut case: Case) {
    let (send, requests) = mpsc::channel(1);
    let first = StreamingOutputCallRequest { payload: Payload::zeros(27_182), ..Default::default() };
    send.send(first).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(requests));
    request.set_timeout(Duration::from_millis(1));
    let status = match case.client.full_duplex(request).await {
        Err(status) => status,
        Ok(responses) => responses.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let status = case.client.hang(with_timeout(Empty {}, Duration::from_millis(20))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

async fn expect_status(client: &mut TestClient<Channel>, message: &str) {
    let status = EchoStatus { code: 2, message: message.to_owned() };
    let request = SimpleRequest { response_status: Some(status.clone()), ..Default::default() };
    let got = client.unary_call(request).await.unwrap_err();
    assert_eq!((got.code(), got.message()), (Code::Unknown, message));
    let request = StreamingOutputCallRequest { response_status: Some(status), ..Default::default() };
    let got = match client.full_duplex(stream::iter([request])).await {
        Err(status) => status,
        Ok(responses) => responses.into_inner().message().await.unwrap_err(),
    };
    assert_eq!((got.code(), got.message()), (Code::Unknown, message));
}

async fn status_code_and_message(mut case: Case) {
    expect_status(&mut case.client, "test status message").await;
}

async fn special_status_message(mut case: Case) {
    expect_status(&mut case.client, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n").await;
}

async fn unimplemented_method(mut case: Case) {
    let path = "/grpc.testing.TestService/UnimplementedCall";
    let got = case.client.unary::<Empty, Empty>(path, Empty {}).await.unwrap_err();
    assert_eq!(got.code(), Code::Unimplemented);
}

async fn unimplemented_service(mut case: Case) {
    let path = "/grpc.testing.UnimplementedService/UnimplementedCall";
    let got = case.client.unary::<Empty, Empty>(path, Empty {}).await.unwrap_err();
    assert_eq!(got.code(), Code::Unimplemented);
}

async fn custom_metadata(mut case: Case) {
    let initial = MetadataValue::from_static("test_initial_metadata_value");
    let trailing = MetadataValue::from_bytes(&[0xab, 0xab, 0xab]);

    let mut request = Request::new(large_request());
    request.metadata_mut().insert("x-grpc-test-echo-initial", initial.clone());
    request.metadata_mut().insert_bin("x-grpc-test-echo-trailing-bin", trailing.clone());
    let response = case.client.unary_call(request).await.unwrap();
    assert_eq!(response.metadata().get("x-grpc-test-echo-initial"), Some(&initial));
    // tonic joins the trailers of a unary response to its metadata.
    assert_eq!(response.metadata().get_bin("x-grpc-test-echo-trailing-bin"), Some(&trailing));

    let message = StreamingOutputCallRequest {
        response_parameters: wanted(&[314_159]),
        payload: Payload::zeros(271_828),
        ..Default::default()
    };
    let mut request = Request::new(stream::iter([message]));
    request.metadata_mut().insert("x-grpc-test-echo-initial", initial.clone());
    request.metadata_mut().insert_bin("x-grpc-test-echo-trailing-bin", trailing.clone());
    let response = case.client.full_duplex(request).await.unwrap();
    assert_eq!(response.metadata().get("x-grpc-test-echo-initial"), Some(&initial));
    let mut responses = response.into_inner();
    assert_eq!(size_of(&responses.message().await.unwrap().unwrap().payload), 314_159);
    assert!(responses.message().await.unwrap().is_none());
    let trailers = within(responses.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.get_bin("x-grpc-test-echo-trailing-bin"), Some(&trailing));
}
