//! Carries purges out, to their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quics_meta::{Batch, Receipt};
use quics_records::{Reads, get, pieces, put};
use quics_types::{Digest, GroupId, RootId};
use tokio::time::{MissedTickBehavior, interval};

use super::{Held, Purge, content_in, held, tell};
use crate::Error;
use crate::db::keys;
use crate::db::records::Removed;
use crate::keep::pins::Pins;
use crate::keep::sweep::take;
use crate::keep::walk::{Stand, Walk};
use crate::service::Service;
use crate::view::View;

/// Between two looks for purges that have not ended.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that one sits out that waits for people: a minute.
const PAUSE: u32 = 60;
/// Purges that are carried out in one look.
const AT_ONCE: usize = 64;
/// Versions that a step looks at, and about the bytes that it writes.
const STEP: usize = 4096;
const BYTES: usize = 1 << 20;
/// Contents that sync-svc is asked for at once.
const ASKED: usize = 1024;

/// Carries purges out until shutdown.
///
/// # Errors
/// Those after which the service has to end: the store has failed.
pub(crate) async fn carry(service: Arc<Service>) -> Result<(), Error> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting: HashMap<GroupId, u32> = HashMap::new();
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            () = service.purge.notified() => waiting.clear(),
            _ = ticks.tick() => waiting.retain(|_, looks| {
                *looks -= 1;
                *looks > 0
            }),
        }
        for (root, id) in service.blocking(|service| open(Reads::durable(&*service.meta))).await? {
            if waiting.contains_key(&id) {
                continue;
            }
            let carried = tokio::select! {
                () = service.shutdown.cancelled() => return Ok(()),
                carried = one(&service, root, id) => carried,
            };
            let (waits, looks) = match carried {
                Ok(None) => continue,
                Ok(Some(Waits::People(why))) => (why, PAUSE),
                Ok(Some(Waits::Moment(why))) => (why, 1),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    tracing::warn!(%root, purge = %id, %error, "purge.waits");
                    (error.to_string(), 1)
                }
            };
            waiting.insert(id, looks);
            change(&service, root, id, move |purge| purge.waits.clone_from(&waits)).await?;
        }
    }
}

/// The purges that have not ended.
fn open(reads: Reads<'_>) -> Result<Vec<(RootId, GroupId)>, Error> {
    let rows = reads.raw_range(b"y", &keys::after_prefix(b"y"), AT_ONCE)?;
    rows.iter().map(|(key, _)| keys::parse_purge(key).ok_or_else(|| Error::damaged(key))).collect()
}

/// What a purge waits for, in a sentence.
pub(crate) enum Waits {
    /// Somebody has to do something.
    People(String),
    /// It is over by itself, and soon.
    Moment(String),
}

/// Carries a purge out; says what it waits for, if it has not ended.
async fn one(service: &Arc<Service>, root: RootId, id: GroupId) -> Result<Option<Waits>, Error> {
    let contents = service.blocking(move |service| {
        let kept = get::<Vec<Digest>>(Reads::durable(&*service.meta), &keys::purge_contents(root, id))?;
        Ok(Arc::new(kept.map(|kept| kept.record).unwrap_or_default()))
    });
    let contents = contents.await?;
    let mut stand = None;
    loop {
        let (mark, marking) = (contents.clone(), stand.take());
        match service.blocking(move |service| step(service, root, id, &mark, marking, STEP)).await? {
            Step::More(next, receipt) => {
                stand = Some(next);
                if let Some(receipt) = receipt {
                    receipt.await?;
                }
            }
            Step::Done(receipt) => {
                if let Some(receipt) = receipt {
                    receipt.await?;
                }
                break;
            }
            Step::Held(held) => return Ok(Some(Waits::People(held.sentence(service)))),
            Step::Busy(at) => {
                stand = at;
                service.meta.room().await;
            }
        }
    }
    // What is marked is durable: sync-svc finds nothing of it in the references.
    for contents in contents.chunks(ASKED) {
        if let Some(waits) = tell::tell(service, root, contents).await? {
            return Ok(Some(waits));
        }
    }
    let ended = service.now();
    change(service, root, id, move |purge| {
        purge.ended = Some(ended);
        purge.waits.clear();
    })
    .await?;
    tracing::info!(%root, purge = %id, "purge.ended");
    Ok(None)
}

/// What came of a step.
pub(crate) enum Step {
    More(Stand, Option<Receipt>),
    Done(Option<Receipt>),
    /// One of the versions may not go now.
    Held(Held),
    /// The store's queue is full; nothing was done.
    Busy(Option<Stand>),
}

/// Marks the next versions that have one of the contents.
pub(crate) fn step(
    service: &Service,
    root: RootId,
    id: GroupId,
    contents: &[Digest],
    stand: Option<Stand>,
    versions: usize,
) -> Result<Step, Error> {
    // Nobody pins between the look and the commit.
    let _keeping = service.keeping.lock();
    let view = View::new(Reads::latest(&*service.meta), root);
    let Some(kept) = get::<Purge>(view.reads, &keys::purge(root, id))? else { return Ok(Step::Done(None)) };
    let removed = Removed { at: kept.record.at, why: kept.record.why() };
    let (pins, mut batch, mut looked) = (Pins::of(view)?, Batch::new(), 0);
    let mut walk = Walk::new(view, stand.clone().unwrap_or_else(|| Stand::begin(view)));
    let over = loop {
        if looked >= versions || batch.encoded_len() >= BYTES {
            break false;
        }
        let Some(met) = walk.next()? else { break true };
        looked += 1;
        if content_in(&met, contents).is_none() {
            continue;
        }
        if let Some(held) = held(view, &met, pins)? {
            return Ok(Step::Held(held));
        }
        if met.kept.record.removed.as_ref() != Some(&removed) {
            take(&mut batch, met, removed.clone());
        }
    };
    let receipt = if batch.is_empty() {
        None
    } else {
        match service.meta.submit(batch) {
            Err(quics_meta::Error::Busy) => return Ok(Step::Busy(stand)),
            submitted => Some(submitted?),
        }
    };
    Ok(if over { Step::Done(receipt) } else { Step::More(walk.stand, receipt) })
}

/// Writes down how far a purge is, if that is news.
async fn change(
    service: &Arc<Service>,
    root: RootId,
    id: GroupId,
    change: impl Fn(&mut Purge) + Send + Sync + 'static,
) -> Result<(), Error> {
    let batch = service.blocking(move |service| {
        let key = keys::purge(root, id);
        let Some(kept) = get::<Purge>(Reads::latest(&*service.meta), &key)? else { return Ok(None) };
        let mut purge = kept.record.clone();
        change(&mut purge);
        if purge == kept.record {
            return Ok(None);
        }
        let mut batch = Batch::new();
        put(&mut batch, key, &purge, kept.pieces);
        if purge.ended.is_some() {
            batch.delete(keys::purging(root, id));
            let contents = keys::purge_contents(root, id);
            let before = get::<Vec<Digest>>(Reads::latest(&*service.meta), &contents)?;
            quics_records::wide::delete(&mut batch, contents, pieces(&before));
        }
        Ok(Some(batch))
    });
    if let Some(batch) = batch.await? {
        crate::relay::submit(service, batch).await?.await?;
    }
    Ok(())
}
