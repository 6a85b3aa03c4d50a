//! The way out of the engine threads: onto the streams of the session that is open, without a hop in between.
//!
//! An engine thread writes its requests straight into the queues of the streams. Each session has a number, and what
//! was asked for under another session's number is dropped: the engine asks anew after each connect.

use parking_lot::Mutex;
use quics_proto::sync::v1::{PushRequest, WatchRequest};
use quics_types::RootId;
use tokio::sync::mpsc;

/// What a root asks of the session.
// Nearly all are proposals; a box would cost each of them an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Request {
    /// For the Push stream.
    Push(PushRequest),
    /// For the Watch stream.
    Watch(WatchRequest),
    /// A snapshot of the root.
    Snapshot(RootId),
}

/// The queues of an open session. They are not bounded themselves: each engine bounds what it has outstanding, and
/// the Push stream takes at most 1024 proposals until their verdicts are there.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Of the Push stream.
    pub(crate) push: mpsc::UnboundedSender<PushRequest>,
    /// Of the Watch stream.
    pub(crate) watch: mpsc::UnboundedSender<WatchRequest>,
    /// Of snapshots to be asked for.
    pub(crate) snapshots: mpsc::UnboundedSender<RootId>,
}

/// Where requests go; shared by all engine threads and the session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    open: Mutex<Option<(u64, Queues)>>,
}

impl Outbox {
    /// Opens it for a session.
    pub(crate) fn open(&self, session: u64, queues: Queues) {
        *self.open.lock() = Some((session, queues));
    }

    /// Closes it; requests are dropped until it is open again.
    pub(crate) fn close(&self) {
        *self.open.lock() = None;
    }

    /// The session that is open.
    pub(crate) fn session(&self) -> Option<u64> {
        self.open.lock().as_ref().map(|(session, _)| *session)
    }

    /// Sends a request, if its session is still open. `false`: it was dropped.
    pub(crate) fn send(&self, session: u64, request: Request) -> bool {
        match &*self.open.lock() {
            Some((open, queues)) if *open == session => match request {
                Request::Push(message) => queues.push.send(message).is_ok(),
                Request::Watch(message) => queues.watch.send(message).is_ok(),
                Request::Snapshot(root) => queues.snapshots.send(root).is_ok(),
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_an_older_session_is_dropped() {
        let outbox = Outbox::default();
        assert!(!outbox.send(1, Request::Snapshot(RootId::from_bytes([0; 16]))));
        let (push, _push) = mpsc::unbounded_channel();
        let (watch, _watch) = mpsc::unbounded_channel();
        let (snapshots, mut asked) = mpsc::unbounded_channel();
        outbox.open(2, Queues { push, watch, snapshots });
        assert!(!outbox.send(1, Request::Snapshot(RootId::from_bytes([1; 16]))));
        assert!(outbox.send(2, Request::Snapshot(RootId::from_bytes([2; 16]))));
        assert_eq!(asked.try_recv(), Ok(RootId::from_bytes([2; 16])));
        assert!(asked.try_recv().is_err());
        outbox.close();
        assert!(!outbox.send(2, Request::Snapshot(RootId::from_bytes([2; 16]))));
    }
}
