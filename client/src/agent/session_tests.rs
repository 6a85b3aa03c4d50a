//! The session against a server that says what the test wants.

use std::pin::Pin;

use futures_util::Stream;
use quics_proto::sync::v1::sync_service_server::{SyncService, SyncServiceServer};
use quics_reconcile::{Proposal, Verdict};
use quics_types::{Cursor, EntryId, Epoch, LeaseId};
use tonic::{Request, Response, Streaming};

use super::*;
use crate::agent::inbox::{Mail, inbox};
use crate::agent::messages::Outgoing;
use crate::agent::outbox::Request as Ask;

type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a stream is to say, taken when it is opened.
type Says<T> = Arc<Mutex<Option<mpsc::UnboundedReceiver<Result<T, Status>>>>>;

/// What the fake server hears, and what it is to say.
#[derive(Clone)]
struct Fake {
    heard_push: mpsc::UnboundedSender<sync::PushRequest>,
    heard_watch: mpsc::UnboundedSender<sync::WatchRequest>,
    say_push: Says<sync::PushResponse>,
    say_watch: Says<sync::WatchResponse>,
    snapshot: Vec<sync::SnapshotResponse>,
}

/// The test's side of the fake server.
struct Server {
    push: mpsc::UnboundedReceiver<sync::PushRequest>,
    watch: mpsc::UnboundedReceiver<sync::WatchRequest>,
    to_push: mpsc::UnboundedSender<Result<sync::PushResponse, Status>>,
    to_watch: mpsc::UnboundedSender<Result<sync::WatchResponse, Status>>,
}

fn fake(snapshot: Vec<sync::SnapshotResponse>) -> (SyncServiceClient<SyncServiceServer<Fake>>, Server) {
    let (heard_push, push) = mpsc::unbounded_channel();
    let (heard_watch, watch) = mpsc::unbounded_channel();
    let (to_push, say_push) = mpsc::unbounded_channel();
    let (to_watch, say_watch) = mpsc::unbounded_channel();
    let fake = Fake {
        heard_push,
        heard_watch,
        say_push: Arc::new(Mutex::new(Some(say_push))),
        say_watch: Arc::new(Mutex::new(Some(say_watch))),
        snapshot,
    };
    (SyncServiceClient::new(SyncServiceServer::new(fake)), Server { push, watch, to_push, to_watch })
}

fn forward<T: Send + 'static>(mut from: Streaming<T>, to: mpsc::UnboundedSender<T>) {
    tokio::spawn(async move {
        while let Ok(Some(message)) = from.message().await {
            let _ = to.send(message);
        }
    });
}

#[tonic::async_trait]
impl SyncService for Fake {
    type PushStream = Reply<sync::PushResponse>;
    async fn push(&self, request: Request<Streaming<sync::PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        forward(request.into_inner(), self.heard_push.clone());
        let says = self.say_push.lock().take().unwrap();
        let first = sync::push_response::Message::Opened(sync::PushOpened::default());
        let first = tokio_stream::once(Ok(sync::PushResponse { message: Some(first) }));
        Ok(Response::new(Box::pin(first.chain(UnboundedReceiverStream::new(says)))))
    }

    type WatchStream = Reply<sync::WatchResponse>;
    async fn watch(
        &self,
        request: Request<Streaming<sync::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        forward(request.into_inner(), self.heard_watch.clone());
        let says = self.say_watch.lock().take().unwrap();
        let first = sync::watch_response::Message::Opened(sync::WatchOpened::default());
        let first = tokio_stream::once(Ok(sync::WatchResponse { message: Some(first) }));
        Ok(Response::new(Box::pin(first.chain(UnboundedReceiverStream::new(says)))))
    }

