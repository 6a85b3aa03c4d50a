//! Takes a root's snapshot from the server; one that is short or damaged is never believed.

use prost::Message as _;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_types::RootId;
use tonic::Code;

use super::messages;
use super::session::{End, Switchboard};
use crate::engine::{Event, Record};

/// Streams a snapshot to its root's engine, whose last page comes only if count and digest are what came.
///
/// # Errors
/// The session is to end: the engine then starts anew.
pub(super) async fn take<T>(mut client: SyncServiceClient<T>, board: &Switchboard, root: RootId) -> Result<(), End>
where
    T: tonic::client::GrpcService<tonic::body::Body> + Send + 'static,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: tonic::codegen::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let request =
        sync::SnapshotRequest { root_id: bytes::Bytes::copy_from_slice(root.as_bytes()), inline_contents: true };
    let mut pages = match client.snapshot(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if status.code() == Code::PermissionDenied => {
            let reason = "this device may not see the root any more".to_owned();
            board.deliver(root, Event::Ended { reason }, 1).await;
            return Ok(());
        }
        Err(status) => return Err(status.into()),
    };
    let mut came = Came::default();
    while let Some(page) = pages.message().await? {
        let bytes = page.encoded_len();
        match page.message {
            Some(sync::snapshot_response::Message::Rows(rows)) => {
                let records = messages::records(rows.records)?;
                came.add(&records);
                board.deliver(root, Event::Snapshot { records, finish: None }, bytes).await;
            }
            Some(sync::snapshot_response::Message::Finish(finish)) => {
                let cursor = messages::cursor(finish.cursor)?;
                if (finish.count, messages::sum(&finish.digest)?) != (came.count, came.digest()) {
                    tracing::warn!(%root, count = came.count, expected = finish.count, "snapshot.differs");
                    return Err(Malformed::Range("the snapshot's digest").into());
                }
                let event = Event::Snapshot { records: Vec::new(), finish: Some(cursor) };
                board.deliver(root, event, 1).await;
                return Ok(());
            }
            None => return Err(Malformed::Missing("the page of a snapshot").into()),
        }
    }
    Err(End::Closed)
}

/// What came so far.
#[derive(Default)]
struct Came {
    count: u64,
    digest: quics_reconcile::RootDigest,
}

impl Came {
    fn add(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Row { row, .. } = record {
                self.count += 1;
                self.digest.add(row);
            }
        }
    }

    fn digest(&self) -> [u8; 32] {
        *self.digest.as_bytes()
    }
}
