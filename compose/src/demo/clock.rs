//! Times how long a folder takes to show what was done in the other one.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::changes::Made;
use crate::harness::tree;

/// How often the other folder is looked at: the demonstration counts in milliseconds.
const LOOK: Duration = Duration::from_millis(1);

/// Looks at what was `made` in both folders until they agree, and returns how long after the change the second folder
/// first looked as it should; `None` when `patience` is over, or when `interrupted`. What is first judged by kind, size, time and permissions is
/// then compared byte by byte, so that a time that is shown is the time of the right contents.
pub(super) fn until_shown(
    from: &Path,
    to: &Path,
    made: &Made,
    patience: Duration,
    interrupted: &AtomicBool,
) -> Result<Option<Duration>> {
    let give_up = Instant::now() + patience;
    loop {
        // From the last to the first: what comes last is the last to arrive, and most looks end there.
        if made.paths.iter().rev().all(|path| glance(&from.join(path)) == glance(&to.join(path))) {
            let took = made.at.elapsed();
            let mut same = true;
            for path in &made.paths {
                same &= tree::look(&from.join(path))? == tree::look(&to.join(path))?;
            }
            if same {
                return Ok(Some(took));
            }
        }
        if Instant::now() >= give_up || interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// What a look without reading tells: kind and permissions, and size and time of a file.
fn glance(path: &Path) -> Option<(u32, u64, i64, i64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let file = metadata.is_file();
    let of_file = |value: i64| if file { value } else { 0 };
    let size = if file { metadata.len() } else { 0 };
    Some((metadata.mode(), size, of_file(metadata.mtime()), of_file(metadata.mtime_nsec())))
}
