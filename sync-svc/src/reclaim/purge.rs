//! Purging: contents of a root go for good, out of every file.
//!
//! ```text
//! small contents leave the journal ──> the root's leases end, answers that name the contents are forgotten
//!   ──> mark the root without the contents ──> what still needs one is named, and nothing is done
//!   ──> else every segment with anything of the root that is not needed is rewritten ──> once more, until there is none
//!   ──> snapshot, the journal before it is dropped
//! ```
//!
//! It works by what is still needed and not by what the contents consist of: so it can be cut off anywhere and called again,
//! also when their pages are gone already. What else nothing needs in this root goes as well.
//!
//! An upload that has not come to a commit loses what it holds, since it may hold these very chunks; it is told so when it
//! commits, and sends them again.

use std::collections::HashSet;
use std::sync::Arc;

use quics_types::{Digest, RootId};
use tokio::sync::OwnedMutexGuard;

use super::marking::{By, Marking, Still};
use super::round::{Held, mark, rewrite, settled};
use crate::service::Service;
use crate::{Error, Mover};

/// So often it is looked again whether something is left, which somebody may have asked for meanwhile.
const PASSES: usize = 4;

/// How far a purge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purging {
    Waiting,
    Moving,
    Marking(u64),
    Rewriting { done: u64, total: u64 },
    Dropping,
}

/// What became of a purge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// What still needs a content: then nothing was done.
    pub(crate) still: Vec<Still>,
    /// Chunks that went, and their bytes.
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// Takes contents of a root out of everything.
///
/// # Durability
/// When it returns without anything that still needs them, no file has their bytes any more.
///
/// # Errors
/// [`Error::HolderAway`], [`Error::RootTorn`]: nothing was taken away. [`Error::Wanted`]: devices have asked for what was to
/// go, again and again. [`Error::Draining`]. Those of the stores. It can be called again after each.
pub(crate) async fn purge(
    service: &Arc<Service>,
    root: RootId,
    contents: &HashSet<Digest>,
    tell: impl Fn(Purging) + Send + Sync,
) -> Result<Purged, Error> {
    tell(Purging::Waiting);
    let mut turn = service.reclaim.turn().await;
    remove_applied(service).await?;
    tell(Purging::Moving);
    empty_journal(service).await?;
    let mut purged = Purged::default();
    for _ in 0..PASSES {
        let clean;
        (turn, clean) = pass(service, turn, root, contents, &mut purged, &tell).await?;
        if !purged.still.is_empty() {
            return Ok(purged);
        }
        if clean {
            tell(Purging::Dropping);
            service.blocking(|service| Ok(service.ledger.meta().snapshot()?)).await?;
            tracing::info!(%root, contents = contents.len(), chunks = purged.chunks, bytes = purged.bytes, "purge.done");
            return Ok(purged);
        }
    }
    Err(Error::Wanted)
}

/// Marks the root and rewrites what holds anything else of it; says whether there was nothing.
async fn pass(
    service: &Arc<Service>,
    turn: OwnedMutexGuard<()>,
    root: RootId,
    contents: &HashSet<Digest>,
    purged: &mut Purged,
    tell: &(impl Fn(Purging) + Send + Sync),
) -> Result<(OwnedMutexGuard<()>, bool), Error> {
    let marks = service
        .blocking(move |service| {
            let chunks = service.contents().chunks();
            chunks.seal()?;
            Ok(chunks.begin_marks_of(root)?)
        })
        .await?;
    let (running, asked_before) = service.contents().gate().begin(marks.clone());
    let held = Arc::new(Held { running, turn });
    settled(service, asked_before).await?;
    end_leases(service, root).await?;
    forget_answers(service, root, contents).await?;
    let marking = Marking::of_root(marks.clone(), root, contents.clone());
    let found = mark(service, marking, &[root], false, |count| tell(Purging::Marking(count))).await?;
    if !found.torn.is_empty() {
        return Err(Error::RootTorn);
    }
    purged.still = found.still;
    let condemned = marks.condemn_at_once();
    let mut left = Vec::new();
    if purged.still.is_empty() {
        let by = condemned.clone();
        left = service.blocking(move |service| Ok(service.contents().chunks().remains(root, &by)?)).await?;
    }
    let total = left.len() as u64;
    for (done, number) in (0..).zip(&left) {
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        tell(Purging::Rewriting { done, total });
        // One that is not sealed for want of room cannot be rewritten before there is some.
        let Some(rewritten) = rewrite(service, &held, *number, &condemned).await? else { return Err(Error::NoSpace) };
        purged.chunks += rewritten.dropped;
        purged.bytes += rewritten.dropped_bytes;
    }
    if purged.still.is_empty() && left.is_empty() {
        // What is there all the same has come anew.
        let contents = contents.clone();
        let there = move |service: &Service| {
            let there = |content: &Digest| Ok::<_, Error>(service.contents().find(root, *content, true)?.is_some());
            contents.into_iter().filter_map(|it| there(&it).map(|there| there.then_some(it)).transpose()).collect()
        };
        let there: Vec<Digest> = service.blocking(there).await?;
        let empty = |content: &Digest| service.contents().is_empty_content(*content);
        let still = |content| Still { content, by: By::Upload, entry: None };
        purged.still = there.into_iter().filter(|content| !empty(content)).map(still).collect();
    }
    // Nothing of this pass is under way any more, so nobody else holds it.
    let Held { running, turn } = Arc::into_inner(held).ok_or(Error::Task)?;
    drop(running);
    Ok((turn, left.is_empty()))
}

/// Removes the events that were applied.
async fn remove_applied(service: &Arc<Service>) -> Result<(), Error> {
    loop {
        match service.blocking(|service| service.ledger.remove_applied()).await {
            Ok(Some(receipt)) => drop(receipt.await?),
            Ok(None) => return Ok(()),
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
        }
    }
}

/// Moves every small content that is in the journal now into the chunk store.
async fn empty_journal(service: &Arc<Service>) -> Result<(), Error> {
    let meta = service.ledger.meta().clone();
    let sealed = loop {
        match meta.seal() {
            Err(quics_meta::Error::Busy) => meta.room().await,
            other => break other?,
        }
    };
    sealed.await?;
    let Some(last) = meta.draining(usize::MAX).last().copied() else { return Ok(()) };
    let mut mover = Mover::new(service.contents().clone());
    while meta.draining(1).first().is_some_and(|first| *first <= last) {
        if service.shutdown.is_cancelled() {
            return Err(Error::Draining);
        }
        let moving = service.blocking(move |_| {
            let moved = mover.step();
            Ok((mover, moved))
        });
        let moved;
        (mover, moved) = moving.await?;
        match moved {
            // Somebody else has moved it, and it is gone.
            Ok(_) | Err(Error::Meta(quics_meta::Error::Missing { .. })) => {}
            Err(error) if error.is_busy() => meta.room().await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn end_leases(service: &Arc<Service>, root: RootId) -> Result<(), Error> {
    loop {
        match service.blocking(move |service| service.contents().end_leases(root)).await {
            Ok(Some(receipt)) => drop(receipt.await?),
            Ok(None) => return Ok(()),
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
        }
    }
}

async fn forget_answers(service: &Arc<Service>, root: RootId, contents: &HashSet<Digest>) -> Result<(), Error> {
    loop {
        let named = contents.clone();
        match service.blocking(move |service| service.ledger.forget_answers(root, &named)).await {
            Ok(Some(receipt)) => drop(receipt.await?),
            Ok(None) => return Ok(()),
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
        }
    }
}