    type SnapshotStream = Reply<sync::SnapshotResponse>;
    async fn snapshot(&self, _: Request<sync::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.snapshot.clone().into_iter().map(Ok)))))
    }

    type FetchStream = Reply<sync::FetchResponse>;
    async fn fetch(&self, _: Request<sync::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn find_missing(
        &self,
        _: Request<sync::FindMissingRequest>,
    ) -> Result<Response<sync::FindMissingResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn upload(
        &self,
        _: Request<Streaming<sync::UploadRequest>>,
    ) -> Result<Response<sync::UploadResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn list_conflicts(
        &self,
        _: Request<sync::ListConflictsRequest>,
    ) -> Result<Response<sync::ListConflictsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn get_conflict(
        &self,
        _: Request<sync::GetConflictRequest>,
    ) -> Result<Response<sync::GetConflictResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type PromptStream = Reply<sync::PromptResponse>;
    async fn prompt(&self, _: Request<sync::PromptRequest>) -> Result<Response<Self::PromptStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn resolve(&self, _: Request<sync::ResolveRequest>) -> Result<Response<sync::ResolveResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn undo_resolution(
        &self,
        _: Request<sync::UndoResolutionRequest>,
    ) -> Result<Response<sync::UndoResolutionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn list_resolutions(
        &self,
        _: Request<sync::ListResolutionsRequest>,
    ) -> Result<Response<sync::ListResolutionsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn get_settings(
        &self,
        _: Request<sync::GetSettingsRequest>,
    ) -> Result<Response<sync::GetSettingsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn set_settings(
        &self,
        _: Request<sync::SetSettingsRequest>,
    ) -> Result<Response<sync::SetSettingsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_brakes(
        &self,
        _: Request<sync::ListBrakesRequest>,
    ) -> Result<Response<sync::ListBrakesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn list_held(&self, _: Request<sync::ListHeldRequest>) -> Result<Response<sync::ListHeldResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn decide_brake(
        &self,
        _: Request<sync::DecideBrakeRequest>,
    ) -> Result<Response<sync::DecideBrakeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn set_brake(&self, _: Request<sync::SetBrakeRequest>) -> Result<Response<sync::SetBrakeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

fn root(number: u8) -> RootId {
    RootId::from_bytes([number; 16])
}

fn verdict(number: u8, seq: u64) -> Result<sync::PushResponse, Status> {
    let verdict = sync::Verdict {
        root_id: vec![number; 16].into(),
        incarnation: 1,
        seq,
        outcome: Some(sync::verdict::Outcome::Withdrawn(sync::Withdrawn {})),
        proposal: None,
    };
    Ok(sync::PushResponse { message: Some(sync::push_response::Message::Verdict(verdict)) })
}

fn proposal(number: u8, seq: u64) -> Ask {
    Ask::Push(messages::propose(Outgoing {
        root: root(number),
        lease: LeaseId::from_bytes([9; 16]),
        incarnation: 1,
        seq,
        recorded: 0,
        proposal: Proposal::Withdraw { id: EntryId::from_bytes([1; 16]) },
        inline: None,
    }))
}

async fn connected(mail: &mut Mail) -> u64 {
    match mail.next().await {
        Some(Input::Connected(session)) => session,
        other => panic!("{other:?} instead of Connected"),
    }
}

async fn event(mail: &mut Mail) -> Event {
    match mail.next().await {
        Some(Input::Event(event)) => event,
        other => panic!("{other:?} instead of an event"),
    }
}

#[tokio::test]
async fn messages_reach_the_root_that_they_are_about_and_requests_reach_the_server() {
    let (client, mut server) = fake(Vec::new());
    let board = Arc::new(Switchboard::default());
    let (first, mut first_mail) = inbox();
    let (second, mut second_mail) = inbox();
    board.add(root(1), first);
    board.add(root(2), second);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (board, stop) = (board.clone(), stop.clone());
        async move { run(client, &board, &stop, || ()).await.to_string() }
    });
    let session = connected(&mut first_mail).await;
    assert_eq!(connected(&mut second_mail).await, session);

    server.to_push.send(verdict(2, 7)).unwrap();
    let Event::Verdict { seq: 7, verdict: told, .. } = event(&mut second_mail).await else { panic!("not a verdict") };
    assert_eq!(*told, Verdict::Withdrawn);
    // Of a root that was detached meanwhile: dropped.
    server.to_push.send(verdict(3, 1)).unwrap();
    server.to_push.send(verdict(1, 8)).unwrap();
    assert!(matches!(event(&mut first_mail).await, Event::Verdict { seq: 8, .. }));

    let cursor = Cursor { epoch: Epoch(5), seq: 6 };
    assert!(board.outbox.send(session, proposal(1, 1)));
    assert!(board.outbox.send(session, Ask::Watch(messages::subscribe(root(2), cursor))));
    assert!(matches!(server.push.recv().await.unwrap().message, Some(sync::push_request::Message::Open(_))));
    assert!(matches!(server.push.recv().await.unwrap().message, Some(sync::push_request::Message::Proposal(_))));
    assert!(matches!(server.watch.recv().await.unwrap().message, Some(sync::watch_request::Message::Open(_))));
    assert!(matches!(server.watch.recv().await.unwrap().message, Some(sync::watch_request::Message::Subscribe(_))));

    stop.cancel();
    assert_eq!(running.await.unwrap(), "stopped");
    assert!(matches!(event(&mut first_mail).await, Event::Disconnected));
    assert!(!board.outbox.send(session, proposal(1, 2)), "the session is over");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_the_session_and_every_root_is_told() {
    let (client, server) = fake(Vec::new());
    let board = Arc::new(Switchboard::default());
    let (root_inbox, mut mail) = inbox();
    board.add(root(1), root_inbox);
    let running = tokio::spawn({
        let board = board.clone();
        async move { run(client, &board, &CancellationToken::new(), || ()).await }
    });
    connected(&mut mail).await;
    server.to_watch.send(Err(Status::unauthenticated("revoked"))).unwrap();
    let end = running.await.unwrap();
    assert!(end.is_refusal(), "{end}");
    assert!(matches!(event(&mut mail).await, Event::Disconnected));
}

