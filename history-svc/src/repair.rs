//! Finds again what was missed: each root is compared with sync-svc's snapshot of it.
//!
//! A row that is not known becomes a version that was found; its commit's number comes with it. An entry that is known to
//! live and is not in the snapshot was deleted, by an event that was lost or by one that is still on its way: which of both
//! shows when the stream, opened anew behind the snapshot, has nothing more to tell. Versions between what was known and what
//! was found stay missing.

use std::collections::HashMap;
use std::sync::Arc;

use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_proto::{Malformed, common, mtime};
use quics_reconcile::Row;
use quics_records::Reads;
use quics_types::{DeviceId, EntryId, RootId, limits};

use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::{Cause, Version};
use crate::grpc::lost;
use crate::intake::wall_time;
use crate::relay::submit;
use crate::service::Service;
use crate::store::{self, Writer};
use crate::view::View;

/// Bytes of a batch.
const BATCH: usize = 1 << 20;

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to compare, any more.
    Done,
    /// The events have to be followed anew before it goes on.
    Again,
}

/// Entries that are known to live and are in no snapshot, and the snapshots' cursors.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    roots: HashMap<RootId, (u64, Vec<EntryId>)>,
}

/// Compares what has to be compared, when every event that was told is durable.
pub(crate) async fn step(service: &Arc<Service>) -> Result<Step, Error> {
    let waiting = std::mem::take(&mut *service.absent.lock());
    for (root, (seq, entries)) in waiting.roots {
        bury(service, root, seq, entries).await?;
        tracing::info!(%root, "root.compared");
    }
    let roots = service.blocking(|service| store::to_repair(Reads::durable(&*service.meta))).await?;
    if roots.is_empty() {
        return Ok(Step::Done);
    }
    let mut absent = Absent::default();
    for root in roots {
        let found = compare(service, root).await?;
        absent.roots.insert(root, found);
    }
    *service.absent.lock() = absent;
    Ok(Step::Again)
}

/// Takes a snapshot in; says its cursor and who is not in it.
async fn compare(service: &Arc<Service>, root: RootId) -> Result<(u64, Vec<EntryId>), Error> {
    let mut client = SyncServiceClient::new(service.sync.find().await?)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let root_id = bytes::Bytes::copy_from_slice(root.as_bytes());
    let request = sync::SnapshotRequest { root_id, inline_contents: false };
    let mut snapshot = client.snapshot(request).await.map_err(lost)?.into_inner();
    let (mut count, mut last, mut absent) = (0, None, Vec::new());
    while let Some(message) = snapshot.message().await.map_err(lost)? {
        match message.message {
            Some(sync::snapshot_response::Message::Rows(rows)) => {
                let mut found = Vec::new();
                for record in rows.records {
                    if let Some(sync::change_record::Change::Row(row)) = record.change {
                        found.push(Found::new(record.seq, row)?);
                    }
                }
                count += found.len() as u64;
                let Some(newest) = found.last().map(|found| found.row.id) else { continue };
                let from = last.replace(newest);
                absent.extend(take_in(service, root, from, Some(newest), found).await?);
            }
            Some(sync::snapshot_response::Message::Finish(finish)) => {
                if finish.count < count {
                    return Err(Error::Relay("a snapshot has more rows than it says"));
                }
                absent.extend(take_in(service, root, last, None, Vec::new()).await?);
                let cursor = finish.cursor.ok_or(Malformed::Missing("the snapshot's cursor"))?;
                return Ok((cursor.seq, absent));
            }
            None => {}
        }
    }
    Err(Error::Relay("a snapshot broke off"))
}

/// A row of a snapshot.
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) row: Row,
    pub(crate) device: DeviceId,
    pub(crate) accepted: quics_types::WallTime,
}

impl Found {
    fn new(seq: u64, row: common::v1::Row) -> Result<Self, Error> {
        let device = match row.device_id.is_empty() {
            true => DeviceId::SERVER,
            false => DeviceId::from_slice(&row.device_id).map_err(Malformed::from)?,
        };
        let accepted = wall_time(mtime(row.accepted_at)?);
        Ok(Self { seq, row: row.try_into()?, device, accepted })
    }
}

