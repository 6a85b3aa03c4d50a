//! Messages become domain types and back; everything that comes from a peer is checked here, in [`crate::conflicts`] and
//! nowhere else.

use quics_reconcile::{
    Accepted, AttributesChange, Change, ContentChange, PlaceChange, Proposal, Refusal, Row, Value, Verdict,
};
use quics_types::{Cursor, Digest, EntryId, Epoch, LogicalTime, Mtime, Name, Place, Role, limits};

use crate::{common::v1 as common, sync::v1 as sync};

/// Says which field of a message a peer filled wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A field that has to be set is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value that its comment rules out.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// Bytes are not an id, digest or name.
    #[error(transparent)]
    Type(#[from] quics_types::Error),
}

pub(crate) fn need<T>(field: Option<T>, what: &'static str) -> Result<T, Malformed> {
    field.ok_or(Malformed::Missing(what))
}

impl From<Cursor> for common::Cursor {
    fn from(cursor: Cursor) -> Self {
        Self { epoch: cursor.epoch.0, seq: cursor.seq }
    }
}

impl From<common::Cursor> for Cursor {
    fn from(cursor: common::Cursor) -> Self {
        Self { epoch: Epoch(cursor.epoch), seq: cursor.seq }
    }
}

impl common::Role {
    /// The domain's role; `None` for unspecified.
    pub fn to_domain(self) -> Option<Role> {
        match self {
            common::Role::Unspecified => None,
            common::Role::Reader => Some(Role::Reader),
            common::Role::Writer => Some(Role::Writer),
            common::Role::Owner => Some(Role::Owner),
        }
    }
}

impl From<Role> for common::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Reader => common::Role::Reader,
            Role::Writer => common::Role::Writer,
            Role::Owner => common::Role::Owner,
        }
    }
}

/// A modification time as a protobuf timestamp.
pub fn timestamp(time: Mtime) -> prost_types::Timestamp {
    // Both ends check that nanos are below 10^9, which fits an i32.
    prost_types::Timestamp { seconds: time.seconds, nanos: time.nanos as i32 }
}

/// A modification time from a protobuf timestamp; unset is 1970-01-01.
///
/// # Errors
/// [`Malformed::Range`] when the nanoseconds are not below a second.
pub fn mtime(time: Option<prost_types::Timestamp>) -> Result<Mtime, Malformed> {
    let time = time.unwrap_or_default();
    match u32::try_from(time.nanos) {
        Ok(nanos) if nanos < 1_000_000_000 => Ok(Mtime { seconds: time.seconds, nanos }),
        _ => Err(Malformed::Range("the time's nanoseconds")),
    }
}

impl From<&Place> for common::Place {
    fn from(place: &Place) -> Self {
        Self { parent_id: bytes::Bytes::copy_from_slice(place.parent.as_bytes()), name: place.name.to_bytes() }
    }
}

/// Bytes that do not keep the message alive of which they were a part: a name of ten bytes lives as long as its row, and
/// came with a megabyte of contents.
fn own(part: &bytes::Bytes) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(part)
}

impl TryFrom<common::Place> for Place {
    type Error = Malformed;
    fn try_from(place: common::Place) -> Result<Self, Malformed> {
        Ok(Self { parent: EntryId::from_slice(&place.parent_id)?, name: Name::of_entry(own(&place.name))? })
    }
}

