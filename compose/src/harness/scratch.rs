//! Directories for one test or one demonstration, removed afterwards.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Memory-backed files where Linux has them: a test waits for the product, not for a disk.
const FAST: &str = "/dev/shm";

/// Set to keep the directories of tests.
const KEEP: &str = "QUICS_KEEP";

/// What the names of scratch directories begin with.
const PREFIX: &str = "quics-";

/// The file in each that is locked while somebody uses the directory.
const LOCK: &str = ".in-use";

/// What passes at most between the making of that file and the lock.
const SETTLING: Duration = Duration::from_secs(60);

/// The end of each log that is shown when a test fails, in bytes.
const SHOWN: u64 = 6 << 10;

/// A directory that is removed with its contents when this is dropped. While a test is failing, the ends of the logs in
/// it are shown first.
#[derive(Debug)]
pub struct Scratch {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    _in_use: File,
}

impl Scratch {
    /// Makes one in memory where possible, else where temporary files go.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        let fast = Path::new(FAST);
        let base = if fast.is_dir() { fast.to_owned() } else { env::temp_dir() };
        Self::below(&base)
    }

    /// Makes one below `base`, and removes those there whose processes were killed: they may fill the memory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn below(base: &Path) -> Result<Self> {
        sweep(base);
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base);
        let directory = directory.with_context(|| format!("make a directory in {}", base.display()))?;
        let path = directory.path().to_owned();
        let in_use = File::create_new(path.join(LOCK)).context("make the file of a lock")?;
        in_use.lock().context("lock a directory")?;
        Ok(Self { directory: Some(directory), path, _in_use: in_use })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    fn show_logs(&self) {
        let mut pending = vec![self.path.clone()];
        while let Some(directory) = pending.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                // Logs lie no deeper than the directories of the processes.
                let depth = path.strip_prefix(&self.path).map_or(0, |relative| relative.components().count());
                if path.is_dir() && depth < 4 {
                    pending.push(path);
                } else if path.extension().is_some_and(|extension| extension == "log") {
                    eprintln!("--- {}\n{}", path.display(), tail(&path, SHOWN));
                }
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        if env::var_os(KEEP).is_some()
            && let Some(directory) = self.directory.take()
        {
            let _ = fs::remove_file(self.path.join(LOCK));
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}

/// Removes the directories that nobody uses any more. One that is kept has no lock.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && File::open(path.join(LOCK)).is_ok_and(|lock| left(&lock)) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Whether nobody holds a lock any more; one that was made just now may not be held yet.
fn left(lock: &File) -> bool {
    let made = lock.metadata().and_then(|metadata| metadata.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > SETTLING)) && lock.try_lock().is_ok()
}

/// The end of a text file, from the start of a line.
pub(crate) fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_or_else(|error| error.to_string(), |text| String::from_utf8_lossy(&text).into_owned())
}
