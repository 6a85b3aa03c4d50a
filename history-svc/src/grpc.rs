//! The service's calls: who calls, what is asked, and errors as statuses.

pub(crate) mod admin;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use quics_kit::caller::Caller;
use quics_kit::status::status;
use quics_proto::Malformed;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::history_service_server::{HistoryService, HistoryServiceServer};
use quics_types::{RootId, limits};
use tonic::{Request, Response, Status};

use crate::Error;
use crate::service::Service;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls of `quics.history.v1.HistoryService`.
pub(crate) struct Grpc {
    service: Arc<Service>,
}

fn refuse(error: impl Into<Error>) -> Status {
    status(&error.into())
}

impl Grpc {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> HistoryServiceServer<Self> {
        HistoryServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = Caller::of(request, self.service.clock().now()).map_err(refuse)?;
        if let Caller::Device(device) = caller {
            self.service.access.seen(device);
        }
        Ok(caller)
    }

    /// The root that is asked for, of somebody who may read it.
    async fn read<T>(&self, request: &Request<T>, root: &[u8]) -> Result<(Caller, RootId), Status> {
        let caller = self.caller(request)?;
        let root = RootId::from_slice(root).map_err(|error| refuse(Malformed::from(error)))?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        Ok((caller, root))
    }
}

#[tonic::async_trait]
impl HistoryService for Grpc {
    type ListTreeStream = Answers<history::ListTreeResponse>;
    type PreviewRestoreStream = Answers<history::PreviewRestoreResponse>;

    async fn list_versions(
        &self,
        request: Request<history::ListVersionsRequest>,
    ) -> Result<Response<history::ListVersionsResponse>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("versions are not listed yet"))
    }

    async fn get_version(
        &self,
        request: Request<history::GetVersionRequest>,
    ) -> Result<Response<history::GetVersionResponse>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("versions are not read yet"))
    }

    async fn list_tree(
        &self,
        request: Request<history::ListTreeRequest>,
    ) -> Result<Response<Self::ListTreeStream>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("trees are not listed yet"))
    }

    async fn preview_restore(
        &self,
        request: Request<history::PreviewRestoreRequest>,
    ) -> Result<Response<Self::PreviewRestoreStream>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("nothing is restored yet"))
    }

    async fn restore(
        &self,
        request: Request<history::RestoreRequest>,
    ) -> Result<Response<history::RestoreResponse>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("nothing is restored yet"))
    }

    async fn get_restore(
        &self,
        request: Request<history::GetRestoreRequest>,
    ) -> Result<Response<history::GetRestoreResponse>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("nothing is restored yet"))
    }

    async fn list_restores(
        &self,
        request: Request<history::ListRestoresRequest>,
    ) -> Result<Response<history::ListRestoresResponse>, Status> {
        self.read(&request, &request.get_ref().root_id).await?;
        Err(Status::unimplemented("nothing is restored yet"))
    }
}
