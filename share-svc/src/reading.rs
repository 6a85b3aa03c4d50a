//! Bytes of contents, as sync-svc has them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_reader::{Failure, SyncService};
use quics_types::{Digest, RootId};

use crate::service::Service;

/// Bytes of a content in order, each piece verified; see [`quics_reader::read`].
pub(crate) fn read(
    service: Arc<Service>,
    root: RootId,
    content: Digest,
    size: u64,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let opened = async move {
        match service.upstream.contents().await {
            Ok(channel) => {
                let source = SyncService::new(SyncServiceClient::new(channel), root);
                quics_reader::read(source, None, content, size, range).left_stream()
            }
            Err(error) => stream::iter([Err(Failure::Offline(error.to_string()))]).right_stream(),
        }
    };
    stream::once(opened).flatten()
}
