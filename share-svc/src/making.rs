//! How a link is made: what it shows is written down first, and checked; then it is open.
//!
//! A pinned link refers to contents that only history may still refer to, and that retention may take at any moment. So it
//! is durable as *being made*, with all that it refers to, before it is looked whether all of that is still kept; from then on
//! sync-svc's reclaiming hears of it. A link that a crash leaves in the making is removed at the next start.

use std::sync::Arc;

use bytes::Bytes;
use quics_kit::caller::Caller;
use quics_kit::secret::Secret;
use quics_proto::history::v1 as history;
use quics_reconcile::Value;
use quics_records::put;
use quics_types::{DeviceId, EntryId, LogicalTime, Mtime, RootId, limits};

use crate::db::keys;
use crate::db::records::{self, Frozen, Kind, Member, Password, Revoked, Shows, Tree, Usage};
use crate::desk::{Link, Token};
use crate::policy::{Expiry, Rules};
use crate::service::Service;
use crate::store::{self, Known};
use crate::upstream::{Found, Subject, commit, numbered};
use crate::{Error, policy, token};

/// Bytes of a label.
const LABEL: usize = 256;
/// Links of a root.
const LINKS: usize = 100_000;
/// Entries of a pinned folder.
const ENTRIES: u64 = 1_000_000;
/// Bytes of a path in a pinned folder.
const PATH: usize = 3072;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) id: Link,
    pub(crate) token: Token,
    pub(crate) root: RootId,
    pub(crate) subject: Subject,
    pub(crate) moment: Option<history::Moment>,
    pub(crate) live: bool,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) limit: Option<u32>,
    pub(crate) password: Option<Secret>,
    pub(crate) label: String,
}

/// Makes a link.
///
/// # Errors
/// As the contract of `CreateLink` says; then nothing is made.
pub(crate) async fn create(service: Arc<Service>, device: DeviceId, asked: Asked) -> Result<Known, Error> {
    check(&asked)?;
    let role = service.guard(Caller::Device(device)).role_soon(asked.root).await?;
    let (root, id) = (asked.root, asked.id);
    let (before, rules) = service.blocking(move |service| look(service, root, id)).await?;
    let hash = token::hash(&asked.token);
    if let Some(before) = before {
        let same = before.link.token == hash && before.link.device == device && before.root == root;
        return if same && !before.link.making { Ok(before) } else { Err(Error::Taken) };
    }
    rules.may_share(role)?;
    rules.password(asked.password.is_some())?;
    let now = service.now();
    let expires = rules.expiry(asked.expiry, now)?;
    let seen = see(&service, &asked).await?;
    let password = match asked.password {
        Some(password) => Some(Password { hash: service.passwords.hash(password).await? }),
        None => None,
    };
    let (device_name, user_name) = service.names(device);
    let link = records::Link {
        token: hash,
        entry: seen.entry,
        path: seen.path,
        kind: seen.kind,
        shows: seen.shows,
        label: asked.label,
        created: now,
        device,
        device_name,
        user_name,
        expires,
        limit: asked.limit,
        password,
        password_revision: 0,
        making: true,
        revoked: None,
    };
    let making = Known { root, id, link, usage: Usage::default() };
    let written = making.clone();
    let write = move |_: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
        batch.expect_absent(keys::root_of(id)).expect_absent(keys::token(&hash));
        store::set(reads, batch, &written)?;
        store::set_usage(reads, batch, id, &Usage::default())
    };
    match service.change(write).await {
        Err(Error::Meta(quics_meta::Error::Precondition { .. })) => return Err(Error::Taken),
        written => written?,
    }
    match open(&service, making.clone()).await {
        Ok(open) => Ok(open),
        Err(error) => {
            // A failure to remove it leaves it in the making: nobody is let in, and the next start removes it.
            if let Err(error) = remove(&service, making).await {
                tracing::warn!(%error, "link.not_removed");
            }
            Err(error)
        }
    }
}

/// Whether it can be at all.
fn check(asked: &Asked) -> Result<(), Error> {
    let said = match asked {
        asked if asked.limit == Some(0) => "a limit of no downloads lets nobody in: say 1 or more",
        asked if asked.password.as_ref().is_some_and(|password| password.expose().is_empty()) => {
            "the password is empty"
        }
        asked if asked.live && asked.moment.is_some() => "a live link shows what is there at any time: name no version",
        _ => return label(&asked.label),
    };
    Err(Error::Asked(said.to_owned()))
}

