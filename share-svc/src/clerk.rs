//! The desk over the store, and the services behind it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use quics_kit::attempts::Who;
use quics_kit::secret::Secret;
use quics_reader::Failure;
use quics_reconcile::Value;
use quics_records::{get, put};
use quics_types::{Digest, Mtime, Name, WallTime};

use crate::db::keys;
use crate::db::records::{Download, DownloadEnd, Frozen, Grant, Kind, Member, Shows};
use crate::desk::{
    AGAIN, Begun, Desk, End, Ended, Fetch, File, Item, ItemKind, Key, Link, Opened, ReadFailure, Refusal, Sums, Token,
    Visitor,
};
use crate::making::relative;
use crate::service::Service;
use crate::store::{self, GRACE, Known, State};
use crate::upstream::{Found, Subject};
use crate::{Error, policy, reading, sums, token};

/// Members that are told at once while a folder is walked through.
const STEP: usize = 1024;

/// Lets in, lists and reads.
#[derive(Clone)]
pub(crate) struct Clerk {
    service: Arc<Service>,
}

impl Clerk {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// The link that a key is for, if it lets anybody in; and what was begun, if the key is that of a download.
    async fn look(&self, key: &Key) -> Result<(Known, Option<Begun>), Refusal> {
        let (hash, granted) = match key {
            Key::Link { token, .. } => (token::hash(token), false),
            Key::Grant(token) => (token::hash(token), true),
        };
        let found = self.service.blocking(move |service| {
            let (reads, now) = (service.reads(), service.now());
            if !granted {
                let open = store::by_token(reads, &hash)?.filter(|known| known.state(now) == State::Open);
                return Ok(open.map(|known| (known, None)));
            }
            let grant = get::<Grant>(reads, &keys::grant(&hash))?.map(|kept| kept.record);
            let Some(grant) = grant.filter(|grant| grant.until > now) else { return Ok(None) };
            let id = grant.link[..].try_into().map(Link).map_err(|_| Error::damaged(&keys::grant(&hash)))?;
            // What was begun ends well, whatever has run out since; what was taken back does not.
            let stands = |known: &Known| !matches!(known.state(now), State::Revoked | State::Making);
            let begun = Begun { what: if grant.archive { Fetch::Zip } else { Fetch::File }, path: grant.path };
            Ok(store::known(reads, grant.root, id)?.filter(stands).map(|known| (known, Some(begun))))
        });
        found.await.map_err(failed)?.ok_or(Refusal::Closed)
    }

    /// As [`Self::look`], for who has given the password, if there is one.
    async fn admitted(&self, key: &Key) -> Result<(Known, Option<Begun>), Refusal> {
        let (known, begun) = self.look(key).await?;
        if let (Key::Link { session, .. }, Some(_)) = (key, &known.link.password) {
            let (revision, now) = (known.link.password_revision, self.service.now());
            let holds = |session: &String| self.service.sessions.holds(session, known.id, revision, now);
            if !session.as_ref().is_some_and(holds) {
                return Err(Refusal::Locked);
            }
        }
        Ok((known, begun))
    }

    /// The link that is open, as it is now.
    async fn again(&self, id: Link) -> Result<Known, Refusal> {
        let known = self.service.blocking(move |service| store::by_id(service.reads(), id)).await.map_err(failed)?;
        known.filter(|known| known.link.revoked.is_none()).ok_or(Refusal::Closed)
    }

    /// What a live link shows now.
    async fn living(&self, known: &Known) -> Result<Found, Refusal> {
        let found = self.service.upstream.version(known.root, Subject::Entry(known.link.entry), None).await;
        found.map_err(failed)?.filter(|found| found.removed.is_none()).ok_or(Refusal::Gone)
    }

    /// Where a live folder is now; the top is where it ever was.
    async fn directory(&self, known: &Known) -> Result<Bytes, Refusal> {
        if known.link.entry == quics_types::EntryId::TOP {
            return Ok(Bytes::new());
        }
        let found = self.living(known).await?;
        if found.row.value.is_directory() { Ok(found.path) } else { Err(Refusal::Gone) }
    }

