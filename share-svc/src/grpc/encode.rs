//! Messages become what is asked, and what is known becomes messages.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use quics_proto::history::v1 as history;
use quics_proto::share::v1 as share;
use quics_proto::{Malformed, mtime, timestamp};
use quics_types::{EntryId, Mtime, Name, WallTime, limits};

use crate::Error;
use crate::db::records::{Download, DownloadEnd, Kind, Policy, Sharers, Shows};
use crate::desk::Link;
use crate::policy::{Expiry, ServerPolicy};
use crate::store::{Known, State};
use crate::upstream::{Subject, commit, numbered};

/// A link's id.
pub(crate) fn link(bytes: &[u8]) -> Result<Link, Error> {
    bytes.try_into().map(Link).map_err(|_| Error::Asked("a link's id has 16 bytes".to_owned()))
}

/// What a page's token says: behind which key it begins.
pub(crate) fn page(token: &str) -> Result<Option<Vec<u8>>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let decoded = HEXLOWER.decode(token.as_bytes());
    decoded.map(Some).map_err(|_| Error::Asked("the page token is none of this list".to_owned()))
}

/// The token of the page behind a key.
pub(crate) fn page_behind(key: &[u8]) -> String {
    HEXLOWER.encode(key)
}

/// What is to be shared.
pub(crate) fn subject(message: Option<history::Subject>) -> Result<Subject, Error> {
    use history::subject::Subject as Message;
    match message.and_then(|subject| subject.subject) {
        Some(Message::EntryId(id)) => Ok(Subject::Entry(EntryId::from_slice(&id).map_err(Malformed::from)?)),
        Some(Message::Path(path)) => {
            let mut names = path.split(|byte| *byte == b'/');
            let fits = |name: &[u8]| Name::of_entry(Bytes::copy_from_slice(name)).is_ok();
            if !path.is_empty() && (!names.all(fits) || path.split(|byte| *byte == b'/').count() > limits::DEPTH) {
                let said = "that is no path of a root: names joined by /, without . and ..";
                return Err(Error::Asked(said.to_owned()));
            }
            Ok(Subject::Path(path))
        }
        None => Err(Error::Asked("what to share is missing".to_owned())),
    }
}

/// When a link is to end.
pub(crate) fn expiry(message: Option<share::Expiry>) -> Result<Option<Expiry>, Error> {
    use share::expiry::Expiry as Message;
    Ok(match message.and_then(|expiry| expiry.expiry) {
        None | Some(Message::Never(false)) => None,
        Some(Message::Never(true)) => Some(Expiry::Never),
        Some(Message::After(after)) => Some(Expiry::After(duration(after)?)),
        Some(Message::At(at)) => {
            let at = mtime(Some(at))?;
            let seconds = u64::try_from(at.seconds).unwrap_or(0);
            Some(Expiry::At(WallTime(seconds.saturating_mul(1_000_000).saturating_add(u64::from(at.nanos / 1000)))))
        }
    })
}

fn duration(message: prost_types::Duration) -> Result<Duration, Error> {
    let seconds = u64::try_from(message.seconds).ok().filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| Error::Asked("a link lasts a second or longer".to_owned()))
}

fn seconds(time: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(time).unwrap_or(i64::MAX), nanos: 0 }
}

fn stamp(time: WallTime) -> Option<prost_types::Timestamp> {
    Some(timestamp(Mtime::from(time)))
}

