//! The other end: which chunks it lacks, takes and gives. The one place that knows the messages and status codes.

use std::future::Future;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream, Stream},
};
use quics_chunks::{Codec, Packed};
use quics_proto::{
    common::v1 as common,
    sync::v1::{self as sync, fetch_response, sync_service_client::SyncServiceClient, upload_request},
};
use quics_types::{Digest, LeaseId, RootId, limits};
use thiserror::Error;
use tonic::{
    Code, Status,
    client::GrpcService,
    codegen::{Body, Bytes, StdError},
};

/// Why the other end did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// It cannot be reached, or went away; trying again makes sense when there is a connection.
    #[error("the server cannot be reached: {0}")]
    Offline(String),
    /// It will not, for this reason: no space, quota, no membership.
    #[error("the server refused: {0}")]
    Refused(String),
    /// It has not got what was asked for, or what it has is damaged.
    #[error("the server has not got all of it: {0}")]
    Absent(String),
    /// What came is not what was asked for.
    #[error("the server's answer is not possible: {0}")]
    Wrong(&'static str),
}

/// What a transfer needs of the other end.
///
/// # Cancel safety
/// Dropping a future or a stream ends the call as broken off, never as complete.
pub trait Remote: Clone + Send + Sync + 'static {
    /// Says which of at most [`limits::DIGESTS_PER_MESSAGE`] chunks and pages are missing there, and takes the others
    /// into the lease.
    fn find_missing(&self, digests: Vec<Digest>) -> impl Future<Output = Result<Vec<Digest>, Failure>> + Send;

    /// Sends batches of chunks until the stream ends, and returns when all of them are durable. Returns how many the
    /// other end counted.
    fn upload(
        &self,
        batches: impl Stream<Item = Vec<Packed>> + Send + 'static,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Asks for at most [`limits::DIGESTS_PER_MESSAGE`] chunks and pages. They come in any order and unverified, each
    /// at most once; a stream that ends without an error has brought all of them.
    fn fetch(
        &self,
        digests: Vec<Digest>,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Vec<Packed>, Failure>>, Failure>> + Send;
}

/// sync-svc, for one root.
#[derive(Debug, Clone)]
pub struct Server<T> {
    client: SyncServiceClient<T>,
    root: RootId,
    lease: LeaseId,
}

impl<T> Server<T>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// Speaks for a root; what is uploaded or found there already is held by the lease.
    pub fn new(client: SyncServiceClient<T>, root: RootId, lease: LeaseId) -> Self {
        let client =
            client.max_decoding_message_size(limits::MESSAGE_BYTES).max_encoding_message_size(limits::MESSAGE_BYTES);
        Self { client, root, lease }
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
        let answer = self.client.clone().find_missing(request).await.map_err(failure)?.into_inner();
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
        let answer = self.client.clone().upload(opened.chain(rest)).await.map_err(failure)?;
        Ok(answer.into_inner().count)
    }

    async fn fetch(&self, digests: Vec<Digest>) -> Result<BoxStream<'static, Result<Vec<Packed>, Failure>>, Failure> {
        let request = sync::FetchRequest {
            root_id: bytes(self.root.as_bytes()),
            digests: digests.iter().map(|digest| bytes(digest.as_bytes())).collect(),
        };
        let answers = self.client.clone().fetch(request).await.map_err(failure)?.into_inner();
        let chunks = stream::unfold(Some(answers), |answers| async move {
            let mut answers = answers?;
            let item = match answers.message().await.map_err(failure) {
                Err(broken) => Err(broken),
                Ok(None) => Err(Failure::Offline("the answer broke off".to_owned())),
                Ok(Some(answer)) => match answer.message {
                    Some(fetch_response::Message::Chunks(chunks)) => {
                        let chunks: Result<Vec<_>, _> = chunks.chunks.into_iter().map(from_message).collect();
                        return Some(match chunks {
                            Ok(chunks) => (Ok(chunks), Some(answers)),
                            Err(wrong) => (Err(wrong), None),
                        });
                    }
                    Some(fetch_response::Message::Absent(absent)) => {
                        Err(Failure::Absent(format!("{} chunks are absent", absent.digests.len())))
                    }
                    Some(fetch_response::Message::Finish(_)) => return None,
                    None => Err(Failure::Wrong("an empty message")),
                },
            };
            Some((item, None))
        });
        Ok(chunks.boxed())
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

fn from_message(chunk: common::Chunk) -> Result<Packed, Failure> {
    let codec = match chunk.codec() {
        common::Codec::Raw => Codec::Raw,
        common::Codec::Zstd => Codec::Zstd,
        common::Codec::Unspecified => return Err(Failure::Wrong("a codec that is not known")),
    };
    let digest = Digest::from_slice(&chunk.digest).map_err(|_| Failure::Wrong("a digest"))?;
    Ok(Packed { digest, codec, length: chunk.length, data: chunk.data })
}

/// Decides what a status means for a transfer.
fn failure(status: Status) -> Failure {
    let text = || format!("{} ({:?})", status.message(), status.code());
    match status.code() {
        Code::Ok => Failure::Wrong("an error that is none"),
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::Unauthenticated => Failure::Offline(text()),
        Code::NotFound | Code::OutOfRange | Code::DataLoss => Failure::Absent(text()),
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented => Failure::Refused(text()),
    }
}
