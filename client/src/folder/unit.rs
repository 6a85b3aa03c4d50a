//! A unit on the disk: a directory that is one thing with everything in it, seen, read and made as a whole.
//!
//! Its stat tells of everything inside: `size` is the length of its bundle, `born` a digest of what stats say of every
//! member, `mtime` and `ctime` the newest change of a member. So two equal stats mean what they mean of a file. FIFOs,
//! sockets, devices and what is mounted inside are left out. Times of directories do not count: a lock file that came and
//! went is no change.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quics_chunks::{Bundle, BundleError, Member, MemberKind};
use quics_types::{Mtime, limits};
use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::{Kind, RelPath, Stat, beneath, listing, stage};

/// What a walk through a unit has found.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) bundle: Bundle,
    pub(super) stat: Stat,
}

/// Looks at a member of a directory, and through it if it is a directory: then it is a [`Kind::Unit`].
///
/// # Errors
/// When a part of it cannot be looked at, or it is too large; what it is now is then unknown.
pub(super) fn look(dir: impl AsFd, name: &[u8], dev: (u32, u32)) -> io::Result<Option<Stat>> {
    match beneath::look(&dir, name, dev)? {
        Some(stat) if stat.kind == Kind::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let unit = fs::openat(dir, name, flags, Mode::empty())?;
            survey(&unit, dev).map(|survey| Some(survey.stat))
        }
        other => Ok(other),
    }
}

/// Walks through a unit.
///
/// # Errors
/// As [`look`].
pub(super) fn survey(unit: &OwnedFd, dev: (u32, u32)) -> io::Result<Survey> {
    let own = beneath::look_at(unit, dev)?;
    let (mut found, mut waiting, mut bytes) = (Vec::new(), vec![RelPath::root()], 0);
    while let Some(path) = waiting.pop() {
        let dir = beneath::open_dir(unit, &path)?;
        for name in listing::names(&dir)? {
            let Some(stat) = beneath::look(&dir, &name, dev)? else { continue };
            let member = below(&path, &name);
            let kind = match stat.kind {
                Kind::Directory => {
                    waiting.push(RelPath::from_checked(&member));
                    MemberKind::Directory
                }
                Kind::File => MemberKind::File { size: stat.size, executable: stat.mode & 0o100 != 0 },
                Kind::Link => {
                    let target = fs::readlinkat(&dir, &*name, Vec::with_capacity(256))?;
                    MemberKind::Link { target: Bytes::from(target.into_bytes()) }
                }
                Kind::Unit | Kind::Other => continue,
            };
            bytes += member.len();
            if found.len() >= limits::UNIT_MEMBERS || bytes > limits::UNIT_LIST_BYTES {
                return Err(refused(BundleError::TooLarge));
            }
            found.push((Member { path: member.into(), kind }, stat));
        }
    }
    found.sort_unstable_by(|a, b| a.0.path.cmp(&b.0.path));
    let (mut digest, mut newest) = (blake3::Hasher::new(), Mtime { seconds: i64::MIN, nanos: 0 });
    let mut members = Vec::with_capacity(found.len());
    for (member, stat) in found {
        if stat.kind != Kind::Directory {
            newest = newest.max(stat.mtime.max(stat.ctime));
        }
        tell(&mut digest, &member, &stat);
        members.push(member);
    }
    if newest.seconds == i64::MIN {
        newest = own.mtime; // an empty one
    }
    let bundle = Bundle::new(members).map_err(refused)?;
    let told = digest.finalize();
    let born = told.as_bytes().first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    let stat = Stat { kind: Kind::Unit, born, size: bundle.size(), mtime: newest, ctime: newest, links: 1, ..own };
    Ok(Survey { bundle, stat })
}

/// Everything of a member that changes when it is changed.
fn tell(digest: &mut blake3::Hasher, member: &Member, stat: &Stat) {
    digest.update(&(member.path.len() as u64).to_le_bytes());
    digest.update(&member.path);
    digest.update(&[stat.kind as u8]);
    if stat.kind == Kind::Directory {
        return;
    }
    digest.update(&stat.inode.to_le_bytes());
    digest.update(&stat.size.to_le_bytes());
    for time in [stat.mtime, stat.ctime] {
        digest.update(&time.seconds.to_le_bytes());
        digest.update(&time.nanos.to_le_bytes());
    }
}

