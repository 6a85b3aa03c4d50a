//! Which entries are not synced: the rules of `.quicsignore` files and of the device's own ignore file.
//!
//! The syntax is that of gitignore. A `.quicsignore` counts for its directory and everything below, and the rule that
//! is nearest decides; it is synced like any file. `.quics/ignore` counts for the whole folder on this device only,
//! and is asked first. An entry below an ignored directory is ignored, whatever else is said of it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use quics_types::Name;

use super::{RelPath, Spot, Tree, tree::OWN};

/// The name of a synced ignore file.
pub const IGNORE_FILE: &str = ".quicsignore";
/// Bytes of an ignore file; a longer one is not taken.
const RULES_BYTES: u64 = 256 * 1024;

/// The ignore rules of a folder, loaded for the directories that were asked about.
#[derive(Debug)]
pub struct Ignore {
    local: Rules,
    dirs: HashMap<RelPath, Rules>,
}

type Rules = Arc<Gitignore>;

impl Default for Ignore {
    /// No rules.
    fn default() -> Self {
        Self { local: none(), dirs: HashMap::new() }
    }
}

fn none() -> Rules {
    Arc::new(Gitignore::empty())
}

/// An ignore file, or a line in one, that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The directory of the ignore file.
    pub dir: RelPath,
    /// What is wrong, for people.
    pub reason: String,
}

impl Ignore {
    /// Loads the device's own rules; those of directories are loaded by [`Ignore::load`].
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn new(tree: &Tree) -> io::Result<(Self, Vec<Complaint>)> {
        let mut complaints = Vec::new();
        let rules = tree.open_own("ignore")?.map(|file| parse(&RelPath::root(), file, &mut complaints)).transpose()?;
        Ok((Self { local: rules.unwrap_or_else(none), dirs: HashMap::new() }, complaints))
    }

    /// Loads the rules of a directory's `.quicsignore`, anew if it was loaded before: to be called when that file is
    /// met in a listing, when it changed, and when it is gone. Returns whether the directory has rules.
    ///
    /// # Errors
    /// When it cannot be read: what is ignored below is then unknown, and the rules from before stand.
    pub fn load(&mut self, tree: &Tree, dir: &RelPath) -> io::Result<(bool, Vec<Complaint>)> {
        let name = Name::new(IGNORE_FILE).map_err(|error| io::Error::other(error.to_string()))?;
        let mut complaints = Vec::new();
        let found = match tree.open(&Spot { dir: dir.clone(), name })? {
            Some((file, _)) => Some(parse(dir, file, &mut complaints)?),
            None => None,
        };
        let has_rules = found.is_some();
        self.set(dir.clone(), found);
        Ok((has_rules, complaints))
    }

