//! Files that an operation displaced: kept until nobody writes to them any more and they are still what was expected.
//!
//! A program that had the old file open when it was replaced goes on writing to it. Leases that would prove that
//! nobody does are not to be had without unsafe code, so a displaced file is kept for a minute at least, and for as
//! long as the process table shows it open; then it is compared with what the plan saw. One that differs is never
//! removed here: it is reported until it is brought back.

use std::{collections::HashSet, ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path};

use quics_types::{Mtime, Name};
use rustix::{
    fs::{self, AtFlags, RenameFlags},
    io::Errno,
};

use super::{Kind, Member, RelPath, Spot, Stat, beneath, listing, token, tree::Tree, unit};

/// Seconds that a displaced file is kept at least.
pub const GRACE_SECONDS: i64 = 60;

/// A displaced file that is not what was expected: somebody's edit that must not be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplacedEdit {
    /// Its name among the displaced files.
    pub name: Name,
    /// Where it was, if it was displaced since the folder was opened.
    pub from: Option<Spot>,
    /// What it is now.
    pub stat: Stat,
}

/// Moves a staged name among the displaced files. `expected` is what it was found to be; without it the file counts
/// as an edit from the start.
pub(super) fn keep(tree: &Tree, staged: &str, from: &Spot, expected: Option<&Stat>, now: Mtime) -> io::Result<()> {
    let number = tree.unique();
    let name = token::Displaced { number, at: now.seconds, expected: expected.map(token::Expected::of) }.print();
    tree.origins.lock().insert(name.clone().into_bytes(), from.clone());
    Ok(fs::renameat_with(&tree.stage, staged, &tree.displaced, name, RenameFlags::NOREPLACE)?)
}

/// A name for a file that is displaced directly from its place.
pub(super) fn name_for(tree: &Tree, expected: &Stat, from: &Spot, now: Mtime) -> String {
    let expected = Some(token::Expected::of(expected));
    let name = token::Displaced { number: tree.unique(), at: now.seconds, expected }.print();
    tree.origins.lock().insert(name.clone().into_bytes(), from.clone());
    name
}

/// Marks a displaced file as an edit, to be kept until it is asked for.
pub(super) fn mark_changed(tree: &Tree, name: &str) -> io::Result<()> {
    let Some(token) = token::Displaced::parse(name.as_bytes()) else { return Ok(()) };
    let changed = token::Displaced { expected: None, ..token }.print();
    fs::renameat_with(&tree.displaced, name, &tree.displaced, &changed, RenameFlags::NOREPLACE)?;
    let mut origins = tree.origins.lock();
    if let Some(from) = origins.remove(name.as_bytes()) {
        origins.insert(changed.into_bytes(), from);
    }
    Ok(())
}

/// Removes displaced files that are past their grace, open nowhere and still as expected. Returns those that are not
/// as expected; they stay.
pub(super) fn sweep(tree: &Tree, now: Mtime) -> io::Result<Vec<DisplacedEdit>> {
    let members = members(tree)?;
    let mut edits = Vec::new();
    let due = |at: i64| now.seconds.saturating_sub(at) >= GRACE_SECONDS;
    // Looking through the process table is worth it only where something would be removed.
    let mut open: Option<HashSet<Vec<u8>>> = None;
    for (name, stat) in members {
        let token = token::Displaced::parse(name.as_bytes());
        match token {
            Some(token::Displaced { at, expected: Some(expected), .. }) if expected.matches(&stat) => {
                if due(at) && !open.get_or_insert_with(open_names).contains(name.as_bytes()) {
                    remove(tree, &name, &expected)?;
                }
            }
            _ => edits.push(DisplacedEdit { from: tree.origins.lock().get(name.as_bytes()).cloned(), name, stat }),
        }
    }
    Ok(edits)
}

/// Looks once more and removes.
fn remove(tree: &Tree, name: &Name, expected: &token::Expected) -> io::Result<()> {
    let stat = match unit::look(&tree.displaced, name.as_bytes(), tree.dev)? {
        Some(stat) if expected.matches(&stat) => stat,
        _ => return Ok(()),
    };
    if stat.kind == Kind::Unit {
        unit::remove_all(&tree.displaced, &name.to_string())?;
    } else if let Err(error) = fs::unlinkat(&tree.displaced, name.as_bytes(), AtFlags::empty())
        && error != Errno::NOENT
    {
        return Err(error.into());
    }
    tree.origins.lock().remove(name.as_bytes());
    Ok(())
}

/// Puts a displaced file where nothing is. `None` when something is there, or the file is not displaced any more.
pub(super) fn bring_back(tree: &Tree, name: &Name, to: &Spot) -> io::Result<Option<Stat>> {
    if token::Displaced::parse(name.as_bytes()).is_none() || !Tree::allowed(to) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let dir = tree.dir(&to.dir)?;
    match fs::renameat_with(&tree.displaced, name.as_bytes(), &dir, to.name.as_bytes(), RenameFlags::NOREPLACE) {
        Ok(()) => {
            tree.origins.lock().remove(name.as_bytes());
            fs::fsync(&dir)?;
            unit::look(&dir, to.name.as_bytes(), tree.dev)
        }
        Err(Errno::NOENT | Errno::EXIST) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many files are displaced.
pub(super) fn count(tree: &Tree) -> io::Result<usize> {
    Ok(members(tree)?.len())
}

fn members(tree: &Tree) -> io::Result<Vec<(Name, Stat)>> {
    let dir = beneath::open_dir(&tree.displaced, &RelPath::root())?;
    let listing = listing::list(&dir, tree.dev, false)?;
    let with_stat = |member: Member| {
        let stat = unit::look(&dir, member.name.as_bytes(), tree.dev).ok()??;
        Some((member.name, stat))
    };
    Ok(listing.members.into_iter().filter_map(with_stat).collect())
}

/// The names of displaced files (of any folder: they are hardly ever the same) that processes have open, as far as
/// this process may see it.
fn open_names() -> HashSet<Vec<u8>> {
    let mut found = HashSet::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)) {
        for kind in ["fd", "map_files"] {
            for handle in std::fs::read_dir(process.path().join(kind)).into_iter().flatten().flatten() {
                let Ok(path) = std::fs::read_link(handle.path()) else { continue };
                // The file itself, or the unit that it is in.
                let displaced =
                    path.ancestors().find(|it| it.parent().is_some_and(|it| it.ends_with(".quics/displaced")));
                found.extend(displaced.and_then(Path::file_name).map(OsStr::as_bytes).map(<[u8]>::to_vec));
            }
        }
    }
    found
}