impl From<&Value> for common::Value {
    fn from(value: &Value) -> Self {
        use common::value::Kind;
        let kind = match value {
            Value::Directory => Kind::Directory(common::Directory {}),
            Value::File { content, size } => {
                Kind::File(common::File { content_id: bytes::Bytes::copy_from_slice(content.as_bytes()), size: *size })
            }
            Value::Unit { content, size } => {
                Kind::Unit(common::Unit { content_id: bytes::Bytes::copy_from_slice(content.as_bytes()), size: *size })
            }
            Value::Link { target } => Kind::Link(common::Link { target: target.clone() }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<common::Value> for Value {
    type Error = Malformed;
    fn try_from(value: common::Value) -> Result<Self, Malformed> {
        use common::value::Kind;
        match need(value.kind, "the value's kind")? {
            Kind::Directory(_) => Ok(Value::Directory),
            Kind::File(file) => Ok(Value::File { content: Digest::from_slice(&file.content_id)?, size: file.size }),
            Kind::Unit(unit) => Ok(Value::Unit { content: Digest::from_slice(&unit.content_id)?, size: unit.size }),
            Kind::Link(link) => {
                let fits = (1..=limits::LINK_TARGET_BYTES).contains(&link.target.len()) && !link.target.contains(&0);
                if fits {
                    Ok(Value::Link { target: own(&link.target) })
                } else {
                    Err(Malformed::Range("the link's target"))
                }
            }
        }
    }
}

pub(crate) fn mode(mode: u32) -> Result<u32, Malformed> {
    if mode <= 0o777 { Ok(mode) } else { Err(Malformed::Range("the permission bits")) }
}

impl From<&Row> for common::Row {
    /// Leaves out device and time of acceptance, which are not part of the domain's row.
    fn from(row: &Row) -> Self {
        Self {
            entry_id: bytes::Bytes::copy_from_slice(row.id.as_bytes()),
            place: Some((&row.place).into()),
            value: Some((&row.value).into()),
            mode: row.mode,
            modified_at: Some(timestamp(row.mtime)),
            attributes: row
                .attributes
                .iter()
                .map(|(key, value)| common::Attribute { key: key.clone(), value: value.clone() })
                .collect(),
            tombstone: row.dead,
            time: row.time.0,
            content_time: row.content_time.0,
            place_time: row.place_time.0,
            attributes_time: row.attributes_time.0,
            device_id: Default::default(),
            accepted_at: None,
        }
    }
}

impl TryFrom<common::Row> for Row {
    type Error = Malformed;
    fn try_from(row: common::Row) -> Result<Self, Malformed> {
        let times = [row.content_time, row.place_time, row.attributes_time];
        if row.time == 0 || times.iter().any(|time| *time == 0 || *time > row.time) {
            return Err(Malformed::Range("a logical time"));
        }
        let too_long = |a: &common::Attribute| a.key.len() + a.value.len() > limits::ATTRIBUTE_BYTES;
        if row.attributes.len() > limits::ATTRIBUTES || row.attributes.iter().any(too_long) {
            return Err(Malformed::Range("the attributes"));
        }
        let id = EntryId::from_slice(&row.entry_id)?;
        if id == EntryId::TOP {
            return Err(Malformed::Range("the entry id"));
        }
        Ok(Self {
            id,
            place: need(row.place, "the row's place")?.try_into()?,
            value: need(row.value, "the row's value")?.try_into()?,
            mode: mode(row.mode)?,
            mtime: mtime(row.modified_at)?,
            attributes: row.attributes.iter().map(|a| (own(&a.key), own(&a.value))).collect(),
            dead: row.tombstone,
            time: LogicalTime(row.time),
            content_time: LogicalTime(row.content_time),
            place_time: LogicalTime(row.place_time),
            attributes_time: LogicalTime(row.attributes_time),
        })
    }
}

impl From<&Proposal> for sync::proposal::Change {
    fn from(proposal: &Proposal) -> Self {
        let bytes = |id: &EntryId| bytes::Bytes::copy_from_slice(id.as_bytes());
        match proposal {
            Proposal::Create { id, place, value, mode, mtime } => Self::Create(sync::Create {
                entry_id: bytes(id),
                place: Some(place.into()),
                value: Some(value.into()),
                mode: *mode,
                modified_at: Some(timestamp(*mtime)),
            }),
            Proposal::Change(change) => Self::Update(sync::Change {
                entry_id: bytes(&change.id),
                content: change.content.as_ref().map(|content| sync::ContentChange {
                    base_time: content.base_time.0,
                    base: content.base.as_ref().map(Into::into),
                    value: Some((&content.value).into()),
                    modified_at: Some(timestamp(content.mtime)),
                }),
                place: change.place.as_ref().map(|place| sync::PlaceChange {
                    base_time: place.base_time.0,
                    place: Some((&place.place).into()),
                }),
                attributes: change.attributes.as_ref().map(|attributes| sync::AttributesChange {
                    base_time: attributes.base_time.0,
                    mode: attributes.mode,
                    modified_at: Some(timestamp(attributes.mtime)),
                }),
            }),
            Proposal::Delete { id, base_time, base } => {
                Self::Delete(sync::Delete { entry_id: bytes(id), base_time: base_time.0, base: Some(base.into()) })
            }
            Proposal::Withdraw { id } => Self::Withdraw(sync::Withdraw { entry_id: bytes(id) }),
        }
    }
}

impl TryFrom<sync::proposal::Change> for Proposal {
    type Error = Malformed;
    fn try_from(change: sync::proposal::Change) -> Result<Self, Malformed> {
        use sync::proposal::Change as Message;
        Ok(match change {
            Message::Create(create) => Proposal::Create {
                id: EntryId::from_slice(&create.entry_id)?,
                place: need(create.place, "the place")?.try_into()?,
                value: need(create.value, "the value")?.try_into()?,
                mode: mode(create.mode)?,
                mtime: mtime(create.modified_at)?,
            },
            Message::Update(update) => Proposal::Change(update.try_into()?),
            Message::Delete(delete) => Proposal::Delete {
                id: EntryId::from_slice(&delete.entry_id)?,
                base_time: LogicalTime(delete.base_time),
                base: need(delete.base, "the base")?.try_into()?,
            },
            Message::Withdraw(withdraw) => Proposal::Withdraw { id: EntryId::from_slice(&withdraw.entry_id)? },
        })
    }
}

impl TryFrom<sync::Change> for Change {
    type Error = Malformed;
    fn try_from(change: sync::Change) -> Result<Self, Malformed> {
        let content = |content: sync::ContentChange| -> Result<_, Malformed> {
            Ok(ContentChange {
                base_time: LogicalTime(content.base_time),
                base: content.base.map(TryInto::try_into).transpose()?,
                value: need(content.value, "the value")?.try_into()?,
                mtime: mtime(content.modified_at)?,
            })
        };
        let place = |place: sync::PlaceChange| -> Result<_, Malformed> {
            Ok(PlaceChange {
                base_time: LogicalTime(place.base_time),
                place: need(place.place, "the place")?.try_into()?,
            })
        };
        let attributes = |attributes: sync::AttributesChange| -> Result<_, Malformed> {
            Ok(AttributesChange {
                base_time: LogicalTime(attributes.base_time),
                mode: mode(attributes.mode)?,
                mtime: mtime(attributes.modified_at)?,
            })
        };
        Ok(Self {
            id: EntryId::from_slice(&change.entry_id)?,
            content: change.content.map(content).transpose()?,
            place: change.place.map(place).transpose()?,
            attributes: change.attributes.map(attributes).transpose()?,
        })
    }
}

/// What holds a change, in words.
const BRAKE: &str = "brake";

macro_rules! refusals {
    ($($name:ident),*) => {
        impl From<Refusal> for sync::Refusal {
            fn from(refusal: Refusal) -> Self {
                match refusal {
                    $(Refusal::$name => sync::Refusal::$name,)*
                    // A refusal that this contract has no word for.
                    _ => sync::Refusal::Stale,
                }
            }
        }

        impl sync::Refusal {
            /// The domain's refusal; `None` for unspecified.
            pub fn to_domain(self) -> Option<Refusal> {
                match self {
                    sync::Refusal::Unspecified => None,
                    $(sync::Refusal::$name => Some(Refusal::$name),)*
                }
            }
        }
    };
}

refusals!(
    ParentGone,
    Moved,
    Cycle,
    NameTaken,
    NotEmpty,
    Attributes,
    Unknown,
    Stale,
    ReadOnly,
    NoSpace,
    Quota,
    TooDeep,
    Locked,
    Malformed,
    Crowded,
    ContentGone,
    TakenBack
);

impl sync::verdict::Outcome {
    /// The message for a verdict. `row` is the stored form of the verdict's row, with device and time of acceptance;
    /// `cursor` is the commit's.
    pub fn from_domain(verdict: &Verdict, cursor: Cursor) -> Self {
        match verdict {
            Verdict::Accepted(accepted) => Self::Accepted(sync::Accepted {
                row: Some((&accepted.row).into()),
                cursor: Some(cursor.into()),
                content: accepted.content,
                place: accepted.place,
                attributes: accepted.attributes,
                refused: accepted.refused.map_or(sync::Refusal::Unspecified, Into::into) as i32,
            }),
            Verdict::Current(row) => Self::Current(sync::Current { row: Some(row.into()) }),
            Verdict::Missing(digests) => Self::Missing(sync::Missing {
                digests: digests.iter().map(|digest| bytes::Bytes::copy_from_slice(digest.as_bytes())).collect(),
            }),
            Verdict::Conflict { id, revision } => Self::Conflict(sync::InConflict {
                entry_id: bytes::Bytes::copy_from_slice(id.as_bytes()),
                revision: *revision,
            }),
            Verdict::Held { seq } => Self::Held(sync::Held { by: BRAKE.to_owned(), seq: *seq }),
            Verdict::Withdrawn => Self::Withdrawn(sync::Withdrawn {}),
            Verdict::Refused(why) => Self::Refused(sync::Refused { reason: sync::Refusal::from(*why) as i32 }),
        }
    }
}

fn refusal(code: i32) -> Result<Option<Refusal>, Malformed> {
    let refusal = sync::Refusal::try_from(code).map_err(|_| Malformed::Range("the refusal"))?;
    Ok(refusal.to_domain())
}

impl TryFrom<sync::verdict::Outcome> for Verdict {
    type Error = Malformed;
    /// `Fenced` is no verdict: the caller looks for it before.
    fn try_from(outcome: sync::verdict::Outcome) -> Result<Self, Malformed> {
        use sync::verdict::Outcome;
        Ok(match outcome {
            Outcome::Accepted(accepted) => Verdict::Accepted(Accepted {
                row: need(accepted.row, "the row")?.try_into()?,
                content: accepted.content,
                place: accepted.place,
                attributes: accepted.attributes,
                refused: refusal(accepted.refused)?,
            }),
            Outcome::Current(current) => Verdict::Current(need(current.row, "the row")?.try_into()?),
            Outcome::Missing(missing) => Verdict::Missing(digests(&missing.digests)?),
            Outcome::Conflict(conflict) => {
                Verdict::Conflict { id: EntryId::from_slice(&conflict.entry_id)?, revision: conflict.revision }
            }
            Outcome::Held(held) => Verdict::Held { seq: held.seq },
            Outcome::Withdrawn(_) => Verdict::Withdrawn,
            Outcome::Refused(refused) => Verdict::Refused(need(refusal(refused.reason)?, "the refusal's reason")?),
            Outcome::Fenced(_) => return Err(Malformed::Range("the verdict")),
        })
    }
}

/// Checks a list of digests.
///
/// # Errors
/// [`Malformed::Range`] for more than [`limits::DIGESTS_PER_MESSAGE`], [`Malformed::Type`] for one that is none.
pub fn digests(list: &[bytes::Bytes]) -> Result<Vec<Digest>, Malformed> {
    if list.len() > limits::DIGESTS_PER_MESSAGE {
        return Err(Malformed::Range("the number of digests"));
    }
    Ok(list.iter().map(|digest| Digest::from_slice(digest)).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_where_every_devices_own_directory_is() {
        let place = |name: &'static str| {
            let parent_id = bytes::Bytes::copy_from_slice(EntryId::TOP.as_bytes());
            Place::try_from(common::Place { parent_id, name: name.into() })
        };
        assert!(matches!(place(".quics"), Err(Malformed::Type(_))));
        assert_eq!(common::Place::from(&place(".quicsignore").unwrap()).name, ".quicsignore");
    }
}