/// Fails unless this can be a link's label.
pub(crate) fn label(label: &str) -> Result<(), Error> {
    if label.len() > LABEL || label.chars().any(char::is_control) {
        return Err(Error::Asked("a label has at most 256 bytes and no control characters".to_owned()));
    }
    Ok(())
}

fn look(service: &Service, root: RootId, id: Link) -> Result<(Option<Known>, Rules), Error> {
    let reads = service.reads();
    let (from, to) = keys::links(root);
    let (mut from, mut links) = (from, 0);
    loop {
        let page = reads.raw_range(&from, &to, quics_meta::MAX_PAGE)?;
        links += page.len();
        match page.last() {
            Some((last, _)) if links < LINKS => from = keys::behind(last),
            Some(_) => return Err(Error::TooMuch("this root has 100 000 links: revoke some (quics unshare)")),
            None => break,
        }
    }
    Ok((store::by_id(reads, id)?, Rules::of(service.policy, &policy::of(reads, root)?)))
}

/// What a link is to show.
struct Seen {
    entry: EntryId,
    path: Bytes,
    kind: Kind,
    shows: Shows,
}

async fn see(service: &Service, asked: &Asked) -> Result<Seen, Error> {
    let top = match &asked.subject {
        Subject::Path(path) => path.is_empty(),
        Subject::Entry(entry) => *entry == EntryId::TOP,
    };
    if top {
        let shows = match asked.live {
            true => Shows::Live,
            false => Shows::Tree(tree(service, asked, Mtime::default()).await?),
        };
        return Ok(Seen { entry: EntryId::TOP, path: Bytes::new(), kind: Kind::Folder, shows });
    }
    let found = service.upstream.version(asked.root, asked.subject.clone(), asked.moment).await?;
    let Found { path, row, side, removed } = found.ok_or(Error::Nothing)?;
    if let Some(removed) = removed {
        return Err(Error::Unfit(format!("the content of this version is not kept any more: {removed}")));
    }
    let (kind, shows) = match &row.value {
        Value::File { content, size } => {
            let (time, mode, changed) = (row.time, row.mode, row.mtime);
            let frozen = Frozen { time, side, content: *content, size: *size, mode, changed };
            (Kind::File, if asked.live { Shows::Live } else { Shows::Frozen(frozen) })
        }
        Value::Directory if asked.live => (Kind::Folder, Shows::Live),
        Value::Directory => (Kind::Folder, Shows::Tree(tree(service, asked, row.mtime).await?)),
        Value::Link { .. } => {
            return Err(Error::Unfit("it is a symbolic link: share what it leads to".to_owned()));
        }
        Value::Unit { .. } => {
            let said =
                "it is a directory that is kept as one thing, which links cannot show: pack it and share the file";
            return Err(Error::Unfit(said.to_owned()));
        }
    };
    Ok(Seen { entry: row.id, path, kind, shows })
}

/// The moment of a folder; what is in it is counted when it is written down.
async fn tree(service: &Service, asked: &Asked, changed: Mtime) -> Result<Tree, Error> {
    use history::moment::Moment;
    let seq = match asked.moment.as_ref().and_then(|moment| moment.moment.as_ref()) {
        None => service.upstream.newest(asked.root).await?,
        Some(Moment::Seq(seq)) => *seq,
        Some(_) => {
            let said = "a folder is shared as it is, or as it was after a commit (PATH@#NUMBER)";
            return Err(Error::Asked(said.to_owned()));
        }
    };
    if seq == 0 {
        return Err(Error::Nothing);
    }
    Ok(Tree { seq, files: 0, size: 0, changed })
}

/// Writes down what it shows, looks whether all of that is kept, and opens it.
async fn open(service: &Arc<Service>, mut making: Known) -> Result<Known, Error> {
    match &mut making.link.shows {
        Shows::Live => {}
        Shows::Frozen(Frozen { time: LogicalTime(time), side, .. }) => {
            let moment = Some(numbered(*time, *side));
            let again = service.upstream.version(making.root, Subject::Entry(making.link.entry), moment).await?;
            if again.is_none_or(|again| again.removed.is_some()) {
                return Err(Error::Unfit("the content of this version is not kept any more".to_owned()));
            }
        }
        Shows::Tree(tree) => {
            (tree.files, tree.size) =
                write(service, making.root, making.id, making.link.entry, &making.link.path, tree.seq).await?;
            kept(service, making.root, making.link.entry, tree.seq).await?;
        }
    }
    making.link.making = false;
    let opened = making.clone();
    let open = move |_: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
        store::set(reads, batch, &opened)
    };
    service.change(open).await?;
    Ok(making)
}

