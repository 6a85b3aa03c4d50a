//! A device's folder in the hands of its user.
//!
//! Whatever is taken away is taken away in one step, and looked at afterwards: so what a person took away is what was
//! there at that moment, whatever the agent did a moment before.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use crate::content::{self, Token};
use crate::oracle::Tree;

/// The agent's own directory at the top of a root.
const OWN: &str = ".quics";

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// A folder, and a place on the same file system that nobody syncs.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) top: PathBuf,
    aside: PathBuf,
    number: u32,
}

impl Folder {
    pub(crate) fn new(top: PathBuf, aside: PathBuf) -> Self {
        fs::create_dir_all(&aside).unwrap();
        Self { top, aside, number: 0 }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.top.join(path)
    }

    fn fresh(&mut self) -> PathBuf {
        self.number += 1;
        self.aside.join(self.number.to_string())
    }

    /// Everything in it, by path. Names that come or go meanwhile may be missing.
    pub(crate) fn walk(&self) -> Vec<(PathBuf, Kind)> {
        let mut found = walk(&self.top);
        found.retain(|(path, _)| !path.starts_with(OWN));
        found
    }

    /// Writes a file whole, in the place of whatever has the name; gives what that was. `None`: it could not.
    pub(crate) fn save(&mut self, path: &Path, bytes: &[u8]) -> Option<Vec<Token>> {
        let new = self.fresh();
        fs::write(&new, bytes).unwrap();
        for _ in 0..100 {
            if rename(&new, &self.at(path), RenameFlags::NOREPLACE) {
                return Some(Vec::new());
            }
            if rename(&new, &self.at(path), RenameFlags::EXCHANGE) {
                return Some(self.look_at(&new));
            }
            if !self.at(path).parent()?.is_dir() {
                break;
            }
        }
        fs::remove_file(&new).unwrap();
        None
    }

    /// Writes into a file without a new one, in one step; gives what it held before. `make` makes the content from
    /// that. `None`: it is no small file.
    pub(crate) fn write_in_place(&mut self, path: &Path, make: impl FnOnce(Token) -> Vec<u8>) -> Option<Token> {
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap();
        let mut file = File::options().read(true).write(true).custom_flags(flags).open(self.at(path)).ok()?;
        let mut old = Vec::new();
        file.read_to_end(&mut old).ok()?;
        let old = content::token_of(&old).ok().filter(|_| content::is_small(old.len() as u64))?;
        // A later content is longer, so that nothing of the earlier one is left.
        file.write_all_at(&make(old), 0).unwrap();
        Some(old)
    }

    /// Takes whatever has the name away; gives what that was.
    pub(crate) fn remove(&mut self, path: &Path) -> Option<Vec<Token>> {
        let gone = self.fresh();
        rename(&self.at(path), &gone, RenameFlags::NOREPLACE).then(|| self.look_at(&gone))
    }

    /// Gives something another name, where that is free; gives what it was.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Option<Vec<Token>> {
        let before = held(&self.at(from));
        let moved = rename(&self.at(from), &self.at(to), RenameFlags::NOREPLACE);
        moved.then(|| [before, held(&self.at(to))].concat())
    }

    /// Lets two things change their names; gives what they were.
    pub(crate) fn swap(&self, one: &Path, other: &Path) -> Option<Vec<Token>> {
        let both = || [held(&self.at(one)), held(&self.at(other))].concat();
        let before = both();
        let swapped = rename(&self.at(one), &self.at(other), RenameFlags::EXCHANGE);
        swapped.then(|| [before, both()].concat())
    }

    pub(crate) fn make_directory(&self, path: &Path) -> bool {
        fs::create_dir(self.at(path)).is_ok()
    }

    pub(crate) fn set_mode(&self, path: &Path, mode: u32) -> bool {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).is_ok()
    }

    /// What it is that was taken away. A directory is kept: an agent that had it open may still put something into it,
    /// which is then where its user has put the directory.
    fn look_at(&self, gone: &Path) -> Vec<Token> {
        let found = held(gone);
        if fs::symlink_metadata(gone).unwrap().is_file() {
            fs::remove_file(gone).unwrap();
        }
        found
    }

    /// What lies in the directories that the user took away.
    pub(crate) fn aside(&self) -> Vec<Token> {
        tokens(&self.aside)
    }
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> bool {
    renameat_with(CWD, from, CWD, to, flags).is_ok()
}

/// What a file is, or what the files in a directory are.
fn held(path: &Path) -> Vec<Token> {
    let file = fs::read(path).ok().and_then(|bytes| content::token_of(&bytes).ok());
    file.map_or_else(|| tokens(path), |token| vec![token])
}

fn tokens(directory: &Path) -> Vec<Token> {
    read(directory).files.into_values().flatten().collect()
}

fn walk(top: &Path) -> Vec<(PathBuf, Kind)> {
    let (mut found, mut pending) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(relative) = pending.pop() {
        let Ok(entries) = fs::read_dir(top.join(&relative)) else { continue };
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    pending.push(path.clone());
                    found.push((path, Kind::Directory));
                }
                Ok(kind) if kind.is_file() => found.push((path, Kind::File)),
                _ => {}
            }
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// What a tree holds now, the agent's own left out.
pub(crate) fn read(top: &Path) -> Tree {
    let mut tree = Tree::default();
    for (path, kind) in walk(top).into_iter().filter(|(path, _)| !path.starts_with(OWN)) {
        match kind {
            Kind::Directory => drop(tree.directories.insert(path)),
            Kind::File => {
                let bytes = fs::read(top.join(&path)).map_err(|error| error.to_string());
                let token = bytes.and_then(|bytes| content::token_of(&bytes).map_err(|error| error.to_string()));
                tree.files.insert(path, token);
            }
        }
    }
    tree
}

/// What an agent left on its stage, where nothing stays at rest.
pub(crate) fn staged(top: &Path) -> Vec<PathBuf> {
    walk(&top.join(OWN).join("stage")).into_iter().map(|(path, _)| path).collect()
}

/// What an agent still keeps of what it displaced, until it knows that nobody writes to it any more.
pub(crate) fn displaced(top: &Path) -> Vec<Token> {
    tokens(&top.join(OWN).join("displaced"))
}
