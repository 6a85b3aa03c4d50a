//! Whether a directory could take something, asked before anything is sent for. It is a look, no promise: what is staged is
//! checked again.

use std::{io, path::Path};

use rustix::{
    fs::{self, Access, AtFlags, CWD, FileType, StatxAttributes, StatxFlags},
    io::Errno,
};

/// Bytes that stay free on the file system.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Why nothing can be made or removed in the directory at a path, or in the nearest one above if there is none; `None` if it
/// can. Root may do what modes forbid, and nobody what an attribute or a read-only file system forbids.
pub fn closed(path: &Path) -> Option<io::Error> {
    let directory = path.ancestors().find(|path| {
        // What is no directory is replaced itself, and links are not followed.
        fs::lstat(*path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    })?;
    let asked = Access::WRITE_OK | Access::EXEC_OK;
    match fs::accessat(CWD, directory, asked, AtFlags::EACCESS) {
        Err(error) => Some(error.into()),
        Ok(()) => pinned(directory),
    }
}

/// Why what is at a path cannot be replaced, moved or removed, whoever owns it; `None` if it can, or nothing is there.
pub fn pinned(path: &Path) -> Option<io::Error> {
    let held = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    let found = fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).ok()?;
    found.stx_attributes.intersects(held).then(|| Errno::PERM.into())
}

/// Bytes that files at a path may take, beside the reserve.
///
/// # Errors
/// Of the file system.
pub fn room(path: &Path) -> io::Result<u64> {
    let room = fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize).saturating_sub(RESERVE_BYTES))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_may_be_written_is_open_and_so_is_one_that_is_to_be_made_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        for path in ["", "to be made", "to be made/in it", "file/becomes a directory"] {
            assert!(closed(&dir.path().join(path)).is_none(), "{path}");
        }
        assert!(pinned(&dir.path().join("file")).is_none() && pinned(&dir.path().join("nothing")).is_none());
        assert!(room(dir.path()).is_ok() && room(&dir.path().join("nothing")).is_err());
    }

    #[test]
    fn a_directory_without_permission_or_that_is_immutable_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let chattr = |flag: &str| {
                let ran = std::process::Command::new("chattr").arg(flag).arg(dir.path()).status();
                ran.is_ok_and(|status| status.success())
            };
            if !chattr("+i") {
                eprintln!("SKIPPED: this file system has no immutable directories");
                return;
            }
            let told = (closed(dir.path()), closed(&dir.path().join("below")), pinned(dir.path()));
            assert!(chattr("-i"));
            assert!(told.0.is_some() && told.1.is_some() && told.2.is_some());
        } else {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
            assert!(closed(dir.path()).is_some());
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}
