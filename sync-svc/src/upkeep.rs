//! What the service does by itself: moving small contents out of the journal, pruning, expiring, reminding of conflicts,
//! looking for room.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;
use crate::{Error, Mover, WallTime, resolve};

/// Between two looks at the disk's room and the store's health.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks for contents that have to be moved.
const MOVE: Duration = Duration::from_secs(2);
/// Commits between two such looks with which the service counts as busy: then moving waits …
const BUSY: u64 = 256;
/// … until so many segments of the journal wait.
const WAITING: usize = 8;
/// Between two rounds of writing acknowledgements, pruning and expiring.
const TIDY: Duration = Duration::from_secs(60);
/// Steps of one kind in one round.
const STEPS: usize = 10_000;
/// Roots of one look at the store.
const ROOTS: usize = 1024;

/// Looks at the room and at the metadata store until shutdown.
///
/// # Errors
/// The store's last word, if it has failed: the service has to end.
pub(crate) async fn look(service: Arc<Service>) -> Result<(), Error> {
    let mut ticks = ticks(LOOK);
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {
                service.room.look();
                service.ledger.meta().health()?;
            }
        }
    }
}

/// Moves small contents out of journal segments until shutdown, when the service has little else to do or too many wait.
///
/// # Errors
/// Those after which the service has to end; a full disk is not one of them.
pub(crate) async fn move_contents(service: Arc<Service>) -> Result<(), Error> {
    let mut mover = Mover::new(service.contents().clone());
    let mut ticks = ticks(MOVE);
    let meta = service.ledger.meta().clone();
    let mut before = meta.applied();
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let commits = meta.applied().saturating_sub(before);
        before = meta.applied();
        if commits >= BUSY && meta.draining(WAITING).len() < WAITING {
            continue;
        }
        loop {
            if service.shutdown.is_cancelled() {
                return Ok(());
            }
            let (back, more) = service
                .blocking(move |_| {
                    let more = mover.step();
                    Ok((mover, more))
                })
                .await?;
            mover = back;
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "mover.waits");
                    break;
                }
            }
        }
    }
}

/// Writes acknowledgements, prunes tombstones and expires leases until shutdown.
///
/// # Errors
/// Those after which the service has to end.
pub(crate) async fn tidy(service: Arc<Service>) -> Result<(), Error> {
    let mut ticks = ticks(TIDY);
    ticks.tick().await;
    let mut tended = service.now();
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => {
                // What was acknowledged spares the tombstones the next time.
                if let Some(receipt) = service.ledger.write_acknowledged()? {
                    receipt.await?;
                }
                return Ok(());
            }
            _ = ticks.tick() => match tidy_once(&service, &mut tended).await {
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => tracing::warn!(%error, "tidy.waits"),
                Ok(()) => {}
            }
        }
    }
}

/// One round of tidying; `tended` is when conflicts were looked at last.
pub(crate) async fn tidy_once(service: &Arc<Service>, tended: &mut WallTime) -> Result<(), Error> {
    for _ in 0..STEPS {
        match service.ledger.write_acknowledged()? {
            Some(receipt) => drop(receipt.await?),
            None => break,
        }
    }
    service.ledger.forget_bursts(service.now());
    for root in service.access.roots() {
        let attached = service.access.attached(root);
        for _ in 0..STEPS {
            let attached = attached.clone();
            match service.blocking(move |service| service.ledger.prune(root, &attached)).await? {
                Some(receipt) => drop(receipt.await?),
                None => break,
            }
        }
    }
    let since = std::mem::replace(tended, service.now());
    for root in service.access.roots() {
        resolve::tend(service, root, since).await?;
    }
    count_conflicts(service).await?;
    let mut from = None;
    for _ in 0..STEPS {
        let now = service.now();
        from = service.blocking(move |service| service.contents().expire_leases(from, now)).await?;
        if from.is_none() {
            break;
        }
    }
    Ok(())
}

/// Counts the open conflicts, for those who look at metrics.
async fn count_conflicts(service: &Arc<Service>) -> Result<(), Error> {
    let (mut after, mut open) = (None, 0);
    for _ in 0..STEPS {
        let page = service.blocking(move |service| service.ledger.counts(after, ROOTS)).await?;
        open += page.iter().map(|counts| counts.conflicts).sum::<u64>();
        after = page.last().map(|counts| counts.root);
        if page.len() < ROOTS {
            break;
        }
    }
    service.metrics.open_conflicts.store(open, Relaxed);
    Ok(())
}

/// Whether a store has failed for good.
pub(crate) fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Meta(quics_meta::Error::Fatal { .. })
            | Error::Meta(quics_meta::Error::Closed)
            | Error::Chunks(quics_chunks::Error::Failed(_))
    )
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
