//! `grpc.testing.TestService`, and what it saw.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use quics_quic::Peer;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{BoxError, Service, service_fn};

use super::messages::*;
use super::within;

/// What a request stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its proper end.
    Clean,
    /// An error.
    Failed(Code),
    /// The handler was dropped before the stream ended.
    Dropped,
}

/// What the service saw so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) calls: usize,
    pub(crate) peers: Vec<Peer>,
    /// Payload bytes received in request streams.
    pub(crate) received: usize,
    /// How request streams ended, in order.
    pub(crate) ends: Vec<End>,
    /// Payload bytes handed to the transport in response streams.
    pub(crate) produced: usize,
    /// Handlers or response streams that were dropped before their end.
    pub(crate) abandoned: usize,
    /// Calls of what never answers that have reached their handler.
    pub(crate) hanging: usize,
}

/// Shows what the service saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    record: Arc<watch::Sender<Record>>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { record: Arc::new(watch::Sender::new(Record::default())) }
    }
}

impl Seen {
    pub(crate) fn now(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, condition: impl FnMut(&Record) -> bool) -> Record {
        within(self.record.subscribe().wait_for(condition)).await.unwrap().clone()
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        self.record.send_modify(change);
    }
}

/// Notes when it is dropped before it was disarmed.
struct Guard {
    seen: Seen,
    request: bool,
    armed: bool,
}

impl Guard {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.seen.note(|record| {
                record.abandoned += 1;
                if self.request {
                    record.ends.push(End::Dropped);
                }
            });
        }
    }
}

#[derive(Clone)]
pub(crate) struct TestService {
    seen: Seen,
}

impl TestService {
    pub(crate) fn new(seen: Seen) -> Self {
        TestService { seen }
    }

    fn guard(&self, request: bool) -> Guard {
        Guard { seen: self.seen.clone(), request, armed: true }
    }

