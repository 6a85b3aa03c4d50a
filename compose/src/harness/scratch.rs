//! Directories for one test or one demonstration, removed afterwards.

use std::{
    env, fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

/// Memory-backed files where Linux has them: a test waits for the product, not for a disk.
const FAST: &str = "/dev/shm";

/// Set to keep the directories of tests.
const KEEP: &str = "QUICS_KEEP";

/// The end of each log that is shown when a test fails, in bytes.
const SHOWN: u64 = 6 << 10;

/// A directory that is removed with its contents when this is dropped. While a test is failing, the ends of the logs in
/// it are shown first.
#[derive(Debug)]
pub struct Scratch {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
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

    /// Makes one below `base`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn below(base: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("quics-").tempdir_in(base);
        let directory = directory.with_context(|| format!("make a directory in {}", base.display()))?;
        let path = directory.path().to_owned();
        Ok(Self { directory: Some(directory), path })
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
            eprintln!("kept: {}", directory.keep().display());
        }
    }
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
