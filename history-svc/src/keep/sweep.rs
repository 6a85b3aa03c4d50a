//! Looks through the versions of each root, hourly and after its policy was set, and takes the contents that the policy does
//! not keep.
//!
//! ```text
//! a root is due ─> open conflicts, links, restores ─┬─ cannot be asked: nothing is taken
//!                                                   └─> the cut of the size cap ─> step … ─> done: noted with its time
//! ```
//!
//! A step judges some thousand versions against what was submitted last and marks those that go, with how far it came, in one
//! commit; after a crash a round goes on behind the last entry that was finished. Only rows are marked here: the contents
//! leave the disk when sync-svc reclaims what nobody references.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quics_meta::Batch;
use quics_records::{Reads, fields, get, pieces, put};
use quics_types::{EntryId, RootId, WallTime};
use tokio::time::{MissedTickBehavior, interval};

use super::contents::{Contents, Going};
use super::judge::{self, Fate, Judge};
use super::open::{self, Spared};
use super::policy::{Policy, Rules};
use super::walk::{Stand, Walk};
use crate::db::keys;
use crate::db::records::Removed;
use crate::metrics::add;
use crate::service::Service;
use crate::view::View;
use crate::{Error, store};

/// Between two looks for roots that are due; cheap, and by a clock that nobody moves.
const LOOK: Duration = Duration::from_secs(5);
/// Between two rounds of a root, by the time of day, in microseconds.
const HOUR: u64 = 3600 * 1_000_000;
/// Looks that a root sits out after it could not be looked through: a minute.
const PAUSE: u32 = 12;
/// Versions that a step looks at, and about the bytes that it writes.
const STEP: usize = 4096;
const BYTES: usize = 1 << 20;
/// Roots of one look at the store.
const ROOTS: usize = 1024;

/// How far a root was looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// The policy by which.
    revision: u64,
    /// Of the round that is on its way: the entries from here on are done.
    done: Option<EntryId>,
    /// When the last round ended; none did since the policy was set.
    pub(crate) ended: Option<WallTime>,
    /// Versions that were taken by the last round, or this one.
    pub(crate) taken: u64,
}

fields!(Sweep { revision, done, ended, taken });

impl Sweep {
    pub(crate) fn of(view: View<'_>) -> Result<Option<Self>, Error> {
        Ok(get(view.reads, &keys::sweep(view.root))?.map(|kept| kept.record))
    }

    fn is_due(&self, revision: u64, now: WallTime) -> bool {
        // A clock that was far ahead and is right again must not put the next round off.
        let rests = self.ended.is_some_and(|at| now.0 < at.0.saturating_add(HOUR) && at.0 < now.0.saturating_add(HOUR));
        self.revision != revision || !rests
    }
}

/// Looks through roots as they are due, until shutdown.
///
/// # Errors
/// Those after which the service has to end: the store has failed.
pub(crate) async fn keep(service: Arc<Service>) -> Result<(), Error> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting: HashMap<RootId, u32> = HashMap::new();
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            () = service.look.notified() => waiting.clear(),
            _ = ticks.tick() => waiting.retain(|_, looks| {
                *looks -= 1;
                *looks > 0
            }),
        }
        for root in service.blocking(due).await? {
            if service.shutdown.is_cancelled() || waiting.contains_key(&root) {
                continue;
            }
            match sweep(&service, root).await {
                Ok(true) => {}
                Ok(false) => drop(waiting.insert(root, PAUSE)),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    tracing::warn!(%root, %error, "retention.waits");
                    waiting.insert(root, PAUSE);
                }
            }
        }
    }
}

/// The roots that are due.
fn due(service: &Service) -> Result<Vec<RootId>, Error> {
    let reads = Reads::durable(&*service.meta);
    let (now, mut due, mut after) = (service.now(), Vec::new(), None);
    loop {
        let page = store::roots(reads, after, ROOTS)?;
        after = page.last().map(|(root, _)| *root);
        for (root, _) in &page {
            let view = View::new(reads, *root);
            let revision = Policy::of(view)?.revision;
            if Sweep::of(view)?.is_none_or(|sweep| sweep.is_due(revision, now)) {
                due.push(*root);
            }
        }
        if page.len() < ROOTS {
            return Ok(due);
        }
    }
}