/// Compares the entries behind `after` up to `until` with those of a snapshot; writes what was not known down and says which
/// live here and not there.
pub(crate) async fn take_in(
    service: &Arc<Service>,
    root: RootId,
    after: Option<EntryId>,
    until: Option<EntryId>,
    found: Vec<Found>,
) -> Result<Vec<EntryId>, Error> {
    let (batch, absent) = service
        .blocking(move |service| {
            let reads = Reads::latest(&*service.meta);
            let view = View::new(reads, root);
            let mut writer = Writer::new(reads, &*service.access)?;
            let generation = writer.applied.generation;
            for found in &found {
                let known = view.at(found.row.id, Point { generation: u32::MAX, seq: u64::MAX })?;
                let is_known = known.as_ref().is_some_and(|known| {
                    let newer = known.point.generation == generation && known.point.seq >= found.seq;
                    newer || (known.row() == &found.row && known.version.accepted == found.accepted)
                });
                if let Some(known) = known.as_ref().filter(|_| is_known) {
                    // How it came to its place may have been lost, and what was told later be known.
                    let place = &known.row().place;
                    let there = view.occupant(place, known.point)?;
                    if known.is_live() && there.is_none_or(|there| there.row().id != found.row.id) {
                        writer.came(root, place, known.point, found.row.id);
                    }
                    continue;
                }
                let point = Point { generation, seq: found.seq };
                let state = writer.root(root)?;
                state.record.point = state.record.point.max(point);
                state.record.moment = state.record.moment.max(found.accepted);
                let epoch = state.record.epoch;
                let names = writer.names(found.device);
                let version = Version {
                    row: found.row.clone(),
                    changed_at: None,
                    device: found.device,
                    device_name: names.device,
                    user_name: names.user,
                    cause: Cause::Found,
                    epoch,
                    accepted: found.accepted,
                    moved_from: known
                        .filter(|known| known.is_live() && known.row().place != found.row.place)
                        .map(|known| known.version.row.place),
                    group: None,
                    removed: None,
                };
                writer.set(root, point, &version, Some(&found.row.place))?;
            }
            let mut absent = Vec::new();
            let mut there = found.iter().map(|found| found.row.id).peekable();
            let mut entries = Entries { view, from: after };
            while let Some(entry) = entries.next(until)? {
                while there.peek().is_some_and(|next| *next < entry) {
                    there.next();
                }
                if there.peek() == Some(&entry) {
                    continue;
                }
                let newest = view.at(entry, Point { generation: u32::MAX, seq: u64::MAX })?;
                if newest.is_some_and(|at| at.is_live()) {
                    absent.push(entry);
                }
            }
            Ok((writer.finish(), absent))
        })
        .await?;
    submit(service, batch).await?.await?;
    Ok(absent)
}

/// The entries of a root, by their ids.
struct Entries<'a> {
    view: View<'a>,
    from: Option<EntryId>,
}

impl Entries<'_> {
    fn next(&mut self, until: Option<EntryId>) -> Result<Option<EntryId>, Error> {
        let (all, end) = keys::all(b'v', self.view.root);
        let from = self.from.map_or(all, |entry| keys::versions(self.view.root, entry).1);
        let rows = self.view.reads.raw_range(&from, &end, 1)?;
        let Some((key, _)) = rows.first() else { return Ok(None) };
        let (entry, ..) = keys::parse_version(key).ok_or_else(|| Error::damaged(key))?;
        if until.is_some_and(|until| entry > until) {
            return Ok(None);
        }
        self.from = Some(entry);
        Ok(Some(entry))
    }
}

/// Ends entries that were in no snapshot and of whose end no event told, and notes that the root is compared.
pub(crate) async fn bury(service: &Arc<Service>, root: RootId, seq: u64, entries: Vec<EntryId>) -> Result<(), Error> {
    let mut entries = entries.into_iter().peekable();
    loop {
        let (batch, rest) = service
            .blocking(move |service| {
                let reads = Reads::latest(&*service.meta);
                let view = View::new(reads, root);
                let mut writer = Writer::new(reads, &*service.access)?;
                let point = Point { generation: writer.applied.generation, seq };
                while writer.len() < BATCH
                    && let Some(entry) = entries.next()
                {
                    let newest = view.at(entry, Point { generation: u32::MAX, seq: u64::MAX })?;
                    let Some(newest) = newest.filter(|newest| newest.is_live() && newest.point < point) else {
                        continue;
                    };
                    let mut version = newest.version;
                    version.row.dead = true;
                    version.row.time = version.row.time.next();
                    (version.cause, version.changed_at) = (Cause::Found, None);
                    (version.group, version.moved_from) = (None, None);
                    (version.device, version.device_name) = (DeviceId::SERVER, String::new());
                    version.user_name = String::new();
                    version.accepted = service.now();
                    let state = writer.root(root)?;
                    state.record.point = state.record.point.max(point);
                    writer.set(root, point, &version, None)?;
                }
                let state = writer.root(root)?;
                state.record.point = state.record.point.max(point);
                if entries.peek().is_none() {
                    writer.repaired(root);
                }
                Ok((writer.finish(), entries))
            })
            .await?;
        submit(service, batch).await?.await?;
        entries = rest;
        if entries.peek().is_none() {
            return Ok(());
        }
    }
}
