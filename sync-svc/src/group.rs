//! ApplyGroup: changes come and are staged, and from `finish` on they are carried out, whoever is still there.
//!
//! One task at a time has a group in hand. It works in steps, each one commit; a restart goes on with the next one
//! ([`resume`]), and withdraws what was not begun.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use parking_lot::Mutex;
use quics_kit::caller::Caller;
use quics_kit::members::Denied;
use quics_meta::Receipt;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::apply_group_request::Message as Asked;
use quics_reconcile::Refusal;
use quics_types::{DeviceId, GroupId, LogicalTime, Role, RootId};
use tokio::sync::Notify;

use crate::db::groups::{GroupChange, GroupEntry, Stage};
use crate::ledger::{GROUP_CHANGES, Ledger, Step};
use crate::metrics::add;
use crate::service::Service;
use crate::{Error, encode};

/// Before it is asked again who may do what, where that is not known.
const AGAIN: Duration = Duration::from_secs(1);

type Key = (RootId, GroupId);

/// The groups that somebody has in hand.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    held: Mutex<HashSet<Key>>,
    freed: Notify,
}

/// A group in hand; dropping it lets it go.
struct Hold<'a> {
    groups: &'a Groups,
    key: Key,
}

impl Groups {
    /// Takes a group in hand, as soon as nobody else has it.
    async fn hold(&self, key: Key) -> Hold<'_> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on no letting go is missed.
            freed.as_mut().enable();
            if self.held.lock().insert(key) {
                return Hold { groups: self, key };
            }
            freed.await;
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.groups.held.lock().remove(&self.key);
        self.groups.freed.notify_waiters();
    }
}

/// Serves one group to its end. What was not finished by the client is withdrawn.
pub(crate) async fn apply(
    service: Arc<Service>,
    requests: impl Stream<Item = Result<sync::ApplyGroupRequest, Error>> + Send,
) -> Result<GroupEntry, Error> {
    let mut requests = std::pin::pin!(requests);
    let Some(Asked::Open(open)) = next(&service, &mut requests).await? else {
        return Err(Error::Protocol("a group begins with open, then come changes and finish"));
    };
    let root = encode::root(&open.root_id)?;
    let group = GroupId::from_slice(&open.group_id).map_err(Malformed::from)?;
    let device = DeviceId::from_slice(&open.device_id).map_err(Malformed::from)?;
    let _hold = service.groups.hold((root, group)).await;
    let known = service.ledger.group(root, group)?;
    if known.as_ref().is_some_and(|entry| entry.device != device) {
        return Err(Error::Protocol("a group of that id is another's"));
    }
    match known.map(|entry| entry.stage) {
        Some(Stage::Finished | Stage::Begun) => {}
        Some(Stage::Open) | None => {
            may_change(&service, root, device).await?;
            withdraw(&service, root, group).await?;
            let staged = stage(&service, (root, group), device, &mut requests).await;
            if let Err(error) = staged {
                withdraw(&service, root, group).await?;
                return Err(error);
            }
        }
    }
    carry_out(&service, root, group).await
}

/// Takes the changes and begins the group.
async fn stage(
    service: &Arc<Service>,
    (root, group): Key,
    device: DeviceId,
    requests: &mut Pin<&mut (impl Stream<Item = Result<sync::ApplyGroupRequest, Error>> + Send)>,
) -> Result<(), Error> {
    submit(service, |ledger| ledger.open_group(root, group, device)).await?;
    let mut count = 0;
    loop {
        match next(service, requests).await? {
            Some(Asked::Changes(changes)) => {
                let changes: Vec<GroupChange> = changes.changes.into_iter().map(change).collect::<Result<_, _>>()?;
                if count + changes.len() as u64 > GROUP_CHANGES {
                    return Err(Error::Protocol("a group has too many changes"));
                }
                for part in changes.chunks(Ledger::staged_at_once()) {
                    submit(service, |ledger| ledger.stage_group(root, group, count, part)).await?;
                    count += part.len() as u64;
                }
            }
            Some(Asked::Finish(finish)) if finish.count == count => break,
            Some(Asked::Finish(_)) => return Err(Error::Protocol("a group has another number of changes")),
            _ => return Err(Error::Protocol("a group begins with open, then come changes and finish")),
        }
    }
    if service.room.is_low() {
        return Err(Error::NoSpace);
    }
    may_change(service, root, device).await?;
    submit(service, |ledger| ledger.begin_group(root, group, count)).await?.await?;
    Ok(())
}

/// Makes the changes of a group that has begun; what it answers is durable.
async fn carry_out(service: &Arc<Service>, root: RootId, group: GroupId) -> Result<GroupEntry, Error> {
    let gone = || Error::NotFound("a group of this id");
    let device = service.ledger.group(root, group)?.ok_or_else(gone)?.device;
    let mut before: Option<Receipt> = None;
    loop {
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        let refused = refusal(service, root, device).await?;
        let step = move |service: &Service| service.ledger.step_group(root, group, refused, service.now());
        let (receipt, committed, finished) = match service.blocking(step).await {
            Err(error) if error.is_busy() => {
                service.ledger.meta().room().await;
                continue;
            }
            Err(error) => return Err(error),
            Ok(Step::Unflushed(position)) => {
                service.flushed_to(position).await?;
                continue;
            }
            Ok(Step::Nothing) => break,
            Ok(Step::More(receipt, committed)) => (receipt, committed, false),
            Ok(Step::Finished(receipt, committed)) => (receipt, committed, true),
        };
        if committed {
            add(&service.metrics.commits, 1);
            service.queued(root, &receipt);
        }
        // One is judged while the one before it becomes durable.
        if let Some(before) = before.replace(receipt) {
            before.await?;
        }
        if finished {
            break;
        }
    }
    if let Some(last) = before {
        last.await?;
    }
    service.ledger.group(root, group)?.ok_or_else(gone)
}

