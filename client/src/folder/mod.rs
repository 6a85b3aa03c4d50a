//! The file system as the engine sees it: one synced directory tree, reached by relative paths, never left.
//!
//! [`Folder`] is the seam. `Disk` is the real one; simulations bring their own. Nothing above this
//! module names `std::fs` or a system call.
//!
//! What an implementation promises:
//! - Every path is resolved beneath the root, and no symbolic link is followed on the way.
//! - A reader sees the old file or the new one, never a torn or absent one.
//! - [`Folder::apply`] looks at what it touches and changes nothing that is not as expected; what it reports as done
//!   is durable.
//! - Nothing that an operation displaces is gone before it was compared again and no writer has it open.

mod apply;
mod attributes;
mod beneath;
mod body;
mod disk;
mod displaced;
mod error;
mod fault;
mod fit;
mod ignore;
mod listing;
mod marker;
mod probe;
mod setup;
mod stage;
mod token;
mod touched;
mod tree;
mod unit;

use std::{fmt, io};

use bytes::Bytes;
use quics_types::{Mtime, Name};

pub use body::Body;
pub use disk::Disk;
pub use displaced::{DisplacedEdit, GRACE_SECONDS};
pub use error::Error;
pub use fit::{RESERVE_BYTES, closed, pinned, room};
pub use ignore::{Complaint, IGNORE_FILE, Ignore};
pub use probe::Abilities;
pub use tree::Tree;
pub use unit::{bundle_of, unpack_to as unpack_unit};

/// A path below the root: names joined by `/`; empty is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The staging directory, out of the user's sight, in which entries are parked under the hexadecimal text of their
    /// ids while others stand in their way.
    pub fn stage() -> Self {
        Self(b".quics/stage".to_vec())
    }

    /// The path of a member of this directory.
    pub fn join(&self, name: &Name) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Self(path)
    }

    /// The bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of these bytes, which are names joined by `/`.
    pub(crate) fn from_checked(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The name of this path if it is a member of `dir`; `None` also for one below a member.
    pub(crate) fn name_in(&self, dir: &RelPath) -> Option<Name> {
        let rest = self.0.strip_prefix(&dir.0[..])?;
        let name = if dir.is_root() { rest } else { rest.strip_prefix(b"/")? };
        if name.contains(&b'/') { None } else { Name::new(Bytes::copy_from_slice(name)).ok() }
    }

    /// Whether this is `dir` or lies below it.
    pub fn is_within(&self, dir: &RelPath) -> bool {
        match self.0.strip_prefix(&dir.0[..]) {
            Some(rest) => dir.0.is_empty() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RelPath {
    /// Safe for a terminal, see [`Name`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.split(|b| *b == b'/').enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            if let Ok(name) = Name::new(Bytes::copy_from_slice(part)) {
                write!(f, "{name}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// One place in the tree: a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The directory.
    pub dir: RelPath,
    /// The name in it.
    pub name: Name,
}

impl Spot {
    /// The whole path.
    pub fn path(&self) -> RelPath {
        self.dir.join(&self.name)
    }
}

/// What kind of thing lies at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A directory that is one thing with everything in it.
    Unit,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device, or a directory of another file system: reported, never opened.
    Other,
}

/// What a stat says; two equal ones of an unchanged name mean unchanged bytes, unless they are [`Stat::racy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The kind.
    pub kind: Kind,
    /// The inode number.
    pub inode: u64,
    /// When the inode was made, in nanoseconds since 1970; 0 where the file system does not know. Of a unit a digest of
    /// what stats say of everything in it.
    pub born: i64,
    /// Bytes; of a unit those of its bundle.
    pub size: u64,
    /// Modification time; of a unit the newest change of anything in it.
    pub mtime: Mtime,
    /// Change time of the inode; of a unit as `mtime`.
    pub ctime: Mtime,
    /// Permission bits, `0o777` at most.
    pub mode: u32,
    /// Hard links.
    pub links: u32,
}

impl Kind {
    /// Whether it is a directory, of whichever kind.
    pub fn is_a_directory(self) -> bool {
        matches!(self, Kind::Directory | Kind::Unit)
    }
}

impl Stat {
    /// Whether both are of the same bytes as far as a stat can say; a rename or chmod in between does not matter.
    pub fn same_content(&self, other: &Stat) -> bool {
        (self.kind, self.inode, self.born, self.size, self.mtime)
            == (other.kind, other.inode, other.born, other.size, other.mtime)
    }

    /// Whether the file was modified or changed so shortly before `looked_at` (the same clock) that a later change
    /// could leave the same stat. A time that lies in the future, by another device's clock, is none that a later change
    /// would leave.
    pub fn racy(&self, looked_at: Mtime) -> bool {
        const GRAIN: i64 = 20_000_000; // nanoseconds: two kernel ticks at 100 Hz
        let nanos = |t: Mtime| t.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(t.nanos));
        let close = |time: Mtime| nanos(looked_at).saturating_sub(nanos(time)).abs() < GRAIN;
        close(self.mtime) || close(self.ctime)
    }
}

/// A member of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// What it is; `Err` when it cannot be looked at.
    pub stat: Result<Stat, String>,
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The members, sorted by name; `.quics` of the root is left out.
    pub members: Vec<Member>,
    /// Members whose names cannot be synced, as they are to be shown, with the reason.
    pub unusable: Vec<(Vec<u8>, String)>,
}

