//! Unix sockets at paths of any length.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

/// Binds a socket.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_directory, short) = shorten(path)?;
    UnixListener::bind(short)
}

/// Connects to a socket.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_directory, short) = shorten(path)?;
    UnixStream::connect(short).await
}

/// A short path of the same file, good as long as the handle to its directory is open.
fn shorten(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "the socket's path has no directory");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path.parent().ok_or_else(wrong)?, flags, Mode::empty())?;
    let name = path.file_name().ok_or_else(wrong)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    Ok((directory, short))
}