    async fn top(&self, known: &Known) -> Result<Item, Refusal> {
        let name = last(&known.link.path);
        Ok(match &known.link.shows {
            Shows::Frozen(Frozen { content, size, mode, changed, .. }) => {
                let file = File { size: *size, executable: mode & 0o100 != 0, content: *content };
                Item { name, changed: *changed, kind: ItemKind::File(file) }
            }
            Shows::Tree(tree) => Item { name, changed: tree.changed, kind: ItemKind::Folder },
            Shows::Live if known.link.kind == Kind::Folder && known.link.path.is_empty() => {
                Item { name, changed: Mtime::default(), kind: ItemKind::Folder }
            }
            Shows::Live => {
                let found = self.living(known).await?;
                item(last(&found.path), &found.row.value, found.row.mode, found.row.mtime)
            }
        })
    }

    /// What is directly in a live folder.
    async fn members(&self, known: &Known, path: &[Name]) -> Result<Vec<Item>, Refusal> {
        let entry = if path.is_empty() {
            known.link.entry
        } else {
            let directory = self.directory(known).await?;
            self.at(known, &directory, path).await?.row.id
        };
        let mut entries = self.service.upstream.tree(known.root, entry, None, false).await.map_err(failed)?;
        let mut items = Vec::new();
        while let Some(page) = entries.next().await.map_err(failed)? {
            items.extend(page.into_iter().map(|it| item(last(&it.path), &it.row.value, it.row.mode, it.row.mtime)));
        }
        Ok(items)
    }

    /// What is at a path below a directory now.
    async fn at(&self, known: &Known, directory: &Bytes, path: &[Name]) -> Result<Found, Refusal> {
        let path = below(directory, path);
        let found = self.service.upstream.version(known.root, Subject::Path(path.clone()), None).await;
        found.map_err(failed)?.filter(|found| found.path == path && found.removed.is_none()).ok_or(Refusal::Gone)
    }

    /// A page of what is below a path in a pinned folder, behind a path.
    async fn page(&self, id: Link, path: Bytes, behind: Option<Bytes>) -> Result<Vec<(Bytes, Member)>, Refusal> {
        let page = self.service.blocking(move |service| {
            let (from, to) = keys::members(id, &path);
            let from = behind.map_or(from, |path| keys::behind(&keys::member(id, &path)));
            let rows = service.reads().range(&from, &to, STEP)?.into_iter().map(|(key, stored)| {
                let path = keys::member_path(&key).ok_or_else(|| Error::damaged(&key))?;
                Ok((path, quics_records::decode::<Member>(&key, stored)?.record))
            });
            rows.collect::<Result<Vec<_>, Error>>()
        });
        page.await.map_err(failed)
    }
}

impl Desk for Clerk {
    async fn open(&self, key: &Key, _: Visitor) -> Result<Opened, Refusal> {
        let (known, begun) = self.admitted(key).await?;
        let left = known.link.limit.map(|limit| {
            // What is open has some left; what was begun may have been the last.
            u32::try_from(u64::from(limit).saturating_sub(known.usage.downloads)).unwrap_or(u32::MAX)
        });
        Ok(Opened {
            link: known.id,
            label: known.link.label.clone(),
            live: known.link.shows == Shows::Live,
            item: self.top(&known).await?,
            expires: known.link.expires,
            left,
            begun,
            revoked: self.service.running(known.id),
        })
    }

