//! Flow control holds in both directions.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use quics_quic::{Channel, ServerConfig, Transport, Tuning};
use tonic::Status;
use tonic::body::Body;
use tonic::service::{AxumBody, Routes};
use tower::{ServiceExt, service_fn};

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::*;
use crate::support::raw::message;
use crate::support::service::Seen;
use crate::support::{channel_config, serve_routes, serve_with, within};

/// Small windows, so that what is beyond them shows.
fn small() -> Tuning {
    let mut tuning = Tuning::default();
    tuning.stream_window = 64 << 10;
    tuning.connection_window = 128 << 10;
    tuning.send_window = 128 << 10;
    tuning
}

/// The stream's window (quinn takes no more from the sender than that), and what is on the way to the reader.
const BOUND: usize = (64 + 64) << 10;

/// So far ahead the sender gets even when the window was not opened for a while.
const AHEAD: usize = 32 << 10;

/// An endless body of small messages, each in a frame of its own.
struct Small {
    message: Bytes,
    produced: Arc<AtomicUsize>,
}

impl Small {
    fn body(produced: &Arc<AtomicUsize>) -> Body {
        Body::new(Small { message: message(100).into(), produced: produced.clone() })
    }
}

impl http_body::Body for Small {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.produced.fetch_add(self.message.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.message.clone()))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_small_messages_bounds_what_is_sent_ahead() {
    let ca = Ca::new();
    let produced = Arc::new(AtomicUsize::new(0));
    let mut config = ServerConfig::new(ca.server());
    config.tuning = small();
    let endless = {
        let produced = produced.clone();
        service_fn(move |_: Request<AxumBody>| {
            let response = Response::builder().header("content-type", "application/grpc").body(Small::body(&produced));
            async move { Ok::<_, Infallible>(response.unwrap()) }
        })
    };
    let router = Routes::default().into_axum_router().route_service("/test/endless", endless);
    let server = serve_routes(config, 0, Routes::from(router), Seen::default());
    let mut config = channel_config(&ca, server.address, Transport::Quic);
    config.tuning = small();

    let mut grpc = tonic::client::Grpc::new(Channel::new(config));
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Empty, StreamingInputCallRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/test/endless");
    let messages = within(grpc.server_streaming(tonic::Request::new(Empty {}), path, codec)).await;
    let mut messages = messages.unwrap().into_inner();
    let size = message(100).len();
    let mut consumed = 0;
    while consumed < 8 * BOUND {
        // The sender is ahead, so that there is always more to read than is read.
        within(async {
            while produced.load(Ordering::SeqCst) < consumed + AHEAD {
                tokio::task::yield_now().await
            }
        })
        .await;
        for _ in 0..20 {
            within(messages.message()).await.unwrap().unwrap();
            consumed += size;
        }
        let ahead = produced.load(Ordering::SeqCst) - consumed;
        assert!(ahead < BOUND, "{ahead} bytes are on the way after {consumed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_handler_that_does_not_read_is_held_back() {
    let ca = Ca::new();
    let mut config = ServerConfig::new(ca.server());
    config.tuning = small();
    let stuck = service_fn(|request: Request<AxumBody>| async move {
        let _unread = request;
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let seen = Seen::default();
    let router = Routes::new(crate::support::service::TestService::new(seen.clone())).into_axum_router();
    let server = serve_routes(config, 0, Routes::from(router.route_service("/test/stuck", stuck)), seen);
    let mut config = channel_config(&ca, server.address, Transport::Quic);
    config.tuning = small();
    let channel = Channel::new(config);
    let produced = Arc::new(AtomicUsize::new(0));
    let request = Request::post("/test/stuck").body(Small::body(&produced)).unwrap();
    let call = tokio::spawn(channel.clone().oneshot(request));
    within(async {
        while produced.load(Ordering::SeqCst) < AHEAD {
            tokio::task::yield_now().await
        }
    })
    .await;
    // Other calls go on beside it, and give it time to run ahead if it could.
    for _ in 0..200 {
        within(TestClient::new(channel.clone()).empty_call(Empty {})).await.unwrap();
    }
    let produced = produced.load(Ordering::SeqCst);
    assert!(produced < BOUND, "{produced} bytes were taken from the sender");
    call.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_download_does_not_delay_other_calls() {
    for transport in BOTH {
        let ca = Ca::new();
        let server = serve_with(ServerConfig::new(ca.server()));
        let mut client = TestClient::new(Channel::new(channel_config(&ca, server.address, transport)));
        let response_parameters = [100_000, -1].map(|size| ResponseParameters { size, interval_us: 0 }).to_vec();
        let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
        let _unread = within(client.streaming_output(request)).await.unwrap();
        server.seen.until(|record| record.produced > 2_000_000).await;
        for _ in 0..20 {
            within(client.empty_call(Empty {})).await.unwrap();
        }
    }
}
