//! What happens to a request whatever carries it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::service::Routes;
use tower::ServiceExt;

use super::Limits;
use super::pace::Paced;
use crate::peer::Peer;
use crate::timeout::{Bounded, Side, deadline, expired};

/// The service of one server: routes and limits, shared by all connections.
#[derive(Clone)]
pub(crate) struct Dispatch {
    routes: Routes,
    limits: Arc<Limits>,
}

impl Dispatch {
    /// Takes the routes.
    pub(crate) fn new(routes: Routes, limits: Arc<Limits>) -> Self {
        Dispatch { routes: routes.prepare(), limits }
    }

    /// Answers a request: adds the peer, bounds the body by the minimum rate and everything by the call's deadline.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the handler.
    pub(crate) async fn call<B>(&self, mut request: Request<B>, peer: Peer) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let deadline = deadline(request.headers());
        request.extensions_mut().insert(peer.at(SystemTime::now()));
        let (parts, body) = request.into_parts();
        let body = Body::new(Paced::new(body, &parts.headers, &self.limits));
        let request = Request::from_parts(parts, body);
        let answering = self.routes.clone().oneshot(request);
        let answer = match deadline {
            None => answering.await,
            Some(at) => match timeout_at(at, answering).await {
                Ok(answer) => answer,
                Err(_) => return expired().into_http(),
            },
        };
        match answer {
            Ok(response) => response.map(|body| Bounded::wrap(body, deadline, Side::Server)),
            Err(never) => match never {},
        }
    }
}
