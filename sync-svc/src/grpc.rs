//! The service's calls: who calls, what is asked, and errors as statuses.

pub(crate) mod admin;
mod brakes;
mod conflicts;
mod purge;
mod reclaim;
pub(crate) mod relay;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use quics_kit::caller::Caller;
use quics_kit::status::status;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_server::{SyncService, SyncServiceServer};
use quics_proto::{Malformed, digests};
use quics_types::{DeviceId, Digest, LeaseId, RootId, limits};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::service::Service;
use crate::{Error, download, encode, push, upload, watch};

/// Messages that wait for a stream's reader: one on its way and one behind it.
const WAITING: usize = 2;
/// Verdicts that wait for their reader; they are small.
const VERDICTS: usize = 256;
/// Conflicts, resolutions or held changes of one page.
const PAGE: usize = 256;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls of `quics.sync.v1.SyncService`.
pub(crate) struct Grpc {
    service: Arc<Service>,
}

impl Grpc {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> SyncServiceServer<Self> {
        SyncServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = Caller::of(request, self.service.clock().now()).map_err(|error| status(&error))?;
        if let Caller::Device(device) = caller {
            self.service.access.seen(device);
        }
        Ok(caller)
    }

    fn device<T>(&self, request: &Request<T>) -> Result<DeviceId, Status> {
        self.caller(request)?.device().map_err(|error| status(&error))
    }
}

/// What one who keeps references ended a call with.
pub(crate) fn refused(status: Status) -> String {
    status.message().to_owned()
}

fn refuse<E: Into<Error>>(error: E) -> Status {
    status(&error.into())
}

fn malformed(error: impl Into<Malformed>) -> Status {
    refuse::<Malformed>(error.into())
}

fn page_size(asked: u32) -> usize {
    match asked as usize {
        0 => PAGE,
        asked => asked.min(PAGE),
    }
}

fn root_of(id: &[u8]) -> Result<RootId, Status> {
    encode::root(id).map_err(refuse)
}

fn digests_of(list: &[bytes::Bytes]) -> Result<Vec<Digest>, Status> {
    digests(list).map_err(refuse)
}

/// What comes in; a stream that fails has been cut, whatever the reason.
fn incoming<T: Send + 'static>(stream: Streaming<T>) -> impl Stream<Item = Result<T, Error>> + Send {
    stream.map(|item| {
        item.map_err(|status| {
            tracing::debug!(code = ?status.code(), reason = status.message(), "stream.cut");
            Error::Cut
        })
    })
}

fn outgoing<T: Send + 'static>(receiver: mpsc::Receiver<Result<T, Error>>) -> Response<Answers<T>> {
    Response::new(Box::pin(ReceiverStream::new(receiver).map(|item| item.map_err(refuse))))
}

#[tonic::async_trait]
impl SyncService for Grpc {
    type PushStream = Answers<sync::PushResponse>;
    type WatchStream = Answers<sync::WatchResponse>;
    type SnapshotStream = Answers<sync::SnapshotResponse>;
    type FetchStream = Answers<sync::FetchResponse>;
    type PromptStream = Answers<sync::PromptResponse>;

    async fn push(&self, request: Request<Streaming<sync::PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        let device = self.device(&request)?;
        let (out, answers) = mpsc::channel(VERDICTS);
        self.service.run(push::serve(self.service.clone(), device, incoming(request.into_inner()), out));
        Ok(outgoing(answers))
    }

