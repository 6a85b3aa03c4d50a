//! What people do in their folders.

use std::path::{Path, PathBuf};

use rand::Rng as _;

use crate::content::Token;
use crate::folder::Kind;
use crate::world::{World, say};

/// What people call things; `~` is an editor's copy of the old version.
const NAMES: [&str; 4] = ["a.txt", "b.txt", "c", "d"];

/// Whether a name is one that people, editors, or the rules for second names give.
pub(crate) fn may_be(name: &str) -> bool {
    let name = name.replace('~', "");
    let named = |own: &str| {
        let (stem, extension) = own.split_at(own.find('.').unwrap_or(own.len()));
        let tag = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
        tag.is_some_and(|tag| tag.is_empty() || (tag.starts_with(" (") && tag.ends_with(')')))
    };
    NAMES.iter().any(|own| named(own)) || name.starts_with("unsaved (late edit on d")
}

impl World<'_> {
    /// The user of a device does one thing.
    pub(crate) fn user(&mut self, device: usize) {
        let everything = self.folders[device].walk();
        let mut directories = vec![PathBuf::new()];
        let deep = |path: &Path| path.components().count() > 2;
        let open = everything.iter().filter(|(path, kind)| *kind == Kind::Directory && !deep(path));
        directories.extend(open.map(|(path, _)| path.clone()));
        let names = self.pick(&directories).unwrap_or_default();
        let target = names.join(self.pick(&NAMES).unwrap_or_default());
        let something = self.pick(&everything).map(|(path, _)| path);
        let file = self.pick(&everything.into_iter().filter(|(_, kind)| *kind == Kind::File).collect::<Vec<_>>());
        let file = file.map(|(path, _)| path);
        let (what, large) = (self.random.random_range(0..100), self.chance(12));
        match (what, something, file) {
            (0..22, _, _) => self.saves(device, &target, large),
            (22..40, _, Some(file)) => self.saves(device, &file, large),
            (40..55, _, Some(file)) => self.writes_in_place(device, &file),
            (55..63, _, Some(file)) => self.saves_with_a_copy(device, &file, large),
            (63..71, _, _) => {
                let made = self.folders[device].make_directory(&target);
                self.noted(device, made, format_args!("mkdir {}", target.display()));
            }
            (71..79, Some(path), _) => self.removes(device, &path),
            (79..88, Some(path), _) => {
                let moved = self.folders[device].rename(&path, &target);
                self.moved(device, moved, format_args!("mv {} {}", path.display(), target.display()));
            }
            (88..92, Some(path), _) => {
                let swapped = self.folders[device].swap(&path, &target);
                self.moved(device, swapped, format_args!("swap {} {}", path.display(), target.display()));
            }
            (92..96, Some(path), _) => {
                let swapped = self.folders[device].swap(&path, &target);
                let there = swapped.is_some();
                self.moved(device, swapped, format_args!("mv -f {} {}", path.display(), target.display()));
                if there {
                    self.removes(device, &path);
                }
            }
            (96.., Some(path), Some(file)) => {
                let (path, mode) = if large { (path, 0o755) } else { (file, 0o640) };
                let changed = self.folders[device].set_mode(&path, mode);
                self.noted(device, changed, format_args!("chmod {mode:o} {}", path.display()));
            }
            _ => self.saves(device, &target, large),
        }
    }

    fn noted(&mut self, device: usize, done: bool, what: std::fmt::Arguments) {
        let not = if done { "" } else { " (could not)" };
        say!(self, "d{} {what}{not}", device + 1);
    }

    fn moved(&mut self, device: usize, moved: Option<Vec<Token>>, what: std::fmt::Arguments) {
        self.noted(device, moved.is_some(), what);
        self.books.moved(moved.into_iter().flatten());
    }

    /// A new file, or a new version that takes the old one's place at once.
    fn saves(&mut self, device: usize, path: &Path, large: bool) {
        let writing = self.fresh(device, path, large);
        let saved = self.folders[device].save(path, &writing.bytes());
        say!(self, "d{} saves {} as {} over {saved:?}", device + 1, path.display(), writing.token);
        if let Some(over) = saved {
            self.wrote(writing, over);
        }
    }

    fn writes_in_place(&mut self, device: usize, path: &Path) {
        let writing = self.fresh(device, path, false);
        let bytes = |over| crate::content::Writing { over: vec![over], ..writing.clone() }.bytes();
        let over = self.folders[device].write_in_place(path, bytes);
        say!(self, "d{} writes into {} {} over {over:?}", device + 1, path.display(), writing.token);
        if let Some(over) = over {
            self.wrote(writing, vec![over]);
        }
    }

    /// An editor saves by moving the old file away, writing a new one and removing the old.
    fn saves_with_a_copy(&mut self, device: usize, path: &Path, large: bool) {
        let beside = PathBuf::from(format!("{}~", path.display()));
        if path.to_string_lossy().ends_with('~') {
            return;
        }
        let kept = self.folders[device].rename(path, &beside);
        let there = kept.is_some();
        self.moved(device, kept, format_args!("keeps {} as {}", path.display(), beside.display()));
        if !there {
            return;
        }
        self.saves(device, path, large);
        if self.chance(80) {
            self.removes(device, &beside);
        }
    }

    fn removes(&mut self, device: usize, path: &Path) {
        let taken = self.folders[device].remove(path);
        say!(self, "d{} removes {}: {taken:?}", device + 1, path.display());
        self.books.took(taken.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::may_be;

    #[test]
    fn names_of_people_and_of_second_versions_are_no_litter() {
        for name in [
            "a.txt",
            "c",
            "a.txt~",
            "a (from d1).txt",
            "c (kept from d2 3)",
            "c~ (from d3)",
            "unsaved (late edit on d1)",
        ] {
            assert!(may_be(name), "{name}");
        }
        for name in ["new-12", "a.tmp", ".quics", "a.txt.part", "c-1", "swap-0"] {
            assert!(!may_be(name), "{name}");
        }
    }
}
