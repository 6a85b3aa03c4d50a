//! A stand-in for sync-svc: chunks in memory, and faults on demand.

use std::{
    collections::BTreeMap,
    fs,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use quics_client::{
    engine::Ingested,
    folder::{Disk, Folder, RelPath, Spot, Stat},
    transfer::{Counts, Server as Remote, Transfer},
};
use quics_proto::{
    common::v1::Chunk,
    sync::v1::{sync_service_server::*, *},
};
use quics_types::{Digest, LeaseId, Name, RootId, UnitNames};
use rand::{RngCore, SeedableRng};
use tempfile::TempDir;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const ROOT: RootId = RootId::from_bytes([7; 16]);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a test wants to go wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// Uploads break off after so many chunks.
    pub(crate) upload_chunks: Option<u64>,
    /// Uploads are refused with this.
    pub(crate) upload_refused: Option<Status>,
    /// Fetches end, without a finish, after so many chunks in all.
    pub(crate) fetch_chunks: Option<u64>,
    /// Fetches bring this chunk with other bytes.
    pub(crate) damaged: Option<Digest>,
    /// Fetches leave this chunk out and say nothing of it.
    pub(crate) omitted: Option<Digest>,
    /// Called at every question for what is missing.
    pub(crate) on_question: Option<Box<dyn FnMut() + Send>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) chunks: Mutex<BTreeMap<Digest, Chunk>>,
    pub(crate) faults: Mutex<Faults>,
    /// Uploads that came to their proper end, and those that broke off.
    pub(crate) finished: AtomicU64,
    pub(crate) broken: AtomicU64,
    /// Uploads and fetches that are running.
    pub(crate) running: AtomicU64,
    pub(crate) fetched: AtomicU64,
}

struct Running(Arc<State>);

