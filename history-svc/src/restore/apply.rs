//! Has sync-svc carry a restore out.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quics_proto::common::v1 as common;
use quics_proto::history::v1 as history;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::relay_service_client::RelayServiceClient;
use quics_reconcile::Row;
use quics_types::{DeviceId, EntryId, GroupId, LogicalTime, Place, RootId, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Planned;
use crate::Error;
use crate::grpc::lost;
use crate::keep::open;
use crate::metrics::add;
use crate::plan::Step;
use crate::service::Service;
use crate::view::{Paths, View};

/// Bytes of one message of changes.
const BYTES: usize = 512 << 10;
/// Messages that wait for the network.
const WAITING: usize = 4;

type Client = RelayServiceClient<quics_kit::telemetry::Link>;

async fn client(service: &Service) -> Result<Client, Error> {
    Ok(RelayServiceClient::new(service.sync.find().await?)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES))
}

/// How far a restore is; `None` if it was never begun, or withdrawn.
pub(crate) async fn state(service: &Service, root: RootId, group: GroupId) -> Result<Option<sync::GroupState>, Error> {
    let root_id = Bytes::copy_from_slice(root.as_bytes());
    let request = sync::GetGroupRequest { root_id, group_id: Bytes::copy_from_slice(group.as_bytes()) };
    match client(service).await?.get_group(request).await {
        Ok(answer) => Ok(answer.into_inner().state),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(lost(status)),
    }
}

/// Restores, on behalf of a device that may write, from the commit of the preview.
pub(crate) async fn restore(
    service: &Arc<Service>,
    root: RootId,
    device: DeviceId,
    group: GroupId,
    plan: history::RestorePlan,
    from: u64,
) -> Result<sync::GroupState, Error> {
    match state(service, root, group).await? {
        Some(state) if state.finished => return Ok(state),
        Some(_) => return Err(Error::Unfinished),
        None => {}
    }
    let _in_hand = open::begin(service, root, device, group).await?;
    add(&service.metrics.restores, 1);
    let (out, requests) = mpsc::channel(WAITING);
    let planning = service.blocking(move |service| {
        let planned = super::plan(service.view(root), plan, Some(from), service.now())?;
        send(&planned, device, group, &out)
    });
    let mut client = client(service).await?;
    let applying = client.apply_group(ReceiverStream::new(requests));
    // What cannot be planned ends the stream before its finish: the group is withdrawn.
    let (planned, applied) = tokio::join!(planning, applying);
    match (planned, applied) {
        (_, Ok(answer)) => answer.into_inner().state.ok_or(Error::Relay("the group has no state")),
        // What sync-svc says counts, unless it only saw the stream end.
        (Ok(()) | Err(Error::Cut), Err(status)) => Err(lost(status)),
        (Err(error), Err(_)) => Err(error),
    }
}

/// The paths of those that were left out, in their order.
pub(crate) fn left_out(view: View<'_>, state: &sync::GroupState) -> Result<Vec<Bytes>, Error> {
    let point = view.newest_point()?;
    let mut paths = Paths::new(view, point);
    let mut found = Vec::new();
    for entry in &state.entries {
        let id = EntryId::from_slice(&entry.entry_id).map_err(quics_proto::Malformed::from)?;
        found.push(match view.at(id, point)? {
            Some(at) => paths.of(&at.row().place)?,
            None => Bytes::new(),
        });
    }
    Ok(found)
}

/// Sends a plan's changes; [`Error::Cut`] if nobody takes them any more.
fn send(
    planned: &Planned<'_>,
    device: DeviceId,
    group: GroupId,
    out: &mpsc::Sender<sync::ApplyGroupRequest>,
) -> Result<(), Error> {
    use sync::apply_group_request::Message;
    let say = |message| {
        let request = sync::ApplyGroupRequest { message: Some(message) };
        out.blocking_send(request).map_err(|_| Error::Cut)
    };
    say(Message::Open(sync::GroupOpen {
        root_id: Bytes::copy_from_slice(planned.view.root.as_bytes()),
        group_id: Bytes::copy_from_slice(group.as_bytes()),
        device_id: Bytes::copy_from_slice(device.as_bytes()),
    }))?;
    let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0);
    for step in &planned.plan.steps {
        let Some(change) = planned.change(step)? else { continue };
        bytes += change.encoded_len() + 8;
        batch.push(change);
        count += 1;
        if bytes >= BYTES {
            bytes = 0;
            say(Message::Changes(sync::GroupChanges { changes: std::mem::take(&mut batch) }))?;
        }
    }
    if !batch.is_empty() {
        say(Message::Changes(sync::GroupChanges { changes: batch }))?;
    }
    say(Message::Finish(sync::GroupFinish { count }))
}

impl Planned<'_> {
    /// The change that a step is.
    pub(crate) fn change(&self, step: &Step) -> Result<Option<sync::GroupChange>, Error> {
        let number = match step {
            Step::Aside(number, _) | Step::Become(number, _) => *number,
        };
        let item = &self.plan.items[number];
        let now = self.view.at(item.id, self.from)?.map(|at| at.version.row);
        let base = now.as_ref().map_or(LogicalTime::NEVER, |row| row.time);
        let base_tombstone = now.as_ref().is_some_and(|row| row.dead);
        let (base, target) = match step {
            Step::Aside(_, name) => {
                let Some(row) = now else { return Ok(None) };
                (base, Row { place: Place { parent: EntryId::TOP, name: name.clone() }, ..row })
            }
            Step::Become(_, was_aside) => {
                let base = if *was_aside { base.next() } else { base };
                let target = match &item.then {
                    None => now.map(|row| Row { dead: true, ..row }),
                    Some(node) => self.target.then(self.view, item.id, self.from)?.map(|at| {
                        let place = if self.keep_new { node.place.clone() } else { at.version.row.place.clone() };
                        Row { place, ..at.version.row }
                    }),
                };
                let Some(target) = target else { return Ok(None) };
                (base, target)
            }
        };
        let target = Some(common::Row::from(&target));
        Ok(Some(sync::GroupChange { base_time: base.0, target, base_tombstone }))
    }
}
