//! What is purged is in no file any more, and what is not is all there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quics_kit::names;
use quics_kit::telemetry::{Link, link};
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_response::Message;
use quics_proto::sync::v1::references_service_server::{ReferencesService, ReferencesServiceServer};
use quics_quic::{Channel, ChannelConfig, Server, ServerConfig};
use quics_reconcile::Value;
use quics_types::Digest;
use sync_svc::{Finding, Holders};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::relay::{Follow, HISTORY};
use crate::server::{A, OTHER, ROOT, Running};
use crate::session::{Push, create, edit, fetch, file, find_missing, id_bytes, large, soon, upload};

/// What a history would refer to, and up to which event it has applied; and what links would show.
#[derive(Default)]
pub(crate) struct Past {
    contents: Mutex<Vec<Digest>>,
    position: Mutex<Option<sync::EventPosition>>,
    way: Mutex<Option<Link>>,
    links: Mutex<Links>,
}

/// What is known of share-svc.
#[derive(Default)]
enum Links {
    #[default]
    Never,
    /// Whether there is one cannot be said.
    Unknown,
    Shown(Vec<Digest>),
}

#[tonic::async_trait]
impl ReferencesService for Told {
    type ReferencesStream = ReceiverStream<Result<sync::ReferencesResponse, Status>>;

    async fn references(
        &self,
        request: Request<sync::ReferencesRequest>,
    ) -> Result<Response<Self::ReferencesStream>, Status> {
        let (out, answers) = tokio::sync::mpsc::channel(4);
        let (position, contents) = match (request.into_inner().at_least, &*self.0.links.lock()) {
            (Some(least), _) => {
                let position = *self.0.position.lock();
                if position.is_none_or(|position| position.number < least.number) {
                    return Err(Status::unavailable("it is behind"));
                }
                (position, self.0.contents.lock().clone())
            }
            (None, Links::Shown(shown)) => (None, shown.clone()),
            (None, _) => return Err(Status::internal("only share-svc is asked without a position")),
        };
        let count = contents.len() as u64;
        let content_ids = contents.iter().map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect();
        let say = |message| Ok(sync::ReferencesResponse { message: Some(message) });
        out.try_send(say(Message::Contents(sync::ReferencedContents { content_ids }))).unwrap();
        out.try_send(say(Message::Finish(sync::ReferencesFinish { count, position }))).unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

struct Told(Arc<Past>);

impl Holders for Told {
    fn find(&self, holder: names::Service) -> Finding<'_> {
        let way = self.0.way.lock().clone();
        let found = match (holder, &*self.0.links.lock()) {
            (names::Service::Share, Links::Never) => Ok(None),
            (names::Service::Share, Links::Unknown) => Err("registry-svc is away".to_owned()),
            _ => Ok(way),
        };
        Box::pin(std::future::ready(found))
    }
}

/// A server, and a history that has applied all events when it is asked to.
struct World {
    server: Running,
    past: Arc<Past>,
    _ended: tokio_util::sync::DropGuard,
}

impl World {
    async fn new() -> Self {
        let past = Arc::new(Past::default());
        let server = Running::with(0, Arc::new(Told(past.clone()))).await;
        let shutdown = CancellationToken::new();
        let serving =
            Server::bind(ServerConfig::new(server.ca.serving(names::Service::History)), ([127, 0, 0, 1], 0).into())
                .unwrap();
        let address = serving.local_addr().to_string();
        let routes = Routes::new(ReferencesServiceServer::new(Told(past.clone())));
        tokio::spawn(serving.serve(routes, shutdown.clone()));
        let tls = server.ca.serving(names::Service::Sync);
        let channel = Channel::new(ChannelConfig::new(address, names::Service::History.server_name(), tls));
        *past.way.lock() = Some(link(channel));
        Self { server, past, _ended: shutdown.drop_guard() }
    }

    /// History takes every event.
    async fn applied(&self) {
        let before = *self.past.position.lock();
        let mut follow = Follow::open(&self.server, before).await;
        let (_, position) = follow.until_level().await;
        // Whoever begins behind them has them.
        Follow::open(&self.server, position).await;
        *self.past.position.lock() = position;
    }

    async fn purge(&self, contents: &[Digest]) -> Result<sync::PurgeFinish, Status> {
        let content_ids = contents.iter().map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect();
        let request = sync::PurgeContentsRequest { root_id: id_bytes(ROOT), content_ids };
        let mut client = self.server.ca.relay(HISTORY, self.server.address);
        let mut answers = soon(client.purge_contents(request)).await?.into_inner();
        loop {
            use sync::purge_contents_response::Message;
            match soon(answers.message()).await?.expect("it does not end without a finish").message.unwrap() {
                Message::Progress(_) => {}
                Message::Finish(finish) => return Ok(finish),
            }
        }
    }

    /// How many files hold these bytes.
    fn holding(&self, bytes: &[u8]) -> usize {
        fn search(directory: &Path, bytes: &[u8]) -> usize {
            let mut found = 0;
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                found += match path.is_dir() {
                    true => search(&path, bytes),
                    false => usize::from(
                        std::fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes),
                    ),
                };
            }
            found
        }
        search(self.server.directory.path(), bytes)
    }
}

