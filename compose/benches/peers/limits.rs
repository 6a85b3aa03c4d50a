//! What the machine itself can do: the disk under the same pattern of writes and syncs, without any network.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::fs::syncfs;

/// Appends of 4.6 KiB to a preallocated file, each with fdatasync: what a durable journal costs at least.
pub(crate) fn appends(base: &Path, count: usize) -> Result<Vec<Duration>> {
    let directory = tempfile::tempdir_in(base)?;
    let mut file = File::create(directory.path().join("journal"))?;
    file.write_all(&vec![0; 4700 * count])?;
    file.sync_all()?;
    let mut file = File::options().write(true).open(directory.path().join("journal"))?;
    let bytes = [7; 4700];
    let mut times = Vec::new();
    for _ in 0..count {
        let since = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(since.elapsed());
    }
    Ok(times)
}

/// One large file, written and synced once at its end.
pub(crate) fn large(base: &Path, bytes: u64) -> Result<Duration> {
    let directory = tempfile::tempdir_in(base)?;
    let mut block = vec![0; 1 << 20];
    File::open("/dev/urandom")?.read_exact(&mut block)?;
    let since = Instant::now();
    let mut file = File::create(directory.path().join("large"))?;
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(since.elapsed())
}

/// Many small files: staged in batches, one syncfs a batch, renamed into place, the directory synced.
pub(crate) fn small(base: &Path, count: u64) -> Result<Duration> {
    const BATCH: u64 = 500;
    let directory = tempfile::tempdir_in(base)?;
    let (stage, place) = (directory.path().join("stage"), directory.path().join("place"));
    fs::create_dir(&stage)?;
    fs::create_dir(&place)?;
    let handle = File::open(&place)?;
    let bytes = [7; 4096];
    let since = Instant::now();
    for first in (0..count).step_by(BATCH as usize) {
        let batch = first..(first + BATCH).min(count);
        for number in batch.clone() {
            fs::write(stage.join(number.to_string()), bytes)?;
        }
        syncfs(&handle).map_err(io::Error::from)?;
        for number in batch {
            fs::rename(stage.join(number.to_string()), place.join(number.to_string()))?;
        }
        handle.sync_all()?;
    }
    Ok(since.elapsed())
}
