//! The service's calls: who calls, what is asked, and errors as statuses.

pub(crate) mod admin;
mod keeping;
pub(crate) mod references;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use quics_kit::caller::Caller;
use quics_kit::status::status;
use quics_proto::Malformed;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::history_service_server::{HistoryService, HistoryServiceServer};
use quics_proto::sync::v1::GroupState;
use quics_types::{RootId, limits};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::keep::open;
use crate::service::Service;
use crate::{Error, encode, query, restore};

/// Messages that wait for a stream's reader: one on its way and one behind it.
const WAITING: usize = 2;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The calls of `quics.history.v1.HistoryService`.
pub(crate) struct Grpc {
    service: Arc<Service>,
}

/// What sync-svc ended a call with.
pub(crate) fn lost(status: Status) -> Error {
    match status.code() {
        tonic::Code::Unavailable => Error::SyncAway,
        code => Error::Sync { code, message: status.message().to_owned() },
    }
}

/// Why share-svc could not be asked.
pub(crate) fn unasked(status: Status) -> Error {
    Error::ShareAway { reason: format!("{} ({:?})", status.message(), status.code()) }
}

/// Why sync-svc cannot do something just now; anything else that it ended the call with is an error.
pub(crate) fn busy(status: Status) -> Result<String, Error> {
    match status.code() {
        tonic::Code::Unavailable if !status.message().is_empty() => Ok(status.message().to_owned()),
        _ => Err(lost(status)),
    }
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

    /// Answers with what a thread of its own sends; who has gone does not need to know of its end.
    fn streaming<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service, &mpsc::Sender<Result<T, Error>>) -> Result<(), Error> + Send + 'static,
    ) -> Response<Answers<T>> {
        let (out, answers) = mpsc::channel(WAITING);
        let service = self.service.clone();
        self.service.run(async move {
            let told = out.clone();
            if let Err(error) = service.blocking(move |service| work(service, &told)).await {
                drop(out.send(Err(error)).await);
            }
        });
        Response::new(Box::pin(ReceiverStream::new(answers).map(|item| item.map_err(refuse))))
    }

    /// What sync-svc says of a restore, with the paths of what was left out.
    async fn told(
        &self,
        root: RootId,
        asking: impl Future<Output = Result<GroupState, Error>> + Send + 'static,
    ) -> Result<(GroupState, Vec<bytes::Bytes>), Status> {
        let (done, answer) = oneshot::channel();
        self.service.run(async move { drop(done.send(asking.await)) });
        let state = answer.await.unwrap_or(Err(Error::Task)).map_err(refuse)?;
        let told = self.service.blocking(move |service| {
            let paths = restore::apply::left_out(service.view(root), &state)?;
            Ok((state, paths))
        });
        told.await.map_err(refuse)
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
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let asked = self.service.blocking(move |service| query::versions::list(service.view(root), request));
        Ok(Response::new(asked.await.map_err(refuse)?))
    }

    async fn get_version(
        &self,
        request: Request<history::GetVersionRequest>,
    ) -> Result<Response<history::GetVersionResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let asked = self.service.blocking(move |service| {
            let (subject, moment) = (encode::subject_or_root(request.subject)?, encode::moment(request.moment)?);
            let view = service.view(root);
            let at = query::version(view, &subject, moment, service.now())?;
            Ok(history::GetVersionResponse { version: Some(encode::version(view, &at)?) })
        });
        Ok(Response::new(asked.await.map_err(refuse)?))
    }

    async fn list_tree(
        &self,
        request: Request<history::ListTreeRequest>,
    ) -> Result<Response<Self::ListTreeStream>, Status> {
        use history::list_tree_response::Message;
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        Ok(self.streaming(move |service, out| {
            let (subject, moment) = (encode::subject_or_root(request.subject)?, encode::moment(request.moment)?);
            let say = |message| out.blocking_send(Ok(history::ListTreeResponse { message: Some(message) })).is_ok();
            let each =
                |entries| !service.shutdown.is_cancelled() && say(Message::Entries(history::TreeEntries { entries }));
            let listed =
                query::tree::list(service.view(root), &subject, moment, request.recursive, service.now(), each)?;
            if let Some(count) = listed {
                say(Message::Finish(history::TreeFinish { count }));
            }
            Ok(())
        }))
    }

    async fn preview_restore(
        &self,
        request: Request<history::PreviewRestoreRequest>,
    ) -> Result<Response<Self::PreviewRestoreStream>, Status> {
        use history::preview_restore_response::Message;
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let plan = request.into_inner().plan.unwrap_or_default();
        Ok(self.streaming(move |service, out| {
            let say =
                |message| out.blocking_send(Ok(history::PreviewRestoreResponse { message: Some(message) })).is_ok();
            let each = |changes| {
                !service.shutdown.is_cancelled() && say(Message::Changes(history::RestoreChanges { changes }))
            };
            let planned = restore::plan(service.view(root), plan, None, service.now())?;
            if let Some(summary) = restore::preview::tell(&planned, each)? {
                say(Message::Summary(summary));
            }
            Ok(())
        }))
    }

    async fn restore(
        &self,
        request: Request<history::RestoreRequest>,
    ) -> Result<Response<history::RestoreResponse>, Status> {
        let (caller, root) = self.read(&request, &request.get_ref().root_id).await?;
        let device = caller.device().map_err(refuse)?;
        self.service.guard(caller).writer(root).map_err(refuse)?;
        let request = request.into_inner();
        let group = encode::group(&request.group_id).map_err(refuse)?;
        let from = request.from.ok_or_else(|| refuse(Error::Asked("the preview's cursor is missing")))?.seq;
        let plan = request.plan.unwrap_or_default();
        let service = self.service.clone();
        // A task of its own: what was begun goes on if the caller has given the call up.
        let restoring = async move { restore::apply::restore(&service, root, device, group, plan, from).await };
        let (state, left_out_paths) = self.told(root, restoring).await?;
        Ok(Response::new(history::RestoreResponse { state: Some(state), left_out_paths }))
    }

    async fn get_restore(
        &self,
        request: Request<history::GetRestoreRequest>,
    ) -> Result<Response<history::GetRestoreResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let group = encode::group(&request.get_ref().group_id).map_err(refuse)?;
        let service = self.service.clone();
        let asking =
            async move { restore::apply::state(&service, root, group).await?.ok_or(Error::NotFound("this restore")) };
        let (state, left_out_paths) = self.told(root, asking).await?;
        Ok(Response::new(history::GetRestoreResponse { state: Some(state), left_out_paths }))
    }

    async fn list_restores(
        &self,
        request: Request<history::ListRestoresRequest>,
    ) -> Result<Response<history::ListRestoresResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let under_way = match open::settle(&self.service, root).await {
            Err(error) if error.is_final() => return Err(refuse(error)),
            Err(error) => {
                tracing::debug!(%root, %error, "restores.not_asked");
                let begun = self.service.blocking(move |service| open::begun(service.view(root).reads, root));
                begun.await.map_err(refuse)?.into_iter().collect()
            }
            Ok(under_way) => under_way,
        };
        let list = move |service: &Service| query::restores::list(service.view(root), &request, &under_way);
        let asked = self.service.blocking(list);
        Ok(Response::new(asked.await.map_err(refuse)?))
    }
}
