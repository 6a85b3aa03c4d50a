//! Compares two directory trees: names, kinds, bytes, permissions, link targets, and modification times of files.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs,
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use quics_types::{Name, UnitNames};

use super::wait;

/// The agent's own directory at the top of a root; no part of what is synced.
const OWN: &str = ".quics";

/// What one name of a tree is.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory and its permission bits.
    Directory {
        /// The permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// The permission bits.
        mode: u32,
        /// Nanoseconds since 1970.
        mtime: i128,
        /// In bytes.
        size: u64,
        /// The BLAKE3 of its bytes.
        digest: [u8; 32],
    },
    /// A symbolic link and where it points.
    Symlink {
        /// The bytes of the target.
        target: PathBuf,
    },
    /// A FIFO, a socket or a device: never synced.
    Special,
}

impl Node {
    /// What is synced of it in a directory that is one thing.
    pub fn in_a_unit(self) -> Self {
        match self {
            Self::Directory { .. } => Self::Directory { mode: 0 },
            Self::File { mode, size, digest, .. } => Self::File { mode: mode & 0o100, mtime: 0, size, digest },
            other => other,
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { mode } => write!(formatter, "directory {mode:o}"),
            Self::File { mode, mtime, size, digest } => {
                let [a, b, c, d, ..] = digest;
                write!(formatter, "file {mode:o} of {size} bytes at {mtime} ns, {a:02x}{b:02x}{c:02x}{d:02x}…")
            }
            Self::Symlink { target } => write!(formatter, "symlink to {target:?}"),
            Self::Special => formatter.write_str("special file"),
        }
    }
}

/// Every name below `root`, its own `.quics` left out, by its path relative to `root`. In a directory that is one thing
/// with everything in it times are no part of what is synced, nor permission bits but the one to execute a file: these
/// are 0 there.
///
/// # Errors
/// When something below `root` cannot be read, or goes away while it is read.
pub fn read(root: &Path) -> Result<BTreeMap<PathBuf, Node>> {
    let units = UnitNames::default();
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let directory = root.join(&relative);
        for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
            let entry = entry?;
            if relative.as_os_str().is_empty() && entry.file_name() == OsStr::new(OWN) {
                continue;
            }
            let name = relative.join(entry.file_name());
            let path = entry.path();
            let mut node = read_node(&path).with_context(|| format!("read {}", path.display()))?;
            let is_unit = |name: &OsStr| Name::new(name.as_bytes().to_vec()).is_ok_and(|name| units.is_unit(&name));
            if relative.iter().any(is_unit) {
                node = node.in_a_unit();
            }
            if matches!(node, Node::Directory { .. }) {
                pending.push(name.clone());
            }
            found.insert(name, node);
        }
    }
    Ok(found)
}

/// What `path` is, links not followed; `None` if there is nothing.
///
/// # Errors
/// When it is there and cannot be read.
pub fn look(path: &Path) -> io::Result<Option<Node>> {
    match read_node(path) {
        Ok(node) => Ok(Some(node)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_node(path: &Path) -> io::Result<Node> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let mode = metadata.mode() & 0o7777;
    if kind.is_dir() {
        return Ok(Node::Directory { mode });
    }
    if kind.is_symlink() {
        return Ok(Node::Symlink { target: fs::read_link(path)? });
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Ok(Node::Special);
    }
    let mtime = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok(Node::File { mode, mtime, size: metadata.len(), digest: digest(path)? })
}

/// The BLAKE3 of a file of any size.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            length => hasher.update(&buffer[..length]),
        };
    }
}

/// Compares two trees once.
///
/// # Errors
/// The first twenty differences, one a line; or why a tree cannot be read.
pub fn compare_trees(left: &Path, right: &Path) -> Result<()> {
    compare(&read(left)?, &read(right)?)
}

/// Compares two trees until they are equal.
///
/// # Errors
/// The differences that were left when `patience` was over.
pub fn wait_equal(left: &Path, right: &Path, patience: Duration) -> Result<()> {
    wait::until(&format!("{} and {} to be equal", left.display(), right.display()), patience, || {
        compare_trees(left, right)
    })
}

/// Compares two trees that were read. Special files are no part of what is synced.
///
/// # Errors
/// The first twenty differences, one a line.
pub fn compare(left: &BTreeMap<PathBuf, Node>, right: &BTreeMap<PathBuf, Node>) -> Result<()> {
    const SHOWN: usize = 20;
    let synced = |node: &&Node| **node != Node::Special;
    let mut differences = Vec::new();
    for (path, node) in left {
        match right.get(path).filter(synced) {
            Some(other) if other == node => {}
            Some(other) => differences.push(format!("{path:?}: {node:?} here, {other:?} there")),
            None if *node == Node::Special => {}
            None => differences.push(format!("{path:?}: {node:?} here, absent there")),
        }
    }
    for (path, node) in right {
        if *node != Node::Special && left.get(path).filter(synced).is_none() {
            differences.push(format!("{path:?}: absent here, {node:?} there"));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    bail!("{} differences:\n  {}", differences.len() + more, differences.join("\n  "))
}

/// The name as the user typed it, for paths that may not be UTF-8.
pub fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at(".quics/stage")).unwrap();
        fs::write(at("a/b/file"), b"text").unwrap();
        fs::File::options().write(true).open(at("a/b/file")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        symlink("nowhere", at("a/link")).unwrap();
        root
    }

    #[test]
    fn equal_trees_compare_equal_and_their_own_directories_do_not_count() {
        let (left, right) = (sample(), sample());
        fs::write(right.path().join(".quics/journal"), b"own").unwrap();
        compare_trees(left.path(), right.path()).unwrap();
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        type Change = (&'static str, fn(&Path));
        let changes: &[Change] = &[
            ("bytes", |root| {
                fs::write(root.join("a/b/file"), b"TEXT").unwrap();
                let file = fs::File::options().write(true).open(root.join("a/b/file")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }),
            ("mtime", |root| {
                let file = fs::File::options().write(true).open(root.join("a/b/file")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1)).unwrap();
            }),
            ("mode", |root| {
                fs::set_permissions(root.join("a/b/file"), fs::Permissions::from_mode(0o700)).unwrap();
            }),
            ("target", |root| {
                fs::remove_file(root.join("a/link")).unwrap();
                symlink("elsewhere", root.join("a/link")).unwrap();
            }),
            ("missing", |root| fs::remove_file(root.join("a/link")).unwrap()),
            ("additional", |root| fs::create_dir(root.join("a/c")).unwrap()),
        ];
        for (what, change) in changes {
            let (left, right) = (sample(), sample());
            change(right.path());
            assert!(compare_trees(left.path(), right.path()).is_err(), "{what}");
            assert!(compare_trees(right.path(), left.path()).is_err(), "{what}, turned round");
        }
    }
}