/// Where new bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// These bytes.
    Inline(Bytes),
    /// A complete, verified file in the folder's incoming directory, by its name there.
    Incoming(Name),
}

/// One change of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes a directory where nothing is.
    MakeDir {
        /// Where.
        at: Spot,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a file where nothing is.
    MakeFile {
        /// Where.
        at: Spot,
        /// Its bytes.
        source: Source,
        /// Permission bits.
        mode: u32,
        /// Modification time to set.
        mtime: Mtime,
    },
    /// Makes a symbolic link where nothing is.
    MakeLink {
        /// Where.
        at: Spot,
        /// Its target.
        target: Bytes,
    },
    /// Makes a unit where nothing is.
    MakeUnit {
        /// Where.
        at: Spot,
        /// Its bundle.
        source: Source,
        /// Permission bits.
        mode: u32,
    },
    /// Puts a file in the place of a file, link, unit or empty directory that is as expected; mode (but for the executable bits), group,
    /// ACL and extended attributes stay those of a displaced file.
    ReplaceWithFile {
        /// Where.
        at: Spot,
        /// What has to be there.
        expected: Stat,
        /// The new bytes.
        source: Source,
        /// Permission bits.
        mode: u32,
        /// Modification time to set.
        mtime: Mtime,
    },
    /// Puts a unit in the place of a file, link, unit or empty directory that is as expected.
    ReplaceWithUnit {
        /// Where.
        at: Spot,
        /// What has to be there.
        expected: Stat,
        /// The new one's bundle.
        source: Source,
        /// Permission bits.
        mode: u32,
    },
    /// Puts a directory in the place of a file, link or unit that is as expected.
    ReplaceWithDir {
        /// Where.
        at: Spot,
        /// What has to be there.
        expected: Stat,
        /// Permission bits.
        mode: u32,
    },
    /// Puts a symbolic link in the place of a file, link, unit or empty directory that is as expected.
    ReplaceWithLink {
        /// Where.
        at: Spot,
        /// What has to be there.
        expected: Stat,
        /// Its target.
        target: Bytes,
    },
    /// Removes a file, link, unit or empty directory that is as expected. A directory with anything in it is
    /// [`Outcome::Differs`].
    Remove {
        /// Where.
        at: Spot,
        /// What has to be there; of a directory only kind and inode count.
        expected: Stat,
    },
    /// Moves what is as expected to where nothing is.
    Move {
        /// From where.
        from: Spot,
        /// What has to be there; of a directory only kind and inode count.
        expected: Stat,
        /// To where.
        to: Spot,
    },
    /// Sets permission bits and modification time of what is as expected.
    SetAttributes {
        /// Where.
        at: Spot,
        /// What has to be there.
        expected: Stat,
        /// Permission bits.
        mode: u32,
        /// Modification time to set; `None` leaves it.
        mtime: Option<Mtime>,
    },
}

