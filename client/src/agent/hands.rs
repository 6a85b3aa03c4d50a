//! Carries out what an engine asks for: requests onto the session's streams, contents through the transfers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use quics_types::{Digest, LeaseId, Name, RootId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inbox::Inbox;
use super::messages::{self, Outgoing};
use super::outbox::{Outbox, Request};
use super::thread;
use crate::engine::{Action, Event, FetchFailure, IngestFailure, Ingested, Ticket};
use crate::folder::{Spot, Stat};

/// A piece of work that is polled on the runtime; dropping it ends the work.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Moves contents between one folder and the server. It bounds how much it does at a time, and ends work that is
/// dropped.
pub(crate) trait Mover: Send + Sync {
    /// See [`Action::Ingest`].
    fn ingest(&self, at: Spot, expected: Stat) -> Work<Result<Ingested, IngestFailure>>;
    /// See [`Action::Fetch`].
    fn fetch(&self, content: Digest, size: u64, like: Option<(Spot, Digest)>) -> Work<Result<Name, FetchFailure>>;
    /// Sends what is here of chunks that the server has lost; `None` when there is nothing to be done for it now.
    fn heal(&self, digests: Vec<Digest>) -> Option<Work<()>>;
}

/// The hands of one root.
pub(crate) struct RootHands {
    pub(crate) root: RootId,
    pub(crate) lease: LeaseId,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) mover: Arc<dyn Mover>,
    pub(crate) inbox: Inbox,
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) running: Arc<Mutex<HashMap<Ticket, CancellationToken>>>,
}

impl RootHands {
    /// Runs a transfer until it is through, cancelled, or the root stops; then tells the engine, unless cancelled.
    fn transfer<T: Send + 'static>(
        &self,
        ticket: Ticket,
        work: Work<T>,
        told: impl FnOnce(T) -> Event + Send + 'static,
    ) {
        let cancelled = self.stop.child_token();
        self.running.lock().insert(ticket, cancelled.clone());
        let (inbox, running) = (self.inbox.clone(), self.running.clone());
        self.tasks.spawn_on(
            async move {
                let outcome = cancelled.run_until_cancelled(work).await;
                running.lock().remove(&ticket);
                if let Some(outcome) = outcome {
                    // `false` when the engine has ended; then nobody waits for it.
                    let _ended = inbox.send(told(outcome), 256).await;
                }
            },
            &self.runtime,
        );
    }

    fn request(&self, session: u64, request: Request) {
        if !self.outbox.send(session, request) {
            tracing::trace!(root = %self.root, session, "request.dropped");
        }
    }
}

impl thread::Hands for RootHands {
    fn act(&self, session: u64, action: Action) {
        match action {
            Action::Resume { incarnation } => {
                self.request(session, Request::Push(messages::resume(self.root, incarnation)));
            }
            Action::Subscribe { cursor } => {
                self.request(session, Request::Watch(messages::subscribe(self.root, cursor)));
            }
            Action::Snapshot => self.request(session, Request::Snapshot(self.root)),
            Action::Propose { incarnation, seq, recorded, proposal, inline } => {
                let (root, lease) = (self.root, self.lease);
                let outgoing = Outgoing { root, lease, incarnation, seq, recorded, proposal, inline };
                self.request(session, Request::Push(messages::propose(outgoing)));
            }
            Action::Acknowledge { cursor } => {
                self.request(session, Request::Watch(messages::acknowledge(self.root, cursor)));
            }
            Action::Ingest { ticket, at, expected } => {
                let work = self.mover.ingest(at, expected);
                self.transfer(ticket, work, move |result| Event::Ingested { ticket, result });
            }
            Action::Fetch { ticket, content, size, like } => {
                let work = self.mover.fetch(content, size, like);
                self.transfer(ticket, work, move |result| Event::Fetched { ticket, result });
            }
            Action::Cancel { ticket } => {
                if let Some(cancelled) = self.running.lock().remove(&ticket) {
                    cancelled.cancel();
                }
            }
        }
    }

    fn heal(&self, digests: Vec<Digest>) {
        if let Some(work) = self.mover.heal(digests) {
            let stop = self.stop.clone();
            let work = async move {
                stop.run_until_cancelled(work).await;
            };
            self.tasks.spawn_on(work, &self.runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use quics_types::Mtime;

    use super::*;
    use crate::agent::inbox::{Input, inbox};
    use crate::agent::thread::Hands as _;
    use crate::folder::{Kind, RelPath};

    /// Ingests never end; fetches end at once.
    struct Toy;

    impl Mover for Toy {
        fn ingest(&self, _at: Spot, _expected: Stat) -> Work<Result<Ingested, IngestFailure>> {
            Box::pin(std::future::pending())
        }

        fn fetch(&self, _: Digest, _: u64, _: Option<(Spot, Digest)>) -> Work<Result<Name, FetchFailure>> {
            Box::pin(async { Err(FetchFailure::Absent) })
        }

        fn heal(&self, _: Vec<Digest>) -> Option<Work<()>> {
            None
        }
    }

    fn ingest(ticket: u64) -> Action {
        let zero = Mtime::default();
        let (kind, mtime, ctime) = (Kind::File, zero, zero);
        let expected = Stat { kind, inode: 1, born: 0, size: 1, mtime, ctime, mode: 0o600, links: 1 };
        let at = Spot { dir: RelPath::root(), name: Name::new("f").unwrap() };
        Action::Ingest { ticket: Ticket(ticket), at, expected }
    }

    #[tokio::test]
    async fn a_cancelled_transfer_ends_and_says_nothing() {
        let (inbox, mut mail) = inbox();
        let hands = RootHands {
            root: RootId::from_bytes([1; 16]),
            lease: LeaseId::from_bytes([2; 16]),
            outbox: Arc::default(),
            mover: Arc::new(Toy),
            inbox: inbox.clone(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            running: Arc::default(),
        };
        hands.act(0, ingest(1));
        hands.act(0, ingest(2));
        hands.act(0, Action::Cancel { ticket: Ticket(1) });
        hands.act(0, Action::Fetch { ticket: Ticket(3), content: Digest::of(b""), size: 0, like: None });
        let next = mail.next().await;
        let absent =
            matches!(next, Some(Input::Event(Event::Fetched { ticket: Ticket(3), result: Err(FetchFailure::Absent) })));
        assert!(absent, "{next:?}");
        // The one that was not cancelled ends with its root.
        hands.stop.cancel();
        hands.tasks.close();
        hands.tasks.wait().await;
        assert!(hands.running.lock().is_empty());
        assert!(mail.take().is_none());
    }
}