    async fn serve<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let peer = request.extensions().get::<Peer>().cloned();
        self.seen.note(|record| {
            record.calls += 1;
            record.peers.extend(peer);
        });
        let metadata = request.headers().clone();
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let response = match method.as_str() {
            "EmptyCall" => {
                let answer = service_fn(|_: tonic::Request<Empty>| async { Ok(tonic::Response::new(Empty {})) });
                grpc().unary(answer, request).await
            }
            "Hang" => {
                let service = self.clone();
                let answer = service_fn(move |_: tonic::Request<Empty>| {
                    let service = service.clone();
                    async move {
                        let _guard = service.guard(false);
                        service.seen.note(|record| record.hanging += 1);
                        std::future::pending::<Result<tonic::Response<Empty>, Status>>().await
                    }
                });
                grpc().unary(answer, request).await
            }
            "UnaryCall" => grpc().unary(service_fn(unary), request).await,
            "StreamingInputCall" => {
                let service = self.clone();
                let answer = service_fn(move |request: tonic::Request<Streaming<_>>| {
                    let service = service.clone();
                    async move { service.take_in(request.into_inner()).await }
                });
                grpc().client_streaming(answer, request).await
            }
            "StreamingOutputCall" => {
                let service = self.clone();
                let answer = service_fn(move |request: tonic::Request<StreamingOutputCallRequest>| {
                    let service = service.clone();
                    async move { Ok(tonic::Response::new(service.give_out(request.into_inner()))) }
                });
                grpc().server_streaming(answer, request).await
            }
            "FullDuplexCall" => {
                let service = self.clone();
                let answer = service_fn(move |request: tonic::Request<Streaming<_>>| {
                    let service = service.clone();
                    async move { Ok(tonic::Response::new(service.converse(request.into_inner()))) }
                });
                grpc().streaming(answer, request).await
            }
            _ => Status::unimplemented("no such method").into_http(),
        };
        echo_metadata(&metadata, response)
    }

    async fn take_in(
        &self,
        mut requests: Streaming<StreamingInputCallRequest>,
    ) -> Result<tonic::Response<StreamingInputCallResponse>, Status> {
        let mut guard = self.guard(true);
        let mut total = 0;
        loop {
            match requests.message().await {
                Ok(Some(message)) => {
                    let size = size_of(&message.payload);
                    total += size;
                    self.seen.note(|record| record.received += size);
                }
                Ok(None) => break,
                Err(status) => {
                    guard.armed = false;
                    self.seen.note(|record| record.ends.push(End::Failed(status.code())));
                    return Err(status);
                }
            }
        }
        guard.armed = false;
        self.seen.note(|record| record.ends.push(End::Clean));
        let aggregated_payload_size = i32::try_from(total).map_err(|_| Status::out_of_range("too much"))?;
        Ok(tonic::Response::new(StreamingInputCallResponse { aggregated_payload_size }))
    }

    fn responses(
        &self,
        parameters: Vec<ResponseParameters>,
    ) -> impl Stream<Item = Result<StreamingOutputCallResponse, Status>> + use<> {
        let seen = self.seen.clone();
        stream::iter(parameters).then(move |parameters| {
            let seen = seen.clone();
            async move {
                if parameters.interval_us > 0 {
                    tokio::time::sleep(Duration::from_micros(parameters.interval_us.unsigned_abs().into())).await;
                }
                let size = usize::try_from(parameters.size).map_err(|_| Status::invalid_argument("size"))?;
                seen.note(|record| record.produced += size);
                Ok(StreamingOutputCallResponse { payload: Payload::zeros(size) })
            }
        })
    }

    /// One response for each parameter; a size of -1 as the last goes on for ever with the size before it.
    fn give_out(&self, request: StreamingOutputCallRequest) -> Responses {
        let mut parameters = request.response_parameters;
        let guard = self.guard(false);
        let endless = parameters.last().is_some_and(|last| last.size < 0);
        let service = self.clone();
        if endless {
            parameters.pop();
            let each = parameters.pop().unwrap_or_default();
            let endless = stream::repeat(vec![each]).flat_map(move |each| {
                let _keep = &guard;
                service.responses(each)
            });
            return Box::pin(endless);
        }
        let end = stream::once(async move {
            guard.disarm();
        });
        let end = end.filter_map(|()| async { None });
        Box::pin(self.responses(parameters).chain(end))
    }

    fn converse(&self, requests: Streaming<StreamingOutputCallRequest>) -> Responses {
        let service = self.clone();
        let guard = self.guard(true);
        Box::pin(stream::unfold(Some((requests, guard, Vec::new())), move |state| {
            let service = service.clone();
            async move {
                let (mut requests, mut guard, mut due) = state?;
                loop {
                    if let Some(parameters) = due.pop() {
                        let answer = service.responses(vec![parameters]).boxed().next().await?;
                        return Some((answer, Some((requests, guard, due))));
                    }
                    match requests.message().await {
                        Ok(Some(request)) => {
                            if let Some(status) = request.response_status {
                                guard.armed = false;
                                return Some((Err(Status::new(Code::from(status.code), status.message)), None));
                            }
                            service.seen.note(|record| record.received += size_of(&request.payload));
                            due = request.response_parameters;
                            due.reverse();
                        }
                        Ok(None) => {
                            guard.armed = false;
                            service.seen.note(|record| record.ends.push(End::Clean));
                            return None;
                        }
                        Err(status) => {
                            guard.armed = false;
                            service.seen.note(|record| record.ends.push(End::Failed(status.code())));
                            return Some((Err(status), None));
                        }
                    }
                }
            }
        }))
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

async fn unary(request: tonic::Request<SimpleRequest>) -> Result<tonic::Response<SimpleResponse>, Status> {
    let request = request.into_inner();
    if let Some(status) = request.response_status.filter(|status| status.code != 0) {
        return Err(Status::new(Code::from(status.code), status.message));
    }
    let size = usize::try_from(request.response_size).map_err(|_| Status::invalid_argument("size"))?;
    Ok(tonic::Response::new(SimpleResponse { payload: Payload::zeros(size) }))
}

fn grpc<M1, M2>() -> Grpc<ProstCodec<M2, M1>>
where
    M1: prost::Message + Default + 'static,
    M2: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(64 << 20), None)
}

/// Echoes the metadata that the interop case `custom_metadata` sends.
fn echo_metadata(request: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    if let Some(initial) = request.get("x-grpc-test-echo-initial") {
        response.headers_mut().insert("x-grpc-test-echo-initial", initial.clone());
    }
    let Some(trailing) = request.get("x-grpc-test-echo-trailing-bin").cloned() else { return response };
    response.map(|inner| {
        Body::new(WithTrailers {
            inner,
            add: HeaderMap::from_iter([(http::HeaderName::from_static("x-grpc-test-echo-trailing-bin"), trailing)]),
        })
    })
}

struct WithTrailers {
    inner: Body,
    add: HeaderMap,
}

impl http_body::Body for WithTrailers {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_ok(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.extend(std::mem::take(&mut self.add));
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        })
    }
}

impl NamedService for TestService {
    const NAME: &'static str = "grpc.testing.TestService";
}

impl<B> Service<Request<B>> for TestService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.serve(request).await) })
    }
}
