//! The bytes of the sides of a conflict.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use quics_proto::common::v1 as common;
use quics_types::{Digest, LeaseId};
use rustix::fs::{FileType, Mode, OFlags};

use super::Error;
use crate::agent::contents::Line;
use crate::agent::{Core, Root};
use crate::transfer::{self, Failure, Server};

impl Core {
    /// sync-svc as the other end of a transfer of a root.
    pub(super) fn remote(&self, root: &Root) -> Server<Line> {
        let lease: LeaseId = root.entry.lock().lease;
        Server::new(self.sync_client(), root.id, lease)
    }

    /// The bytes of a file's content, verified, in their order; what the file `like` of the root has of it is not
    /// fetched.
    ///
    /// # Errors
    /// [`Error::Request`] for what names no content; the stream's items say what comes later.
    pub(crate) fn read_content(
        &self,
        root: &Arc<Root>,
        file: &common::File,
        like: Option<PathBuf>,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Error> {
        let content = Digest::from_slice(&file.content_id).map_err(|_| Error::Request("this names no content"))?;
        // Only a help: what cannot be opened is fetched.
        let like = like.filter(|at| root.relative(at).is_some()).and_then(|at| open(&at).ok());
        Ok(transfer::stream(self.remote(root), like.map(|(file, _)| file), content, file.size))
    }
}

/// Opens a regular file and gives its size; never waits for a writer of something else.
pub(super) fn open(at: &Path) -> std::io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(at, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}
