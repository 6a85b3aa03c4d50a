//! What takes part in a comparison: something that carries one folder to another.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything may take before a contestant is given up.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often the target is looked at.
const LOOK: Duration = Duration::from_micros(200);

/// Carries changes of one folder into another one.
pub(crate) trait Contestant {
    /// What it is, with the settings that matter.
    fn name(&self) -> String;
    /// The folder in which changes are made.
    fn source(&self) -> &Path;
    /// The folder in which they have to be seen.
    fn target(&self) -> &Path;
    /// Called after each change: those that do not watch the folder do their work here.
    fn carry(&mut self) -> Result<()>;
    /// Whether the first hop is through: what was changed is at the server, and the second device has begun to bring
    /// it. `None` where that is not to be seen.
    fn half_way(&self) -> Option<bool> {
        None
    }
    /// The most memory that each of its processes used, with a word for each.
    fn memory(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
    /// The processor time that each of its processes used so far, with a word for each.
    fn processor_time(&self) -> Vec<(String, Duration)> {
        Vec::new()
    }
    /// Bytes that are kept at the server, as far as it says.
    fn kept(&self) -> Option<u64> {
        None
    }
}

/// How much work each figure is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// P1, P8: edits.
    pub(crate) edits: usize,
    /// P2: bytes of the new file.
    pub(crate) large: u64,
    /// P3: new files of 4 KiB.
    pub(crate) files: u64,
    /// P4: bytes of the file that gets a byte.
    pub(crate) inserted: u64,
    /// P5: bytes of each of the 10 000 files that move.
    pub(crate) moved: u64,
    /// P8: bytes of the upload meanwhile.
    pub(crate) meanwhile: u64,
    /// How often each is done.
    pub(crate) rounds: usize,
}

impl Sizes {
    pub(crate) fn full() -> Self {
        Self {
            edits: 200,
            large: 4 << 30,
            files: 10_000,
            inserted: 1 << 30,
            moved: 1 << 20,
            meanwhile: 4 << 30,
            rounds: 5,
        }
    }

    pub(crate) fn short() -> Self {
        Self { edits: 60, large: 1 << 30, files: 10_000, inserted: 1 << 28, moved: 4096, meanwhile: 1 << 30, rounds: 3 }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "P1, P8: {} edits; P2: {} MiB; P3: {} files; P4: {} MiB; P5: 10 000 files of {} KiB, 4 KiB of them no hole; P8 while {} MiB go up; {} rounds",
            self.edits,
            self.large >> 20,
            self.files,
            self.inserted >> 20,
            self.moved >> 10,
            self.meanwhile >> 20,
            self.rounds
        )
    }
}

/// What a look at a file shows of its being the one that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    size: u64,
    mtime: (i64, i64),
}

/// Looks at a file without reading it.
pub(crate) fn look(path: &Path) -> Option<Seen> {
    let metadata = fs::metadata(path).ok()?;
    Some(Seen { size: metadata.len(), mtime: (metadata.mtime(), metadata.mtime_nsec()) })
}

/// What was seen while a change was on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    /// Until all of it was shown.
    pub(crate) whole: Duration,
    /// Until the first hop was through, where that is to be seen.
    pub(crate) half: Option<Duration>,
}

/// Waits until all of `names` look the same in the target as in the source; times are counted from `since`.
///
/// # Errors
/// When it takes longer than anybody would wait.
pub(crate) fn until_shown(contestant: &dyn Contestant, names: &[PathBuf], since: Instant) -> Result<Carried> {
    let wanted: Vec<Option<Seen>> = names.iter().map(|name| look(&contestant.source().join(name))).collect();
    // Those that were seen stay seen; what is written last tends to arrive last.
    let mut left = names.len();
    let mut half = None;
    loop {
        if half.is_none() && contestant.half_way() == Some(true) {
            half = Some(since.elapsed());
        }
        while left > 0 && look(&contestant.target().join(&names[left - 1])) == wanted[left - 1] {
            left -= 1;
        }
        if left == 0 {
            return Ok(Carried { whole: since.elapsed(), half });
        }
        if since.elapsed() > PATIENCE {
            bail!("{} did not carry {:?} within {PATIENCE:?}", contestant.name(), names[left - 1]);
        }
        thread::sleep(LOOK);
    }
}