    /// Takes the text of a directory's `.quicsignore` from the caller; `None` where there is none.
    pub fn set_text(&mut self, dir: RelPath, text: Option<&str>) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let rules = text.map(|text| build(&dir, text, &mut complaints));
        self.set(dir, rules);
        complaints
    }

    fn set(&mut self, dir: RelPath, rules: Option<Rules>) {
        match rules {
            Some(rules) => _ = self.dirs.insert(dir, rules),
            None => _ = self.dirs.remove(&dir),
        }
    }

    /// Forgets the rules of a directory that is gone and of everything below it.
    pub fn forget(&mut self, dir: &RelPath) {
        self.dirs.retain(|path, _| !path.is_within(dir));
    }

    /// Whether an entry is not synced. The rules of its directory and of those above have been loaded.
    pub fn is_ignored(&self, dir: &RelPath, name: &Name, is_dir: bool) -> bool {
        if name.as_bytes() == OWN.as_bytes() {
            return true;
        }
        if self.dirs.is_empty() && self.local.is_empty() {
            return false;
        }
        // From the top down: below an ignored directory everything is.
        let path = dir.join(name);
        let ends = path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = ends.map(|end| (end, true)).chain([(path.as_bytes().len(), is_dir)]);
        above.any(|(end, is_dir)| self.judge(&path.as_bytes()[..end], is_dir))
    }

    /// What the nearest rule says of a path itself.
    fn judge(&self, path: &[u8], is_dir: bool) -> bool {
        match self.local.matched(as_path(path), is_dir) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        if self.dirs.is_empty() {
            return false;
        }
        let mut dir = path;
        while !dir.is_empty() {
            dir = dir.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &dir[..end]);
            let Some(rules) = self.dirs.get(&RelPath::from_checked(dir)) else { continue };
            let below = if dir.is_empty() { path } else { &path[dir.len() + 1..] };
            match rules.matched(as_path(below), is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn parse(dir: &RelPath, file: std::fs::File, complaints: &mut Vec<Complaint>) -> io::Result<Rules> {
    let mut bytes = Vec::new();
    file.take(RULES_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RULES_BYTES {
        complaints.push(Complaint { dir: dir.clone(), reason: "the ignore file is longer than 256 KiB".to_owned() });
        return Ok(none());
    }
    Ok(build(dir, &String::from_utf8_lossy(&bytes), complaints))
}

fn build(dir: &RelPath, text: &str, complaints: &mut Vec<Complaint>) -> Rules {
    let mut builder = GitignoreBuilder::new("");
    let mut complain = |reason: String| complaints.push(Complaint { dir: dir.clone(), reason });
    for line in text.lines() {
        if let Err(error) = builder.add_line(None, line) {
            complain(error.to_string());
        }
    }
    match builder.build() {
        Ok(rules) => Arc::new(rules),
        Err(error) => {
            complain(error.to_string());
            none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.to_owned().into_bytes()).unwrap()
    }

    fn path(text: &str) -> RelPath {
        text.split('/').filter(|part| !part.is_empty()).fold(RelPath::root(), |path, part| path.join(&name(part)))
    }

    fn ignored(ignore: &Ignore, at: &str) -> bool {
        let (at, is_dir) = at.strip_suffix('/').map_or((at, false), |at| (at, true));
        let (dir, last) = at.rsplit_once('/').unwrap_or(("", at));
        ignore.is_ignored(&path(dir), &name(last), is_dir)
    }

    fn with(rules: &[(&str, &str)]) -> Ignore {
        let mut ignore = Ignore::default();
        for (dir, text) in rules {
            assert_eq!(ignore.set_text(path(dir), Some(text)), []);
        }
        ignore
    }

    #[test]
    fn nothing_is_ignored_without_rules_but_the_private_directory() {
        let ignore = Ignore::default();
        assert!(!ignored(&ignore, "a/b"));
        assert!(ignored(&ignore, ".quics/"));
    }

    #[test]
    fn rules_follow_gitignore() {
        let ignore = with(&[("", "*.o\n!keep.o\n/top\nbuild/\n# comment\ndoc/*.txt\n")]);
        for at in ["a.o", "x/y/a.o", "top", "build/", "x/build/", "build/inside", "doc/a.txt", "x/build/deep/file"] {
            assert!(ignored(&ignore, at), "{at}");
        }
        for at in ["a.c", "keep.o", "x/top", "build", "doc/x/a.txt", "top2"] {
            assert!(!ignored(&ignore, at), "{at}");
        }
    }

    #[test]
    fn the_nearest_rules_decide_and_only_below_their_directory() {
        let ignore = with(&[("", "*.log"), ("a", "!*.log\n/only"), ("a/b", "*.log")]);
        assert!(ignored(&ignore, "x.log"));
        assert!(!ignored(&ignore, "a/x.log"));
        assert!(ignored(&ignore, "a/b/x.log"));
        assert!(ignored(&ignore, "a/only"));
        assert!(!ignored(&ignore, "only"));
        assert!(!ignored(&ignore, "a/b/only"));
    }

    #[test]
    fn what_is_below_an_ignored_directory_cannot_be_brought_back() {
        let ignore = with(&[("", "dir/"), ("dir", "!file")]);
        assert!(ignored(&ignore, "dir/file"));
    }

    #[test]
    fn rules_are_exchanged_and_forgotten() {
        let mut ignore = with(&[("a", "*.x"), ("a/b", "*.y"), ("ab", "*.x")]);
        ignore.set_text(path("a"), Some("*.z"));
        assert!(!ignored(&ignore, "a/f.x"));
        assert!(ignored(&ignore, "a/f.z"));
        ignore.forget(&path("a"));
        assert!(!ignored(&ignore, "a/f.z"));
        assert!(!ignored(&ignore, "a/b/f.y"));
        assert!(ignored(&ignore, "ab/f.x"));
    }

    #[test]
    fn a_line_that_is_no_rule_is_named_and_the_others_count() {
        let mut ignore = Ignore::default();
        let complaints = ignore.set_text(RelPath::root(), Some("[z-a]\n*.o"));
        assert_eq!(complaints.len(), 1);
        assert!(ignored(&ignore, "x.o"));
    }
}
