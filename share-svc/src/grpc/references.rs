//! The calls of `quics.sync.v1.ReferencesService`: for sync-svc, and for history-svc, which spares what links show.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use quics_kit::caller::{self, Caller};
use quics_kit::names;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_response::Message;
use quics_proto::sync::v1::references_service_server::{ReferencesService, ReferencesServiceServer};
use quics_types::{RootId, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::refuse;
use crate::references;
use crate::service::Service;

/// Messages that wait for the reader: one on its way and one behind it.
const WAITING: usize = 2;

/// What sync-svc and history-svc may ask.
pub(crate) struct References {
    service: Arc<Service>,
}

impl References {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> ReferencesServiceServer<Self> {
        ReferencesServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl ReferencesService for References {
    type ReferencesStream = Pin<Box<dyn Stream<Item = Result<sync::ReferencesResponse, Status>> + Send>>;

    async fn references(
        &self,
        request: Request<sync::ReferencesRequest>,
    ) -> Result<Response<Self::ReferencesStream>, Status> {
        match Caller::of(&request, self.service.clock().now()).map_err(refuse)? {
            Caller::Service(names::Service::Sync | names::Service::History) => {}
            _ => return Err(refuse(caller::Error::Kind("sync-svc or history-svc"))),
        }
        let root = RootId::from_slice(&request.get_ref().root_id).map_err(|error| refuse(Malformed::from(error)))?;
        let (out, answers) = mpsc::channel(WAITING);
        let service = self.service.clone();
        self.service.run(async move {
            let told = out.clone();
            let telling = service.blocking(move |service| {
                let say = |message| {
                    let message = sync::ReferencesResponse { message: Some(message) };
                    !service.shutdown.is_cancelled() && told.blocking_send(Ok(message)).is_ok()
                };
                let count = references::tell(service, root, |contents| {
                    let bytes = |content: &quics_types::Digest| bytes::Bytes::copy_from_slice(content.as_bytes());
                    let content_ids = contents.iter().map(bytes).collect();
                    say(Message::Contents(sync::ReferencedContents { content_ids }))
                })?;
                if let Some(count) = count {
                    // It follows no events: it has applied none.
                    say(Message::Finish(sync::ReferencesFinish { count, position: None }));
                }
                Ok(())
            });
            if let Err(error) = telling.await {
                // Who has gone does not need to know of its end.
                drop(out.send(Err(error)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers).map(|item| item.map_err(refuse)))))
    }
}
