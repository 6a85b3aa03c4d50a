//! The transfers of one root as the engine's hands use them: bounded, counted, over whatever channel is in use now.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use parking_lot::Mutex;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_quic::Channel;
use quics_types::{Digest, LeaseId, Name, RootId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

use super::hands::{Mover, Work};
use super::heal::Healer;
use super::meter::Meter;
use crate::engine::{FetchFailure, IngestFailure, Ingested};
use crate::folder::{Spot, Stat, Tree};
use crate::transfer::{Server, Transfer};
use crate::watch::Skip;

/// Memory that all transfers of an agent may use together, in units of [`UNIT`]: 72 MiB.
const ROOM: u32 = 72 << 20 >> 16;
/// The unit of room in bytes; no transfer takes less, so at most `ROOM` of them run at a time.
const UNIT: u64 = 1 << 16;
/// A transfer's own buffers end here, however large the file.
const LARGEST: u64 = 32 << 20;

/// The room that all transfers of an agent share.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM as usize)))
    }
}

impl Room {
    /// Waits for room for a file of this size; transfers get it in the order in which they asked. `None` only if
    /// nobody may transfer any more.
    async fn take(self, size: u64) -> Option<OwnedSemaphorePermit> {
        let units = (size.min(LARGEST) / UNIT + 1) as u32; // at most 513
        self.0.acquire_many_owned(units).await.ok()
    }
}

/// The channel to sync-svc that is in use now; the server may move.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Mutex<Channel>>);

impl Line {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Arc::new(Mutex::new(channel)))
    }

    /// The channel.
    pub(crate) fn now(&self) -> Channel {
        self.0.lock().clone()
    }

    /// Takes another channel for the calls to come.
    pub(crate) fn replace(&self, channel: Channel) {
        *self.0.lock() = channel;
    }
}

impl tower::Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(tower::ServiceExt::oneshot(self.now(), request))
    }
}

/// The transfers of one root.
pub(crate) struct Contents {
    transfer: Transfer<Server<Line>>,
    room: Room,
    meter: Arc<Meter>,
    tree: Arc<Tree>,
    /// What of the folder is not synced.
    skip: Skip,
    healer: Arc<Healer>,
}

impl Contents {
    pub(crate) fn new(
        line: Line,
        (root, lease): (RootId, LeaseId),
        tree: Arc<Tree>,
        skip: Skip,
        room: Room,
        meter: Arc<Meter>,
    ) -> Self {
        let remote = Server::new(SyncServiceClient::new(line), root, lease);
        let transfer = Transfer::with_remote(remote, tree.clone(), meter.progress());
        Self { transfer, room, meter, tree, skip, healer: Arc::default() }
    }
}

impl Mover for Contents {
    fn ingest(&self, at: Spot, expected: Stat) -> Work<Result<Ingested, IngestFailure>> {
        let (transfer, room) = (self.transfer.clone(), self.room.clone());
        let counted = self.meter.begin_sending(expected.size);
        Box::pin(async move {
            let _counted = counted;
            let _room = room.take(expected.size).await.ok_or(IngestFailure::Offline)?;
            transfer.ingest(&at, &expected).await
        })
    }

    fn fetch(&self, content: Digest, size: u64, like: Option<(Spot, Digest)>) -> Work<Result<Name, FetchFailure>> {
        let (transfer, room) = (self.transfer.clone(), self.room.clone());
        let counted = self.meter.begin_receiving(size);
        Box::pin(async move {
            let _counted = counted;
            let _room = room.take(size).await.ok_or(FetchFailure::Offline)?;
            transfer.fetch(content, size, like).await
        })
    }

    fn heal(&self, digests: Vec<Digest>) -> Option<Work<()>> {
        if !self.healer.want(digests) {
            return None;
        }
        let (transfer, tree, skip) = (self.transfer.clone(), self.tree.clone(), self.skip.clone());
        let healer = self.healer.clone();
        Some(Box::pin(async move { healer.run(&transfer, &tree, &skip).await }))
    }
}
