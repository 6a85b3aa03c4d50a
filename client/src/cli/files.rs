//! Copies of contents for the person: where they want one, and for their own tools.

use std::fs::{DirBuilder, File, FileTimes, OpenOptions, Permissions, set_permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use quics_proto::agent::v1::ReadContentRequest;
use quics_proto::common::v1::{self as common, value::Kind};

use super::{Context, Failure};
use crate::api;
use crate::folder::unpack_unit;
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
    let written = copy(agent, request, &mut file, at).await;
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
    } else {
        Kind::File(common::File { size: found.len(), ..Default::default() })
    }))
}

/// Reads the beginning of a file: `limit` bytes, or all if it is shorter.
///
/// # Errors
/// One sentence.
pub(super) fn head_of(at: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(at).and_then(|file| file.take(limit as u64).read_to_end(&mut bytes));
    read.map_err(|error| wrong("read", at, &error))?;
    Ok(bytes)
}

async fn copy(agent: &mut api::Client, request: ReadContentRequest, file: &mut File, at: &Path) -> Result<(), Failure> {
    let mut stream = agent.read_content(request).await?.into_inner();
    while let Some(piece) = stream.message().await? {
        file.write_all(&piece.data).map_err(|error| wrong("write", at, &error))?;
    }
    file.sync_all().map_err(|error| wrong("write", at, &error))
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
