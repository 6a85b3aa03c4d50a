//! What the engine keeps in the metadata store, one record for each fact, and how it is encoded.
//!
//! Keys are `E`, the root's id (16 bytes), one tag byte, then the entry's id where there is one:
//!
//! | tag | value |
//! |---|---|
//! | `m` | [`Meta`]: format, cursor, incarnation, recorded verdicts |
//! | `b` | [`Synced`]: the synced row and the stat under which the disk showed it |
//! | `r` | the server's row, as the contract encodes it |
//! | `c` + entry + device + role | one candidate of an open conflict, with the conflict's revision |
//! | `s` + entry + role | a settled candidate of this device |
//! | `v` | present: the entry goes back to the server's place |
//!
//! Values are protobuf messages, so that fields can be added.

use bytes::Bytes;
use prost::Message;
use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use quics_reconcile::{Base, Conflict, Settled};
use quics_types::{EntryId, LogicalTime, Mtime, RootId};

use super::Error;
use crate::folder::{Kind, Stat};

/// The format that this version writes; newer ones are refused.
pub(super) const FORMAT: u32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Meta {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) cursor: Option<common::Cursor>,
    #[prost(uint64, tag = "3")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "4")]
    pub(super) recorded_incarnation: u64,
    #[prost(uint64, tag = "5")]
    pub(super) recorded_seq: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Time {
    #[prost(sint64, tag = "1")]
    seconds: i64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

impl From<Mtime> for Time {
    fn from(time: Mtime) -> Self {
        Self { seconds: time.seconds, nanos: time.nanos }
    }
}

impl From<Time> for Mtime {
    fn from(time: Time) -> Self {
        Self { seconds: time.seconds, nanos: time.nanos.min(999_999_999) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredStat {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    inode: u64,
    #[prost(sint64, tag = "3")]
    born: i64,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(message, optional, tag = "5")]
    mtime: Option<Time>,
    #[prost(message, optional, tag = "6")]
    ctime: Option<Time>,
    #[prost(uint32, tag = "7")]
    mode: u32,
    #[prost(uint32, tag = "8")]
    links: u32,
}

impl From<&Stat> for StoredStat {
    fn from(stat: &Stat) -> Self {
        let kind = match stat.kind {
            Kind::File => 1,
            Kind::Directory => 2,
            Kind::Link => 3,
            Kind::Other => 4,
            Kind::Unit => 5,
        };
        Self {
            kind,
            inode: stat.inode,
            born: stat.born,
            size: stat.size,
            mtime: Some(stat.mtime.into()),
            ctime: Some(stat.ctime.into()),
            mode: stat.mode,
            links: stat.links,
        }
    }
}

impl StoredStat {
    fn to_stat(&self) -> Stat {
        let kind = match self.kind {
            1 => Kind::File,
            2 => Kind::Directory,
            3 => Kind::Link,
            5 => Kind::Unit,
            _ => Kind::Other,
        };
        let time = |time: &Option<Time>| time.clone().map(Mtime::from).unwrap_or_default();
        Stat {
            kind,
            inode: self.inode,
            born: self.born,
            size: self.size,
            mtime: time(&self.mtime),
            ctime: time(&self.ctime),
            mode: self.mode,
            links: self.links,
        }
    }
}

/// The stat under which the disk had an entry's synced value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreed {
    pub(super) stat: Stat,
    /// The stat was so young that it may hide another content.
    pub(super) racy: bool,
    /// Of which content it tells: a verdict or an answer may have renewed the synced value since, and the stat says
    /// nothing of the new one.
    pub(super) content_time: LogicalTime,
}

impl Agreed {
    /// Whether it tells of the content that a synced row has.
    pub(super) fn tells_of(&self, base: &Base) -> bool {
        self.content_time == base.content_time
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Synced {
    #[prost(message, optional, tag = "1")]
    place: Option<common::Place>,
    #[prost(message, optional, tag = "2")]
    value: Option<common::Value>,
    #[prost(uint32, tag = "3")]
    mode: u32,
    #[prost(message, optional, tag = "4")]
    mtime: Option<Time>,
    #[prost(uint64, tag = "5")]
    content_time: u64,
    #[prost(uint64, tag = "6")]
    place_time: u64,
    #[prost(uint64, tag = "7")]
    attributes_time: u64,
    #[prost(uint64, tag = "8")]
    inode: u64,
    #[prost(uint32, tag = "9")]
    seen_mode: u32,
    #[prost(message, optional, tag = "10")]
    seen_mtime: Option<Time>,
    #[prost(bool, tag = "11")]
    pub(super) nameless: bool,
    #[prost(message, optional, tag = "12")]
    stat: Option<StoredStat>,
    #[prost(bool, tag = "13")]
    racy: bool,
}

impl Synced {
    pub(super) fn of(base: &Base, nameless: bool, agreed: Option<&Agreed>) -> Self {
        Self {
            place: Some((&base.place).into()),
            value: Some((&base.value).into()),
            mode: base.mode,
            mtime: Some(base.mtime.into()),
            content_time: base.content_time.0,
            place_time: base.place_time.0,
            attributes_time: base.attributes_time.0,
            inode: base.inode,
            seen_mode: base.seen_mode,
            seen_mtime: Some(base.seen_mtime.into()),
            nameless,
            stat: agreed.map(|agreed| (&agreed.stat).into()),
            racy: agreed.is_some_and(|agreed| agreed.racy),
        }
    }

    pub(super) fn to_base(&self) -> Result<Base, Error> {
        let broken = || Error::Record { what: "synced row" };
        let time = |time: &Option<Time>| time.clone().map(Mtime::from).unwrap_or_default();
        Ok(Base {
            place: self.place.clone().and_then(|place| place.try_into().ok()).ok_or_else(broken)?,
            value: self.value.clone().and_then(|value| value.try_into().ok()).ok_or_else(broken)?,
            mode: self.mode,
            mtime: time(&self.mtime),
            content_time: LogicalTime(self.content_time),
            place_time: LogicalTime(self.place_time),
            attributes_time: LogicalTime(self.attributes_time),
            inode: self.inode,
            seen_mode: self.seen_mode,
            seen_mtime: time(&self.seen_mtime),
        })
    }

    pub(super) fn agreed(&self) -> Option<Agreed> {
        let content_time = LogicalTime(self.content_time);
        self.stat.as_ref().map(|stat| Agreed { stat: stat.to_stat(), racy: self.racy, content_time })
    }
}

/// What the keys of all roots begin with; the store keeps keys that begin with 0 for itself, and an id may.
const ENGINE: u8 = b'E';

/// What all keys of a root begin with.
pub(super) fn of_root(root: RootId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(ENGINE);
    key.extend_from_slice(root.as_bytes());
    key
}

/// The key of a fact about an entry, or of the root's meta record.
pub(super) fn key(root: RootId, tag: u8, rest: &[&[u8]]) -> Bytes {
    let mut key = of_root(root);
    key.push(tag);
    for part in rest {
        key.extend_from_slice(part);
    }
    Bytes::from(key)
}

/// The end of all keys that begin with `prefix`.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The records of an open conflict: one for each candidate.
pub(super) fn candidates(root: RootId, id: EntryId, conflict: &Conflict) -> Vec<(Bytes, Bytes)> {
    let message = sync::ConflictState::from_domain(id, conflict);
    let one = |candidate: &sync::Candidate| {
        let role = [candidate.role, candidate.number.cast_signed()].map(|part| u8::try_from(part).unwrap_or(0));
        let key = key(root, b'c', &[id.as_bytes(), &candidate.device_id, &role]);
        let alone = sync::ConflictState { candidates: vec![candidate.clone()], ..message.clone() };
        (key, Bytes::from(alone.encode_to_vec()))
    };
    message.candidates.iter().map(one).collect()
}

/// One record of an open conflict.
pub(super) fn to_conflict(value: &[u8]) -> Result<(EntryId, Conflict), Error> {
    let broken = || Error::Record { what: "conflict" };
    let message = sync::ConflictState::decode(value).map_err(|_| broken())?;
    message.to_domain().map_err(|_| broken())
}

/// A settled candidate is kept as a conflict with nothing else in it.
pub(super) fn of_settled(settled: &Settled) -> Bytes {
    use quics_reconcile::{Candidate, CandidateRole};
    let (state, order) = (settled.state.clone(), settled.order);
    let candidate = Candidate { order, state, mtime: Mtime::default(), mode: 0, base: None };
    let key = (quics_types::DeviceId::from_bytes([0; 16]), CandidateRole::Own);
    let conflict = Conflict { revision: 0, candidates: [(key, candidate)].into() };
    Bytes::from(sync::ConflictState::from_domain(EntryId::TOP, &conflict).encode_to_vec())
}

pub(super) fn to_settled(value: &[u8]) -> Result<Settled, Error> {
    let (_, conflict) = to_conflict(value)?;
    let candidate = conflict.candidates.into_values().next().ok_or(Error::Record { what: "settled candidate" })?;
    Ok(Settled { state: candidate.state, order: candidate.order })
}
