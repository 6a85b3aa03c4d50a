//! Truncation never looks like a clean end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::service::{AxumBody, Routes};
use tonic::{Code, Status};
use tower::{ServiceExt, service_fn};

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::*;
use crate::support::raw::message;
use crate::support::service::{End, Seen, TestService};
use crate::support::{Running, channel, serve, serve_routes, within};
use quics_quic::ServerConfig;

/// A body that gives these frames in turn.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, Status>>);

impl Frames {
    fn body(frames: Vec<Result<Frame<Bytes>, Status>>) -> Body {
        Body::new(Frames(frames.into_iter()))
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.next())
    }
}

fn input_request(size: usize) -> StreamingInputCallRequest {
    StreamingInputCallRequest { payload: Payload::zeros(size) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_call_is_dropped_does_not_end_cleanly() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let (send, requests) = mpsc::channel(1);
        let call = tokio::spawn(async move { client.streaming_input(ReceiverStream::new(requests)).await });
        send.send(input_request(100_000)).await.unwrap();
        server.seen.until(|record| record.received == 100_000).await;
        call.abort();
        let record = server.seen.until(|record| !record.ends.is_empty()).await;
        assert_ne!(record.ends, [End::Clean], "{transport}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_body_fails_does_not_end_cleanly_and_its_call_ends_with_that_error() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let body =
            Frames::body(vec![Ok(Frame::data(message(1_000).into())), Err(Status::data_loss("the disk is gone"))]);
        let request = Request::post("/grpc.testing.TestService/StreamingInputCall")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let answer = within(channel(&ca, server.address, transport).oneshot(request)).await;
        let status = answer.map(|response| response.status()).unwrap_err();
        if transport == quics_quic::Transport::Quic {
            assert_eq!((status.code(), status.message()), (Code::DataLoss, "the disk is gone"));
        }
        let record = server.seen.until(|record| record.calls == 0 || !record.ends.is_empty()).await;
        assert!(!record.ends.contains(&End::Clean), "{transport}: {:?}", record.ends);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_properly_ends_cleanly() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let requests = stream::iter([1, 10_000_000, 0]).map(input_request);
        let answer = within(client.streaming_input(requests)).await.unwrap();
        assert_eq!(answer.into_inner().aggregated_payload_size, 10_000_001);
        assert_eq!(server.seen.now().ends, [End::Clean], "{transport}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_reader_goes_away_is_dropped_at_the_server() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve(&ca);
        let mut client = TestClient::new(channel(&ca, server.address, transport));
        let endless = [1_000, -1].map(|size| ResponseParameters { size, interval_us: 0 }).to_vec();
        let request = StreamingOutputCallRequest { response_parameters: endless, ..Default::default() };
        let mut responses = within(client.streaming_output(request)).await.unwrap().into_inner();
        within(responses.message()).await.unwrap().unwrap();
        assert_eq!(server.seen.now().abandoned, 0);
        drop(responses);
        server.seen.until(|record| record.abandoned == 1).await;
    }
}

/// Serves one path with whatever response `make` gives.
fn serve_response(ca: &Ca, make: fn() -> Response<Body>) -> Running {
    let service = service_fn(move |_: Request<AxumBody>| async move { Ok::<_, Infallible>(make()) });
    let seen = Seen::default();
    let router = Routes::new(TestService::new(seen.clone())).into_axum_router();
    let router = router.route_service("/test/response", service);
    serve_routes(ServerConfig::new(ca.server()), 0, Routes::from(router), seen)
}

async fn stream_of(ca: &Ca, server: &Running, transport: quics_quic::Transport) -> Result<usize, Status> {
    let mut grpc = tonic::client::Grpc::new(channel(ca, server.address, transport));
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<Empty, StreamingInputCallRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/test/response");
    let mut messages = grpc.server_streaming(tonic::Request::new(Empty {}), path, codec).await?.into_inner();
    let mut count = 0;
    while messages.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn ok_trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))])
}

fn response(frames: Vec<Result<Frame<Bytes>, Status>>) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(Frames::body(frames)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_its_status_is_whole() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve_response(&ca, || {
            response(vec![Ok(Frame::data(message(9).into())), Ok(Frame::trailers(ok_trailers()))])
        });
        assert_eq!(within(stream_of(&ca, &server, transport)).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_body_that_fails_is_an_error_at_the_client() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve_response(&ca, || {
            response(vec![Ok(Frame::data(message(9).into())), Err(Status::internal("the handler broke"))])
        });
        let status = within(stream_of(&ca, &server, transport)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{transport}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_a_status_is_an_error() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve_response(&ca, || response(vec![Ok(Frame::data(message(9).into()))]));
        let status = within(stream_of(&ca, &server, transport)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{transport}: {status:?}");
    }
}
