//! What the engine asks for as messages, and the server's messages as events.

use bytes::Bytes;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_reconcile::{Conflict, Proposal, Verdict};
use quics_types::{Cursor, DeviceId, EntryId, LeaseId, RootId};

use crate::engine::{Event, Record};

fn id(root: RootId) -> Bytes {
    Bytes::copy_from_slice(root.as_bytes())
}

/// The root that a message is about.
pub(crate) fn root(bytes: &[u8]) -> Result<RootId, Malformed> {
    Ok(RootId::from_slice(bytes)?)
}

/// The first message of a Push stream.
pub(crate) fn push_open(program: &str) -> sync::PushRequest {
    let open = sync::PushOpen { version: Some(quics_proto::version(program)) };
    sync::PushRequest { message: Some(sync::push_request::Message::Open(open)) }
}

/// The first message of a Watch stream.
pub(crate) fn watch_open(program: &str) -> sync::WatchRequest {
    let open = sync::WatchOpen { version: Some(quics_proto::version(program)) };
    sync::WatchRequest { message: Some(sync::watch_request::Message::Open(open)) }
}

/// Begins an incarnation.
pub(crate) fn resume(root: RootId, incarnation: u64) -> sync::PushRequest {
    let resume = sync::Resume { root_id: id(root), incarnation };
    sync::PushRequest { message: Some(sync::push_request::Message::Resume(resume)) }
}

/// A proposal with what surrounds it.
pub(crate) struct Outgoing {
    pub(crate) root: RootId,
    pub(crate) lease: LeaseId,
    pub(crate) incarnation: u64,
    pub(crate) seq: u64,
    pub(crate) recorded: u64,
    pub(crate) proposal: Proposal,
    pub(crate) inline: Option<Bytes>,
}

/// Proposes.
pub(crate) fn propose(outgoing: Outgoing) -> sync::PushRequest {
    let proposal = sync::Proposal {
        root_id: id(outgoing.root),
        incarnation: outgoing.incarnation,
        seq: outgoing.seq,
        recorded_seq: outgoing.recorded,
        inline_content: outgoing.inline,
        lease_id: Bytes::copy_from_slice(outgoing.lease.as_bytes()),
        change: Some((&outgoing.proposal).into()),
    };
    sync::PushRequest { message: Some(sync::push_request::Message::Proposal(proposal)) }
}

/// Asks for the feed.
pub(crate) fn subscribe(root: RootId, cursor: Cursor) -> sync::WatchRequest {
    let subscribe = sync::Subscribe { root_id: id(root), cursor: Some(cursor.into()), inline_contents: true };
    sync::WatchRequest { message: Some(sync::watch_request::Message::Subscribe(subscribe)) }
}

/// Ends the feed of a root.
pub(crate) fn unsubscribe(root: RootId) -> sync::WatchRequest {
    let unsubscribe = sync::Unsubscribe { root_id: id(root) };
    sync::WatchRequest { message: Some(sync::watch_request::Message::Unsubscribe(unsubscribe)) }
}

/// Acknowledges a cursor.
pub(crate) fn acknowledge(root: RootId, cursor: Cursor) -> sync::WatchRequest {
    let acknowledge = sync::Acknowledge { root_id: id(root), cursor: Some(cursor.into()) };
    sync::WatchRequest { message: Some(sync::watch_request::Message::Acknowledge(acknowledge)) }
}

/// A verdict as an event.
pub(crate) fn verdict(message: sync::Verdict) -> Result<Event, Malformed> {
    let outcome = message.outcome.ok_or(Malformed::Missing("the verdict's outcome"))?;
    if matches!(outcome, sync::verdict::Outcome::Fenced(_)) {
        return Ok(Event::Fenced);
    }
    let proposal = match message.proposal {
        Some(proposal) => Some(proposal.change.ok_or(Malformed::Missing("the proposal's change"))?.try_into()?),
        None => None,
    };
    let verdict = Verdict::try_from(outcome)?;
    let (proposal, verdict) = (proposal.map(Box::new), Box::new(verdict));
    Ok(Event::Verdict { incarnation: message.incarnation, seq: message.seq, proposal, verdict })
}

