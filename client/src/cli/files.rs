//! Copies of contents for the person: where they want one, and for their own tools.

use std::fs::{DirBuilder, File, FileTimes, OpenOptions, Permissions, set_permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use quics_proto::agent::v1::ReadContentRequest;
use quics_proto::common::v1::{self as common, value::Kind};
use rustix::fs::OFlags;

use super::{Context, Failure};
use crate::api;
use crate::folder::{bundle_of, unpack_unit};
use crate::text::path;

/// Reads a content of at most `limit` bytes; `None` for a longer one.
pub(super) async fn read(
    agent: &mut api::Client,
    request: ReadContentRequest,
    limit: usize,
) -> Result<Option<Vec<u8>>, Failure> {
    if request.file.as_ref().is_some_and(|file| file.size > limit as u64) {
        return Ok(None);
    }
    head(agent, request, limit).await.map(Some)
}

/// Reads the beginning of a content: `limit` bytes, or all if it is shorter.
pub(super) async fn head(
    agent: &mut api::Client,
    request: ReadContentRequest,
    limit: usize,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut stream = agent.read_content(request).await?.into_inner();
    while bytes.len() < limit
        && let Some(piece) = stream.message().await?
    {
        bytes.extend_from_slice(&piece.data);
    }
    bytes.truncate(limit);
    Ok(bytes)
}

/// Writes a content into a new file; what is left of a failed attempt is removed.
///
/// # Errors
/// One sentence; a file that exists is left as it is.
pub(super) async fn write(agent: &mut api::Client, request: ReadContentRequest, at: &Path) -> Result<(), Failure> {
    let mut file = create(at)?;
    let copied = copy(agent, request, &mut file, at).await;
    let written = copied.and_then(|()| file.sync_all().map_err(|error| wrong("write", at, &error)));
    if written.is_err() {
        // It was made by this call.
        if let Err(error) = std::fs::remove_file(at) {
            tracing::debug!(%error, "file.stays");
        }
    }
    written
}

/// Makes a new directory of a unit's bundle; what is left of a failed attempt is removed.
///
/// # Errors
/// One sentence; what exists is left as it is.
pub(super) async fn unpack(
    context: &Context,
    agent: &mut api::Client,
    request: ReadContentRequest,
    at: &Path,
) -> Result<(), Failure> {
    if at.symlink_metadata().is_ok() {
        return Err(exists(at));
    }
    let bench = Workbench::new(context, b"bundle")?;
    let copied = bench.place("whole")?;
    write(agent, request, &copied).await?;
    File::open(&copied).and_then(|bundle| unpack_unit(&bundle, at)).map_err(|error| wrong("make", at, &error))
}

/// Makes a new symbolic link.
///
/// # Errors
/// One sentence.
pub(super) fn link(target: &[u8], at: &Path) -> Result<(), Failure> {
    let target = std::ffi::OsStr::from_bytes(target);
    std::os::unix::fs::symlink(target, at).map_err(|error| wrong("make", at, &error))
}

/// Makes a new directory, its owner's alone until it is [`dress`]ed.
///
/// # Errors
/// One sentence; what exists is left as it is.
pub(super) fn directory(at: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(at).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(at),
        _ => wrong("make", at, &error),
    })
}

/// Gives a file or directory permission bits and, unless it is a directory, a time.
///
/// # Errors
/// One sentence.
pub(super) fn dress(at: &Path, mode: u32, modified: Option<Timestamp>) -> Result<(), Failure> {
    let dressed = set_permissions(at, Permissions::from_mode(mode & 0o777)).and_then(|()| match modified {
        Some(modified) => File::open(at)?.set_times(FileTimes::new().set_modified(modified.into())),
        None => Ok(()),
    });
    dressed.map_err(|error| wrong("dress", at, &error))
}

/// Whether something is at a path, be it a link that leads nowhere.
pub(super) fn is_there(at: &Path) -> bool {
    at.symlink_metadata().is_ok()
}

/// What is at a path now; `None` if nothing is.
///
/// # Errors
/// One sentence.
pub(super) fn look(at: &Path) -> Result<Option<Kind>, Failure> {
    let found = match at.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong("read", at, &error)),
    };
    Ok(Some(if found.is_symlink() {
        let target = at.read_link().map_err(|error| wrong("read", at, &error))?;
        Kind::Link(common::Link { target: target.into_os_string().into_vec().into() })
    } else if found.is_dir() {
        Kind::Directory(common::Directory {})
    } else if found.is_file() {
        Kind::File(common::File { size: found.len(), ..Default::default() })
    } else {
        return Err(no_file(at));
    }))
}

fn no_file(at: &Path) -> Failure {
    Failure::new(format!("{} is a FIFO, socket or device, which has no versions", path(at)))
}

/// Opens a file to be read; one that became a FIFO is waited for by nobody.
fn open(at: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(at);
    let file = opened.map_err(|error| wrong("read", at, &error))?;
    let found = file.metadata().map_err(|error| wrong("read", at, &error))?;
    if found.is_file() { Ok(file) } else { Err(no_file(at)) }
}

