//! A round: two marks, then the segments that hold enough of what neither has reached are rewritten without it.

use std::sync::Arc;
use std::time::Duration;

use quics_chunks::{Condemned, Reclaimable, Rewritten};
use quics_meta::Batch;
use quics_types::RootId;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use super::holders;
use super::marking::{Found, Marking};
use crate::contents::Running;
use crate::metrics::add;
use crate::service::Service;
use crate::{Error, upkeep};

/// A segment is rewritten when so many hundredths of it are not needed.
const SPARSE: u64 = 30;
/// Roots of one look at the store.
const ROOTS: usize = 1024;

/// One round at a time.
#[derive(Debug)]
pub(crate) struct Rounds {
    one: Arc<Mutex<()>>,
    /// How many wait for their turn; a round that only lets time pass gives way.
    waiting: watch::Sender<usize>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { one: Arc::default(), waiting: watch::Sender::new(0) }
    }
}

/// Who waits for a round.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Rounds {
    /// Waits until no round runs. One that lets the time between its marks pass ends for this.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.waiting.send_modify(|count| *count += 1);
        let _waiting = Waiting(&self.waiting);
        self.one.clone().lock_owned().await
    }
}

/// A round that runs. What takes chunks away holds it to its end, also where nobody waits for that any more: until then
/// questions are marked, and no other round begins.
pub(super) struct Held {
    pub(super) running: Running,
    pub(super) turn: OwnedMutexGuard<()>,
}

/// How a round is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    /// Nothing is rewritten.
    pub(crate) dry_run: bool,
    /// Whatever holds anything that is not needed is rewritten.
    pub(crate) thorough: bool,
    /// Between the two marks, and leaving the disk to others half of the time; a round without it does not wait.
    pub(crate) grace: Option<Duration>,
}

/// How far a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    FirstMark(u64),
    SecondMark(u64),
    Rewriting { done: u64, total: u64 },
}

/// What a round has done, or, dry, would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) references: u64,
    /// Chunks that were examined, and their bytes.
    pub(crate) chunks: u64,
    pub(crate) chunk_bytes: u64,
    /// Bytes that nothing needs.
    pub(crate) unneeded_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) returned_bytes: u64,
    /// Roots that were kept as they are because a page is lost.
    pub(crate) torn: Vec<RootId>,
}

/// Makes a round. `None`: it gave way to one that does not wait.
///
/// # Marks without a time between them
/// They are safe: whoever asked for a chunk before the first mark began has submitted what refers to it, or has given up,
/// before that mark's walk begins (see [`crate::contents::Gate`]), and whoever asks later marks. The time only makes a
/// mistake in this reasoning harmless.
///
/// # Errors
/// [`Error::HolderAway`]: nothing was given back. [`Error::Draining`]. Those of the stores; what was rewritten until then is.
pub(crate) async fn round(
    service: &Arc<Service>,
    order: Order,
    tell: impl Fn(Progress) + Send + Sync,
) -> Result<Option<Done>, Error> {
    tell(Progress::Waiting);
    let turn = service.reclaim.turn().await;
    let first = service
        .blocking(|service| {
            let chunks = service.contents().chunks();
            chunks.seal()?;
            Ok(chunks.begin_marks())
        })
        .await?;
    let (running, asked_before) = service.contents().gate().begin(first.clone());
    let held = Arc::new(Held { running, turn });
    settled(service, asked_before).await?;
    let gentle = order.grace.is_some();
    let roots = roots(service).await?;
    mark(service, Marking::of_all(first.clone()), &roots, gentle, |count| tell(Progress::FirstMark(count))).await?;
    if let Some(grace) = order.grace {
        let mut waiting = service.reclaim.waiting.subscribe();
        tokio::select! {
            () = service.shutdown.cancelled() => return Err(Error::Draining),
            _ = waiting.wait_for(|count| *count > 0) => return Ok(None),
            () = tokio::time::sleep(grace) => {}
        }
    }
    let second = first.again();
    held.running.goes_on(second.clone());
    // Roots that came meanwhile have commits that the walk sees.
    let roots = self::roots(service).await?;
    let marking = Marking::of_all(second.clone());
    let found = mark(service, marking, &roots, gentle, |count| tell(Progress::SecondMark(count))).await?;
    let Some(condemned) = second.condemn() else { return Err(Error::Task) };
    let (all, sparse) = look(service, &condemned, order.thorough).await?;
    let mut done = Done {
        references: found.references,
        chunks: second.covered(),
        chunk_bytes: all.iter().map(|segment| segment.bytes).sum(),
        unneeded_bytes: all.iter().map(|segment| segment.unneeded_bytes).sum(),
        torn: found.torn.into_iter().collect(),
        ..Done::default()
    };
    if order.dry_run {
        done.segments = sparse.len() as u64;
        done.returned_bytes = sparse.iter().map(|segment| segment.unneeded_bytes).sum();
        return Ok(Some(done));
    }
    let tell = |done, total| tell(Progress::Rewriting { done, total });
    sweep(service, &held, &sparse, &condemned, &mut done, tell).await?;
    Ok(Some(done))
}