/// Writes down what is in a folder. Returns how many files, and their bytes.
async fn write(
    service: &Arc<Service>,
    root: RootId,
    id: Link,
    folder: EntryId,
    path: &Bytes,
    seq: u64,
) -> Result<(u64, u64), Error> {
    let mut entries = service.upstream.tree(root, folder, Some(commit(seq)), true).await?;
    let (mut count, mut files, mut size) = (0, 0, 0_u64);
    while let Some(page) = entries.next().await? {
        count += page.len() as u64;
        if count > ENTRIES {
            return Err(Error::TooMuch("a folder with more than 1 000 000 entries is shared live only (--live)"));
        }
        let mut rows = Vec::with_capacity(page.len());
        for found in page {
            let relative = relative(path, &found.path).filter(|relative| !relative.is_empty());
            let relative = relative.ok_or(Error::Cut)?;
            if relative.len() > PATH || relative.split(|byte| *byte == b'/').count() > limits::DEPTH {
                return Err(Error::TooMuch("a path in this folder is longer than 3072 bytes: share it live (--live)"));
            }
            if let Value::File { size: bytes, .. } = found.row.value {
                files += 1;
                size = size.saturating_add(bytes);
            }
            if let Some(removed) = found.removed {
                return Err(Error::Unfit(format!("a content in it is not kept any more: {removed}")));
            }
            let member = Member { value: found.row.value, mode: found.row.mode, changed: found.row.mtime };
            rows.push((keys::member(id, &relative), member));
        }
        let write = move |_: &Service, _: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
            for (key, member) in &rows {
                put(batch, key.clone(), member, 0);
            }
            Ok(())
        };
        service.change(write).await?;
    }
    Ok((files, size))
}

/// Looks whether all contents of a folder are kept.
async fn kept(service: &Service, root: RootId, folder: EntryId, seq: u64) -> Result<(), Error> {
    let mut entries = service.upstream.tree(root, folder, Some(commit(seq)), true).await?;
    while let Some(page) = entries.next().await? {
        if let Some(removed) = page.into_iter().find_map(|found| found.removed) {
            return Err(Error::Unfit(format!("a content in it is not kept any more: {removed}")));
        }
    }
    Ok(())
}

/// A path relative to a directory that it is in; `None` if it is in another one.
pub(crate) fn relative(directory: &Bytes, path: &Bytes) -> Option<Bytes> {
    if directory.is_empty() {
        return Some(path.clone());
    }
    let rest = path.strip_prefix(&directory[..])?.strip_prefix(b"/")?;
    Some(path.slice_ref(rest))
}

/// Removes a link with everything that goes with it.
pub(crate) async fn remove(service: &Arc<Service>, known: Known) -> Result<(), Error> {
    let known = Arc::new(known);
    loop {
        let known = known.clone();
        if service.change(move |_, reads, batch| store::remove(reads, batch, &known)).await? {
            return Ok(());
        }
    }
}

/// Takes a link back: when this returns, nobody is let in, and what ran is cut.
pub(crate) async fn revoke(service: &Arc<Service>, device: DeviceId, id: Link) -> Result<Known, Error> {
    let revoke = move |service: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
        let mut known = store::by_id(reads, id)?.ok_or(Error::NoLink)?;
        if known.link.revoked.is_none() {
            let (device_name, user_name) = service.names(device);
            known.link.revoked = Some(Revoked { at: service.now(), device_name, user_name });
            store::set(reads, batch, &known)?;
        }
        Ok(known)
    };
    let known = service.change(revoke).await?;
    service.cut(id);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_directory_that_they_are_in_and_to_no_other() {
        let of = |directory: &'static str, path: &'static str| {
            relative(&Bytes::from_static(directory.as_bytes()), &Bytes::from_static(path.as_bytes()))
        };
        assert_eq!(of("", "a/b").as_deref(), Some(&b"a/b"[..]));
        assert_eq!(of("a", "a/b/c").as_deref(), Some(&b"b/c"[..]));
        assert_eq!(of("a", "ab/c"), None);
        assert_eq!(of("a/b", "a/c"), None);
    }
}
