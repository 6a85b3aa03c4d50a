//! A client of the test service.

use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::StdError;
use tonic::{IntoRequest, IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::messages::*;

/// Calls `grpc.testing.TestService`.
#[derive(Clone)]
pub(crate) struct TestClient<T> {
    grpc: Grpc<T>,
}

const SERVICE: &str = "/grpc.testing.TestService/";

impl<T> TestClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    pub(crate) fn new(channel: T) -> Self {
        TestClient { grpc: Grpc::new(channel).max_decoding_message_size(64 << 20) }
    }

    async fn ready(&mut self, method: &str) -> Result<PathAndQuery, Status> {
        self.grpc.ready().await.map_err(|error| Status::unknown(error.into().to_string()))?;
        Ok(PathAndQuery::from_maybe_shared(format!("{SERVICE}{method}")).unwrap())
    }

    /// Makes a unary call of any service and method.
    pub(crate) async fn unary<M1, M2>(
        &mut self,
        path: &'static str,
        request: impl IntoRequest<M1>,
    ) -> Result<Response<M2>, Status>
    where
        M1: prost::Message + 'static,
        M2: prost::Message + Default + 'static,
    {
        self.ready("").await?;
        let codec = ProstCodec::<M1, M2>::default();
        self.grpc.unary(request.into_request(), PathAndQuery::from_static(path), codec).await
    }

    pub(crate) async fn empty_call(&mut self, request: impl IntoRequest<Empty>) -> Result<Response<Empty>, Status> {
        self.unary("/grpc.testing.TestService/EmptyCall", request).await
    }

    /// Calls what never answers.
    pub(crate) async fn hang(&mut self, request: impl IntoRequest<Empty>) -> Result<Response<Empty>, Status> {
        self.unary("/grpc.testing.TestService/Hang", request).await
    }

    pub(crate) async fn unary_call(
        &mut self,
        request: impl IntoRequest<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        self.unary("/grpc.testing.TestService/UnaryCall", request).await
    }

    pub(crate) async fn streaming_input(
        &mut self,
        request: impl IntoStreamingRequest<Message = StreamingInputCallRequest>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let path = self.ready("StreamingInputCall").await?;
        self.grpc.client_streaming(request.into_streaming_request(), path, ProstCodec::default()).await
    }

    pub(crate) async fn streaming_output(
        &mut self,
        request: impl IntoRequest<StreamingOutputCallRequest>,
    ) -> Result<Response<Streaming<StreamingOutputCallResponse>>, Status> {
        let path = self.ready("StreamingOutputCall").await?;
        self.grpc.server_streaming(request.into_request(), path, ProstCodec::default()).await
    }

    pub(crate) async fn full_duplex(
        &mut self,
        request: impl IntoStreamingRequest<Message = StreamingOutputCallRequest>,
    ) -> Result<Response<Streaming<StreamingOutputCallResponse>>, Status> {
        let path = self.ready("FullDuplexCall").await?;
        self.grpc.streaming(request.into_streaming_request(), path, ProstCodec::default()).await
    }
}

/// Gives a request the deadline that the server is told and the client keeps.
pub(crate) fn with_timeout<M>(message: M, timeout: std::time::Duration) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