    async fn unlock(&self, token: &Token, password: &Secret, visitor: Visitor) -> Result<String, Refusal> {
        let hash = token::hash(token);
        let looking = self.service.blocking(move |service| {
            let known = store::by_token(service.reads(), &hash)?;
            Ok(known.filter(|known| known.state(service.now()) == State::Open && known.link.password.is_some()))
        });
        let known = looking.await.map_err(failed)?;
        // A link that is none is guessed at as slowly as one that is.
        let mut guessed = [0; 16];
        guessed.copy_from_slice(&hash.as_bytes()[..16]);
        let id = known.as_ref().map_or(Link(guessed), |known| known.id);
        let begun = self.service.attempts.begin(vec![Who::Address(visitor.address), Who::Secret(id)]);
        let attempt = begun.map_err(|limited| Refusal::TooMany { seconds: limited.wait.as_secs() + 1 })?;
        let stored = known.as_ref().and_then(|known| known.link.password.clone()).map(|it| it.hash).unwrap_or_default();
        let right = self.service.passwords.verify(password.clone(), stored).await;
        let right = right.map_err(|error| failed(error.into()))?;
        let known = known.ok_or(Refusal::Closed)?;
        if !right {
            return Err(Refusal::WrongPassword);
        }
        attempt.succeeded();
        Ok(self.service.sessions.make(known.id, known.link.password_revision, self.service.now()))
    }

