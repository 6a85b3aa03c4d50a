//! Reaches things beneath a directory handle and never leaves it.
//!
//! Every path is resolved by the kernel (`openat2`) beneath the root's handle: no symbolic link is followed, no mount
//! is crossed, `..` leads nowhere. What is done at the end of a path is done with a single name relative to the handle
//! of its directory.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use quics_types::{Mtime, Name};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags},
    io::Errno,
};

use super::{Kind, RelPath, Stat};

/// Bytes of a path that one call takes, with room to spare below PATH_MAX.
const PATH_BYTES: usize = 3800;

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
}

/// Whether an error says that nothing is at a path, or that a part of it is no directory (any more).
pub(super) fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Opens a directory beneath `root` for listing and syncing.
///
/// # Errors
/// [`is_gone`] says whether it is one of absence; EXDEV where another file system begins.
pub(super) fn open_dir(root: impl AsFd, path: &RelPath) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut rest = path.as_bytes();
    if rest.is_empty() {
        return Ok(fs::openat2(root, ".", flags, Mode::empty(), resolve())?);
    }
    let mut at: Option<OwnedFd> = None;
    loop {
        // A path of many long names is more than one call takes: it is walked in pieces.
        let piece = match rest.len() {
            0..=PATH_BYTES => std::mem::take(&mut rest),
            _ => {
                let end = rest[..PATH_BYTES].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
                let piece = &rest[..end];
                rest = &rest[end + 1..];
                piece
            }
        };
        let from = at.as_ref().map_or(root.as_fd(), |fd| fd.as_fd());
        let next = open_retrying(from, piece, flags)?;
        if rest.is_empty() {
            return Ok(next);
        }
        at = Some(next);
    }
}

/// `openat2` answers EAGAIN when a rename elsewhere raced with its walk.
fn open_retrying(from: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    for _ in 0..64 {
        match fs::openat2(&from, path, flags, Mode::empty(), resolve()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Looks at a member of a directory, without following it; `None` when nothing is there.
pub(super) fn look(dir: impl AsFd, name: &[u8], dev: (u32, u32)) -> io::Result<Option<Stat>> {
    match raw(dir, name) {
        Ok(found) => Ok(Some(stat(&found, dev))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Looks at what a handle leads to.
pub(super) fn look_at(handle: impl AsFd, dev: (u32, u32)) -> io::Result<Stat> {
    Ok(stat(&fs::statx(handle, "", AtFlags::EMPTY_PATH, wanted())?, dev))
}

pub(super) fn raw(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Statx> {
    fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, wanted())
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

/// The device that a handle is on.
pub(super) fn device(handle: impl AsFd) -> io::Result<(u32, u32)> {
    let found = fs::statx(handle, "", AtFlags::EMPTY_PATH, wanted())?;
    Ok((found.stx_dev_major, found.stx_dev_minor))
}

/// A stat from what the system says. A directory of another file system, and whatever something is mounted on, is
/// [`Kind::Other`].
pub(super) fn stat(found: &Statx, dev: (u32, u32)) -> Stat {
    let mounted = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
        _ if mounted => Kind::Other,
        FileType::RegularFile => Kind::File,
        FileType::Directory if (found.stx_dev_major, found.stx_dev_minor) == dev => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    let time = |t: fs::StatxTimestamp| Mtime { seconds: t.tv_sec, nanos: t.tv_nsec };
    let born = match found.stx_mask & StatxFlags::BTIME.bits() {
        0 => 0,
        _ => found.stx_btime.tv_sec.saturating_mul(1_000_000_000).saturating_add(found.stx_btime.tv_nsec.into()),
    };
    Stat {
        kind,
        inode: found.stx_ino,
        born,
        size: found.stx_size,
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        mode: u32::from(found.stx_mode) & 0o777,
        links: found.stx_nlink,
    }
}

/// Opens a regular file for reading, together with its stat; `None` when there is none or it is something else. FIFOs
/// and devices are never opened, save one that takes the file's place in the same instant, which is let go at once.
pub(super) fn open_file(dir: impl AsFd, name: &Name, dev: (u32, u32)) -> io::Result<Option<(File, Stat)>> {
    match look(&dir, name.as_bytes(), dev)? {
        Some(Stat { kind: Kind::File, .. }) => {}
        _ => return Ok(None),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match fs::openat(&dir, name.as_bytes(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = look_at(&file, dev)?;
    Ok((stat.kind == Kind::File).then_some((file, stat)))
}

/// A handle to a regular file that may be looked at and not read, with its stat; `None` when there is none.
pub(super) fn handle(dir: impl AsFd, name: &Name, dev: (u32, u32)) -> io::Result<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match fs::openat(dir, name.as_bytes(), flags, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = look_at(&handle, dev)?;
    Ok((stat.kind == Kind::File).then_some((handle, stat)))
}

/// Opens an own directory, which nobody may have replaced by a link.
pub(super) fn open_private(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(dir, name, flags, Mode::empty())?)
}

/// The path under which the kernel knows an open handle, for calls that take no handle.
pub(super) fn magic_path(handle: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}