/// A link as its owner sees it.
pub(crate) fn message(known: &Known, now: WallTime) -> share::Link {
    let Known { root, id, link, usage } = known;
    let (moment, files, size) = match &link.shows {
        Shows::Live => (None, 0, 0),
        Shows::Frozen(frozen) => (Some(numbered(frozen.time.0, frozen.side)), 1, frozen.size),
        Shows::Tree(tree) => (Some(commit(tree.seq)), tree.files, tree.size),
    };
    let revoked = link.revoked.as_ref();
    share::Link {
        link_id: Bytes::copy_from_slice(&id.0),
        root_id: Bytes::copy_from_slice(root.as_bytes()),
        path: link.path.clone(),
        entry_id: Bytes::copy_from_slice(link.entry.as_bytes()),
        kind: match link.kind {
            Kind::File => share::LinkKind::File,
            Kind::Folder => share::LinkKind::Folder,
            Kind::Unit => share::LinkKind::Unit,
        } as i32,
        live: link.shows == Shows::Live,
        moment,
        label: link.label.clone(),
        created_at: stamp(link.created),
        device_id: Bytes::copy_from_slice(link.device.as_bytes()),
        device_name: link.device_name.clone(),
        user_name: link.user_name.clone(),
        expires_at: link.expires.and_then(stamp),
        limit: link.limit.unwrap_or_default(),
        downloads: usage.downloads,
        bytes: usage.bytes,
        last_download_at: usage.last.and_then(stamp),
        has_password: link.password.is_some(),
        state: match known.state(now) {
            State::Making => share::LinkState::Making,
            State::Open => share::LinkState::Open,
            State::Expired => share::LinkState::Expired,
            State::UsedUp => share::LinkState::UsedUp,
            State::Revoked => share::LinkState::Revoked,
        } as i32,
        revoked_at: revoked.and_then(|revoked| stamp(revoked.at)),
        revoked_by_device: revoked.map(|revoked| revoked.device_name.clone()).unwrap_or_default(),
        revoked_by_user: revoked.map(|revoked| revoked.user_name.clone()).unwrap_or_default(),
        files,
        size,
    }
}

/// A line of a link's log.
pub(crate) fn download(line: Download) -> share::Download {
    share::Download {
        at: stamp(line.at),
        path: line.path,
        bytes: line.bytes,
        end: match line.end {
            DownloadEnd::Begun => share::DownloadEnd::Begun,
            DownloadEnd::Whole => share::DownloadEnd::Whole,
            DownloadEnd::Left => share::DownloadEnd::Left,
            DownloadEnd::Revoked => share::DownloadEnd::Revoked,
            DownloadEnd::Failed => share::DownloadEnd::Failed,
            DownloadEnd::Slow => share::DownloadEnd::Slow,
        } as i32,
        address: line.address,
    }
}

/// A root's policy.
pub(crate) fn policy(policy: &Policy) -> share::Policy {
    share::Policy {
        revision: policy.revision,
        sharers: sharers(policy.sharers) as i32,
        longest: policy.longest.map(seconds),
        password_required: policy.password_required,
        keep_addresses: policy.keep_addresses,
        device_name: policy.device_name.clone(),
        user_name: policy.user_name.clone(),
        set_at: policy.at.and_then(stamp),
    }
}

/// The server's policy.
pub(crate) fn server_policy(server: ServerPolicy) -> share::Policy {
    share::Policy {
        sharers: sharers(server.sharers) as i32,
        longest: server.longest.map(|longest| seconds(longest.as_secs())),
        password_required: server.password_required,
        ..share::Policy::default()
    }
}

fn sharers(sharers: Sharers) -> share::Sharers {
    match sharers {
        Sharers::Readers => share::Sharers::Readers,
        Sharers::Writers => share::Sharers::Writers,
        Sharers::Owners => share::Sharers::Owners,
        Sharers::Nobody => share::Sharers::Nobody,
    }
}

/// The policy that an owner asks for; who and when are not theirs to say.
pub(crate) fn asked_policy(message: share::Policy) -> Result<Policy, Error> {
    let sharers = match message.sharers() {
        share::Sharers::Unspecified | share::Sharers::Readers => Sharers::Readers,
        share::Sharers::Writers => Sharers::Writers,
        share::Sharers::Owners => Sharers::Owners,
        share::Sharers::Nobody => Sharers::Nobody,
    };
    let longest = message.longest.map(duration).transpose()?.map(|longest| longest.as_secs());
    Ok(Policy {
        revision: message.revision,
        sharers,
        longest,
        password_required: message.password_required,
        keep_addresses: message.keep_addresses,
        ..Policy::default()
    })
}
