//! Giving back the room of chunks that nothing refers to any more.
//!
//! ```text
//! seal, begin ──> first mark ──> (a grace period) ──> second mark ──> what neither has reached ──> rewrite sparse segments
//!   │               rows, then who keeps what was       the same                                      one after the other
//!   └─ from here to the end: whoever asks for a chunk marks it (`contents::gate`)
//! ```
//!
//! # What refers to contents
//! Leases (chunks and pages as they are), staged groups, changes that a brake holds, open conflicts, answers that can be undone, events that were not
//! acknowledged, live entries: rows of sync-svc. What was: history-svc, asked by `References`, once it has acknowledged
//! anything; before that every event is still here. Verdicts need nothing of their own: what a device was shown is an entry
//! or was one.
//!
//! # Invariants
//! - A chunk goes only if two marks have not reached it and nobody has asked for it since the first one began.
//! - A mark that did not come to its end, here or at another service, is worth nothing; then nothing goes.
//! - Where a page is lost, what it listed is not known: of that root nothing goes.
//! - Marks are in memory. What interrupts a round costs the round.
//! - Rows are read as they are durably: a reference that a crash brings back has been seen.

mod holders;
mod marking;
mod named;
mod purge;
mod round;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use holders::Sisters;
pub use holders::{Finding, Holders};
pub(crate) use marking::{By, Still};
pub(crate) use named::names;
pub(crate) use purge::{Purged, Purging, purge};
pub(crate) use round::{Done, Order, Progress, Rounds, round};

use crate::service::Service;
use crate::{Error, upkeep};

/// When rounds are made that nobody asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Between two of them; `None`: never.
    every: Option<Duration>,
    /// Between the marks of one.
    grace: Duration,
}

impl Schedule {
    /// Takes seconds; 0 between rounds: none are made.
    pub(crate) fn of_seconds(every: u64, grace: u64) -> Self {
        Self {
            every: Some(every).filter(|every| *every > 0).map(Duration::from_secs),
            grace: Duration::from_secs(grace),
        }
    }
}

/// Makes a round now and then until shutdown.
///
/// # Errors
/// Those after which the service has to end.
pub(crate) async fn on_schedule(service: Arc<Service>, schedule: Schedule) -> Result<(), Error> {
    let Some(every) = schedule.every else {
        service.shutdown.cancelled().await;
        return Ok(());
    };
    // The first one soon: a service that is started every day makes them, too.
    let mut pause = every / 24;
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = every,
        }
        let order = Order { grace: Some(schedule.grace), ..Order::default() };
        match round(&service, order, |_| ()).await {
            Ok(Some(done)) => {
                let Done { references, unneeded_bytes, segments, returned_bytes, .. } = done;
                tracing::info!(references, unneeded_bytes, segments, returned_bytes, "reclaim.done");
            }
            Ok(None) => {}
            Err(Error::Draining) => return Ok(()),
            Err(error) if upkeep::is_final(&error) => return Err(error),
            Err(error) => tracing::warn!(%error, "reclaim.nothing"),
        }
    }
}