/// A record of the feed or of a snapshot; `None` for what is not the engine's business.
pub(crate) fn record(message: sync::ChangeRecord) -> Result<Option<Record>, Malformed> {
    use sync::change_record::Change;
    Ok(Some(match message.change.ok_or(Malformed::Missing("the record's change"))? {
        Change::Row(row) => Record::Row { row: row.try_into()?, inline: message.inline_content },
        Change::Conflict(mut state) => {
            let settled = settled(state.resolution.take())?;
            let (id, conflict) = state.to_domain()?;
            Record::Conflict { id, conflict, settled }
        }
        Change::ConflictClosed(closed) => {
            let (id, settled) = (EntryId::from_slice(&closed.entry_id)?, settled(closed.resolution)?);
            Record::Closed { id, settled, row: closed.row.map(TryInto::try_into).transpose()? }
        }
        Change::Brakes(brakes) => Record::Brakes { seq: message.seq, on: braked(&brakes.brakes)? },
        Change::Settings(_) => return Ok(None),
    }))
}

/// The devices whose changes are held.
fn braked(brakes: &[sync::Brake]) -> Result<Vec<DeviceId>, Malformed> {
    let on = brakes.iter().filter(|brake| brake.stage() == sync::BrakeStage::On);
    Ok(on.map(|brake| DeviceId::from_slice(&brake.device_id)).collect::<Result<_, _>>()?)
}

/// What the last answer settled; nothing if there was none.
fn settled(resolution: Option<sync::Resolution>) -> Result<Conflict, Malformed> {
    Ok(resolution.map(sync::Resolution::settled).transpose()?.unwrap_or_default())
}

/// Records of the feed or of a snapshot.
pub(crate) fn records(messages: Vec<sync::ChangeRecord>) -> Result<Vec<Record>, Malformed> {
    messages.into_iter().filter_map(|message| record(message).transpose()).collect()
}

/// A cursor that has to be there.
pub(crate) fn cursor(message: Option<quics_proto::common::v1::Cursor>) -> Result<Cursor, Malformed> {
    Ok(message.ok_or(Malformed::Missing("the cursor"))?.into())
}

/// A digest sum that has to have 32 bytes.
pub(crate) fn sum(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Range("the digest"))
}

/// What the server said of a root on the Watch stream, as an event; `None` for what is not the engine's business.
pub(crate) fn feed(message: sync::watch_response::Message) -> Result<Option<(RootId, Event)>, Malformed> {
    use sync::watch_response::Message;
    Ok(Some(match message {
        Message::Changes(changes) => {
            let event = Event::Changes { cursor: cursor(changes.cursor)?, records: records(changes.changes)? };
            (root(&changes.root_id)?, event)
        }
        Message::Level(level) => {
            let (cursor, digest) = (cursor(level.cursor)?, sum(&level.digest)?);
            (root(&level.root_id)?, Event::Level { cursor, digest, count: level.count })
        }
        Message::CursorUnknown(unknown) => (root(&unknown.root_id)?, Event::CursorUnknown),
        Message::Ended(ended) => (root(&ended.root_id)?, Event::Ended { reason: ended.reason }),
        Message::Opened(_) | Message::Wanted(_) => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(outcome: sync::verdict::Outcome) -> sync::Verdict {
        sync::Verdict { root_id: vec![7; 16].into(), incarnation: 3, seq: 5, outcome: Some(outcome), proposal: None }
    }

    #[test]
    fn a_fenced_verdict_is_an_event_of_its_own() {
        let event = verdict(verdict_of(sync::verdict::Outcome::Fenced(sync::Fenced {}))).unwrap();
        assert!(matches!(event, Event::Fenced));
    }

    #[test]
    fn a_verdict_keeps_its_number() {
        let event = verdict(verdict_of(sync::verdict::Outcome::Withdrawn(sync::Withdrawn {}))).unwrap();
        let Event::Verdict { incarnation: 3, seq: 5, proposal: None, verdict } = event else { panic!("{event:?}") };
        assert_eq!(*verdict, Verdict::Withdrawn);
    }

    #[test]
    fn what_a_server_leaves_out_is_an_error() {
        assert!(verdict(sync::Verdict::default()).is_err());
        assert!(record(sync::ChangeRecord::default()).is_err());
        assert!(feed(sync::watch_response::Message::Level(sync::Level::default())).is_err());
        assert!(root(&[1; 15]).is_err());
    }
}