    async fn begin(&self, key: &Key, begun: Begun, visitor: Visitor) -> Result<Token, Refusal> {
        let (known, _) = self.admitted(key).await?;
        // What cannot be fetched is not counted.
        self.top(&known).await?;
        self.reach().await?;
        let granted = token::draw();
        let (hash, id) = (token::hash(&granted), known.id);
        let address = visitor.address.to_string();
        let begin = move |service: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
            let now = service.now();
            let known = store::by_id(reads, id)?.filter(|known| known.state(now) == State::Open);
            let Some(mut known) = known else { return Ok(false) };
            let until = WallTime(now.0.saturating_add(GRACE));
            let (root, link, archive) = (known.root, Bytes::copy_from_slice(&id.0), begun.what == Fetch::Zip);
            let grant = Grant { root, link, until, archive, path: begun.path.clone() };
            put(batch, keys::grant(&hash), &grant, 0);
            if known.link.limit.is_some() {
                known.usage.downloads += 1;
            }
            known.usage.last = Some(now);
            let keeps = policy::of(reads, known.root)?.keep_addresses;
            let address = if keeps { address.clone() } else { String::new() };
            let line = Download { at: now, path: begun.path.clone(), bytes: 0, end: DownloadEnd::Begun, address };
            store::log(batch, id, &mut known.usage, &line);
            store::set_usage(reads, batch, id, &known.usage)?;
            Ok(true)
        };
        if self.service.change(begin).await.map_err(failed)? { Ok(granted) } else { Err(Refusal::Closed) }
    }

    async fn reach(&self) -> Result<(), Refusal> {
        self.service.upstream.contents().await.map(drop).map_err(failed)
    }

    async fn find(&self, opened: &Opened, path: &[Name]) -> Result<Item, Refusal> {
        if path.is_empty() {
            return Ok(opened.item.clone());
        }
        let known = self.again(opened.link).await?;
        match &known.link.shows {
            Shows::Frozen(_) => Err(Refusal::Gone),
            Shows::Tree(_) => {
                let (id, path) = (known.id, below(&Bytes::new(), path));
                let name = last(&path);
                let found = self.service.blocking(move |service| {
                    Ok(get::<Member>(service.reads(), &keys::member(id, &path))?.map(|kept| kept.record))
                });
                let member = found.await.map_err(failed)?.ok_or(Refusal::Gone)?;
                Ok(item(name, &member.value, member.mode, member.changed))
            }
            Shows::Live => {
                let directory = self.directory(&known).await?;
                let found = self.at(&known, &directory, path).await?;
                Ok(item(last(&found.path), &found.row.value, found.row.mode, found.row.mtime))
            }
        }
    }

    async fn list(&self, opened: &Opened, path: &[Name]) -> Result<Vec<Item>, Refusal> {
        let known = self.again(opened.link).await?;
        if !matches!(known.link.shows, Shows::Tree(_)) {
            return self.members(&known, path).await;
        }
        let (id, path) = (known.id, below(&Bytes::new(), path));
        let listing = self.service.blocking(move |service| {
            let (mut from, to) = keys::members(id, &path);
            let mut items = Vec::new();
            loop {
                let page = service.reads().range(&from, &to, STEP)?;
                let Some((end, _)) = page.last() else { return Ok(items) };
                let mut next = keys::behind(end);
                for (key, stored) in page {
                    let full = keys::member_path(&key).ok_or_else(|| Error::damaged(&key))?;
                    let rest = relative(&path, &full).ok_or_else(|| Error::damaged(&key))?;
                    if let Some(at) = rest.iter().position(|byte| *byte == b'/') {
                        // Deeper: on to what is behind everything in that folder.
                        let cut = full.len() - rest.len() + at;
                        next = keys::behind_members(id, &full[..cut]);
                        break;
                    }
                    let member = quics_records::decode::<Member>(&key, stored)?.record;
                    items.push(item(rest, &member.value, member.mode, member.changed));
                }
                from = next;
            }
        });
        listing.await.map_err(failed)
    }

    async fn walk(
        &self,
        opened: &Opened,
        path: &[Name],
    ) -> Result<impl Stream<Item = Result<(Vec<Name>, Item), Refusal>> + Send + 'static, Refusal> {
        let known = self.again(opened.link).await?;
        let clerk = self.clone();
        if matches!(known.link.shows, Shows::Tree(_)) {
            let top = below(&Bytes::new(), path);
            let pages = stream::try_unfold(Some(None), move |behind: Option<Option<Bytes>>| {
                let (clerk, top) = (clerk.clone(), top.clone());
                async move {
                    let Some(behind) = behind else { return Ok(None) };
                    let page = clerk.page(known.id, top.clone(), behind).await?;
                    let next = page.last().map(|(path, _)| Some(path.clone()));
                    let items = page.into_iter().map(move |(path, member)| {
                        let rest = relative(&top, &path).and_then(|rest| names(&rest)).ok_or(Refusal::Gone)?;
                        Ok((rest, item(last(&path), &member.value, member.mode, member.changed)))
                    });
                    Ok::<_, Refusal>(Some((stream::iter(items.collect::<Vec<_>>()), next)))
                }
            });
            return Ok(flat(pages).left_stream());
        }
        let directory = self.directory(&known).await?;
        let top = below(&directory, path);
        let entry = match path {
            [] => known.link.entry,
            path => self.at(&known, &directory, path).await?.row.id,
        };
        let entries = self.service.upstream.tree(known.root, entry, None, true).await.map_err(failed)?;
        let pages = stream::try_unfold(entries, move |mut entries| {
            let top = top.clone();
            async move {
                let Some(page) = entries.next().await.map_err(failed)? else { return Ok(None) };
                let items = page.into_iter().map(move |found| {
                    let rest = relative(&top, &found.path).and_then(|rest| names(&rest)).ok_or(Refusal::Gone)?;
                    Ok((rest, item(last(&found.path), &found.row.value, found.row.mode, found.row.mtime)))
                });
                Ok::<_, Refusal>(Some((stream::iter(items.collect::<Vec<_>>()), entries)))
            }
        });
        Ok(flat(pages).right_stream())
    }

    async fn sums(&self, opened: &Opened, file: &File) -> Option<Sums> {
        let known = self.again(opened.link).await.ok()?;
        let (root, content, size) = (known.root, file.content, file.size);
        let known = self.service.blocking(move |service| sums::of(service, root, content, size)).await;
        let known = known.unwrap_or_else(|error| {
            tracing::warn!(%error, "sums.not_read");
            None
        });
        known.map(|sums| Sums { blake3: *sums.blake3.as_bytes(), sha256: *sums.sha256.as_bytes() })
    }

    fn read(
        &self,
        opened: &Opened,
        file: &File,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static {
        let (clerk, id, content, size) = (self.clone(), opened.link, file.content, file.size);
        let opened = async move {
            match clerk.again(id).await {
                Ok(known) => reading::read(clerk.service, known.root, content, size, range)
                    .map(move |piece| piece.map_err(|failure| unread(content, &failure)))
                    .left_stream(),
                Err(_) => stream::iter([Err(ReadFailure::Away)]).right_stream(),
            }
        };
        stream::once(opened).flatten()
    }

    fn note(&self, opened: &Opened, path: &[Name], visitor: Visitor, ended: Ended) {
        let Ended { first, bytes, end } = ended;
        let (service, id) = (self.service.clone(), opened.link);
        let (path, address) = (below(&Bytes::new(), path), visitor.address.to_string());
        // With a limit they were counted when they began.
        let counts = first && opened.left.is_none();
        let noting = async move {
            let note = move |service: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
                let Some(mut known) = store::by_id(reads, id)? else { return Ok(()) };
                let keeps = policy::of(reads, known.root)?.keep_addresses;
                let address = if keeps { address.clone() } else { String::new() };
                let end = match end {
                    End::Whole => DownloadEnd::Whole,
                    End::Left => DownloadEnd::Left,
                    End::Revoked => DownloadEnd::Revoked,
                    End::Failed => DownloadEnd::Failed,
                    End::Slow => DownloadEnd::Slow,
                };
                let line = Download { at: service.now(), path: path.clone(), bytes, end, address };
                known.usage.downloads += u64::from(counts);
                known.usage.bytes = known.usage.bytes.saturating_add(bytes);
                known.usage.last = Some(line.at);
                store::log(batch, id, &mut known.usage, &line);
                store::set_usage(reads, batch, id, &known.usage)
            };
            if let Err(error) = service.change(note).await {
                tracing::warn!(%error, "download.not_noted");
            }
        };
        self.service.run(noting);
    }
}

