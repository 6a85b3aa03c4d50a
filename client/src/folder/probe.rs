//! Finds out what a file system can do, by doing it in the folder's private directory.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps},
    io::Errno,
};

use super::beneath;

/// What a file system can do. What it cannot is never taken for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Permission bits are kept, the executable bits among them.
    pub modes: bool,
    /// Symbolic links can be made.
    pub links: bool,
    /// Names that differ in case alone are different names.
    pub case_sensitive: bool,
    /// Names that differ in their Unicode form alone are different names.
    pub form_sensitive: bool,
    /// Modification times are kept to this many nanoseconds.
    pub mtime_grain: u32,
    /// Files know when they were born.
    pub births: bool,
}

/// Why a file system cannot hold a synced folder.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It lacks something; for people.
    Lacks(&'static str),
    Io(std::io::Error),
}

impl From<Errno> for Unfit {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<std::io::Error> for Unfit {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The names that the probe makes; all are removed again.
const NAMES: [&str; 6] = ["probe-a", "probe-b", "PROBE-A", "probe-link", "probe-\u{e9}", "probe-e\u{301}"];

/// Probes in `dir`, an own directory.
pub(super) fn probe(dir: BorrowedFd<'_>) -> Result<Abilities, Unfit> {
    let sweep = || NAMES.iter().for_each(|name| _ = fs::unlinkat(dir, *name, AtFlags::empty()));
    sweep();
    let found = look_about(dir);
    sweep();
    found
}

fn look_about(dir: BorrowedFd<'_>) -> Result<Abilities, Unfit> {
    match beneath::open_dir(dir, &super::RelPath::root()) {
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
            return Err(Unfit::Lacks("this kernel is older than Linux 5.6 (no openat2)"));
        }
        other => drop(other?),
    }
    let a = make(dir, "probe-a")?;
    make(dir, "probe-b")?;
    let inode = |name: &str| fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| found.st_ino);
    let inodes = (inode("probe-a")?, inode("probe-b")?);
    let unable = |error: Errno| match error {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Unfit::Lacks(
            "its file system cannot exchange files, without which an edit could be lost (NFS, SMB, old FUSE)",
        ),
        other => other.into(),
    };
    match fs::renameat_with(dir, "probe-a", dir, "probe-b", RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        Err(error) => return Err(unable(error)),
        Ok(()) => return Err(Unfit::Lacks("its file system replaces files that it was told not to replace")),
    }
    fs::renameat_with(dir, "probe-a", dir, "probe-b", RenameFlags::EXCHANGE).map_err(unable)?;
    if (inode("probe-b")?, inode("probe-a")?) != inodes {
        return Err(Unfit::Lacks("its file system does not exchange files as it says"));
    }
    let fits = |result: rustix::io::Result<()>| match result {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(error) => Err(Unfit::from(error)),
    };
    let mode = |bits| -> Result<bool, Unfit> {
        Ok(fits(fs::fchmod(&a, Mode::from_raw_mode(bits)))? && fs::fstat(&a)?.st_mode & 0o777 == bits)
    };
    let modes = mode(0o750)? && mode(0o600)?;
    let time = Timespec { tv_sec: 1_000_000_001, tv_nsec: 123_456_789 };
    fs::futimens(&a, &Timestamps { last_access: time, last_modification: time })?;
    let looked = beneath::look_at(&a, beneath::device(&a)?)?;
    let mtime_grain = match (looked.mtime.seconds - time.tv_sec, looked.mtime.nanos) {
        (0, 123_456_789) => 1,
        (0, 123_456_700) => 100,
        (0, 123_456_000) => 1_000,
        (0, 123_000_000) => 1_000_000,
        (0, 120_000_000) => 10_000_000,
        (0, 0) => 1_000_000_000,
        _ => 2_000_000_000,
    };
    let absent = |name: &str| match inode(name) {
        Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(Unfit::from(error)),
        Ok(_) => Ok(false),
    };
    make(dir, "probe-\u{e9}")?;
    Ok(Abilities {
        modes,
        links: fits(fs::symlinkat("target", dir, "probe-link"))?,
        case_sensitive: absent("PROBE-A")?,
        form_sensitive: absent("probe-e\u{301}")?,
        mtime_grain,
        births: looked.born != 0,
    })
}

fn make(dir: impl AsFd, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_file_system_can_do_everything_and_keeps_no_trace_of_the_probe() {
        let place = tempfile::tempdir().unwrap();
        let dir = File::open(place.path()).unwrap();
        let found = probe(dir.as_fd()).unwrap();
        assert!(found.modes && found.links && found.case_sensitive && found.form_sensitive, "{found:?}");
        assert_eq!(found.mtime_grain, 1);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_that_cannot_exchange_is_refused() {
        // proc takes no files at all: the refusal has to come as an error and not as abilities.
        let dir = File::open("/proc/self").unwrap();
        assert!(probe(dir.as_fd()).is_err());
    }
}
