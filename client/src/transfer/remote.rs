//! The other end: which chunks it lacks, takes and gives. The one place that knows the messages of uploads.

use std::future::Future;

use futures_util::{
    StreamExt,
    stream::{self, Stream},
};
use quics_chunks::{Codec, Packed};
use quics_proto::{
    common::v1 as common,
    sync::v1::{self as sync, sync_service_client::SyncServiceClient, upload_request},
};
use quics_reader::{Answers, Failure, Source, SyncService};
use quics_types::{Digest, LeaseId, RootId, limits};
use tonic::{
    client::GrpcService,
    codegen::{Body, Bytes, StdError},
};

/// What a transfer needs of the other end.
///
/// # Cancel safety
/// Dropping a future or a stream ends the call as broken off, never as complete.
pub trait Remote: Source + Clone {
    /// Says which of at most [`limits::DIGESTS_PER_MESSAGE`] chunks and pages are missing there, and takes the others
    /// into the lease.
    fn find_missing(&self, digests: Vec<Digest>) -> impl Future<Output = Result<Vec<Digest>, Failure>> + Send;

    /// Sends batches of chunks until the stream ends, and returns when all of them are durable. Returns how many the
    /// other end counted.
    fn upload(
        &self,
        batches: impl Stream<Item = Vec<Packed>> + Send + 'static,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// sync-svc, for one root.
#[derive(Debug, Clone)]
pub struct Server<T> {
    client: SyncServiceClient<T>,
    reads: SyncService<T>,
    root: RootId,
    lease: LeaseId,
}

impl<T> Server<T>
where
    T: GrpcService<tonic::body::Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// Speaks for a root; what is uploaded or found there already is held by the lease.
    pub fn new(client: SyncServiceClient<T>, root: RootId, lease: LeaseId) -> Self {
        let client =
            client.max_decoding_message_size(limits::MESSAGE_BYTES).max_encoding_message_size(limits::MESSAGE_BYTES);
        Self { reads: SyncService::new(client.clone(), root), client, root, lease }
    }
}

impl<T> Source for Server<T>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    async fn fetch(&self, digests: Vec<Digest>) -> Result<Answers, Failure> {
        self.reads.fetch(digests).await
    }
}

impl<T> Remote for Server<T>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    async fn find_missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Failure> {
        let request = sync::FindMissingRequest {
            root_id: bytes(self.root.as_bytes()),
            lease_id: bytes(self.lease.as_bytes()),
            digests: digests.iter().map(|digest| bytes(digest.as_bytes())).collect(),
        };
        let answer = self.client.clone().find_missing(request).await?.into_inner();
        quics_proto::digests(&answer.digests).map_err(|_| Failure::Wrong("digests"))
    }

    async fn upload(&self, batches: impl Stream<Item = Vec<Packed>> + Send + 'static) -> Result<u64, Failure> {
        let open = sync::UploadOpen { root_id: bytes(self.root.as_bytes()), lease_id: bytes(self.lease.as_bytes()) };
        let request = |message| sync::UploadRequest { message: Some(message) };
        let opened = stream::once(async move { request(upload_request::Message::Open(open)) });
        // The proper end of the stream says how much it was: an end without it is a break.
        let rest = stream::unfold((Box::pin(batches), Some(0u64)), move |(mut batches, count)| async move {
            let count = count?;
            Some(match batches.next().await {
                Some(batch) => {
                    let sent = count + batch.len() as u64;
                    let chunks = batch.into_iter().map(to_message).collect();
                    (request(upload_request::Message::Chunks(sync::Chunks { chunks })), (batches, Some(sent)))
                }
                None => (request(upload_request::Message::Finish(sync::UploadFinish { count })), (batches, None)),
            })
        });
        let answer = self.client.clone().upload(opened.chain(rest)).await?;
        Ok(answer.into_inner().count)
    }
}

fn bytes(id: &[u8]) -> Bytes {
    Bytes::copy_from_slice(id)
}

fn to_message(chunk: Packed) -> common::Chunk {
    let codec = match chunk.codec {
        Codec::Raw => common::Codec::Raw,
        Codec::Zstd => common::Codec::Zstd,
    };
    common::Chunk {
        digest: bytes(chunk.digest.as_bytes()),
        codec: codec.into(),
        length: chunk.length,
        data: chunk.data,
    }
}
