//! The session with sync-svc: one Push stream and one Watch stream for all roots, opened again when they are lost.
//!
//! ```text
//!  engine thread ──> Outbox ──> Push  ─┐                 ┌─ Push verdicts ──┐
//!  engine thread ──> Outbox ──> Watch ─┴── sync-svc ─────┴─ Watch records ──┴──> Inbox of the message's root
//! ```
//!
//! A proposal is on its stream as soon as the engine has said it; the only thing that holds one back is the window of
//! 1024 without a verdict. Messages go to their root's inbox in the order in which they came.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use prost::Message as _;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_types::{Cursor, RootId};
use rand::Rng as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::inbox::{Inbox, Input};
use super::marks::Marks;
use super::outbox::{Outbox, Queues, Request};
use super::{messages, snapshot};
use crate::engine::Event;

/// Proposals without a verdict that one device may have.
const WINDOW: usize = 1024;
/// How long the server may take to answer the first message of a stream.
const OPENING: Duration = Duration::from_secs(15);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The streams broke or the server ended them.
    #[error("{0}")]
    Lost(Status),
    /// The server says what no server says.
    #[error("the server's answer cannot be understood: {0}")]
    Malformed(#[from] Malformed),
    /// A stream ended before its time.
    #[error("the server closed the stream")]
    Closed,
    /// The first answer did not come.
    #[error("the server did not answer in time")]
    Silent,
    /// The agent stops.
    #[error("stopped")]
    Stopped,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        End::Lost(status)
    }
}

impl End {
    /// Whether the server refused this device rather than failed.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, End::Lost(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied))
    }
}

/// The roots' inboxes and the open session, which change together.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    inboxes: Mutex<HashMap<RootId, Inbox>>,
    /// Where the engines' requests go.
    pub(crate) outbox: Arc<Outbox>,
    marks: Marks,
    sessions: AtomicU64,
}

impl Switchboard {
    /// Connects a root; where a session is open, the root is told at once.
    pub(crate) fn add(&self, root: RootId, inbox: Inbox) {
        let mut inboxes = self.inboxes.lock();
        if let Some(session) = self.outbox.session() {
            inbox.control(Input::Connected(session));
        }
        inboxes.insert(root, inbox);
    }

    /// Disconnects a root. What the server still says of it is dropped.
    pub(crate) fn remove(&self, root: RootId) {
        let mut inboxes = self.inboxes.lock();
        inboxes.remove(&root);
        if let Some(session) = self.outbox.session() {
            self.outbox.send(session, Request::Watch(messages::unsubscribe(root)));
        }
    }

    /// Waits until a root that is at this cursor has been told everything that the server has now. `false`: the
    /// session ended before that.
    ///
    /// # Cancel safety
    /// Can be dropped at any time.
    pub(crate) async fn catch_up(&self, root: RootId, cursor: Cursor) -> bool {
        let Some(session) = self.outbox.session() else { return false };
        let Some((mark, reached)) = self.marks.begin(root) else { return false };
        let asked = [mark, cursor].map(|cursor| Request::Watch(messages::subscribe(root, cursor)));
        asked.into_iter().all(|request| self.outbox.send(session, request)) && reached.await.is_ok()
    }

    fn inbox(&self, root: RootId) -> Option<Inbox> {
        self.inboxes.lock().get(&root).cloned()
    }

    fn open(&self, queues: Queues) {
        let inboxes = self.inboxes.lock();
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        self.outbox.open(session, queues);
        for inbox in inboxes.values() {
            inbox.control(Input::Connected(session));
        }
    }

    fn close(&self) {
        let inboxes = self.inboxes.lock();
        if self.outbox.session().is_none() {
            return;
        }
        self.outbox.close();
        self.marks.clear();
        for inbox in inboxes.values() {
            inbox.control(Input::Event(Event::Disconnected));
        }
    }

    /// Hands an input to its root. An unknown root was detached meanwhile: the input is dropped.
    pub(super) async fn deliver(&self, root: RootId, input: impl Into<Input>, bytes: usize) {
        if let Some(inbox) = self.inbox(root) {
            // `false` when its engine has ended, which its view says.
            let _ended = inbox.hand(input.into(), bytes).await;
        }
    }
}