impl Running {
    fn new(state: &Arc<State>) -> Self {
        state.running.fetch_add(1, Ordering::SeqCst);
        Self(state.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
pub(crate) struct Server(pub(crate) Arc<State>);

#[tonic::async_trait]
impl SyncService for Server {
    type PushStream = Answers<PushResponse>;
    type WatchStream = Answers<WatchResponse>;
    type SnapshotStream = Answers<SnapshotResponse>;
    type FetchStream = Answers<FetchResponse>;

    async fn push(&self, _: Request<Streaming<PushRequest>>) -> Result<Response<Self::PushStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn find_missing(&self, ask: Request<FindMissingRequest>) -> Result<Response<FindMissingResponse>, Status> {
        if let Some(called) = &mut self.0.faults.lock().on_question {
            called();
        }
        let chunks = self.0.chunks.lock();
        let asked =
            quics_proto::digests(&ask.get_ref().digests).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let missing = asked.iter().filter(|digest| !chunks.contains_key(digest));
        let digests = missing.map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect();
        Ok(Response::new(FindMissingResponse { digests }))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        let _running = Running::new(&self.0);
        let (refused, most) = {
            let faults = self.0.faults.lock();
            (faults.upload_refused.clone(), faults.upload_chunks)
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        let mut requests = request.into_inner();
        let mut count = 0;
        let broken = loop {
            match requests.message().await.map(|request| request.and_then(|request| request.message)) {
                Ok(Some(upload_request::Message::Open(_))) => {}
                Ok(Some(upload_request::Message::Chunks(chunks))) => {
                    for chunk in chunks.chunks {
                        if most.is_some_and(|most| count >= most) {
                            return Err(Status::unavailable("broken"));
                        }
                        count += 1;
                        let digest = Digest::from_slice(&chunk.digest).unwrap();
                        self.0.chunks.lock().insert(digest, chunk);
                    }
                }
                Ok(Some(upload_request::Message::Finish(finish))) if finish.count == count => break false,
                _ => break true,
            }
        };
        let counter = if broken { &self.0.broken } else { &self.0.finished };
        counter.fetch_add(1, Ordering::SeqCst);
        if broken { Err(Status::cancelled("")) } else { Ok(Response::new(UploadResponse { count })) }
    }

    async fn watch(&self, _: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fetch(&self, ask: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let asked =
            quics_proto::digests(&ask.get_ref().digests).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let (most, damaged, omitted) = {
            let faults = self.0.faults.lock();
            (faults.fetch_chunks, faults.damaged, faults.omitted)
        };
        let running = Running::new(&self.0);
        let answer = |message| FetchResponse { message: Some(message) };
        let (state, count) = (self.0.clone(), asked.len() as u64);
        let mut over = false;
        let asked = asked.into_iter().filter(move |digest| omitted != Some(*digest));
        let chunks = stream::iter(asked).map(move |digest| {
            let _running = &running;
            if over || most.is_some_and(|most| state.fetched.load(Ordering::SeqCst) >= most) {
                over = true;
                return Err(Status::unavailable("broken"));
            }
            let Some(mut chunk) = state.chunks.lock().get(&digest).cloned() else {
                let digests = vec![Bytes::copy_from_slice(digest.as_bytes())];
                return Ok(answer(fetch_response::Message::Absent(Absent { digests })));
            };
            state.fetched.fetch_add(1, Ordering::SeqCst);
            if damaged == Some(digest) {
                chunk.data = chunk.data.iter().map(|byte| !byte).collect::<Vec<u8>>().into();
            }
            Ok(answer(fetch_response::Message::Chunks(Chunks { chunks: vec![chunk] })))
        });
        let end = stream::iter([Ok(answer(fetch_response::Message::Finish(FetchFinish { count })))]);
        Ok(Response::new(chunks.chain(end).boxed()))
    }

    async fn list_conflicts(
        &self,
        _: Request<ListConflictsRequest>,
    ) -> Result<Response<ListConflictsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_conflict(&self, _: Request<GetConflictRequest>) -> Result<Response<GetConflictResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type PromptStream = Answers<PromptResponse>;
    async fn prompt(&self, _: Request<PromptRequest>) -> Result<Response<Self::PromptStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn resolve(&self, _: Request<ResolveRequest>) -> Result<Response<ResolveResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn undo_resolution(
        &self,
        _: Request<UndoResolutionRequest>,
    ) -> Result<Response<UndoResolutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_resolutions(
        &self,
        _: Request<ListResolutionsRequest>,
    ) -> Result<Response<ListResolutionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_settings(&self, _: Request<GetSettingsRequest>) -> Result<Response<GetSettingsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn set_settings(&self, _: Request<SetSettingsRequest>) -> Result<Response<SetSettingsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_brakes(&self, _: Request<ListBrakesRequest>) -> Result<Response<ListBrakesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_held(&self, _: Request<ListHeldRequest>) -> Result<Response<ListHeldResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn decide_brake(&self, _: Request<DecideBrakeRequest>) -> Result<Response<DecideBrakeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn set_brake(&self, _: Request<SetBrakeRequest>) -> Result<Response<SetBrakeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A device: a folder with its transfer to the server.
pub(crate) struct Device {
    pub(crate) place: TempDir,
    pub(crate) disk: Disk,
    pub(crate) transfer: Transfer<Remote<SyncServiceServer<Server>>>,
}

impl Device {
    pub(crate) fn new(server: &Server) -> Self {
        let place = tempfile::tempdir().unwrap();
        let disk = Disk::create(place.path(), ROOT, UnitNames::default()).unwrap();
        Self { transfer: transfer(server, &disk), place, disk }
    }

    /// The device after a restart.
    pub(crate) fn restarted(self, server: &Server) -> Self {
        let Self { place, disk, transfer: before } = self;
        drop((disk, before));
        // A piece of work that was under way when its transfer ended holds the folder until it is through.
        let disk = loop {
            match Disk::open(place.path(), ROOT, UnitNames::default()) {
                Err(quics_client::folder::Error::InUse(_)) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        Self { transfer: transfer(server, &disk), place, disk }
    }

    /// Writes a file and returns its stat.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Stat {
        fs::write(self.place.path().join(name), bytes).unwrap();
        self.disk.stat(&spot(name)).unwrap().unwrap()
    }

    pub(crate) async fn ingest(&mut self, name: &str, bytes: &[u8]) -> Ingested {
        let stat = self.write(name, bytes);
        self.transfer.ingest(&spot(name), &stat).await.unwrap()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.transfer.progress().counts()
    }

    pub(crate) fn incoming(&self, name: &Name) -> Vec<u8> {
        fs::read(self.place.path().join(".quics/incoming").join(name.to_string())).unwrap()
    }
}

fn transfer(server: &Server, disk: &Disk) -> Transfer<Remote<SyncServiceServer<Server>>> {
    Transfer::new(SyncServiceServer::new(server.clone()), ROOT, LeaseId::from_bytes([1; 16]), disk.tree())
}

pub(crate) fn spot(name: &str) -> Spot {
    Spot { dir: RelPath::root(), name: Name::new(name.to_owned().into_bytes()).unwrap() }
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand_chacha::ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Waits until nothing is running at the server.
pub(crate) async fn quiet(server: &Server) {
    while server.0.running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}
