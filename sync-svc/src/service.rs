//! The service: the ledger and the contents with everything around them that waits, wakes and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quics_chunks::{ChunkStore, Position};
use quics_kit::caller::Caller;
use quics_kit::clock::Clock;
use quics_meta::{MetaStore, Receipt};
use quics_types::{Digest, RootId};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Guard};
use crate::group::Groups;
use crate::hub::Hub;
use crate::ledger::{Answer, Request};
use crate::metrics::Metrics;
use crate::reclaim::{Holders, Rounds};
use crate::room::Room;
use crate::{Contents, Error, Ledger, WallTime};

/// Large contents whose pages are looked through at a time.
const WALKS: usize = 8;
/// How often a watcher that has nothing new to hear is told where the root is.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// Everything that the calls need. One for the process.
pub struct Service {
    pub(crate) ledger: Ledger,
    pub(crate) hub: Arc<Hub>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) room: Room,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) walks: Semaphore,
    pub(crate) shutdown: CancellationToken,
    clock: Arc<dyn Clock>,
    /// Commits of which watchers are to be told when they are durable, by their number in the store.
    queued: Mutex<BTreeMap<u64, RootId>>,
    pub(crate) groups: Groups,
    pub(crate) reclaim: Rounds,
    pub(crate) holders: Arc<dyn Holders>,
    /// Ends the stream that follows the events, when there is a newer one.
    follower: Mutex<CancellationToken>,
    /// The tasks of the streams; they end when their stream does, or at shutdown.
    streams: TaskTracker,
}

/// What the service is made of.
pub struct Parts {
    /// Metadata.
    pub meta: Arc<dyn MetaStore>,
    /// Chunks.
    pub chunks: Arc<dyn ChunkStore>,
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// The way to those who keep references to contents.
    pub holders: Arc<dyn Holders>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The directory whose file system is watched for room.
    pub directory: std::path::PathBuf,
    /// Bytes of it that stay free.
    pub reserve: u64,
    /// Ends the streams.
    pub shutdown: CancellationToken,
}

impl Service {
    /// Puts the service together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let contents = Contents::new(parts.meta.clone(), parts.chunks);
        Arc::new(Self {
            ledger: Ledger::new(parts.meta, contents),
            hub: Arc::default(),
            access: parts.access,
            room: Room::new(parts.directory, parts.reserve),
            metrics: Arc::default(),
            walks: Semaphore::new(WALKS),
            shutdown: parts.shutdown,
            clock: parts.clock,
            queued: Mutex::default(),
            groups: Groups::default(),
            reclaim: Rounds::default(),
            holders: parts.holders,
            follower: Mutex::default(),
            streams: TaskTracker::new(),
        })
    }

    /// Waits until the streams have ended, after shutdown.
    pub async fn ended(&self) {
        self.streams.close();
        self.streams.wait().await;
    }

    pub(crate) fn contents(&self) -> &Contents {
        self.ledger.contents()
    }

    pub(crate) fn now(&self) -> WallTime {
        WallTime::of(self.clock.now())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn guard(&self, caller: Caller) -> Guard<'_> {
        Guard { access: &*self.access, caller }
    }

    /// Runs a stream's task; it is waited for at the end of the service.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.streams.spawn(task);
    }

    /// Ends the stream that follows the events, if there is one, and says when the new one has to end for the next.
    pub(crate) fn follows_now(&self) -> CancellationToken {
        let replaced = CancellationToken::new();
        std::mem::replace(&mut *self.follower.lock(), replaced.clone()).cancel();
        replaced
    }

    /// Does what may block off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.map_err(|_| Error::Task)?
    }

    /// Judges a proposal; those who watch are told of what it changed as soon as that is durable, whatever becomes of the
    /// one who proposed it.
    pub(crate) fn propose(&self, request: &Request) -> Result<Answer, Error> {
        let answer = self.ledger.propose(request, self.now())?;
        if let Answer::Judged(judged) = &answer
            && judged.changed
            && let Some(receipt) = &judged.receipt
        {
            self.queued(request.root, receipt);
        }
        Ok(answer)
    }

    /// Has those who watch a root told of a commit as soon as it is durable.
    pub(crate) fn queued(&self, root: RootId, receipt: &Receipt) {
        self.queued.lock().insert(receipt.seq(), root);
        // It may have become durable before it was noted.
        if self.ledger.meta().applied() >= receipt.seq() {
            self.announce();
        }
    }

    /// Tells those who watch of everything that is durable now.
    fn announce(&self) {
        let applied = self.ledger.meta().applied();
        let mut queued = self.queued.lock();
        let later = queued.split_off(&(applied + 1));
        let durable = std::mem::replace(&mut *queued, later);
        drop(queued);
        let roots: BTreeSet<RootId> = durable.into_values().collect();
        roots.into_iter().for_each(|root| self.hub.committed(root));
    }

    /// Tells those who watch of every commit that has become durable, until shutdown.
    pub async fn announcing(self: Arc<Self>) {
        let mut applied = self.ledger.meta().watch_applied();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                changed = applied.changed() => match changed {
                    Ok(()) => self.announce(),
                    Err(_) => return,
                },
            }
        }
    }

    /// Waits until everything that was put into the chunk store is durable.
    pub(crate) async fn flushed(&self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        // A receiver that is gone waits for nothing.
        let tell = move |result| drop(done.send(result));
        self.contents().chunks().flush_notify(Box::new(tell));
        Ok(wait.await.map_err(|_| Error::Draining)??)
    }

    /// Waits until the chunk store is durable up to a position.
    pub(crate) async fn flushed_to(&self, position: Position) -> Result<(), Error> {
        if self.contents().chunks().durable_up_to() >= position { Ok(()) } else { self.flushed().await }
    }

    /// Notes that a read has found a chunk damaged, and asks those who watch the root for it.
    pub(crate) fn lost(&self, root: RootId, digest: Digest) {
        crate::metrics::add(&self.metrics.damaged, 1);
        if let Err(error) = self.contents().want(root, digest, self.now()) {
            tracing::warn!(%error, "chunk.want_failed");
        }
        self.hub.wanted(root);
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}
