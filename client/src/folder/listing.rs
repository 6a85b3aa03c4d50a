//! Looks at a directory's members.

use std::{io, os::fd::AsFd};

use bytes::Bytes;
use quics_types::Name;
use rustix::{
    fs::{FileType, RawDir},
    io::Errno,
};

use super::{Listing, Member, beneath, tree::OWN};

/// Bytes of the buffer for names.
const BUFFER: usize = 32 * 1024;

/// Lists an open directory. `top` says that it is the folder's root, whose own `.quics` is left out; in other
/// directories one is another folder's and named as unusable.
pub(super) fn list(dir: impl AsFd, dev: (u32, u32), top: bool) -> io::Result<Listing> {
    let mut listing = Listing::default();
    each(&dir, |name, _| {
        if name == OWN.as_bytes() {
            if !top {
                listing.unusable.push((name.to_vec(), "it belongs to another synced folder".to_owned()));
            }
            return;
        }
        if std::str::from_utf8(name).is_err() {
            listing.unusable.push((name.to_vec(), "its name is not UTF-8".to_owned()));
            return;
        }
        let name = match Name::new(Bytes::copy_from_slice(name)) {
            Ok(name) => name,
            Err(error) => return listing.unusable.push((name.to_vec(), error.to_string())),
        };
        let stat = match beneath::look(&dir, name.as_bytes(), dev) {
            Ok(Some(stat)) => Ok(stat),
            // It went between the two looks.
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        listing.members.push(Member { name, stat });
    })?;
    // A member that is renamed or replaced while the directory is read may come twice.
    listing.members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listing.members.dedup_by(|a, b| a.name == b.name);
    listing.unusable.sort_unstable();
    Ok(listing)
}

/// The names of the directories in an open directory, `.quics` left out.
pub(super) fn subdirs(dir: impl AsFd) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    each(&dir, |name, kind| {
        let is_dir = match kind {
            // Not every file system says it here.
            FileType::Unknown => beneath::raw(&dir, name)
                .is_ok_and(|found| FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory),
            kind => kind == FileType::Directory,
        };
        if is_dir
            && name != OWN.as_bytes()
            && let Ok(name) = Name::new(Bytes::copy_from_slice(name))
        {
            names.push(name);
        }
    })?;
    Ok(names)
}

/// The names of everything in an open directory.
pub(super) fn names(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    each(dir, |name, _| names.push(name.to_vec()))?;
    Ok(names)
}

/// Hands over the members of an open directory, as the system gives them.
fn each(dir: impl AsFd, mut with: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            with(name, entry.file_type());
        }
    }
    Ok(())
}