fn below(dir: &RelPath, name: &[u8]) -> Vec<u8> {
    let mut path = dir.as_bytes().to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn refused(error: BundleError) -> io::Error {
    match error {
        BundleError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

/// Reads a unit's bundle from the files themselves. They may change meanwhile: whoever reads looks at the unit again
/// afterwards, or hashes what was read.
#[derive(Debug)]
pub struct Reader {
    unit: OwnedFd,
    dev: (u32, u32),
    bundle: Bundle,
    head: Bytes,
    position: u64,
    /// The file that was read last, by its number.
    open: Mutex<Option<(usize, File)>>,
}

impl Reader {
    /// Opens a unit, with its stat; `None` when there is no directory.
    ///
    /// # Errors
    /// As [`look`].
    pub(super) fn open(dir: impl AsFd, name: &[u8], dev: (u32, u32)) -> io::Result<Option<(Self, Stat)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let unit = match fs::openat(dir, name, flags, Mode::empty()) {
            Ok(unit) => unit,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Survey { bundle, stat } = survey(&unit, dev)?;
        let head = bundle.head();
        Ok(Some((Self { unit, dev, bundle, head, position: 0, open: Mutex::new(None) }, stat)))
    }

    /// Reads bytes at an offset; fewer than there is room for where a file ends, none at the end of the whole.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when a file is gone or shorter than it was; what the system says.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(rest) = usize::try_from(offset).ok().and_then(|offset| self.head.get(offset..))
            && !rest.is_empty()
        {
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            return Ok(count);
        }
        let Some((index, within)) = self.bundle.at(offset) else { return Ok(0) };
        let rest = self.bundle.members()[index].bytes() - within;
        let room = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let mut open = self.open.lock();
        if open.as_ref().is_none_or(|(number, _)| *number != index) {
            *open = Some((index, self.file(index)?));
        }
        let Some((_, file)) = open.as_ref() else { return Ok(0) };
        match file.read_at(&mut buffer[..room], within)? {
            0 if room > 0 => Err(io::ErrorKind::NotFound.into()),
            count => Ok(count),
        }
    }

    fn file(&self, index: usize) -> io::Result<File> {
        let (dir, name) = self.bundle.members()[index].split();
        let dir = beneath::open_dir(&self.unit, &RelPath::from_checked(dir))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match fs::openat(dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::NXIO) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error.into()),
        };
        if beneath::look_at(&file, self.dev)?.kind == Kind::File {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Makes the directory `name` in `dir` from a bundle of `size` bytes. Files and directories get the permission bits of
/// `mode`, the ones to execute where the bundle says so. Nothing is durable yet.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when the bytes are no bundle; what the system says. What was made so far stays.
pub(super) fn unpack(dir: BorrowedFd<'_>, name: &str, from: impl Read, size: u64, mode: u32) -> io::Result<OwnedFd> {
    let mut from = io::BufReader::with_capacity(COPY_BYTES, from);
    let bundle = Bundle::read(&mut from, size).map_err(refused)?;
    fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))?;
    let unit = beneath::open_private(dir, name)?;
    let mut parent: Option<(Vec<u8>, OwnedFd)> = None;
    for member in bundle.members() {
        let (path, name) = member.split();
        if parent.as_ref().is_none_or(|(open, _)| open != path) {
            parent = Some((path.to_vec(), beneath::open_dir(&unit, &RelPath::from_checked(path))?));
        }
        let Some((_, parent)) = &parent else { continue };
        match &member.kind {
            MemberKind::Directory => {
                fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                // It is written into until the end, whatever the mode says of its owner.
                stage::set_mode(&beneath::open_dir(parent, &RelPath::from_checked(name))?, mode | 0o700)?;
            }
            MemberKind::Link { target } => fs::symlinkat(&target[..], parent, name)?,
            MemberKind::File { size, executable } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                if io::copy(&mut (&mut from).take(*size), &mut file)? != *size {
                    return Err(refused(BundleError::Malformed("its files are cut off")));
                }
                let bits = if *executable { mode & 0o777 | 0o100 } else { mode & 0o666 };
                file.flush()?;
                stage::set_mode(&file, bits | 0o600)?;
            }
        }
    }
    stage::set_mode(&unit, mode | 0o700)?;
    Ok(unit)
}

/// Bytes that are read at once while a unit is made.
const COPY_BYTES: usize = 256 * 1024;

/// Makes a new directory at any path from a bundle, durably. What is left of a failed attempt is removed.
///
/// # Errors
/// As the private way that the folder itself goes: [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::InvalidData`], what
/// the system says.
pub fn unpack_to(bundle: &File, at: &Path) -> io::Result<()> {
    let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = at.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let dir = fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match unpack(dir.as_fd(), name, bundle, bundle.metadata()?.len(), 0o755) {
        Ok(unit) => Ok(fs::syncfs(unit)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => {
            // It was made by this call; what the attempt ended with is the better news.
            _ = remove_all(&dir, name);
            Err(error)
        }
    }
}

/// Opens a directory at any path to be read as a unit's bundle, with the length of that.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where no directory is; what the system says of a part that cannot be looked at, or where it is
/// too large for a unit.
pub fn bundle_of(at: &Path) -> io::Result<(impl Read + use<>, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let dev = beneath::device(fs::open(at, flags, Mode::empty())?)?;
    let found = Reader::open(fs::CWD, std::os::unix::ffi::OsStrExt::as_bytes(at.as_os_str()), dev)?;
    let (reader, stat) = found.ok_or(io::ErrorKind::NotFound)?;
    Ok((reader, stat.size))
}

/// Removes a directory with everything in it, which is nobody's any more.
pub(super) fn remove_all(dir: impl AsFd, name: &str) -> io::Result<()> {
    // The standard library's way follows no link; the handle's own path keeps it from being led elsewhere.
    std::fs::remove_dir_all(format!("{}/{name}", beneath::magic_path(dir)))
}