/// Reads the beginning of a directory's bundle, as if it were a unit: `limit` bytes, or all if it is shorter, and how long it
/// is.
///
/// # Errors
/// One sentence.
pub(super) fn bundle(at: &Path, limit: usize) -> Result<(Vec<u8>, u64), Failure> {
    let mut bytes = Vec::new();
    let read = bundle_of(at).and_then(|(bundle, size)| {
        bundle.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(size)
    });
    let size = read.map_err(|error| wrong("read", at, &error))?;
    Ok((bytes, size))
}

/// Whether a file, or a directory as the bundle of a unit, has just the bytes of a content.
///
/// # Errors
/// One sentence.
pub(super) async fn same(
    agent: &mut api::Client,
    request: ReadContentRequest,
    at: &Path,
    unit: bool,
) -> Result<bool, Failure> {
    let (mut here, size): (Box<dyn Read>, u64) = if unit {
        let (bundle, size) = bundle_of(at).map_err(|error| wrong("read", at, &error))?;
        (Box::new(bundle), size)
    } else {
        let file = open(at)?;
        let size = file.metadata().map_err(|error| wrong("read", at, &error))?.len();
        (Box::new(file), size)
    };
    if request.file.as_ref().is_some_and(|file| file.size != size) {
        return Ok(false);
    }
    let mut stream = agent.read_content(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.resize(piece.data.len(), 0);
        match here.read_exact(&mut bytes) {
            Ok(()) if bytes == piece.data => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(wrong("read", at, &error)),
        }
    }
    Ok(true)
}

/// Reads the beginning of a file: `limit` bytes, or all if it is shorter.
///
/// # Errors
/// One sentence.
pub(super) fn head_of(at: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(at)?.take(limit as u64).read_to_end(&mut bytes);
    read.map_err(|error| wrong("read", at, &error))?;
    Ok(bytes)
}

/// Whether a path stands for what is written through and holds nothing itself: the output ("-"), a pipe, a terminal.
pub(super) fn is_stream(at: &Path) -> bool {
    let special = |is: std::fs::Metadata| !(is.is_file() || is.is_dir());
    is_output(at) || at == Path::new("/dev/stderr") || at.starts_with("/dev/fd") || at.metadata().is_ok_and(special)
}

fn is_output(at: &Path) -> bool {
    at == Path::new("-") || at == Path::new("/dev/stdout")
}

/// Opens it.
///
/// # Errors
/// One sentence.
pub(super) fn stream(at: &Path) -> Result<Box<dyn Write>, Failure> {
    if is_output(at) {
        return Ok(Box::new(std::io::stdout()));
    }
    let opened = OpenOptions::new().write(true).open(at);
    opened.map(|file| Box::new(file) as Box<dyn Write>).map_err(|error| wrong("write", at, &error))
}

/// Writes a content to what is open.
///
/// # Errors
/// One sentence; none that says anything where nobody reads on.
pub(super) async fn copy(
    agent: &mut api::Client,
    request: ReadContentRequest,
    to: &mut impl Write,
    at: &Path,
) -> Result<(), Failure> {
    let mut stream = agent.read_content(request).await?.into_inner();
    while let Some(piece) = stream.message().await? {
        to.write_all(&piece.data).map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => error.into(),
            _ => wrong("write", at, &error),
        })?;
    }
    Ok(())
}

fn create(at: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(at);
    opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(at),
        _ => wrong("make", at, &error),
    })
}

fn exists(at: &Path) -> Failure {
    Failure::new(format!("{} exists already: give another path, or remove it first", path(at)))
}

fn wrong(action: &str, at: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {action} {}: {error}", path(at)))
}

/// A directory below the home for the copies that a person's tools work on; it goes when this is dropped.
pub(super) struct Workbench {
    directory: PathBuf,
    /// The file's own name, so that tools see what it is.
    name: PathBuf,
}

impl Workbench {
    /// Makes one, for a file of this name.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn new(context: &Context, name: &[u8]) -> Result<Self, Failure> {
        let mark = data_encoding::HEXLOWER.encode(&quics_kit::random::bytes::<8>());
        let directory = context.home.path().join("merge").join(mark);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| wrong("make", &directory, &error))?;
        Ok(Self { directory, name: PathBuf::from(std::ffi::OsStr::from_bytes(name)) })
    }

    /// The place of a side's copy.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn place(&self, side: &str) -> Result<PathBuf, Failure> {
        let directory = self.directory.join(side);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|error| wrong("make", &directory, &error))?;
        Ok(directory.join(&self.name))
    }

    /// Writes a copy, and gives its path.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn put(&self, side: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let at = self.place(side)?;
        create(&at)?.write_all(bytes).map_err(|error| wrong("write", &at, &error))?;
        Ok(at)
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %path(&self.directory), "workbench.stays");
        }
    }
}

/// Reads a file of at most `limit` bytes; `None` for a longer one.
///
/// # Errors
/// One sentence.
pub(super) fn load(at: &Path, limit: usize) -> Result<Option<Bytes>, Failure> {
    let bytes = head_of(at, limit + 1)?;
    Ok((bytes.len() <= limit).then(|| bytes.into()))
}

/// What to ask the agent for a file's bytes; `like` may have some of them.
pub(super) fn request(root: &Bytes, file: &common::File, like: &Bytes) -> ReadContentRequest {
    ReadContentRequest { root_id: root.clone(), file: Some(file.clone()), like: like.clone() }
}
