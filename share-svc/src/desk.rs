//! The desk: where whoever comes with a link's token is let in, or not.
//!
//! The public side (`public`) speaks HTTP and knows nothing of stores or services; it asks here. Whatever is wrong with a link
//! (unknown, expired, used up, revoked, still being made) has one answer, [`Refusal::Closed`], after the same work.

use std::future::Future;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use quics_kit::secret::Secret;
use quics_types::{Digest, Mtime, Name, WallTime};
use tokio_util::sync::CancellationToken;

/// After so many seconds a service that is away may be back.
pub(crate) const AGAIN: u64 = 5;

/// Who comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    /// From where; behind a trusted proxy, what the proxy says.
    pub(crate) address: IpAddr,
    /// Whether a trusted proxy says that it came there over TLS.
    pub(crate) over_tls: bool,
}

/// What opens a link, or a download that was begun: 32 random bytes. It has no form that can be logged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) [u8; 32]);

/// With what somebody comes.
#[derive(Clone)]
pub(crate) enum Key {
    /// A link's token, and what [`Desk::unlock`] gave, if anything did.
    Link { token: Token, session: Option<String> },
    /// The token of a download that was begun ([`Desk::begin`]); it opens what that was begun for, for a day.
    Grant(Token),
}

/// In which form something is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    File,
    /// A folder, as one archive.
    Zip,
}

/// A download that was begun: what of the link, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) what: Fetch,
    /// Names with slashes between them; empty for what the link shows.
    pub(crate) path: Bytes,
}

/// Why somebody is not let in. The text of none of them says which link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// Nothing is here: a link that is wrong, expired, used up or revoked.
    Closed,
    /// A link that wants a password first.
    Locked,
    /// The password is wrong.
    WrongPassword,
    /// Too many attempts; again after so many seconds.
    TooMany { seconds: u64 },
    /// The link is good, and what it shows was deleted, or there is nothing at that path in it.
    Gone,
    /// A download of it has to be begun ([`Desk::begin`]) first.
    NotBegun,
    /// A service that has to be asked is away; again after so many seconds. Nothing was counted.
    Away { seconds: u64 },
    /// What was asked for is damaged or lost in the store; that was reported.
    Damaged,
    /// Something failed here; the log has it under this id.
    Failed { id: u64 },
}

/// A link that was opened.
#[derive(Clone)]
pub(crate) struct Opened {
    /// Which one, for the desk.
    pub(crate) link: Link,
    /// For whoever opens it; may be empty. Not to be trusted.
    pub(crate) label: String,
    /// Whether it shows what there is at any time.
    pub(crate) live: bool,
    /// What it shows.
    pub(crate) item: Item,
    pub(crate) expires: Option<WallTime>,
    /// Downloads that are left, if it has a limit: downloads have to be begun then.
    pub(crate) left: Option<u32>,
    /// What was begun, if the key is that of a download: that may be read, and nothing else of a link with a limit.
    pub(crate) begun: Option<Begun>,
    /// Ends when the link is revoked: whatever goes out is cut then.
    pub(crate) revoked: Arc<CancellationToken>,
}

/// The desk's own name for a link that is open, good for as long as the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Link(pub(crate) [u8; 16]);

/// Something that a link shows: the file or folder itself, or something in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its name alone; bytes, not to be trusted. Of a root: the root's name.
    pub(crate) name: Bytes,
    pub(crate) changed: Mtime,
    pub(crate) kind: ItemKind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File(File),
    Folder,
    /// A symbolic link: left out of downloads, and listed.
    Symlink,
    /// A directory that is kept as one thing, which links do not open: left out of downloads, and listed.
    Unit,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) size: u64,
    /// Whether its owner may execute it.
    pub(crate) executable: bool,
    /// Its content id: a strong validator, and not the BLAKE3 of its bytes.
    pub(crate) content: Digest,
}

/// Checksums of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) blake3: [u8; 32],
    pub(crate) sha256: [u8; 32],
}

/// Why the bytes of a file ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ReadFailure {
    /// They are damaged or lost in the store; that was reported.
    Damaged,
    /// A service is away.
    Away,
}

impl From<ReadFailure> for Refusal {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Damaged => Refusal::Damaged,
            ReadFailure::Away => Refusal::Away { seconds: AGAIN },
        }
    }
}

/// A download that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether it began where what is fetched begins, and so continues no other one.
    pub(crate) first: bool,
    pub(crate) bytes: u64,
    pub(crate) end: End,
}

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    Left,
    Revoked,
    Failed,
    Slow,
}

/// Lets in, lists and reads. Cheap to clone behind an `Arc`.
pub(crate) trait Desk: Send + Sync + 'static {
    /// Opens a link and says what it shows now. Counts nothing.
    fn open(&self, key: &Key, visitor: Visitor) -> impl Future<Output = Result<Opened, Refusal>> + Send;

    /// Tries a password; answers with what to bring along as a session from now on.
    ///
    /// The same answer in the same time for links that are closed and for those that have no password.
    fn unlock(
        &self,
        token: &Token,
        password: &Secret,
        visitor: Visitor,
    ) -> impl Future<Output = Result<String, Refusal>> + Send;

    /// Counts a download of a limited link, durably, and answers with a grant: an address of its own for a day. Of two at once
    /// for the last one exactly one gets it.
    fn begin(&self, key: &Key, begun: Begun, visitor: Visitor) -> impl Future<Output = Result<Token, Refusal>> + Send;

    /// Whether contents can be had now.
    ///
    /// # Errors
    /// [`Refusal::Away`].
    fn reach(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// What is at a path in an opened folder; an empty path is what the link shows.
    fn find(&self, opened: &Opened, path: &[Name]) -> impl Future<Output = Result<Item, Refusal>> + Send;

    /// What is directly in a folder, by name.
    fn list(&self, opened: &Opened, path: &[Name]) -> impl Future<Output = Result<Vec<Item>, Refusal>> + Send;

    /// Everything below a folder with its path relative to it, each folder before what is in it, in the order of the paths. In
    /// bounded memory; a stream that ends without an error has told everything.
    fn walk(
        &self,
        opened: &Opened,
        path: &[Name],
    ) -> impl Future<Output = Result<impl Stream<Item = Result<(Vec<Name>, Item), Refusal>> + Send + 'static, Refusal>> + Send;

    /// The checksums of a file, if they are worked out already; otherwise that is begun.
    fn sums(&self, opened: &Opened, file: &File) -> impl Future<Output = Option<Sums>> + Send;

    /// Bytes of a file, in order and verified; nothing that is damaged comes. `range` lies within the file. Only of an opened
    /// link without a limit, or one that was opened by a grant.
    fn read(
        &self,
        opened: &Opened,
        file: &File,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static;

    /// Writes a download into the link's log.
    fn note(&self, opened: &Opened, path: &[Name], visitor: Visitor, ended: Ended);
}
