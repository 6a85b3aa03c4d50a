//! Resolve and its sisters: who may answer, when it may be told, and what the server answers by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use quics_kit::caller::Caller;
use quics_kit::members::Denied;
use quics_meta::Receipt;
use quics_reconcile::Choice;
use quics_types::{DeviceId, EntryId, ResolutionId, RootId, Settings};

use crate::access::Guard;
use crate::ledger::{Answering, Changed, Done, Outcome, People, Resolve, Resolved, Undo, Undone};
use crate::metrics::add;
use crate::service::Service;
use crate::{Error, WallTime};

/// How often an answer is tried again because the queue was full or its content not durable yet.
const TRIES: usize = 1000;
const DAY_MICROS: u64 = 24 * 3600 * 1_000_000;
/// Conflicts that one look takes from the store.
const PAGE: usize = 256;
/// Conflicts of a root that the server answers in one round.
const AT_ONCE: usize = 1024;

/// A caller who answers.
struct Answerer<'a> {
    guard: Guard<'a>,
    root: RootId,
}

impl People for Answerer<'_> {
    fn may_answer(&self, settings: &Settings, whose: &[DeviceId]) -> Result<(), Error> {
        let role = self.guard.role(self.root)?;
        let allowed = settings.answerers.allow(role, self.guard.is_involved(whose));
        if allowed { Ok(()) } else { Err(Denied::Role(role).into()) }
    }

    fn device_name(&self, device: DeviceId) -> Option<String> {
        self.guard.access.device_name(device)
    }
}

/// The server, where the root's settings say that it answers.
struct Itself<'a>(&'a Service);

impl People for Itself<'_> {
    fn may_answer(&self, _: &Settings, _: &[DeviceId]) -> Result<(), Error> {
        Ok(())
    }

    fn device_name(&self, device: DeviceId) -> Option<String> {
        self.0.access.device_name(device)
    }
}

/// What became of answers: whether they hold, of each what, and the last commit.
pub(crate) struct Answered {
    pub(crate) done: bool,
    pub(crate) outcomes: Vec<(EntryId, Outcome)>,
    pub(crate) seq: u64,
}

/// Answers conflicts; what holds is durable.
pub(crate) async fn resolve(service: Arc<Service>, request: Resolve) -> Result<Answered, Error> {
    let (root, caller) = (request.root, Caller::Device(request.device));
    let guard = service.guard(caller);
    guard.role_soon(root).await?;
    guard.writer(root)?;
    let request = Arc::new(request);
    for _ in 0..TRIES {
        let walk = service.walks.acquire().await.map_err(|_| Error::Draining)?;
        let asked = request.clone();
        let answer = move |service: &Service| {
            let people = Answerer { guard: service.guard(caller), root };
            service.ledger.resolve(&asked, &people, service.now())
        };
        let resolved = service.blocking(answer).await;
        drop(walk);
        match resolved {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
            Ok(Resolved::Unflushed(position)) => service.flushed_to(position).await?,
            Ok(Resolved::Not(outcomes)) => return Ok(Answered { done: false, outcomes, seq: 0 }),
            Ok(Resolved::Done(Done { receipt, outcomes, seq, changed })) => {
                if changed {
                    add(&service.metrics.resolved, outcomes.len() as u64);
                }
                committed(&service, root, receipt, changed).await?;
                return Ok(Answered { done: true, outcomes, seq });
            }
        }
    }
    Err(quics_meta::Error::Busy.into())
}

/// Takes an answer back; what was taken back is durable.
pub(crate) async fn undo(service: Arc<Service>, request: Undo) -> Result<Undone, Error> {
    let (root, caller) = (request.root, Caller::Device(request.device));
    let guard = service.guard(caller);
    guard.role_soon(root).await?;
    guard.writer(root)?;
    for _ in 0..TRIES {
        let undo = move |service: &Service| {
            let people = Answerer { guard: service.guard(caller), root };
            service.ledger.undo(&request, &people, service.now())
        };
        match service.blocking(undo).await {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
            Ok(None) => return Err(Error::NotFound("a resolution of this id")),
            Ok(Some(mut undone)) => {
                add(&service.metrics.undone, u64::from(undone.committed));
                committed(&service, root, undone.receipt.take(), undone.committed).await?;
                return Ok(undone);
            }
        }
    }
    Err(quics_meta::Error::Busy.into())
}

