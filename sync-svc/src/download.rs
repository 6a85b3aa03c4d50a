//! Fetch and Snapshot: what the server has, in messages of about a megabyte.
//!
//! Each message is read off the runtime's threads while the one before is on its way; no thread waits for a slow reader.

use std::collections::HashSet;
use std::sync::Arc;

use quics_kit::caller::Caller;
use quics_proto::sync::v1 as sync;
use quics_reconcile::RootDigest;
use quics_types::{Digest, EntryId, RootId, limits};
use tokio::sync::mpsc;

use crate::ledger::{Change, Scan};
use crate::metrics::add;
use crate::service::Service;
use crate::{Contents, Error, encode};

/// Open conflicts of one message.
const CONFLICTS: usize = 64;

/// Sends the chunks and pages that are there, and names those that are not.
pub(crate) async fn fetch(
    service: Arc<Service>,
    caller: Caller,
    root: RootId,
    digests: Vec<Digest>,
    out: mpsc::Sender<Result<sync::FetchResponse, Error>>,
) {
    let ended = fetching(&service, caller, root, digests, &out).await;
    if let Err(error) = ended {
        // A client that is gone does not need to know.
        drop(out.send(Err(error)).await);
    }
}

async fn fetching(
    service: &Arc<Service>,
    caller: Caller,
    root: RootId,
    digests: Vec<Digest>,
    out: &mpsc::Sender<Result<sync::FetchResponse, Error>>,
) -> Result<(), Error> {
    use sync::fetch_response::Message;
    let send = async |message| {
        let response = sync::FetchResponse { message: Some(message) };
        out.send(Ok(response)).await.map_err(|_| Error::Cut)
    };
    let mut seen = HashSet::new();
    let mut rest: Vec<_> = digests.into_iter().filter(|digest| seen.insert(*digest)).collect();
    rest.reverse();
    let (mut absent, mut lost, mut count) = (Vec::new(), 0, 0);
    while !rest.is_empty() {
        service.guard(caller).role(root)?;
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        let mut batch = service.blocking(move |service| read(service, root, rest)).await?;
        rest = std::mem::take(&mut batch.rest);
        absent.extend(batch.absent.iter().map(encode::digest));
        lost += batch.lost;
        if !batch.chunks.is_empty() {
            count += batch.chunks.len() as u64;
            send(Message::Chunks(sync::Chunks { chunks: batch.chunks })).await?;
        }
    }
    if !absent.is_empty() {
        send(Message::Absent(sync::Absent { digests: absent })).await?;
    }
    if lost > 0 {
        return Err(Error::ChunksLost { count: lost });
    }
    send(Message::Finish(sync::FetchFinish { count })).await
}

/// One message of chunks.
struct Batch {
    chunks: Vec<quics_proto::common::v1::Chunk>,
    absent: Vec<Digest>,
    lost: usize,
    /// What is still to be read, the next one last.
    rest: Vec<Digest>,
}

fn read(service: &Service, root: RootId, rest: Vec<Digest>) -> Result<Batch, Error> {
    let mut batch = Batch { chunks: Vec::new(), absent: Vec::new(), lost: 0, rest };
    let mut bytes = 0;
    while bytes < limits::BATCH_BYTES {
        let Some(digest) = batch.rest.pop() else { break };
        match service.contents().read(root, digest) {
            Ok(Some(packed)) => {
                bytes += packed.data.len() + 64;
                add(&service.metrics.bytes_out, packed.data.len() as u64);
                batch.chunks.push(encode::chunk(packed));
            }
            Ok(None) => batch.absent.push(digest),
            Err(error) => match Contents::damaged(&error) {
                Some(damaged) => {
                    service.lost(root, damaged);
                    batch.lost += 1;
                    batch.absent.push(digest);
                }
                None => return Err(error),
            },
        }
    }
    add(&service.metrics.chunks_out, batch.chunks.len() as u64);
    Ok(batch)
}

/// Sends the live rows, the open conflicts and the settings of a root.
pub(crate) async fn snapshot(
    service: Arc<Service>,
    caller: Caller,
    root: RootId,
    inline: bool,
    out: mpsc::Sender<Result<sync::SnapshotResponse, Error>>,
) {
    let ended = snapshotting(&service, caller, root, inline, &out).await;
    if let Err(error) = ended {
        // A client that is gone does not need to know.
        drop(out.send(Err(error)).await);
    }
}

async fn snapshotting(
    service: &Arc<Service>,
    caller: Caller,
    root: RootId,
    inline: bool,
    out: &mpsc::Sender<Result<sync::SnapshotResponse, Error>>,
) -> Result<(), Error> {
    use sync::snapshot_response::Message;
    let check = || {
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        service.guard(caller).role(root)?;
        Ok(())
    };
    let send = async |message| {
        let response = sync::SnapshotResponse { message: Some(message) };
        out.send(Ok(response)).await.map_err(|_| Error::Cut)
    };
    // The level is taken first: what changes from now on is in the feed behind it.
    let start = service.ledger.level(root)?;
    let (mut scan, mut digest, mut count) = (Scan::default(), RootDigest::EMPTY, 0);
    loop {
        check()?;
        let step = move |service: &Service| {
            let page = service.ledger.snapshot(root, &mut scan, limits::BATCH_BYTES, inline)?;
            Ok((page, scan))
        };
        let (page, next) = service.blocking(step).await?;
        scan = next;
        let Some(page) = page else { break };
        for told in &page {
            if let Change::Row { entry, .. } = &told.change {
                digest.add(&entry.row);
                count += 1;
            }
        }
        if !page.is_empty() {
            let records = page.iter().map(encode::told).collect();
            send(Message::Rows(sync::SnapshotRows { records })).await?;
        }
    }
    let mut after = None::<EntryId>;
    loop {
        check()?;
        let page = service.blocking(move |service| service.ledger.conflicts(root, after, CONFLICTS)).await?;
        let records: Vec<_> = page
            .conflicts
            .iter()
            .map(|(id, entry)| sync::ChangeRecord {
                seq: entry.seq,
                change: Some(sync::change_record::Change::Conflict(encode::conflict(*id, entry))),
                inline_content: None,
            })
            .collect();
        if !records.is_empty() {
            send(Message::Rows(sync::SnapshotRows { records })).await?;
        }
        match page.next {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    let settings = service.ledger.settings(root)?;
    if settings.revision > 0 {
        let change = Some(sync::change_record::Change::Settings((&settings).into()));
        let record = sync::ChangeRecord { seq: start.cursor.seq, change, inline_content: None };
        send(Message::Rows(sync::SnapshotRows { records: vec![record] })).await?;
    }
    let brakes = service.ledger.brakes(root)?;
    if brakes.seq > 0 {
        let change = Some(sync::change_record::Change::Brakes(encode::root_brakes(&brakes)));
        let record = sync::ChangeRecord { seq: brakes.seq, change, inline_content: None };
        send(Message::Rows(sync::SnapshotRows { records: vec![record] })).await?;
    }
    let digest = bytes::Bytes::copy_from_slice(digest.as_bytes());
    send(Message::Finish(sync::SnapshotFinish { count, digest, cursor: Some(start.cursor.into()) })).await
}
