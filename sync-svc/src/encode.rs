//! Domain words become messages, with what only the server knows: authors and times of acceptance.

use bytes::Bytes;
use quics_chunks::{Codec, Packed};
use quics_proto::{common::v1 as common, sync::v1 as sync, timestamp};
use quics_reconcile::{CandidateKey, Refusal};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, Mtime, ResolutionId, RootId};

use crate::db::answers::{Chosen, News, Resolution, ResolutionEntry, Settled};
use crate::db::groups::{GroupEntry, Stage};
use crate::ledger::{self, Change, Continuity, HeldChange, Level, Told};
use crate::{
    Brake, BrakeStage, Brakes, Cause, ConflictEntry, Entry, Error, Event, EventPosition, VerdictEntry, WallTime,
};

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
        Change::Brakes(brakes) => (Message::Brakes(root_brakes(brakes)), None),
    };
    sync::ChangeRecord { seq: told.seq, change: Some(change), inline_content }
}

/// The brakes of a root.
pub(crate) fn root_brakes(brakes: &Brakes) -> sync::RootBrakes {
    sync::RootBrakes { share_percent: brakes.share, brakes: brakes.brakes.iter().map(brake).collect() }
}

/// A brake.
pub(crate) fn brake(brake: &Brake) -> sync::Brake {
    let stage = match brake.stage {
        BrakeStage::On => sync::BrakeStage::On,
        BrakeStage::Released => sync::BrakeStage::Released,
        BrakeStage::TakenBack => sync::BrakeStage::TakenBack,
    };
    let decided_by = if brake.stage == BrakeStage::On { Bytes::new() } else { device_id(brake.by) };
    sync::Brake {
        device_id: device_id(brake.device),
        since_seq: brake.since,
        braked_at: moment(brake.at),
        changed: brake.changed,
        entries: brake.of,
        stage: stage as i32,
        decided_by,
    }
}

/// A held change.
pub(crate) fn held(change: &HeldChange) -> sync::HeldChange {
    use sync::held_change::What;
    use sync::proposal::Change as Proposed;
    let what = match (&change.held.proposal).into() {
        Proposed::Create(create) => Some(What::Create(create)),
        Proposed::Delete(delete) => Some(What::Delete(delete)),
        Proposed::Update(change) => Some(What::Change(change)),
        // Never held.
        Proposed::Withdraw(_) => None,
    };
    sync::HeldChange { id: entry_id(change.id), path: change.path.clone(), held_at: moment(change.held.at), what }
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

/// An event's position from a message.
pub(crate) fn event_position(position: sync::EventPosition) -> EventPosition {
    EventPosition { epoch: Epoch(position.epoch), number: position.number }
}

/// An event's position.
pub(crate) fn position(position: EventPosition) -> sync::EventPosition {
    sync::EventPosition { epoch: position.epoch.0, number: position.number }
}

/// Whether events follow on what was applied.
pub(crate) fn continuity(continuity: Continuity) -> sync::Continuity {
    match continuity {
        Continuity::Whole => sync::Continuity::Whole,
        Continuity::Gap => sync::Continuity::Gap,
        Continuity::OtherChain => sync::Continuity::OtherChain,
    }
}

/// What happened in one change.
pub(crate) fn event(at: EventPosition, event: &Event) -> sync::Event {
    let (cause, group) = match event.cause {
        Cause::Proposal => (sync::EventCause::Proposal, None),
        Cause::Answer => (sync::EventCause::Answer, None),
        Cause::Undo => (sync::EventCause::Undo, None),
        Cause::Settings => (sync::EventCause::Settings, None),
        Cause::Group(group) => (sync::EventCause::Group, Some(group)),
        Cause::Brake => (sync::EventCause::Brake, None),
    };
    let changed_at = match event.cause {
        // A device that deletes has no time to tell.
        Cause::Proposal => Some(event.device_time).filter(|time| *time != Mtime::default()).map(timestamp),
        _ => moment(event.accepted_at),
    };
    let answered = event.conflict.as_ref().filter(|_| event.resolution.is_some()).map(|(id, _)| entry_id(*id));
    sync::Event {
        position: Some(position(at)),
        root_id: root_id(event.root),
        cursor: Some(event.cursor.into()),
        device_id: device_id(event.device),
        accepted_at: moment(event.accepted_at),
        changed_at,
        cause: cause as i32,
        before: event.old.as_ref().map(Into::into),
        after: event.new.as_ref().map(Into::into),
        answered_entry_id: answered.unwrap_or_default(),
        resolution: event.resolution.as_ref().map(resolution),
        group_id: group.map(|group| Bytes::copy_from_slice(group.as_bytes())).unwrap_or_default(),
    }
}

/// How far a group is.
pub(crate) fn group(entry: &GroupEntry, cursor: Cursor) -> sync::GroupState {
    let left_out = |(id, why): &(EntryId, Refusal)| sync::LeftOut {
        entry_id: entry_id(*id),
        reason: sync::Refusal::from(*why) as i32,
    };
    sync::GroupState {
        finished: entry.stage == Stage::Finished,
        changes: entry.changes,
        made: entry.made,
        same: entry.same,
        left_out: entry.left_out,
        entries: entry.named.iter().map(left_out).collect(),
        cursor: Some(cursor.into()),
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