/// Looks through a root; `false` if that cannot be now.
pub(crate) async fn sweep(service: &Arc<Service>, root: RootId) -> Result<bool, Error> {
    if open::is_restoring(service, root).await? {
        return Ok(false);
    }
    let spared = open::spared(service, root).await?;
    let begun = service.blocking(move |service| Round::begin(service, root, spared)).await?;
    let Some(mut round) = begun else { return Ok(false) };
    loop {
        if service.shutdown.is_cancelled() {
            return Ok(false);
        }
        let (back, step) = service
            .blocking(move |service| {
                let step = round.step(service, STEP)?;
                Ok((round, step))
            })
            .await?;
        round = back;
        match step {
            Step::More(None) => {}
            Step::More(Some(receipt)) => drop(receipt.await?),
            Step::Done(receipt) => {
                receipt.await?;
                if round.sweep.taken > 0 {
                    tracing::info!(%root, versions = round.sweep.taken, "retention.taken");
                }
                return Ok(true);
            }
            Step::Stopped => return Ok(false),
            Step::Busy => service.meta.room().await,
        }
    }
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is more; versions may have been taken.
    More(Option<quics_meta::Receipt>),
    /// The round is over when the receipt has resolved.
    Done(quics_meta::Receipt),
    /// A restore began, the policy changed, or the root is compared with sync-svc: nothing more may be taken now.
    Stopped,
    /// The store's queue is full; nothing was done.
    Busy,
}

/// One round through a root.
pub(crate) struct Round {
    root: RootId,
    rules: Rules,
    spared: Spared,
    now: WallTime,
    cut: Option<WallTime>,
    stand: Stand,
    entry: Option<judge::Entry>,
    sweep: Sweep,
}

impl Round {
    /// Begins a round, or goes on with one that was cut off; `None` if it may not be now.
    pub(crate) fn begin(service: &Service, root: RootId, spared: Spared) -> Result<Option<Self>, Error> {
        let view = View::new(Reads::latest(&*service.meta), root);
        if is_compared(view)? {
            return Ok(None);
        }
        let rules = Rules::new(Policy::of(view)?)?;
        let (now, revision) = (service.now(), rules.policy.revision);
        let before = Sweep::of(view)?.filter(|sweep| sweep.revision == revision && sweep.done.is_some());
        let stand = match before.as_ref().and_then(|sweep| sweep.done) {
            Some(done) => Stand::behind(view, done),
            None => Stand::begin(view),
        };
        let sweep = before.unwrap_or(Sweep { revision, done: None, ended: None, taken: 0 });
        let cut = cut(view, &rules, now, &spared)?;
        Ok(Some(Self { root, rules, spared, now, cut, stand, entry: None, sweep }))
    }

