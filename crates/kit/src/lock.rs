//! The lock of what one process uses at a time, and who holds it.
//!
//! A file with an exclusive `flock` on it, which the kernel releases however the holder ends. The file's text is the
//! holder's process id, for messages only.
//!
//! # Invariants
//! - Looking who holds a lock never makes somebody fail who takes it: who looks has the lock shared for a moment, and who takes
//!   it tells that from a holder and tries again.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::Duration,
};

/// How often a lock is tried that nobody holds but somebody looks at, and the pause between: ten seconds in all.
const TRIES: u32 = 5000;
const PAUSE: Duration = Duration::from_millis(2);

/// A lock that this process holds until the value is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Somebody who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process, where it said so.
    pub pid: Option<u32>,
}

impl Lock {
    /// Takes the lock at a path, making its file (0600) where it is missing, or says who holds it.
    ///
    /// # Errors
    /// When the file cannot be opened, locked or written.
    pub fn take(path: &Path) -> io::Result<Result<Self, Holder>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        for _ in 0..TRIES {
            if tried(file.try_lock())? {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Ok(Self { _file: file }));
            }
            if !tried(file.try_lock_shared())? {
                break;
            }
            file.unlock()?;
            thread::sleep(PAUSE);
        }
        Ok(Err(read_holder(&mut file)))
    }
}

/// Says who holds the lock at a path right now, if somebody does.
///
/// # Errors
/// When there is a file that cannot be looked at.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(if tried(file.try_lock_shared())? { None } else { Some(read_holder(&mut file)) })
}

/// Whether a lock was taken.
fn tried(outcome: Result<(), TryLockError>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    Holder { pid: read.ok().and_then(|_| text.trim().parse().ok()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_says_which() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None);
        let held = Lock::take(&path).unwrap().unwrap();
        let us = Holder { pid: Some(std::process::id()) };
        assert_eq!(holder(&path).unwrap(), Some(us));
        assert_eq!(Lock::take(&path).unwrap().unwrap_err(), us);
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        Lock::take(&path).unwrap().unwrap();
    }

    #[test]
    fn looking_at_a_lock_makes_nobody_fail_who_takes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        holder(&path).unwrap();
                    }
                });
            }
            for _ in 0..200 {
                let taken = Lock::take(&path);
                if !matches!(taken, Ok(Ok(_))) {
                    done.store(true, Ordering::Relaxed);
                }
                drop(taken.unwrap().unwrap());
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
