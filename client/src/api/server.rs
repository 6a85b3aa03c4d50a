//! The agent's side of the local API.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use quics_proto::agent::v1 as api;
use quics_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use quics_proto::registry::v1 as registry;
use quics_proto::sync::v1::ConflictState;
use quics_types::{RootId, UnitNames};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{conflicts, listing};
use crate::agent::conflicts::Error;
use crate::agent::{Root, Shared, learn_roles, wait};
use crate::engine::Event;

/// The shortest time between two messages of `WatchStatus`.
const PACE: Duration = Duration::from_millis(100);
/// How long calls in flight may take when the agent stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the local API until `stop`, then lets calls in flight end for a moment.
///
/// # Errors
/// What accepting connections gives.
pub(crate) async fn serve(
    core: Shared,
    listener: UnixListener,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = AgentServiceServer::new(Api { core, stop: stop.clone() });
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = stop.cancelled() => {}
    }
    // A command line that keeps its connection does not keep the agent.
    tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
}

struct Api {
    core: Shared,
    stop: CancellationToken,
}

fn path(bytes: &Bytes) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn absolute(bytes: &Bytes) -> Result<PathBuf, Status> {
    let path = path(bytes);
    if path.is_absolute() { Ok(path) } else { Err(Status::invalid_argument("the path is not absolute")) }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AgentService for Api {
    async fn get_status(&self, _: Request<api::GetStatusRequest>) -> Answer<api::GetStatusResponse> {
        Ok(Response::new(api::GetStatusResponse { status: Some(self.core.status()) }))
    }

    type WatchStatusStream = Pin<Box<dyn Stream<Item = Result<api::WatchStatusResponse, Status>> + Send>>;

    async fn watch_status(&self, _: Request<api::WatchStatusRequest>) -> Answer<Self::WatchStatusStream> {
        let (core, stop) = (self.core.clone(), self.stop.clone());
        let changes = core.changed.subscribe();
        let stream = futures_util::stream::unfold((changes, true), move |(mut changes, first)| {
            let (core, stop) = (core.clone(), stop.clone());
            async move {
                if !first {
                    let next = async {
                        tokio::time::sleep(PACE).await;
                        changes.changed().await.ok()
                    };
                    stop.run_until_cancelled(next).await??;
                }
                changes.mark_unchanged();
                let status = Some(core.status());
                Some((Ok(api::WatchStatusResponse { status }), (changes, false)))
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn wait_in_sync(&self, request: Request<api::WaitInSyncRequest>) -> Answer<api::WaitInSyncResponse> {
        let wanted = request.into_inner().root_id;
        let mut roots: Vec<Arc<Root>> = self.core.roots.lock().values().cloned().collect();
        if !wanted.is_empty() {
            let id = RootId::from_slice(&wanted).map_err(|error| Status::invalid_argument(error.to_string()))?;
            roots.retain(|root| root.id == id);
            if roots.is_empty() {
                return Err(Status::not_found("this root is not synced here"));
            }
        }
        let waited = self.stop.run_until_cancelled(wait::wait(&self.core, &roots)).await;
        let waited = waited.ok_or_else(|| Status::aborted("the agent is stopping"))?;
        Ok(Response::new(api::WaitInSyncResponse { in_sync: waited.in_sync, waiting: waited.waiting }))
    }

    async fn explain(&self, request: Request<api::ExplainRequest>) -> Answer<api::ExplainResponse> {
        let path = absolute(&request.into_inner().path)?;
        let root = self.core.root_at(&path)?;
        // `root_at` has just found it by this.
        let relative = root.relative(&path).unwrap_or_default();
        let asked = relative.clone();
        let explained = root.ask(move |engine| engine.explain(&asked)).await;
        let explained =
            explained.ok_or_else(|| Status::failed_precondition("this root does not run: see `quics status`"))?;
        let conflict = match (&explained.remote, &explained.conflict) {
            (Some(row), Some(conflict)) => Some(ConflictState::from_domain(row.id, conflict)),
            _ => None,
        };
        Ok(Response::new(api::ExplainResponse {
            root_id: Bytes::copy_from_slice(root.id.as_bytes()),
            relative_path: Bytes::copy_from_slice(relative.as_bytes()),
            summary: explained.summary,
            // The engine keeps the value that was agreed on; where the row is, the server's is.
            synced: explained.remote.as_ref().zip(explained.synced.as_ref()).map(|(row, value)| {
                let mut synced = quics_proto::common::v1::Row::from(row);
                synced.value = Some(value.into());
                synced
            }),
            remote: explained.remote.as_ref().map(Into::into),
            local: explained.local.as_ref().map(Into::into),
            conflict,
        }))
    }

    async fn add_root(&self, request: Request<api::AddRootRequest>) -> Answer<api::AddRootResponse> {
        let request = request.into_inner();
        let by_password = (request.password.as_str(), request.password_role().to_domain());
        let units = UnitNames::from_bytes(request.unit_names.clone());
        let units = units.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let root = self.core.add(&absolute(&request.path)?, &request.name, units, by_password).await?;
        Ok(Response::new(api::AddRootResponse { root: Some(self.core.root_status(&root)) }))
    }

    async fn clone_root(&self, request: Request<api::CloneRootRequest>) -> Answer<api::CloneRootResponse> {
        let request = request.into_inner();
        let root = self.core.clone_root(&request.root, &absolute(&request.path)?, &request.password).await?;
        Ok(Response::new(api::CloneRootResponse { root: Some(self.core.root_status(&root)) }))
    }

    async fn detach_root(&self, request: Request<api::DetachRootRequest>) -> Answer<api::DetachRootResponse> {
        let root = self.core.detach(&absolute(&request.into_inner().path)?).await?;
        Ok(Response::new(api::DetachRootResponse { root: Some(self.core.root_status(&root)) }))
    }

    async fn list_roots(&self, _: Request<api::ListRootsRequest>) -> Answer<api::ListRootsResponse> {
        let listed = self.core.list_roots().await?;
        let here = self.core.settings.lock().roots.clone();
        let roots = listed.into_iter().map(|root| listing::root(root, &here));
        Ok(Response::new(api::ListRootsResponse { roots: roots.collect() }))
    }

    async fn list_devices(&self, _: Request<api::ListDevicesRequest>) -> Answer<api::ListDevicesResponse> {
        let listed =
            self.core.registry().list_devices(crate::account::call(registry::ListDevicesRequest::default())).await;
        let listed = listed.map_err(|status| {
            let error = crate::account::Error::of_call(&self.core.account.lock().server, &status);
            Status::from(crate::agent::Error::from(error))
        })?;
        Ok(Response::new(api::ListDevicesResponse { devices: listed.into_inner().devices }))
    }

    async fn rescan(&self, request: Request<api::RescanRequest>) -> Answer<api::RescanResponse> {
        for root in self.core.roots_at(&path(&request.into_inner().path))? {
            root.wish(Event::Overflow);
        }
        Ok(Response::new(api::RescanResponse {}))
    }

    async fn pause(&self, request: Request<api::PauseRequest>) -> Answer<api::PauseResponse> {
        self.set_paused(&path(&request.into_inner().path), true).await?;
        Ok(Response::new(api::PauseResponse {}))
    }

    async fn resume(&self, request: Request<api::ResumeRequest>) -> Answer<api::ResumeResponse> {
        self.set_paused(&path(&request.into_inner().path), false).await?;
        Ok(Response::new(api::ResumeResponse {}))
    }

    async fn list_conflicts(&self, request: Request<api::ListConflictsRequest>) -> Answer<api::ListConflictsResponse> {
        let request = request.into_inner();
        let asked = path(&request.path);
        let mut listed = Vec::new();
        for root in self.core.roots_at(&asked)? {
            listed.extend(self.core.conflicts(&root).await);
            if let (true, Some(relative)) = (request.over, root.relative(&asked))
                && !listed.iter().any(|listed| listed.path == request.path)
            {
                listed.extend(self.core.last_conflict(&root, relative).await);
            }
        }
        Ok(Response::new(api::ListConflictsResponse { conflicts: listed }))
    }

    async fn resolve_conflicts(
        &self,
        request: Request<api::ResolveConflictsRequest>,
    ) -> Answer<api::ResolveConflictsResponse> {
        let request = request.into_inner();
        let root = conflicts::root(&self.core, &request.root_id)?;
        let answered = self.core.resolve(&root, request).await;
        self.learn_roles_after(&answered);
        Ok(Response::new(answered?))
    }

    async fn undo_resolution(
        &self,
        request: Request<api::UndoResolutionRequest>,
    ) -> Answer<api::UndoResolutionResponse> {
        let undone = self.core.undo(&request.into_inner().resolution).await;
        self.learn_roles_after(&undone);
        Ok(Response::new(undone?))
    }

    async fn list_resolutions(
        &self,
        request: Request<api::ListResolutionsRequest>,
    ) -> Answer<api::ListResolutionsResponse> {
        let mut resolutions = Vec::new();
        for root in self.core.roots_at(&path(&request.into_inner().path))? {
            resolutions.extend(self.core.resolutions(&root).await?);
        }
        Ok(Response::new(api::ListResolutionsResponse { resolutions }))
    }

    type ReadContentStream = Pin<Box<dyn Stream<Item = Result<api::ReadContentResponse, Status>> + Send>>;

    async fn read_content(&self, request: Request<api::ReadContentRequest>) -> Answer<Self::ReadContentStream> {
        Ok(Response::new(conflicts::read(&self.core, request.into_inner())?))
    }

    type WatchPromptsStream = Pin<Box<dyn Stream<Item = Result<api::WatchPromptsResponse, Status>> + Send>>;

    async fn watch_prompts(&self, _: Request<api::WatchPromptsRequest>) -> Answer<Self::WatchPromptsStream> {
        Ok(Response::new(conflicts::watch(self.core.clone(), self.stop.clone())))
    }

    async fn get_settings(&self, request: Request<api::GetSettingsRequest>) -> Answer<api::GetSettingsResponse> {
        let root = self.core.root_at(&absolute(&request.into_inner().path)?)?;
        let settings = Some(self.core.conflict_settings(root.id).await?);
        let root_name = root.entry.lock().name.clone();
        Ok(Response::new(api::GetSettingsResponse { root_name, settings }))
    }

    async fn set_settings(&self, request: Request<api::SetSettingsRequest>) -> Answer<api::SetSettingsResponse> {
        let request = request.into_inner();
        let root = self.core.root_at(&absolute(&request.path)?)?;
        let settings = request.settings.ok_or_else(|| Status::invalid_argument("no settings were given"))?;
        let settings = Some(self.core.set_conflict_settings(&root, settings).await?);
        Ok(Response::new(api::SetSettingsResponse { settings }))
    }

    async fn release_hold(&self, request: Request<api::ReleaseHoldRequest>) -> Answer<api::ReleaseHoldResponse> {
        let request = request.into_inner();
        let delete = match request.choice() {
            api::HoldChoice::Delete => true,
            api::HoldChoice::Restore => false,
            api::HoldChoice::Unspecified => return Err(Status::invalid_argument("say --delete or --restore")),
        };
        let root = self.core.root_at(&absolute(&request.path)?)?;
        if root.view.borrow().hold.is_none() {
            let name = crate::text::line(&root.entry.lock().name);
            return Err(Status::failed_precondition(format!("nothing of the root \"{name}\" is held")));
        }
        root.wish(Event::Release(delete));
        Ok(Response::new(api::ReleaseHoldResponse {}))
    }

    async fn leave(&self, _: Request<api::LeaveRequest>) -> Answer<api::LeaveResponse> {
        self.core.leave_server().await?;
        Ok(Response::new(api::LeaveResponse {}))
    }

    async fn stop(&self, _: Request<api::StopRequest>) -> Answer<api::StopResponse> {
        self.core.stop.cancel();
        Ok(Response::new(api::StopResponse {}))
    }
}

impl Api {
    /// Has it asked anew what the user may do, where that was other than the agent thought.
    fn learn_roles_after<T>(&self, answered: &Result<T, Error>) {
        if let Err(Error::MayNotAnswer { .. }) = answered {
            tokio::spawn(learn_roles(self.core.clone()));
        }
    }

    async fn set_paused(&self, path: &Path, paused: bool) -> Result<(), Status> {
        let roots = self.core.roots_at(path)?;
        let ids: Vec<RootId> = roots.iter().map(|root| root.id).collect();
        self.core
            .change_settings(|settings| {
                for entry in settings.roots.iter_mut().filter(|entry| ids.contains(&entry.id)) {
                    entry.paused = paused;
                }
            })
            .await?;
        for root in roots {
            root.entry.lock().paused = paused;
            root.wish(Event::Pause(paused));
        }
        self.core.note_change();
        Ok(())
    }
}
