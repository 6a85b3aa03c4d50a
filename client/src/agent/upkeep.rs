//! What a root needs from time to time: a look at everything, and a look at what was displaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use quics_types::{Mtime, Name};
use rand::Rng as _;

use super::inbox::Inbox;
use crate::engine::Event;
use crate::folder::{DisplacedEdit, RelPath, Spot, Tree};

/// The longest time between two looks at everything; the watcher is a hint, the scan is the truth.
const SCAN: Duration = Duration::from_secs(40 * 60);
/// The same where not every directory can be watched.
const SCAN_UNWATCHED: Duration = Duration::from_secs(60);
/// The time between two looks at what was displaced.
const SWEEP: Duration = Duration::from_secs(60);
/// Names that are tried for one that is brought back.
const NAMES: u32 = 1000;

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
    let original = edit.from.as_ref().map_or(&b"unsaved"[..], |from| from.name.as_bytes());
    for number in 1..=NAMES {
        let Some(name) = aside(original, device, number) else { continue };
        let to = Spot { dir: dir.clone(), name };
        if tree.bring_back(edit, &to)?.is_some() {
            tracing::warn!(path = %to.path(), "displaced.edit_brought_back");
            return Ok(Some(to.path()));
        }
    }
    Ok(None)
}

/// A name beside the original: "report (late edit on laptop).odt", with a number from the second on.
fn aside(original: &[u8], device: &str, number: u32) -> Option<Name> {
    let device: String = device.chars().filter(|c| !c.is_control() && *c != '/').take(32).collect();
    let count = if number == 1 { String::new() } else { format!(" {number}") };
    let mark = format!(" (late edit on {device}{count})");
    let dot = original.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0 && original.len() - at <= 16);
    let (stem, ending) = original.split_at(dot.unwrap_or(original.len()));
    let room = quics_types::limits::NAME_BYTES.checked_sub(mark.len() + ending.len())?;
    // A name that is text stays text where it is cut.
    let cut = match std::str::from_utf8(stem) {
        Ok(text) => text.floor_char_boundary(room),
        Err(_) => room.min(stem.len()),
    };
    Name::new([&stem[..cut], mark.as_bytes(), ending].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_beside_a_file_keeps_its_ending_and_fits() {
        let shown = |original: &[u8], number| aside(original, "lap/top", number).unwrap().to_string();
        assert_eq!(shown(b"report.odt", 1), "report (late edit on laptop).odt");
        assert_eq!(shown(b"report.odt", 2), "report (late edit on laptop 2).odt");
        assert_eq!(shown(b".profile", 1), ".profile (late edit on laptop)");
        let long = "ü".repeat(127);
        let name = aside(long.as_bytes(), "laptop", 1).unwrap();
        assert!(std::str::from_utf8(name.as_bytes()).is_ok());
        assert!(aside(&[0xff; 255], "laptop", 1).is_some());
    }
}