    /// Looks at the next versions, at most so many, and takes those that go.
    pub(crate) fn step(&mut self, service: &Service, versions: usize) -> Result<Step, Error> {
        // Nobody pins, and no restore begins, between the look and the commit.
        let _keeping = service.keeping.lock();
        let view = View::new(Reads::latest(&*service.meta), self.root);
        let changed = Policy::of(view)?.revision != self.rules.policy.revision;
        if changed || is_compared(view)? || service.restoring.lock().contains_key(&self.root) {
            return Ok(Step::Stopped);
        }
        let mut batch = Batch::new();
        let mut judge = Judge::new(view, &self.rules, self.now, self.cut, &self.spared)?;
        judge.entry.clone_from(&self.entry);
        let mut walk = Walk::new(view, self.stand.clone());
        let mut sweep = self.sweep.clone();
        let (mut looked, mut last, mut taken) = (0, None, 0);
        let over = loop {
            if looked >= versions || batch.encoded_len() >= BYTES {
                break false;
            }
            let Some(met) = walk.next()? else { break true };
            looked += 1;
            if met.begins {
                // The entry before is done with all its versions.
                sweep.done = last.or(sweep.done);
            }
            last = Some(met.entry);
            let why = match judge.fate(&met)? {
                Fate::ByRule(number) => self.rules.policy.rules.get(number).map(super::policy::Rule::why),
                Fate::ByCap => Some(self.rules.policy.why_cap()),
                Fate::Empty | Fate::Held | Fate::Kept => None,
            };
            if let Some(why) = why {
                take(&mut batch, met, Removed { at: self.now, why });
                taken += 1;
            }
        };
        sweep.taken += taken;
        if over {
            (sweep.done, sweep.ended) = (None, Some(self.now));
        }
        let receipt = if over || !batch.is_empty() {
            let before = get::<Sweep>(view.reads, &keys::sweep(self.root))?;
            put(&mut batch, keys::sweep(self.root), &sweep, pieces(&before));
            match service.meta.submit(batch) {
                Err(quics_meta::Error::Busy) => return Ok(Step::Busy),
                submitted => Some(submitted?),
            }
        } else {
            None
        };
        (self.entry, self.stand, self.sweep) = (judge.entry, walk.stand, sweep);
        add(&service.metrics.taken, taken);
        Ok(match receipt {
            Some(receipt) if over => Step::Done(receipt),
            receipt => Step::More(receipt),
        })
    }
}

/// Marks a version's content as gone; its row stays.
pub(crate) fn take(batch: &mut Batch, met: super::walk::Met, removed: Removed) {
    let mut version = met.kept.record;
    version.removed = Some(removed);
    let key: Bytes = met.key;
    put(batch, key, &version, met.kept.pieces);
}

fn is_compared(view: View<'_>) -> Result<bool, Error> {
    Ok(view.reads.raw(&keys::repair(view.root))?.is_some())
}

/// Up to which moment versions go by the size cap, if any do.
fn cut(view: View<'_>, rules: &Rules, now: WallTime, spared: &Spared) -> Result<Option<WallTime>, Error> {
    let Some(cap) = rules.policy.cap else { return Ok(None) };
    let (mut judge, mut walk) = (Judge::new(view, rules, now, None, spared)?, Walk::new(view, Stand::begin(view)));
    let mut contents: Contents<(), Going> = Contents::new();
    while let Some(met) = walk.next()? {
        let fate = judge.fate(&met)?;
        let Some((content, size)) = met.kept.record.row.value.content() else { continue };
        let Some(going) = matches!(fate, Fate::Held | Fate::Kept).then(|| contents.of((), &content)).flatten() else {
            continue;
        };
        let until = met.span.map_or(now, |span| span.until);
        (going.size, going.stays, going.until) = (size, going.stays || fate == Fate::Held, going.until.max(until));
    }
    Ok(contents.cut(cap))
}

/// What a policy would remove now: versions, bytes of contents that nothing else in the root has, and whether these are an
/// estimate.
pub(crate) fn preview(
    view: View<'_>,
    policy: Policy,
    now: WallTime,
    spared: &Spared,
) -> Result<(u64, u64, bool), Error> {
    let rules = Rules::new(policy)?;
    let cut = cut(view, &rules, now, spared)?;
    let (mut judge, mut walk) = (Judge::new(view, &rules, now, cut, spared)?, Walk::new(view, Stand::begin(view)));
    let mut contents: Contents<(), Going> = Contents::new();
    let mut versions = 0;
    while let Some(met) = walk.next()? {
        let goes = match judge.fate(&met)? {
            Fate::Empty => continue,
            Fate::Held | Fate::Kept => false,
            Fate::ByRule(_) | Fate::ByCap => true,
        };
        versions += u64::from(goes);
        let Some((content, size)) = met.kept.record.row.value.content() else { continue };
        if let Some(going) = contents.of((), &content) {
            (going.size, going.stays) = (size, going.stays || !goes);
        }
    }
    Ok((versions, contents.going(), contents.is_estimate()))
}
