//! What a root needs from time to time: a look at everything, and a look at what was displaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use quics_reconcile::beside;
use quics_types::{Mtime, Name};
use rand::Rng as _;

use super::inbox::Inbox;
use crate::engine::Event;
use crate::folder::{DisplacedEdit, RelPath, Spot, Tree};

/// The longest time between two looks at everything; the watcher is a hint, the scan is the truth.
const SCAN: Duration = Duration::from_secs(40 * 60);
/// The same where not every directory can be watched.
const SCAN_UNWATCHED: Duration = Duration::from_secs(60);
/// Numbers that are tried for a name beside another.
const NUMBERS: u32 = 999;
/// The time between two looks at what was displaced.
const SWEEP: Duration = Duration::from_secs(60);

/// Has everything looked at from time to time, jittered so that many roots do not do it at once.
pub(super) async fn scan(inbox: Inbox, limited: Arc<AtomicBool>) {
    let jittered = |time: Duration| time.mul_f64(rand::rng().random_range(0.5..=1.0));
    loop {
        let end = tokio::time::Instant::now() + jittered(SCAN);
        // Whether directories went unwatched may turn out at any time.
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(jittered(SCAN_UNWATCHED)).await;
            if limited.load(Ordering::Relaxed) {
                break;
            }
        }
        inbox.touch(Event::Overflow);
    }
}

/// Looks after displaced files: those that nobody needs go, those that somebody still wrote to come back under a name
/// of their own.
pub(super) async fn sweep(tree: Arc<Tree>, device: String, inbox: Inbox) {
    loop {
        let (tree, device) = (tree.clone(), device.clone());
        let swept = tokio::task::spawn_blocking(move || once(&tree, &device, now())).await;
        match swept {
            Ok(Ok(back)) if back.is_empty() => {}
            Ok(Ok(back)) => inbox.touch(Event::Touched(back)),
            Ok(Err(error)) => tracing::warn!(%error, "displaced.sweep_failed"),
            Err(error) => tracing::error!(%error, "displaced.sweep_failed"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

fn now() -> Mtime {
    let clock = &quics_kit::clock::SystemClock;
    let now = quics_kit::clock::Clock::now(clock);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Mtime { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

/// Sweeps once; returns the paths of what came back.
fn once(tree: &Tree, device: &str, now: Mtime) -> std::io::Result<Vec<RelPath>> {
    let mut back = Vec::new();
    for edit in tree.sweep_displaced(now)? {
        let dir = edit.from.as_ref().map(|from| from.dir.clone()).unwrap_or_default();
        match bring_back(tree, &edit, dir, device) {
            Ok(Some(path)) => back.push(path),
            Ok(None) => tracing::warn!(name = %edit.name, "displaced.no_free_name"),
            // Its directory may be gone; the top never is.
            Err(_) => back.extend(bring_back(tree, &edit, RelPath::root(), device)?),
        }
    }
    Ok(back)
}

fn bring_back(tree: &Tree, edit: &DisplacedEdit, dir: RelPath, device: &str) -> std::io::Result<Option<RelPath>> {
    let unnamed = Name::new("unsaved").map_err(std::io::Error::other)?;
    let original = edit.from.as_ref().map_or(&unnamed, |from| &from.name);
    let tag = format!("late edit on {device}");
    for number in 1..=NUMBERS {
        let to = Spot { dir: dir.clone(), name: beside(original, &tag, number) };
        if tree.bring_back(edit, &to)?.is_some() {
            tracing::warn!(path = %to.path(), "displaced.edit_brought_back");
            return Ok(Some(to.path()));
        }
    }
    Ok(None)
}