fn flat<S: Stream<Item = Result<(Vec<Name>, Item), Refusal>> + Send + 'static>(
    pages: impl Stream<Item = Result<S, Refusal>> + Send + 'static,
) -> impl Stream<Item = Result<(Vec<Name>, Item), Refusal>> + Send + 'static {
    use futures_util::TryStreamExt;
    pages.try_flatten()
}

fn item(name: Bytes, value: &Value, mode: u32, changed: Mtime) -> Item {
    let kind = match value {
        Value::File { content, size } => {
            ItemKind::File(File { size: *size, executable: mode & 0o100 != 0, content: *content })
        }
        Value::Directory => ItemKind::Folder,
        Value::Link { .. } => ItemKind::Symlink,
        Value::Unit { .. } => ItemKind::Unit,
    };
    Item { name, changed, kind }
}

/// The last name of a path.
fn last(path: &Bytes) -> Bytes {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    path.slice(at..)
}

/// The path of names below a directory.
fn below(directory: &Bytes, names: &[Name]) -> Bytes {
    let mut path = directory.to_vec();
    for name in names {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
    }
    path.into()
}

fn names(path: &Bytes) -> Option<Vec<Name>> {
    path.split(|byte| *byte == b'/').map(|name| Name::of_entry(path.slice_ref(name)).ok()).collect()
}

/// What somebody without an account is told of a failure; the log has the rest.
fn failed(error: Error) -> Refusal {
    match error {
        Error::Away(_) | Error::Cut | Error::Meta(quics_meta::Error::Busy) => Refusal::Away { seconds: AGAIN },
        error => {
            let id = u64::from_be_bytes(quics_kit::random::bytes());
            tracing::error!(%error, id = format_args!("{id:016x}"), "public.failed");
            Refusal::Failed { id }
        }
    }
}

fn unread(content: Digest, failure: &Failure) -> ReadFailure {
    match failure {
        Failure::Offline(reason) => {
            tracing::warn!(%content, reason, "content.away");
            ReadFailure::Away
        }
        Failure::Refused(_) | Failure::Absent(_) | Failure::Wrong(_) => {
            tracing::error!(%content, %failure, "content.damaged");
            ReadFailure::Damaged
        }
    }
}