#[tokio::test]
async fn no_more_proposals_than_the_window_holds_are_without_a_verdict() {
    let (client, mut server) = fake(Vec::new());
    let board = Arc::new(Switchboard::default());
    let (root_inbox, mut mail) = inbox();
    board.add(root(1), root_inbox);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (board, stop) = (board.clone(), stop.clone());
        async move { run(client, &board, &stop, || ()).await.to_string() }
    });
    let session = connected(&mut mail).await;
    for seq in 0..WINDOW as u64 + 1 {
        assert!(board.outbox.send(session, proposal(1, seq)));
    }
    // What no window holds back comes behind them.
    assert!(board.outbox.send(session, Ask::Push(messages::resume(root(1), 2))));
    for _ in 0..WINDOW + 1 {
        server.push.recv().await.unwrap();
    }
    // One proposal waits: a verdict lets it, and what is behind it, through.
    tokio::task::yield_now().await;
    assert!(server.push.try_recv().is_err());
    server.to_push.send(verdict(1, 0)).unwrap();
    assert!(matches!(server.push.recv().await.unwrap().message, Some(sync::push_request::Message::Proposal(_))));
    assert!(matches!(server.push.recv().await.unwrap().message, Some(sync::push_request::Message::Resume(_))));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn catching_up_waits_for_a_level_that_was_made_after_it_was_asked_for() {
    let (client, mut server) = fake(Vec::new());
    let board = Arc::new(Switchboard::default());
    let (root_inbox, mut mail) = inbox();
    board.add(root(1), root_inbox);
    let at = Cursor { epoch: Epoch(3), seq: 4 };
    assert!(!board.catch_up(root(1), at).await, "no session");
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (board, stop) = (board.clone(), stop.clone());
        async move { run(client, &board, &stop, || ()).await.to_string() }
    });
    connected(&mut mail).await;
    let caught = tokio::spawn({
        let board = board.clone();
        async move { board.catch_up(root(1), at).await }
    });
    let mut asked = Vec::new();
    while asked.len() < 2 {
        if let Some(sync::watch_request::Message::Subscribe(subscribe)) = server.watch.recv().await.unwrap().message {
            asked.push(subscribe);
        }
    }
    assert_eq!(asked[1].cursor, Some(at.into()));
    let level = || {
        let (root_id, digest) = (vec![1; 16].into(), vec![0; 32].into());
        let level = sync::Level { root_id, cursor: Some(at.into()), digest, count: 0 };
        Ok(sync::WatchResponse { message: Some(sync::watch_response::Message::Level(level)) })
    };
    // One that was on its way already; then the answer to the mark.
    server.to_watch.send(level()).unwrap();
    assert!(matches!(event(&mut mail).await, Event::Level { .. }));
    assert!(!caught.is_finished());
    let unknown = sync::CursorUnknown { root_id: vec![1; 16].into(), cursor: asked[0].cursor };
    let unknown = sync::watch_response::Message::CursorUnknown(unknown);
    server.to_watch.send(Ok(sync::WatchResponse { message: Some(unknown) })).unwrap();
    server.to_watch.send(level()).unwrap();
    assert!(caught.await.unwrap());
    assert!(matches!(event(&mut mail).await, Event::Level { .. }), "the engine does not hear of the mark");
    stop.cancel();
    running.await.unwrap();
}

fn finish(count: u64, digest: Vec<u8>) -> sync::SnapshotResponse {
    let cursor = Some(quics_proto::common::v1::Cursor { epoch: 1, seq: 2 });
    let finish = sync::SnapshotFinish { count, digest: digest.into(), cursor };
    sync::SnapshotResponse { message: Some(sync::snapshot_response::Message::Finish(finish)) }
}

async fn snapshot_of(pages: Vec<sync::SnapshotResponse>) -> (Result<(), String>, Vec<Event>) {
    let (client, _server) = fake(pages);
    let board = Switchboard::default();
    let (root_inbox, mut mail) = inbox();
    board.add(root(1), root_inbox);
    let taken = snapshot::take(client, &board, root(1)).await.map_err(|end| end.to_string());
    let mut events = Vec::new();
    while let Some(Input::Event(event)) = mail.take() {
        events.push(event);
    }
    (taken, events)
}

#[tokio::test]
async fn a_snapshot_is_finished_only_if_it_is_what_the_server_counted() {
    let (taken, events) = snapshot_of(vec![finish(0, vec![0; 32])]).await;
    assert_eq!(taken, Ok(()));
    assert!(matches!(events.as_slice(), [Event::Snapshot { finish: Some(Cursor { seq: 2, .. }), .. }]), "{events:?}");
    for wrong in [vec![finish(1, vec![0; 32])], vec![finish(0, vec![1; 32])], Vec::new()] {
        let (taken, events) = snapshot_of(wrong).await;
        assert!(taken.is_err() && events.is_empty(), "{events:?}");
    }
}

#[test]
fn pauses_grow_and_are_bounded() {
    for failures in 0..100 {
        let full = Duration::from_millis(100) * (1 << failures.min(9));
        let full = full.min(Duration::from_secs(10));
        let pause = pause(failures);
        assert!(pause >= full / 2 && pause <= full, "{failures}: {pause:?}");
    }
}
