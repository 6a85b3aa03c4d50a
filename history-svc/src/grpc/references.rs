//! The calls of `quics.sync.v1.ReferencesService`: for sync-svc only.

use std::sync::Arc;

use quics_kit::caller::{self, Caller};
use quics_kit::names;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_service_server::{ReferencesService, ReferencesServiceServer};
use quics_types::{RootId, limits};
use tonic::{Request, Response, Status};

use super::{Answers, Grpc, refuse};
use crate::references;
use crate::service::Service;

/// What sync-svc may ask.
pub(crate) struct References {
    calls: Grpc,
}

impl References {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> ReferencesServiceServer<Self> {
        ReferencesServiceServer::new(Self { calls: Grpc { service } })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl ReferencesService for References {
    type ReferencesStream = Answers<sync::ReferencesResponse>;

    async fn references(
        &self,
        request: Request<sync::ReferencesRequest>,
    ) -> Result<Response<Self::ReferencesStream>, Status> {
        match self.calls.caller(&request)? {
            Caller::Service(names::Service::Sync) => {}
            _ => return Err(refuse(caller::Error::Kind("sync-svc"))),
        }
        let request = request.into_inner();
        let root = RootId::from_slice(&request.root_id).map_err(|error| refuse(Malformed::from(error)))?;
        let at_least = request.at_least.map(|position| position.number);
        Ok(self.calls.streaming(move |service, out| {
            let say = |message| !service.shutdown.is_cancelled() && out.blocking_send(Ok(message)).is_ok();
            let each = |digests: Vec<_>| say(references::contents(&digests));
            if let Some(told) = references::tell(service, root, at_least, each)? {
                say(references::finish(told));
            }
            Ok(())
        }))
    }
}
