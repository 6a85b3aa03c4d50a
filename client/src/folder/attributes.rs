//! Carries over what a replaced file keeps: permission bits, group, access list and extended attributes.

use std::{fs::File, io, os::fd::OwnedFd};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, StatxFlags, Uid, XattrFlags},
    io::Errno,
};

use super::beneath;

/// Bytes of one attribute that is carried over, and of the list of names (the kernel's own limits).
const VALUE_BYTES: usize = 64 * 1024;

/// Gives `new` what it keeps of `old` (a handle that need not be readable), the file that it is about to replace. The executable bits come from `mode`,
/// where reading is allowed at all. The set-id bits are dropped: they were given to other bytes.
///
/// Owner, access list and attributes are carried over as far as this process may; where the group cannot be, its
/// members get no more than everybody, so that the new file is never open to more people than the old one.
///
/// Returns whether it was a matter of permission bits alone, so that the new file could go elsewhere instead.
///
/// # Errors
/// What the system says, where it is not a matter of being allowed to or of the file system's abilities.
pub(super) fn carry_over(old: &OwnedFd, new: &File, mode: u32) -> io::Result<bool> {
    let was = fs::statx(old, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let is = fs::statx(new, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let mut bits = kept_mode(was.stx_mode.into(), mode);
    if was.stx_uid != is.stx_uid {
        tolerate(fs::fchown(new, Some(Uid::from_raw(was.stx_uid)), None))?;
    }
    if was.stx_gid != is.stx_gid && !tolerate(fs::fchown(new, None, Some(Gid::from_raw(was.stx_gid))))? {
        bits = bits & !0o070 | bits & (bits & 0o007) << 3;
    }
    let plain = !attributes(old, new)? && (was.stx_uid, was.stx_gid) == (is.stx_uid, is.stx_gid);
    // After the access list: its mask is the group's bits.
    tolerate(fs::fchmod(new, Mode::from_raw_mode(bits)))?;
    Ok(plain)
}

/// The permission bits of a file that replaces one of `old` and should be executable as `new`.
pub(super) fn kept_mode(old: u32, new: u32) -> u32 {
    old & 0o666 | new & 0o111 & (old & 0o444) >> 2
}

/// Carries the extended attributes over, access lists among them. Returns whether there are any.
fn attributes(old: &OwnedFd, new: &File) -> io::Result<bool> {
    let old = &*beneath::magic_path(old);
    let mut names: Vec<u8> = Vec::new();
    match fs::listxattr_query(old) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(false),
        Ok(_) => names.reserve(VALUE_BYTES),
        Err(error) => return Err(error.into()),
    }
    fs::listxattr(old, rustix::buffer::spare_capacity(&mut names))?;
    let mut value: Vec<u8> = Vec::with_capacity(VALUE_BYTES);
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        // They vouch for bytes that are no longer these.
        if matches!(name, b"security.capability" | b"security.ima" | b"security.evm") {
            continue;
        }
        value.clear();
        match fs::getxattr(old, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => _ = tolerate(fs::fsetxattr(new, name, &value, XattrFlags::empty()))?,
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Whether it was done; `false` where this process may not or the file system cannot.
fn tolerate(result: rustix::io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_bits_and_takes_only_the_executable_ones() {
        assert_eq!(kept_mode(0o100644, 0o755), 0o755);
        assert_eq!(kept_mode(0o600, 0o755), 0o700);
        assert_eq!(kept_mode(0o755, 0o600), 0o644);
        assert_eq!(kept_mode(0o664, 0o644), 0o664);
        assert_eq!(kept_mode(0o4755, 0o755), 0o755);
    }
}