/// Sets the settings of a root.
pub(crate) async fn set_settings(
    service: Arc<Service>,
    device: DeviceId,
    root: RootId,
    settings: Settings,
) -> Result<Settings, Error> {
    let guard = service.guard(Caller::Device(device));
    guard.role_soon(root).await?;
    guard.owner(root)?;
    for _ in 0..TRIES {
        match service.ledger.set_settings(root, device, settings.clone(), service.now()) {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
            Ok(Changed::Stale(_)) => return Err(Error::SettingsChanged),
            Ok(Changed::Done(receipt, settings)) => {
                committed(&service, root, Some(receipt), true).await?;
                return Ok(settings);
            }
        }
    }
    Err(quics_meta::Error::Busy.into())
}

/// Has those who watch told of a commit when it is durable, and waits for that.
async fn committed(service: &Service, root: RootId, receipt: Option<Receipt>, changed: bool) -> Result<(), Error> {
    let Some(receipt) = receipt else { return Ok(()) };
    if changed {
        add(&service.metrics.commits, 1);
        service.queued(root, &receipt);
    }
    receipt.await?;
    Ok(())
}

/// Whether a moment that comes every `period` after `from` (all in microseconds) lies behind `since` and not behind `now`.
pub(crate) fn is_due(from: WallTime, period: u64, since: WallTime, now: WallTime) -> bool {
    let count = |at: WallTime| at.micros_since(from).checked_div(period).unwrap_or(0);
    count(now) > count(since)
}

/// Answers, with both sides, what has been open for so long that the root's settings say so, and has those reminded who
/// show a conflict for which it is time, since the last round.
pub(crate) async fn tend(service: &Arc<Service>, root: RootId, since: WallTime) -> Result<(), Error> {
    let settings = service.ledger.settings(root)?;
    let hours = u64::from(settings.reminder_hours);
    if hours == 0 && settings.both_after_days == 0 {
        return Ok(());
    }
    let now = service.now();
    let (mut after, mut due, mut old) = (None, false, Vec::new());
    loop {
        let page = service.blocking(move |service| service.ledger.conflicts(root, after, PAGE)).await?;
        for (id, entry) in page.conflicts {
            let open = now.micros_since(entry.opened_at);
            if settings.both_after_days > 0 && open >= u64::from(settings.both_after_days) * DAY_MICROS {
                if old.len() < AT_ONCE {
                    old.push((id, entry.conflict.revision));
                }
            } else {
                due |= is_due(entry.opened_at, hours * DAY_MICROS / 24, since, now);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if due {
        service.hub.remind(root);
    }
    for (entry, revision) in old {
        keep_both(service, root, entry, revision).await?;
    }
    Ok(())
}

/// Answers one conflict with both sides, on nobody's behalf.
async fn keep_both(service: &Arc<Service>, root: RootId, entry: EntryId, revision: u64) -> Result<(), Error> {
    let choice = Ok(Choice::Both { names: BTreeMap::new() });
    let request = Resolve {
        root,
        id: ResolutionId::from_bytes(quics_kit::random::bytes()),
        device: DeviceId::SERVER,
        answers: vec![Answering { entry, revision, choice, inline: None }],
    };
    let answer = move |service: &Service| service.ledger.resolve(&request, &Itself(service), service.now());
    match service.blocking(answer).await? {
        Resolved::Done(done) => {
            tracing::info!(%root, %entry, "conflict.both_kept");
            add(&service.metrics.resolved, 1);
            committed(service, root, done.receipt, done.changed).await
        }
        // It has gone on: its time has begun anew, or somebody answered.
        Resolved::Not(_) | Resolved::Unflushed(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
