//! A device's streams, as an agent would hold them, and what it says on them.

use std::time::Duration;

use bytes::Bytes;
use quics_chunks::{Chunker, Codec, ManifestBuilder, Packed, inline_content};
use quics_proto::{common::v1 as common, sync::v1 as sync};
use quics_reconcile::{ContentChange, Proposal, RootDigest, Row, Value};
use quics_types::{Digest, EntryId, LogicalTime, Mtime, Name, Place, RootId};
use sync::push_response::Message as Pushed;
use sync::verdict::Outcome;
use sync::watch_request::Message as Ask;
use sync::watch_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::server::{Client, ROOT};

/// Whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

pub(crate) fn id_bytes(root: RootId) -> Bytes {
    Bytes::copy_from_slice(root.as_bytes())
}

pub(crate) fn entry(number: u32) -> EntryId {
    let mut id = [0x55; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    EntryId::from_bytes(id)
}

pub(crate) fn file(bytes: &[u8]) -> Value {
    Value::File { content: inline_content(bytes).unwrap().0, size: bytes.len() as u64 }
}

pub(crate) fn create(number: u32, value: Value) -> Proposal {
    let place = Place { parent: EntryId::TOP, name: Name::new(format!("file {number}")).unwrap() };
    Proposal::Create { id: entry(number), place, value, mode: 0o644, mtime: Mtime { seconds: 1, nanos: 2 } }
}

pub(crate) fn edit(number: u32, base_time: u64, base: Value, value: Value) -> Proposal {
    let content = ContentChange { base_time: LogicalTime(base_time), base: Some(base), value, mtime: Mtime::default() };
    Proposal::Change(quics_reconcile::Change {
        id: entry(number),
        content: Some(content),
        place: None,
        attributes: None,
    })
}

/// A stream of proposals.
pub(crate) struct Push {
    pub(crate) requests: mpsc::Sender<sync::PushRequest>,
    pub(crate) responses: Streaming<sync::PushResponse>,
    pub(crate) root: RootId,
    pub(crate) incarnation: u64,
    pub(crate) seq: u64,
    /// The verdicts that resuming brought.
    pub(crate) resumed: Vec<sync::Verdict>,
}

impl Push {
    /// Opens the stream and begins an incarnation.
    pub(crate) async fn open(client: &mut Client, root: RootId, incarnation: u64) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(2048);
        let open = sync::PushOpen { version: Some(quics_proto::version("test")) };
        requests.send(request(sync::push_request::Message::Open(open))).await.unwrap();
        let resume = sync::Resume { root_id: id_bytes(root), incarnation };
        requests.send(request(sync::push_request::Message::Resume(resume))).await.unwrap();
        let responses = soon(client.push(ReceiverStream::new(stream))).await?.into_inner();
        let mut push = Self { requests, responses, root, incarnation, seq: 0, resumed: Vec::new() };
        loop {
            match push.next().await? {
                Pushed::Opened(_) => {}
                Pushed::Verdict(verdict) => push.resumed.push(verdict),
                Pushed::Resumed(_) => return Ok(push),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Pushed, Status> {
        let message = soon(self.responses.message()).await?;
        Ok(message.expect("the stream has not ended").message.unwrap())
    }

    pub(crate) fn message(&mut self, proposal: &Proposal, inline: Option<&[u8]>) -> sync::Proposal {
        self.seq += 1;
        sync::Proposal {
            root_id: id_bytes(self.root),
            incarnation: self.incarnation,
            seq: self.seq,
            recorded_seq: 0,
            change: Some(proposal.into()),
            inline_content: inline.map(Bytes::copy_from_slice),
            lease_id: Bytes::new(),
        }
    }

    pub(crate) async fn send(&mut self, message: sync::Proposal) {
        self.requests.send(request(sync::push_request::Message::Proposal(message))).await.unwrap();
    }

    pub(crate) async fn verdict(&mut self) -> Result<sync::Verdict, Status> {
        match self.next().await? {
            Pushed::Verdict(verdict) => Ok(verdict),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn propose(&mut self, proposal: &Proposal, inline: Option<&[u8]>) -> Result<Outcome, Status> {
        let message = self.message(proposal, inline);
        self.send(message).await;
        let verdict = self.verdict().await?;
        assert_eq!(verdict.seq, self.seq);
        Ok(verdict.outcome.unwrap())
    }

    pub(crate) async fn accept(&mut self, proposal: &Proposal, inline: Option<&[u8]>) -> sync::Accepted {
        match self.propose(proposal, inline).await.unwrap() {
            Outcome::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }
}

fn request(message: sync::push_request::Message) -> sync::PushRequest {
    sync::PushRequest { message: Some(message) }
}

/// A stream of changes.
pub(crate) struct Watch {
    pub(crate) requests: mpsc::Sender<sync::WatchRequest>,
    pub(crate) responses: Streaming<sync::WatchResponse>,
}

impl Watch {
    pub(crate) async fn open(client: &mut Client) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let open = sync::WatchOpen { version: Some(quics_proto::version("test")) };
        let watch = sync::WatchRequest { message: Some(Ask::Open(open)) };
        requests.send(watch).await.unwrap();
        let responses = soon(client.watch(ReceiverStream::new(stream))).await.unwrap().into_inner();
        let mut watch = Self { requests, responses };
        assert!(matches!(watch.next().await, Ok(Told::Opened(_))));
        watch
    }

    pub(crate) async fn subscribe(&mut self, root: RootId, cursor: Option<common::Cursor>) {
        let subscribe = sync::Subscribe { root_id: id_bytes(root), cursor, inline_contents: true };
        let request = sync::WatchRequest { message: Some(Ask::Subscribe(subscribe)) };
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<Told, Status> {
        let message = soon(self.responses.message()).await?;
        Ok(message.expect("the stream has not ended").message.unwrap())
    }

    /// Reads up to the next level: the records and the level.
    pub(crate) async fn level(&mut self) -> (Vec<sync::ChangeRecord>, sync::Level) {
        let mut records = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Told::Changes(changes) => records.extend(changes.changes),
                Told::Level(level) => return (records, level),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until the root has come to this commit; the records that came.
    pub(crate) async fn until(&mut self, seq: u64) -> (Vec<sync::ChangeRecord>, sync::Level) {
        let mut all = Vec::new();
        loop {
            let (records, level) = self.level().await;
            all.extend(records);
            if level.cursor.unwrap().seq >= seq {
                return (all, level);
            }
        }
    }
}

/// Reads a whole snapshot and checks its end: rows and cursor.
pub(crate) async fn snapshot(client: &mut Client, root: RootId) -> (Vec<Row>, sync::SnapshotFinish) {
    use sync::snapshot_response::Message;
    let request = sync::SnapshotRequest { root_id: id_bytes(root), inline_contents: false };
    let mut stream = soon(client.snapshot(request)).await.unwrap().into_inner();
    let (mut rows, mut digest) = (Vec::new(), RootDigest::EMPTY);
    loop {
        match soon(stream.message()).await.unwrap().expect("finish comes").message.unwrap() {
            Message::Rows(page) => {
                for record in page.records {
                    if let Some(sync::change_record::Change::Row(row)) = record.change {
                        let row = Row::try_from(row).unwrap();
                        digest.add(&row);
                        rows.push(row);
                    }
                }
            }
            Message::Finish(finish) => {
                assert_eq!((finish.count, &finish.digest[..]), (rows.len() as u64, &digest.as_bytes()[..]));
                assert!(soon(stream.message()).await.unwrap().is_none());
                return (rows, finish);
            }
        }
    }
}

/// A content that does not compress, as it is sent: chunks and pages, and its value. `length` in bytes.
pub(crate) fn large(seed: u64, length: usize) -> (Vec<Packed>, Value) {
    let (mut builder, mut pages, mut packed) = (ManifestBuilder::new(), Vec::new(), Vec::new());
    for chunk in Chunker::new(Noise { state: seed, left: length }) {
        let chunk = chunk.unwrap();
        builder.push(chunk.digest, chunk.data.len() as u32, &mut pages).unwrap();
        packed.push(chunk.pack());
    }
    let manifest = builder.finish(&mut pages).unwrap();
    packed.extend(pages.into_iter().map(|(digest, page)| Packed::raw(digest, page)));
    (packed, Value::File { content: manifest.content, size: manifest.size })
}

struct Noise {
    state: u64,
    left: usize,
}

impl std::io::Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(self.left);
        for piece in out[..count].chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            piece.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..piece.len()]);
        }
        self.left -= count;
        Ok(count)
    }
}

fn chunk(packed: &Packed) -> common::Chunk {
    let codec = match packed.codec {
        Codec::Raw => common::Codec::Raw,
        Codec::Zstd => common::Codec::Zstd,
    };
    let digest = Bytes::copy_from_slice(packed.digest.as_bytes());
    common::Chunk { digest, codec: codec as i32, length: packed.length, data: packed.data.clone() }
}

fn part(message: sync::upload_request::Message) -> sync::UploadRequest {
    sync::UploadRequest { message: Some(message) }
}

pub(crate) fn lease() -> Bytes {
    Bytes::from_static(&[0x77; 16])
}

/// The messages of an upload, without the finish; about a megabyte each.
pub(crate) fn upload_parts(root: RootId, packed: &[Packed]) -> Vec<sync::UploadRequest> {
    let open = sync::UploadOpen { root_id: id_bytes(root), lease_id: lease() };
    let mut parts = vec![part(sync::upload_request::Message::Open(open))];
    for some in packed.chunks(8) {
        let chunks = sync::Chunks { chunks: some.iter().map(chunk).collect() };
        parts.push(part(sync::upload_request::Message::Chunks(chunks)));
    }
    parts
}

pub(crate) fn upload_finish(count: usize) -> sync::UploadRequest {
    part(sync::upload_request::Message::Finish(sync::UploadFinish { count: count as u64 }))
}

pub(crate) async fn upload(client: &mut Client, root: RootId, packed: &[Packed]) -> Result<u64, Status> {
    let mut parts = upload_parts(root, packed);
    parts.push(upload_finish(packed.len()));
    let response = soon(client.upload(tokio_stream::iter(parts))).await?;
    Ok(response.into_inner().count)
}

/// What a fetch brought.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) chunks: Vec<common::Chunk>,
    pub(crate) absent: Vec<Bytes>,
    pub(crate) end: Option<Status>,
}

pub(crate) async fn fetch(client: &mut Client, root: RootId, digests: &[Digest]) -> Fetched {
    use sync::fetch_response::Message;
    let digests = digests.iter().map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect();
    let request = sync::FetchRequest { root_id: id_bytes(root), digests };
    let mut fetched = Fetched::default();
    let mut stream = match soon(client.fetch(request)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Fetched { end: Some(status), ..fetched },
    };
    loop {
        match soon(stream.message()).await {
            Ok(message) => match message.expect("finish comes").message.unwrap() {
                Message::Chunks(chunks) => fetched.chunks.extend(chunks.chunks),
                Message::Absent(absent) => fetched.absent.extend(absent.digests),
                Message::Finish(finish) => {
                    assert_eq!(finish.count, fetched.chunks.len() as u64);
                    return fetched;
                }
            },
            Err(status) => return Fetched { end: Some(status), ..fetched },
        }
    }
}

pub(crate) async fn find_missing(client: &mut Client, root: RootId, digests: &[Digest]) -> Result<Vec<Bytes>, Status> {
    let digests = digests.iter().map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect();
    let request = sync::FindMissingRequest { root_id: id_bytes(root), lease_id: lease(), digests };
    Ok(soon(client.find_missing(request)).await?.into_inner().digests)
}

/// The row of a record, as the domain has it.
pub(crate) fn row(record: &sync::ChangeRecord) -> Row {
    match &record.change {
        Some(sync::change_record::Change::Row(row)) => Row::try_from(row.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A push on the usual root.
pub(crate) async fn push(client: &mut Client) -> Push {
    Push::open(client, ROOT, 1).await.unwrap()
}
