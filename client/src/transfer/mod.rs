//! Brings contents to the server and back, for one root.
//!
//! ```text
//! ingest: file -> read and cut -> hash -> which are missing? -> pack -> Upload, several streams -> file unchanged?
//! restore: what the server lost to damage -> a local file that has it -> Upload
//! fetch:  pages of the manifest -> what is here already (an earlier attempt, a similar file) -> Fetch, several in
//!         flight -> verify, write -> sync -> rename
//! stream: what a local file has, else Fetch -> verify -> in order to whoever reads (crates/reader)
//! ```
//!
//! # Invariants
//! - Memory is bounded whatever the size of a file (about 32 MiB a transfer).
//! - Nothing is believed: every chunk and page that comes is checked against its digest, every local byte that is
//!   reused is hashed.
//! - What is at the other end already is not sent again, after a break either.
//! - Dropping a future ends its work: tasks are aborted, blocking pieces of at most a megabyte or a sync run out.
//!
//! # What it does not do
//! It does not retry and does not wait for a connection; failures say whether trying again makes sense.

mod fetch;
mod ingest;
mod local;
mod part;
mod progress;
mod read;
mod remote;
mod restore;
mod stream;
mod turns;
mod upload;

use std::sync::Arc;

use quics_types::{LeaseId, RootId};
use tonic::{
    client::GrpcService,
    codegen::{Body, Bytes, StdError},
};

use crate::folder::Tree;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;

pub use ingest::send;
pub use progress::{Counts, Progress};
pub use quics_reader::Failure;
pub use remote::{Remote, Server};
pub use restore::RestoreFailure;
pub use stream::stream;

/// Moves contents between one folder and the server. Cheap to clone; its calls may run side by side.
#[derive(Debug, Clone)]
pub struct Transfer<R> {
    remote: R,
    tree: Arc<Tree>,
    progress: Arc<Progress>,
    turns: turns::Turns,
}

impl<R: Remote> Transfer<R> {
    /// Works with any remote; `progress` may be shared with other transfers.
    pub fn with_remote(remote: R, tree: Arc<Tree>, progress: Arc<Progress>) -> Self {
        Self { remote, tree, progress, turns: turns::Turns::default() }
    }

    /// The remote, of which is counted what comes.
    fn counted(&self) -> progress::Counted<R> {
        progress::Counted { source: self.remote.clone(), progress: self.progress.clone() }
    }

    /// How much has been moved.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl<T> Transfer<Server<T>>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// Works with sync-svc over a channel. The lease holds what is uploaded until a commit names it.
    pub fn new(channel: T, root: RootId, lease: LeaseId, tree: Arc<Tree>) -> Self {
        let remote = Server::new(SyncServiceClient::new(channel), root, lease);
        Self::with_remote(remote, tree, Arc::default())
    }
}