/// Goes on with what a restart has interrupted: groups that were begun are carried out, others are withdrawn.
///
/// # Errors
/// Those of the stores.
pub(crate) async fn resume(service: Arc<Service>) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = service.blocking(move |service| service.ledger.unfinished_groups(after)).await?;
        for (root, group, _) in page.groups {
            let _hold = service.groups.hold((root, group)).await;
            // Somebody may have had it in hand meanwhile.
            let stage = service.ledger.group(root, group)?.map(|entry| entry.stage);
            let done = match stage {
                Some(Stage::Open) => withdraw(&service, root, group).await,
                Some(Stage::Begun) => carry_out(&service, root, group).await.map(|entry| {
                    tracing::info!(%root, %group, made = entry.made, left_out = entry.left_out, "group.resumed");
                }),
                Some(Stage::Finished) | None => Ok(()),
            };
            match done {
                Err(Error::Draining) => return Ok(()),
                other => other?,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Removes what was staged of a group that was not begun.
async fn withdraw(service: &Arc<Service>, root: RootId, group: GroupId) -> Result<(), Error> {
    loop {
        match service.blocking(move |service| service.ledger.withdraw_group(root, group)).await {
            Ok(Some(receipt)) => drop(receipt.await?),
            Ok(None) => return Ok(()),
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
        }
    }
}

/// Fails unless a device may change a root.
async fn may_change(service: &Service, root: RootId, device: DeviceId) -> Result<(), Error> {
    let guard = service.guard(Caller::Device(device));
    let may = match guard.role_soon(root).await {
        Ok(_) => guard.writer(root),
        Err(error) => Err(error),
    };
    match may {
        Ok(()) => Ok(()),
        Err(Denied::Stale) => Err(Denied::Stale.into()),
        Err(denied) => Err(Error::MayNot(denied)),
    }
}

/// Why a device may not change a root any more, if it may not. Waits while that is not known.
async fn refusal(service: &Service, root: RootId, device: DeviceId) -> Result<Option<Refusal>, Error> {
    loop {
        match service.access.role(root, device) {
            Ok(Role::Writer | Role::Owner) => return Ok(None),
            Ok(Role::Reader) => return Ok(Some(Refusal::ReadOnly)),
            Err(_) => {}
        }
        match service.access.role_soon(root, device).await {
            Ok(Role::Writer | Role::Owner) => return Ok(None),
            Ok(Role::Reader) => return Ok(Some(Refusal::ReadOnly)),
            Err(Denied::Stale) => {}
            Err(_) => return Ok(Some(Refusal::ReadOnly)),
        }
        tokio::select! {
            () = service.shutdown.cancelled() => return Err(Error::Draining),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Queues a commit, when there is room for it.
async fn submit(service: &Service, commit: impl Fn(&Ledger) -> Result<Receipt, Error>) -> Result<Receipt, Error> {
    loop {
        match commit(&service.ledger) {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            other => return other,
        }
    }
}

async fn next(
    service: &Service,
    requests: &mut Pin<&mut (impl Stream<Item = Result<sync::ApplyGroupRequest, Error>> + Send)>,
) -> Result<Option<Asked>, Error> {
    let request = tokio::select! {
        () = service.shutdown.cancelled() => return Err(Error::Draining),
        request = requests.next() => request.ok_or(Error::Cut)??,
    };
    Ok(request.message)
}

fn change(change: sync::GroupChange) -> Result<GroupChange, Error> {
    let mut target = change.target.ok_or(Malformed::Missing("the target"))?;
    // Its times are not looked at, so they need not be any.
    (target.time, target.content_time, target.place_time, target.attributes_time) = (1, 1, 1, 1);
    let target = target.try_into()?;
    Ok(GroupChange { base_time: LogicalTime(change.base_time), base_dead: change.base_tombstone, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_is_in_one_hand_at_a_time_and_others_wait_for_it() {
        let groups = Groups::default();
        let one = (RootId::from_bytes([1; 16]), GroupId::from_bytes([1; 16]));
        let other = (one.0, GroupId::from_bytes([2; 16]));
        let held = groups.hold(one).await;
        let _elsewhere = groups.hold(other).await;
        let waiting = groups.hold(one);
        tokio::select! {
            biased;
            _ = waiting => panic!("it is held"),
            () = std::future::ready(()) => {}
        }
        let second = groups.hold(one);
        let (_, second) = tokio::join!(async { drop(held) }, second);
        drop(second);
        assert_eq!(groups.held.lock().len(), 1);
    }
}