fn content(value: &Value) -> Digest {
    value.content().unwrap().0
}

const SECRET: &[u8] = b"the small secret 7f31c2 that must not be kept";

#[tokio::test(flavor = "multi_thread")]
async fn a_small_and_a_large_secret_are_in_no_file_after_a_purge_and_all_else_reads() {
    let world = World::new().await;
    let mut client = world.server.client(A);
    let mut push = Push::open(&mut client, ROOT, 1).await.unwrap();
    let mut others = Push::open(&mut client, OTHER, 1).await.unwrap();
    let (packed, big) = large(1, 3_000_000);
    let (kept_packed, kept) = large(2, 3_000_000);
    // Bytes of a chunk in the middle, as they lie in a segment.
    let piece = packed.iter().max_by_key(|chunk| chunk.data.len()).unwrap().data.slice(100..164);
    upload(&mut client, ROOT, &packed).await.unwrap();
    upload(&mut client, ROOT, &kept_packed).await.unwrap();
    push.accept(&create(1, file(SECRET)), Some(SECRET)).await;
    push.accept(&create(2, big.clone()), None).await;
    push.accept(&create(3, kept.clone()), None).await;
    others.accept(&create(1, file(SECRET)), Some(SECRET)).await;
    assert!(world.holding(SECRET) > 0 && world.holding(&piece) > 0);
    world.applied().await;
    let purged = [content(&file(SECRET)), content(&big)];

    let finish = world.purge(&purged).await.unwrap();
    let by: Vec<_> = finish.still_referenced.iter().map(|it| it.by()).collect();
    assert_eq!(by, [sync::ReferencedBy::Entry; 2], "the living entries have them: {finish:?}");
    assert_eq!(finish.chunks, 0);
    assert!(world.holding(&piece) > 0);

    push.accept(&edit(1, 1, file(SECRET), file(b"clean")), Some(b"clean")).await;
    push.accept(&edit(2, 1, big.clone(), file(b"clean, too")), Some(b"clean, too")).await;
    world.applied().await;
    world.past.contents.lock().extend([purged[0], content(&kept)]);
    let finish = world.purge(&purged).await.unwrap();
    let by: Vec<_> = finish.still_referenced.iter().map(|it| it.by()).collect();
    assert_eq!(by, [sync::ReferencedBy::History], "history needs one: {finish:?}");

    *world.past.contents.lock() = vec![content(&kept), content(&file(b"clean"))];
    *world.past.links.lock() = Links::Shown(vec![purged[1], content(&kept)]);
    let finish = world.purge(&purged).await.unwrap();
    let by: Vec<_> = finish.still_referenced.iter().map(|it| it.by()).collect();
    assert_eq!(by, [sync::ReferencedBy::Share], "a link shows one: {finish:?}");
    assert!(world.holding(&piece) > 0);

    *world.past.links.lock() = Links::Shown(vec![content(&kept)]);
    let finish = world.purge(&purged).await.unwrap();
    assert!(finish.still_referenced.is_empty() && finish.chunks > 2, "{finish:?}");
    assert_eq!(world.holding(&piece), 0);
    // Another root's is another content.
    assert!(world.holding(SECRET) > 0);
    let here = fetch(&mut client, OTHER, &[content(&file(SECRET))]).await;
    assert_eq!(here.chunks.len(), 1);
    for chunk in &kept_packed {
        assert_eq!(fetch(&mut client, ROOT, &[chunk.digest]).await.chunks.len(), 1, "what is needed is there");
    }
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    assert_eq!(find_missing(&mut client, ROOT, &digests).await.unwrap().len(), digests.len());
    // Again changes nothing.
    let again = world.purge(&purged).await.unwrap();
    assert_eq!((again.still_referenced.len(), again.chunks), (0, 0));
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_while_a_holder_cannot_be_asked_and_only_history_asks() {
    let world = World::new().await;
    let mut push = Push::open(&mut world.server.client(A), ROOT, 1).await.unwrap();
    push.accept(&create(1, file(SECRET)), Some(SECRET)).await;
    push.accept(&edit(1, 1, file(SECRET), file(b"clean")), Some(b"clean")).await;
    let purged = [content(&file(SECRET))];
    let finish = world.purge(&purged).await.unwrap();
    assert_eq!(finish.still_referenced[0].by(), sync::ReferencedBy::Event, "nobody has taken the events yet");
    world.applied().await;
    let way = world.past.way.lock().take();
    let refused = world.purge(&purged).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(world.holding(SECRET) > 0);
    *world.past.way.lock() = way;
    *world.past.links.lock() = Links::Unknown;
    let refused = world.purge(&purged).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("share-svc"), "{refused:?}");
    assert!(world.holding(SECRET) > 0);
    *world.past.links.lock() = Links::Never;
    assert!(world.purge(&purged).await.unwrap().still_referenced.is_empty());
    assert_eq!(world.holding(SECRET), 0);
    let device = names::Subject::Device(A);
    let request = sync::PurgeContentsRequest { root_id: id_bytes(ROOT), content_ids: vec![] };
    let refused = world.server.ca.relay(device, world.server.address).purge_contents(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(world.purge(&[]).await.unwrap_err().code(), Code::InvalidArgument);
    world.server.stop().await;
}
