//! sync-svc as a source: the one place here that knows its messages.

use futures_util::{StreamExt, stream};
use quics_chunks::{Codec, Packed};
use quics_proto::{
    common::v1 as common,
    sync::v1::{self as sync, fetch_response, sync_service_client::SyncServiceClient},
};
use quics_types::{Digest, RootId, limits};
use tonic::{
    client::GrpcService,
    codegen::{Body, Bytes, StdError},
};

use crate::{Answers, Failure, Source};

/// sync-svc, for one root.
#[derive(Debug, Clone)]
pub struct SyncService<T> {
    client: SyncServiceClient<T>,
    root: RootId,
}

impl<T> SyncService<T>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// Asks for what a root refers to.
    pub fn new(client: SyncServiceClient<T>, root: RootId) -> Self {
        Self { client: client.max_decoding_message_size(limits::MESSAGE_BYTES), root }
    }
}

impl<T> Source for SyncService<T>
where
    T: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    async fn fetch(&self, digests: Vec<Digest>) -> Result<Answers, Failure> {
        let request = sync::FetchRequest {
            root_id: Bytes::copy_from_slice(self.root.as_bytes()),
            digests: digests.iter().map(|digest| Bytes::copy_from_slice(digest.as_bytes())).collect(),
        };
        let answers = self.client.clone().fetch(request).await?.into_inner();
        let chunks = stream::unfold(Some(answers), |answers| async move {
            let mut answers = answers?;
            let item = match answers.message().await {
                Err(broken) => Err(broken.into()),
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

fn from_message(chunk: common::Chunk) -> Result<Packed, Failure> {
    let codec = match chunk.codec() {
        common::Codec::Raw => Codec::Raw,
        common::Codec::Zstd => Codec::Zstd,
        common::Codec::Unspecified => return Err(Failure::Wrong("a codec that is not known")),
    };
    let digest = Digest::from_slice(&chunk.digest).map_err(|_| Failure::Wrong("a digest"))?;
    Ok(Packed { digest, codec, length: chunk.length, data: chunk.data })
}
