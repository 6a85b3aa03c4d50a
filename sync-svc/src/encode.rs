//! Domain words become messages, with what only the server knows: authors and times of acceptance.

use bytes::Bytes;
use quics_chunks::{Codec, Packed};
use quics_proto::{common::v1 as common, sync::v1 as sync, timestamp};
use quics_reconcile::CandidateKey;
use quics_types::{Cursor, DeviceId, Digest, EntryId, ResolutionId, RootId};

use crate::db::answers::{Chosen, News, Resolution, ResolutionEntry, Settled};
use crate::ledger::{self, Change, Level, Told};
use crate::{ConflictEntry, Entry, Error, VerdictEntry, WallTime};

pub(crate) fn digest(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

pub(crate) fn root_id(root: RootId) -> Bytes {
    Bytes::copy_from_slice(root.as_bytes())
}

pub(crate) fn entry_id(id: EntryId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn device_id(id: DeviceId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn resolution_id(id: ResolutionId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn moment(time: WallTime) -> Option<prost_types::Timestamp> {
    Some(timestamp(time.into()))
}

/// A row with its author.
pub(crate) fn entry(entry: &Entry) -> common::Row {
    let mut row = common::Row::from(&entry.row);
    sign(&mut row, Some((entry.device, entry.accepted_at)));
    row
}

fn sign(row: &mut common::Row, author: Option<(DeviceId, WallTime)>) {
    if let Some((device, accepted_at)) = author {
        row.device_id = Bytes::copy_from_slice(device.as_bytes());
        row.accepted_at = moment(accepted_at);
    }
}

/// The outcome of a proposal.
pub(crate) fn outcome(entry: &VerdictEntry) -> sync::verdict::Outcome {
    use sync::verdict::Outcome;
    let mut outcome = Outcome::from_domain(&entry.verdict, entry.cursor);
    let row = match &mut outcome {
        Outcome::Accepted(accepted) => accepted.row.as_mut(),
        Outcome::Current(current) => current.row.as_mut(),
        _ => None,
    };
    if let Some(row) = row {
        sign(row, entry.author);
    }
    outcome
}

/// A conflict with the times at which it opened and its candidates came, and with its last answer.
pub(crate) fn conflict(id: EntryId, entry: &ConflictEntry) -> sync::ConflictState {
    let mut state = sync::ConflictState::from_domain(id, &entry.conflict);
    state.opened_at = moment(entry.opened_at);
    state.resolution = entry.told().map(resolution);
    // Both are in the order of the candidates' keys.
    for (candidate, key) in state.candidates.iter_mut().zip(entry.conflict.candidates.keys()) {
        candidate.accepted_at = entry.accepted.get(key).copied().and_then(moment);
    }
    state
}

/// What was answered about an entry.
pub(crate) fn resolution(resolution: &Resolution) -> sync::Resolution {
    let (choice, chosen, undone) = match resolution.chosen {
        Chosen::Server => (sync::ResolutionChoice::Server, None, None),
        Chosen::Candidate(key) => (sync::ResolutionChoice::Candidate, Some(key.into()), None),
        Chosen::Both => (sync::ResolutionChoice::Both, None, None),
        Chosen::Merged => (sync::ResolutionChoice::Merged, None, None),
        Chosen::Undo(id) => (sync::ResolutionChoice::Undo, None, Some(resolution_id(id))),
    };
    let settled = |(key, settled): (&CandidateKey, &Settled)| {
        let mut candidate = sync::Candidate::from_domain(*key, &settled.candidate);
        candidate.accepted_at = moment(settled.accepted_at);
        candidate
    };
    sync::Resolution {
        resolution_id: resolution_id(resolution.id),
        device_id: device_id(resolution.device),
        resolved_at: moment(resolution.resolved_at),
        choice: choice as i32,
        settled: resolution.settled.iter().map(settled).collect(),
        chosen,
        created_entry_ids: resolution.created.iter().map(|id| entry_id(*id)).collect(),
        undone_resolution_id: undone.unwrap_or_default(),
    }
}

/// What was answered at once.
pub(crate) fn listed((id, whole): &(ResolutionId, ResolutionEntry)) -> sync::ListedResolution {
    sync::ListedResolution {
        resolution_id: resolution_id(*id),
        device_id: device_id(whole.device),
        resolved_at: moment(whole.resolved_at),
        entry_ids: whole.entries.iter().map(|id| entry_id(*id)).collect(),
        undone: whole.undone_by.is_some(),
        undoes_resolution_id: whole.undoes.map(resolution_id).unwrap_or_default(),
    }
}

/// What became of an answer.
pub(crate) fn answered((id, outcome): &(EntryId, ledger::Outcome)) -> sync::AnswerOutcome {
    use ledger::Outcome;
    use sync::answer_outcome::Outcome as Message;
    let outcome = match outcome {
        Outcome::Resolved(rows) => Some(Message::Resolved(sync::Resolved { rows: rows.iter().map(entry).collect() })),
        Outcome::Stale(state) => Some(Message::Stale(conflict(*id, state))),
        Outcome::Closed(by) => Some(Message::Closed(sync::Closed { resolution: by.as_deref().map(resolution) })),
        Outcome::CandidateGone(state) => Some(Message::CandidateGone(conflict(*id, state))),
        Outcome::BadName { name, reason } => {
            Some(Message::BadName(sync::BadName { name: name.clone(), reason: (*reason).to_owned() }))
        }
        Outcome::Missing(digests) => {
            Some(Message::Missing(sync::Missing { digests: digests.iter().map(digest).collect() }))
        }
        Outcome::NotPossible(reason) => Some(Message::NotPossible(sync::NotPossible { reason: (*reason).to_owned() })),
        Outcome::Unread => None,
    };
    sync::AnswerOutcome { entry_id: entry_id(*id), outcome }
}

/// What has happened to a conflict, for people.
pub(crate) fn news(news: News) -> sync::PromptNews {
    match news {
        News::NewCandidate => sync::PromptNews::NewCandidate,
        News::NewVersion => sync::PromptNews::NewVersion,
        News::Withdrawn => sync::PromptNews::Withdrawn,
        News::Resolved => sync::PromptNews::Resolved,
        News::Reopened => sync::PromptNews::Reopened,
    }
}

/// A record of the feed or of a snapshot.
pub(crate) fn told(told: &Told) -> sync::ChangeRecord {
    use sync::change_record::Change as Message;
    let (change, inline_content) = match &told.change {
        Change::Row { entry: row, inline } => (Message::Row(entry(row)), inline.clone()),
        Change::Conflict(id, state) => (Message::Conflict(conflict(*id, state)), None),
        Change::Closed(id, state, row) => {
            let closed = sync::ConflictClosed {
                entry_id: entry_id(*id),
                revision: state.conflict.revision,
                resolution: state.told().map(resolution),
                row: row.as_ref().map(entry),
            };
            (Message::ConflictClosed(closed), None)
        }
        Change::Settings(settings) => (Message::Settings(settings.into()), None),
    };
    sync::ChangeRecord { seq: told.seq, change: Some(change), inline_content }
}

/// Where a root is.
pub(crate) fn level(root: RootId, level: &Level) -> sync::Level {
    sync::Level {
        root_id: root_id(root),
        cursor: Some(level.cursor.into()),
        digest: Bytes::copy_from_slice(level.digest.as_bytes()),
        count: level.count,
    }
}

/// A cursor from a message; none is before the first commit.
pub(crate) fn cursor(cursor: Option<common::Cursor>) -> Cursor {
    cursor.unwrap_or_default().into()
}

/// A chunk as it is sent.
pub(crate) fn chunk(packed: Packed) -> common::Chunk {
    let codec = match packed.codec {
        Codec::Raw => common::Codec::Raw,
        Codec::Zstd => common::Codec::Zstd,
    };
    common::Chunk { digest: digest(&packed.digest), codec: codec as i32, length: packed.length, data: packed.data }
}

/// A chunk as it came; nothing of it is verified yet.
pub(crate) fn packed(chunk: common::Chunk) -> Result<Packed, Error> {
    let codec = match chunk.codec() {
        common::Codec::Raw => Codec::Raw,
        common::Codec::Zstd => Codec::Zstd,
        common::Codec::Unspecified => return Err(Error::Protocol("a chunk's codec is not known")),
    };
    let digest = Digest::from_slice(&chunk.digest).map_err(quics_proto::Malformed::from)?;
    Ok(Packed { digest, codec, length: chunk.length, data: chunk.data })
}

/// A root's id from a message.
pub(crate) fn root(id: &[u8]) -> Result<RootId, Error> {
    Ok(RootId::from_slice(id).map_err(quics_proto::Malformed::from)?)
}