    async fn find_missing(
        &self,
        request: Request<sync::FindMissingRequest>,
    ) -> Result<Response<sync::FindMissingResponse>, Status> {
        let device = self.device(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        let lease = LeaseId::from_slice(&request.lease_id).map_err(|error| refuse(Malformed::from(error)))?;
        let digests = digests_of(&request.digests)?;
        let missing = upload::find_missing(self.service.clone(), device, root, lease, digests).await.map_err(refuse)?;
        Ok(Response::new(sync::FindMissingResponse { digests: missing.iter().map(encode::digest).collect() }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<sync::UploadRequest>>,
    ) -> Result<Response<sync::UploadResponse>, Status> {
        let device = self.device(&request)?;
        let uploading = upload::serve(self.service.clone(), device, incoming(request.into_inner()));
        // A task of its own: what came is kept even if the caller has given the call up.
        let (done, answer) = oneshot::channel();
        self.service.run(async move { drop(done.send(uploading.await)) });
        let count = answer.await.unwrap_or(Err(Error::Task)).map_err(refuse)?;
        Ok(Response::new(sync::UploadResponse { count }))
    }

    async fn watch(
        &self,
        request: Request<Streaming<sync::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.caller(&request)?;
        let (out, answers) = mpsc::channel(WAITING);
        self.service.run(watch::serve(self.service.clone(), caller, incoming(request.into_inner()), out));
        Ok(outgoing(answers))
    }

    async fn snapshot(
        &self,
        request: Request<sync::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let (out, answers) = mpsc::channel(WAITING);
        let inline = request.inline_contents;
        self.service.run(download::snapshot(self.service.clone(), caller, root, inline, out));
        Ok(outgoing(answers))
    }

    async fn fetch(&self, request: Request<sync::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let (root, digests) = (root_of(&request.root_id)?, digests_of(&request.digests)?);
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let (out, answers) = mpsc::channel(WAITING);
        self.service.run(download::fetch(self.service.clone(), caller, root, digests, out));
        Ok(outgoing(answers))
    }

    async fn list_conflicts(
        &self,
        request: Request<sync::ListConflictsRequest>,
    ) -> Result<Response<sync::ListConflictsResponse>, Status> {
        self.conflicts(request).await
    }

    async fn get_conflict(
        &self,
        request: Request<sync::GetConflictRequest>,
    ) -> Result<Response<sync::GetConflictResponse>, Status> {
        self.conflict(request).await
    }

    async fn prompt(&self, request: Request<sync::PromptRequest>) -> Result<Response<Self::PromptStream>, Status> {
        self.prompts(request).await
    }

    async fn resolve(&self, request: Request<sync::ResolveRequest>) -> Result<Response<sync::ResolveResponse>, Status> {
        self.answer(request).await
    }

    async fn undo_resolution(
        &self,
        request: Request<sync::UndoResolutionRequest>,
    ) -> Result<Response<sync::UndoResolutionResponse>, Status> {
        self.take_back(request).await
    }

    async fn list_resolutions(
        &self,
        request: Request<sync::ListResolutionsRequest>,
    ) -> Result<Response<sync::ListResolutionsResponse>, Status> {
        self.resolutions(request).await
    }

    async fn get_settings(
        &self,
        request: Request<sync::GetSettingsRequest>,
    ) -> Result<Response<sync::GetSettingsResponse>, Status> {
        self.settings(request).await
    }

    async fn set_settings(
        &self,
        request: Request<sync::SetSettingsRequest>,
    ) -> Result<Response<sync::SetSettingsResponse>, Status> {
        self.change_settings(request).await
    }

    async fn list_brakes(
        &self,
        request: Request<sync::ListBrakesRequest>,
    ) -> Result<Response<sync::ListBrakesResponse>, Status> {
        self.brakes(request).await
    }

    async fn list_held(
        &self,
        request: Request<sync::ListHeldRequest>,
    ) -> Result<Response<sync::ListHeldResponse>, Status> {
        self.held(request).await
    }

    async fn decide_brake(
        &self,
        request: Request<sync::DecideBrakeRequest>,
    ) -> Result<Response<sync::DecideBrakeResponse>, Status> {
        self.decide(request).await
    }

    async fn set_brake(
        &self,
        request: Request<sync::SetBrakeRequest>,
    ) -> Result<Response<sync::SetBrakeResponse>, Status> {
        self.configure_brake(request).await
    }
}
