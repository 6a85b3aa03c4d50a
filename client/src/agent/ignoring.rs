//! The folder's ignore rules as the engine asks for them: loaded when a directory is first asked about.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quics_types::Name;

use crate::engine::Filter;
use crate::folder::{IGNORE_FILE, Ignore, RelPath, Spot, Stat, Tree};
use crate::watch::{Skip, Watcher};

/// Directories without rules that are remembered as such.
const REMEMBERED: usize = 4096;

/// The rules of one root; clones share them.
#[derive(Clone)]
pub(super) struct Rules {
    tree: Arc<Tree>,
    own: bool,
    loaded: Arc<Mutex<Loaded>>,
    watcher: Arc<OnceLock<Watcher>>,
}

struct Loaded {
    ignore: Ignore,
    /// Directories with rules, and the stat of their files when they were taken.
    with_rules: HashMap<RelPath, Option<Stat>>,
    without: HashSet<RelPath>,
    /// The directory that was asked about last: it and those above are loaded.
    last: Option<RelPath>,
}

impl Rules {
    /// Takes the device's own rules; those of directories come when they are asked about.
    pub(super) fn new(tree: Arc<Tree>) -> std::io::Result<Self> {
        let (ignore, complaints) = Ignore::new(&tree)?;
        for complaint in complaints {
            tracing::warn!(reason = %complaint.reason, "ignore.own_rule_refused");
        }
        let own = tree.path().join(".quics/ignore").exists();
        let loaded = Loaded { ignore, with_rules: HashMap::new(), without: HashSet::new(), last: None };
        Ok(Self { tree, own, loaded: Arc::new(Mutex::new(loaded)), watcher: Arc::default() })
    }

    /// Says what the watcher need not tell of.
    pub(super) fn skip(&self) -> Skip {
        let (tree, loaded) = (self.tree.clone(), self.loaded.clone());
        Arc::new(move |path, directory| judge(&tree, &loaded, path, directory))
    }

    /// The watcher that is told when the rules change; it lives as long as the rules do.
    pub(super) fn keep(&self, watcher: Watcher) {
        // There is one for each opening.
        let _second = self.watcher.set(watcher);
    }
}

impl Loaded {
    /// Loads the rules of a directory, anew if they were.
    fn load(&mut self, tree: &Tree, dir: &RelPath) {
        // Looked at before it is read: one that changes in between is taken again.
        let stat = look(tree, dir);
        match self.ignore.load(tree, dir) {
            Ok((has_rules, complaints)) => {
                for complaint in complaints {
                    tracing::warn!(dir = %complaint.dir, reason = %complaint.reason, "ignore.rule_refused");
                }
                if has_rules {
                    self.with_rules.insert(dir.clone(), stat);
                    self.without.remove(dir);
                } else {
                    self.with_rules.remove(dir);
                    if self.without.len() >= REMEMBERED {
                        self.without.clear();
                    }
                    self.without.insert(dir.clone());
                }
            }
            // The rules from before stand.
            Err(error) => tracing::warn!(%dir, %error, "ignore.unreadable"),
        }
    }

    /// Loads what is not loaded of a directory and those above it.
    fn ensure(&mut self, tree: &Tree, dir: &RelPath) {
        if self.last.as_ref() == Some(dir) {
            return;
        }
        let mut above = RelPath::root();
        let names = dir.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        for next in std::iter::once(None).chain(names.map(Some)) {
            if let Some(name) = next {
                let Ok(name) = Name::new(bytes::Bytes::copy_from_slice(name)) else { return };
                above = above.join(&name);
            }
            if !self.with_rules.contains_key(&above) && !self.without.contains(&above) {
                self.load(tree, &above);
            }
        }
        self.last = Some(dir.clone());
    }
}

/// What lies where the ignore file of a directory would be.
fn look(tree: &Tree, dir: &RelPath) -> Option<Stat> {
    tree.look(&Spot { dir: dir.clone(), name: ignore_file()? }).ok().flatten()
}

fn ignore_file() -> Option<Name> {
    Name::new(IGNORE_FILE).ok()
}

/// The directory and the name of a path; `None` for the root itself.
fn split(path: &RelPath) -> Option<(RelPath, Name)> {
    let bytes = path.as_bytes();
    let (dir, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(end) => (RelPath::from_checked(&bytes[..end]), &bytes[end + 1..]),
        None => (RelPath::root(), bytes),
    };
    Some((dir, Name::new(bytes::Bytes::copy_from_slice(name)).ok()?))
}

fn judge(tree: &Tree, loaded: &Mutex<Loaded>, path: &RelPath, directory: bool) -> bool {
    let Some((dir, name)) = split(path) else { return false };
    let mut loaded = loaded.lock();
    loaded.ensure(tree, &dir);
    loaded.ignore.is_ignored(&dir, &name, directory)
}

impl Filter for Rules {
    fn ignored(&self, path: &RelPath, directory: bool) -> bool {
        judge(&self.tree, &self.loaded, path, directory)
    }

    fn active(&self) -> bool {
        self.own || !self.loaded.lock().with_rules.is_empty()
    }

    fn touched(&mut self, path: &RelPath) -> bool {
        let Some((dir, name)) = split(path) else { return false };
        if name.as_bytes() != IGNORE_FILE.as_bytes() {
            return false;
        }
        let mut loaded = self.loaded.lock();
        let known = loaded.with_rules.get(&dir).cloned();
        let changed = match (known, look(&self.tree, &dir)) {
            (None, None) => false,
            (Some(Some(before)), Some(now)) => before != now,
            _ => true,
        };
        if changed {
            loaded.last = None;
            loaded.load(&self.tree, &dir);
        }
        drop(loaded);
        if let (true, Some(watcher)) = (changed, self.watcher.get()) {
            watcher.again();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use quics_types::{RootId, UnitNames};

    use super::*;
    use crate::folder::Disk;

    fn path(text: &str) -> RelPath {
        RelPath::from_checked(text.as_bytes())
    }

    #[test]
    fn rules_are_found_where_they_are_and_change_with_their_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join(".quicsignore"), "*.tmp\n").unwrap();
        std::fs::write(dir.path().join("a/.quicsignore"), "b/\n").unwrap();
        let disk = Disk::create(dir.path(), RootId::from_bytes([1; 16]), UnitNames::default()).unwrap();
        let mut rules = Rules::new(disk.tree()).unwrap();
        assert!(!rules.active());
        assert!(rules.ignored(&path("x.tmp"), false) && rules.active());
        assert!(rules.ignored(&path("a/b/deep"), false), "the rules above are loaded too");
        assert!(rules.ignored(&path("a/x.tmp"), false));
        assert!(!rules.ignored(&path("a/x"), false) && !rules.ignored(&path(".quicsignore"), false));

        assert!(!rules.touched(&path("a/x")));
        assert!(!rules.touched(&path("a/.quicsignore")), "it is as it was when it was taken");
        std::fs::write(dir.path().join("a/.quicsignore"), "x\n").unwrap();
        assert!(rules.touched(&path("a/.quicsignore")));
        assert!(rules.ignored(&path("a/x"), false) && !rules.ignored(&path("a/b/deep"), false));
        assert!(rules.skip()(&path("a/x"), false), "the watcher is told the same");
        std::fs::remove_file(dir.path().join("a/.quicsignore")).unwrap();
        assert!(rules.touched(&path("a/.quicsignore")));
        assert!(!rules.ignored(&path("a/x"), false));
        assert!(!rules.touched(&path("a/.quicsignore")), "there is nothing that could have changed");
    }
}