impl Op {
    /// Where the bytes come from that it brings.
    pub(crate) fn source(&self) -> Option<&Source> {
        match self {
            Op::MakeFile { source, .. }
            | Op::ReplaceWithFile { source, .. }
            | Op::MakeUnit { source, .. }
            | Op::ReplaceWithUnit { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The spots that it touches: one, or of a move both, the old one first.
    pub(crate) fn spots(&self) -> [Option<&Spot>; 2] {
        match self {
            Op::Move { from, to, .. } => [Some(from), Some(to)],
            Op::MakeDir { at, .. }
            | Op::MakeFile { at, .. }
            | Op::MakeLink { at, .. }
            | Op::MakeUnit { at, .. }
            | Op::ReplaceWithUnit { at, .. }
            | Op::ReplaceWithFile { at, .. }
            | Op::ReplaceWithDir { at, .. }
            | Op::ReplaceWithLink { at, .. }
            | Op::Remove { at, .. }
            | Op::SetAttributes { at, .. } => [Some(at), None],
        }
    }
}

/// What became of an [`Op`].
#[derive(Debug)]
pub enum Outcome {
    /// Done and durable; the stat of what lies there now (of what was removed, as it was).
    Done(Stat),
    /// Nothing was changed: what is there is not what was expected, or there is something where nothing should be.
    Differs,
    /// Nothing was changed, for this reason.
    Failed(io::Error),
}

/// One synced directory tree.
pub trait Folder: Send {
    /// Looks at a directory. [`io::ErrorKind::NotFound`] when there is none (any more).
    ///
    /// # Errors
    /// When it cannot be read: its contents are then unknown, not deleted.
    fn list(&mut self, dir: &RelPath) -> io::Result<Listing>;

    /// Looks at several directories, in parallel where that helps; in the order asked.
    fn list_many(&mut self, dirs: &[RelPath]) -> Vec<io::Result<Listing>> {
        dirs.iter().map(|dir| self.list(dir)).collect()
    }

    /// Looks at one spot; `None` when nothing is there.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn stat(&mut self, at: &Spot) -> io::Result<Option<Stat>>;

    /// Looks at several names in one directory; in the order asked.
    fn stat_many(&mut self, dir: &RelPath, names: &[Name]) -> Vec<io::Result<Option<Stat>>> {
        names.iter().map(|name| self.stat(&Spot { dir: dir.clone(), name: name.clone() })).collect()
    }

    /// Reads a file of at most [`quics_types::limits::INLINE_BYTES`] together with its stat before and after (they
    /// agree). `None` when it changed, grew or vanished meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_small(&mut self, at: &Spot) -> io::Result<Option<(Bytes, Stat)>>;

    /// Reads a link's target.
    ///
    /// # Errors
    /// When it is not a link (any more) or cannot be read.
    fn read_link(&mut self, at: &Spot) -> io::Result<Bytes>;

    /// Applies the operations, in an order that keeps their meaning, as one batch: stages all, makes durable
    /// together, renames, syncs each directory once. One outcome for each operation, in the order given; an
    /// operation below a directory that an earlier one of the batch made works.
    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome>;

    /// Makes the user's own files at these spots, and their directories, durable.
    ///
    /// # Errors
    /// When the disk says so; one that vanished meanwhile is no error.
    fn make_durable(&mut self, spots: &[Spot]) -> io::Result<()>;

    /// The clock by which the file system stamps changes.
    fn now(&mut self) -> Mtime;

    /// Whether this is still the folder that was added: its marker is there, on the same file system.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn check_identity(&mut self) -> io::Result<Identity>;
}

/// Whether a folder is still the one that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is.
    Same,
    /// The directory is gone.
    Gone,
    /// The directory is there, its marker is not.
    Unmarked,
    /// The directory is on another file system, or its marker is of another root.
    Other,
}