/// Runs one session until it is lost. `opened` is called once both streams are open.
///
/// # Errors
/// Always: why it ended. By then no event of this session is on its way any more, and every root has been told.
pub(crate) async fn run<T>(
    client: SyncServiceClient<T>,
    board: &Switchboard,
    stop: &CancellationToken,
    opened: impl FnOnce(),
) -> End
where
    T: tonic::client::GrpcService<tonic::body::Body> + Clone + Send + 'static,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: tonic::codegen::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    T::Future: Send,
{
    let end = tokio::select! {
        end = drive(client, board, opened) => end,
        () = stop.cancelled() => Err(End::Stopped),
    };
    board.close();
    match end {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn drive<T>(
    client: SyncServiceClient<T>,
    board: &Switchboard,
    opened: impl FnOnce(),
) -> Result<std::convert::Infallible, End>
where
    T: tonic::client::GrpcService<tonic::body::Body> + Clone + Send + 'static,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: tonic::codegen::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    T::Future: Send,
{
    let client = client.max_decoding_message_size(quics_types::limits::MESSAGE_BYTES);
    let window = Arc::new(Semaphore::new(WINDOW));
    let (push, proposals) = mpsc::unbounded_channel();
    let (watch, requests) = mpsc::unbounded_channel();
    let (snapshots, mut asked) = mpsc::unbounded_channel();
    // The queues were just made, so they take the first messages.
    let _ = push.send(messages::push_open(crate::PROGRAM));
    let _ = watch.send(messages::watch_open(crate::PROGRAM));

    let outgoing = in_window(proposals, window.clone());
    let opening = async {
        let (mut pushing, mut watching) = (client.clone(), client.clone());
        let streams = tokio::try_join!(pushing.push(outgoing), watching.watch(UnboundedReceiverStream::new(requests)))?;
        let (mut verdicts, mut feed) = (streams.0.into_inner(), streams.1.into_inner());
        let first = tokio::try_join!(verdicts.message(), feed.message())?;
        let said = (first.0.ok_or(End::Closed)?.message, first.1.ok_or(End::Closed)?.message);
        match said {
            (Some(sync::push_response::Message::Opened(_)), Some(sync::watch_response::Message::Opened(_))) => {}
            _ => return Err(End::Malformed(Malformed::Missing("the answer to open"))),
        }
        Ok((verdicts, feed))
    };
    let (mut verdicts, mut feed) = tokio::time::timeout(OPENING, opening).await.map_err(|_| End::Silent)??;
    board.open(Queues { push, watch, snapshots });
    opened();

    let judging = async {
        while let Some(response) = verdicts.message().await? {
            let bytes = response.encoded_len();
            match response.message {
                Some(sync::push_response::Message::Verdict(verdict)) => {
                    // A replayed verdict has its proposal with it and answers nothing that was proposed here.
                    if verdict.proposal.is_none() {
                        window.add_permits(1);
                    }
                    let root = messages::root(&verdict.root_id)?;
                    board.deliver(root, messages::verdict(verdict)?, bytes).await;
                }
                Some(sync::push_response::Message::Resumed(resumed)) => {
                    let root = messages::root(&resumed.root_id)?;
                    let resumed = Event::Resumed { incarnation: resumed.incarnation };
                    board.deliver(root, resumed, bytes).await;
                }
                // Of a newer server.
                Some(sync::push_response::Message::Opened(_)) | None => {}
            }
        }
        Err::<std::convert::Infallible, _>(End::Closed)
    };
    let following = async {
        while let Some(response) = feed.message().await? {
            let bytes = response.encoded_len();
            if let Some(sync::watch_response::Message::Wanted(wanted)) = &response.message {
                let root = messages::root(&wanted.root_id)?;
                board.deliver(root, Input::Wanted(quics_proto::digests(&wanted.digests)?), bytes).await;
                continue;
            }
            if let Some(sync::watch_response::Message::CursorUnknown(unknown)) = &response.message
                && let Some(cursor) = unknown.cursor
                && board.marks.unknown(messages::root(&unknown.root_id)?, cursor.into())
            {
                continue;
            }
            if let Some(message) = response.message
                && let Some((root, event)) = messages::feed(message)?
            {
                let level = matches!(event, Event::Level { .. });
                let ended = matches!(event, Event::Ended { .. });
                board.deliver(root, event, bytes).await;
                if level {
                    board.marks.level(root);
                } else if ended {
                    board.marks.end(root);
                }
            }
        }
        Err::<std::convert::Infallible, _>(End::Closed)
    };
    let copying = async {
        // One at a time: each is as large as a root.
        while let Some(root) = asked.recv().await {
            snapshot::take(client.clone(), board, root).await?;
        }
        Err::<std::convert::Infallible, _>(End::Closed)
    };
    let (never, _, _) = tokio::try_join!(judging, following, copying)?;
    Ok(never)
}

/// Gives the messages as they come, each proposal once there is room in the window.
fn in_window(
    queue: mpsc::UnboundedReceiver<sync::PushRequest>,
    window: Arc<Semaphore>,
) -> impl futures_util::Stream<Item = sync::PushRequest> + Send + 'static {
    UnboundedReceiverStream::new(queue).then(move |request| {
        let window = window.clone();
        async move {
            if matches!(request.message, Some(sync::push_request::Message::Proposal(_)))
                && let Ok(permit) = window.acquire().await
            {
                permit.forget();
            }
            request
        }
    })
}

/// The pause before the next attempt: doubled after each failure up to ten seconds, jittered so that a server that
/// comes back is not met by all its devices in one moment.
pub(crate) fn pause(failures: u32) -> Duration {
    let full = Duration::from_millis(100).saturating_mul(1 << failures.min(9)).min(Duration::from_secs(10));
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