/// Waits until who asked before the marks began has come to an end, and what that submitted is durable.
pub(super) async fn settled(service: &Service, asked_before: CancellationToken) -> Result<(), Error> {
    tokio::select! {
        () = service.shutdown.cancelled() => return Err(Error::Draining),
        () = asked_before.cancelled() => {}
    }
    quics_meta::commit(&**service.ledger.meta(), Batch::new()).await?;
    Ok(())
}

/// The roots that have commits.
pub(super) async fn roots(service: &Arc<Service>) -> Result<Vec<RootId>, Error> {
    let mut roots = Vec::new();
    loop {
        let after = roots.last().copied();
        let page = service.blocking(move |service| service.ledger.counts(after, ROOTS)).await?;
        roots.extend(page.iter().map(|counts| counts.root));
        if page.len() < ROOTS {
            return Ok(roots);
        }
    }
}

/// Walks over all that refers to contents, here and elsewhere.
pub(super) async fn mark(
    service: &Arc<Service>,
    mut marking: Marking,
    roots: &[RootId],
    gentle: bool,
    tell: impl Fn(u64) + Send,
) -> Result<Found, Error> {
    let mut more = true;
    while more {
        let begun = tokio::time::Instant::now();
        (marking, more) = service
            .blocking(move |service| {
                let more = marking.step(service.contents(), &|| service.shutdown.is_cancelled())?;
                Ok((marking, more))
            })
            .await?;
        tell(marking.references());
        if gentle {
            // As long again, so that others have the disk and the threads half of the time.
            tokio::time::sleep(begun.elapsed()).await;
        }
    }
    let marking = holders::ask(service, marking, roots).await?;
    tell(marking.references());
    let found = service.blocking(move |service| marking.finish(service.contents())).await?;
    for (root, page) in &found.damaged {
        service.lost(*root, *page);
    }
    for root in &found.torn {
        tracing::error!(%root, "reclaim.root_kept");
    }
    Ok(found)
}

/// The segments, and of those the ones that are worth it, the cheapest first: they make the room that the others need.
async fn look(
    service: &Arc<Service>,
    condemned: &Condemned,
    thorough: bool,
) -> Result<(Vec<Reclaimable>, Vec<Reclaimable>), Error> {
    let condemned = condemned.clone();
    let all = service.blocking(move |service| Ok(service.contents().chunks().reclaimable(&condemned)?)).await?;
    let worth = |segment: &&Reclaimable| {
        let sparse = segment.unneeded_bytes * 100 >= segment.bytes * SPARSE;
        segment.unneeded_bytes > 0 && (thorough || sparse)
    };
    let mut sparse: Vec<Reclaimable> = all.iter().filter(worth).copied().collect();
    sparse.sort_by_key(|segment| segment.kept_bytes);
    Ok((all, sparse))
}

/// Rewrites segments, one after the other.
async fn sweep(
    service: &Arc<Service>,
    held: &Arc<Held>,
    segments: &[Reclaimable],
    condemned: &Condemned,
    done: &mut Done,
    tell: impl Fn(u64, u64) + Send,
) -> Result<(), Error> {
    let total = segments.len() as u64;
    for (count, segment) in (0..).zip(segments) {
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        tell(count, total);
        let rewritten = rewrite(service, held, segment.number, condemned).await;
        match rewritten {
            Ok(Some(rewritten)) => {
                done.segments += 1;
                done.returned_bytes += returned(&rewritten);
            }
            Ok(None) => {}
            Err(error) if upkeep::is_final(&error) => return Err(error),
            // Others may need less room, and make some.
            Err(error) => tracing::warn!(%error, segment = segment.number, "reclaim.segment_kept"),
        }
    }
    tell(total, total);
    Ok(())
}

/// Bytes of disk that rewriting a segment has returned.
fn returned(rewritten: &Rewritten) -> u64 {
    rewritten.freed_bytes.saturating_sub(rewritten.copied_bytes)
}

/// Rewrites a segment; `None` for one that is gone or not sealed.
pub(super) async fn rewrite(
    service: &Arc<Service>,
    held: &Arc<Held>,
    number: u32,
    condemned: &Condemned,
) -> Result<Option<Rewritten>, Error> {
    let (held, condemned) = (held.clone(), condemned.clone());
    let rewriting = move |service: &Service| {
        let rewritten = service.contents().chunks().rewrite(number, &condemned)?;
        drop(held);
        Ok(rewritten)
    };
    let Some(rewritten) = service.blocking(rewriting).await? else { return Ok(None) };
    for (root, digest) in &rewritten.damaged {
        service.lost(*root, *digest);
    }
    add(&service.metrics.reclaimed_bytes, returned(&rewritten));
    add(&service.metrics.reclaimed_chunks, rewritten.dropped);
    Ok(Some(rewritten))
}
