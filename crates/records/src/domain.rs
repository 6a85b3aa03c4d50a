//! The words of the domain as values.

use bytes::Bytes;
use quics_reconcile::{
    Accepted, AttributesChange, Candidate, CandidateRole, CandidateState, Change, Conflict, ContentChange, PlaceChange,
    Proposal, Refusal, RootDigest, Row, Value, Verdict,
};
use quics_types::{
    Answerers, Cursor, DeviceId, Digest, EntryId, Epoch, GroupId, LogicalTime, MergePolicy, Mtime, Name, Place,
    ResolutionId, RootId, Settings, UserId, WallTime,
};

use crate::code::{Code, Damaged, array};
use crate::{choices, fields};

macro_rules! fixed {
    ($($type:ident $length:literal),*) => {$(
        impl Code for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
            fn read(from: &mut Bytes) -> Result<Self, Damaged> {
                array::<$length>(from).map($type::from_bytes)
            }
        }
    )*};
}

fixed!(EntryId 16, RootId 16, DeviceId 16, UserId 16, ResolutionId 16, GroupId 16, Digest 32);

impl Code for LogicalTime {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        u64::read(from).map(LogicalTime)
    }
}

impl Code for Epoch {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        array::<8>(from).map(|bytes| Epoch(u64::from_be_bytes(bytes)))
    }
}

impl Code for WallTime {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        u64::read(from).map(WallTime)
    }
}

impl Code for RootDigest {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        let digest = Digest::read(from)?;
        RootDigest::from_slice(digest.as_bytes()).ok_or(Damaged)
    }
}

impl Code for Name {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_bytes().write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Name::new(Bytes::read(from)?).map_err(|_| Damaged)
    }
}

fields!(Mtime { seconds, nanos });
fields!(Cursor { epoch, seq });
fields!(Place { parent, name });
fields!(Row { id, place, value, mode, mtime, attributes, dead, time, content_time, place_time, attributes_time });
fields!(ContentChange { base_time, base, value, mtime });
fields!(PlaceChange { base_time, place });
fields!(AttributesChange { base_time, mode, mtime });
fields!(Change { id, content, place, attributes });
fields!(Accepted { row, content, place, attributes, refused });
choices!(Answerers { Writers, Involved, Owners });
choices!(MergePolicy { Ask, AutoClean });
fields!(Settings { revision, answerers, reminder_hours, both_after_days, merge });
fields!(Candidate { order, state, mtime, mode, base });
fields!(Conflict { revision, candidates });

impl Code for Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Directory => out.push(0),
            Value::File { content, size } => {
                out.push(1);
                content.write(out);
                size.write(out);
            }
            Value::Link { target } => {
                out.push(2);
                target.write(out);
            }
            Value::Unit { content, size } => {
                out.push(3);
                content.write(out);
                size.write(out);
            }
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Value::Directory,
            1 => Value::File { content: Digest::read(from)?, size: u64::read(from)? },
            2 => Value::Link { target: Bytes::read(from)? },
            3 => Value::Unit { content: Digest::read(from)?, size: u64::read(from)? },
            _ => return Err(Damaged),
        })
    }
}

impl Code for CandidateRole {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            CandidateRole::Own => out.push(0),
            CandidateRole::New => out.push(1),
            CandidateRole::Kept(number) => out.extend_from_slice(&[2, *number]),
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        match u8::read(from)? {
            0 => Ok(CandidateRole::Own),
            1 => Ok(CandidateRole::New),
            2 => u8::read(from).map(CandidateRole::Kept),
            _ => Err(Damaged),
        }
    }
}

impl Code for CandidateState {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            CandidateState::Value(value) => Some(value.clone()).write(out),
            CandidateState::Delete => None::<Value>.write(out),
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(Option::read(from)?.map_or(CandidateState::Delete, CandidateState::Value))
    }
}

/// The numbers of refusals in values; those of the domain may be ordered otherwise one day.
const REFUSALS: [Refusal; 17] = [
    Refusal::ParentGone,
    Refusal::Moved,
    Refusal::Cycle,
    Refusal::NameTaken,
    Refusal::NotEmpty,
    Refusal::Attributes,
    Refusal::Unknown,
    Refusal::Stale,
    Refusal::ReadOnly,
    Refusal::NoSpace,
    Refusal::Quota,
    Refusal::TooDeep,
    Refusal::Locked,
    Refusal::Malformed,
    Refusal::Crowded,
    Refusal::ContentGone,
    Refusal::TakenBack,
];

impl Code for Refusal {
    fn write(&self, out: &mut Vec<u8>) {
        // The array holds every variant; one that a later version adds and forgets here reads back as damage.
        out.push(REFUSALS.iter().position(|refusal| refusal == self).map_or(u8::MAX, |at| at as u8));
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        REFUSALS.get(usize::from(u8::read(from)?)).copied().ok_or(Damaged)
    }
}

impl Code for Proposal {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Proposal::Create { id, place, value, mode, mtime } => {
                out.push(0);
                id.write(out);
                place.write(out);
                value.write(out);
                mode.write(out);
                mtime.write(out);
            }
            Proposal::Change(change) => {
                out.push(1);
                change.write(out);
            }
            Proposal::Delete { id, base_time, base } => {
                out.push(2);
                id.write(out);
                base_time.write(out);
                base.write(out);
            }
            Proposal::Withdraw { id } => {
                out.push(3);
                id.write(out);
            }
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Proposal::Create {
                id: Code::read(from)?,
                place: Code::read(from)?,
                value: Code::read(from)?,
                mode: Code::read(from)?,
                mtime: Code::read(from)?,
            },
            1 => Proposal::Change(Code::read(from)?),
            2 => Proposal::Delete { id: Code::read(from)?, base_time: Code::read(from)?, base: Code::read(from)? },
            3 => Proposal::Withdraw { id: Code::read(from)? },
            _ => return Err(Damaged),
        })
    }
}

impl Code for Verdict {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Verdict::Accepted(accepted) => {
                out.push(0);
                accepted.write(out);
            }
            Verdict::Current(row) => {
                out.push(1);
                row.write(out);
            }
            Verdict::Missing(digests) => {
                out.push(2);
                digests.write(out);
            }
            Verdict::Conflict { id, revision } => {
                out.push(3);
                id.write(out);
                revision.write(out);
            }
            Verdict::Held { seq } => {
                out.push(4);
                seq.write(out);
            }
            Verdict::Withdrawn => out.push(5),
            Verdict::Refused(why) => {
                out.push(6);
                why.write(out);
            }
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Verdict::Accepted(Code::read(from)?),
            1 => Verdict::Current(Code::read(from)?),
            2 => Verdict::Missing(Code::read(from)?),
            3 => Verdict::Conflict { id: Code::read(from)?, revision: Code::read(from)? },
            4 => Verdict::Held { seq: Code::read(from)? },
            5 => Verdict::Withdrawn,
            6 => Verdict::Refused(Code::read(from)?),
            _ => return Err(Damaged),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::tests::round_trip;
    use crate::testing::golden;

    #[test]
    fn the_format_of_a_row_is_fixed() {
        let row = Row {
            id: EntryId::from_bytes([1; 16]),
            place: Place { parent: EntryId::TOP, name: Name::new("a b").unwrap() },
            value: Value::File { content: Digest::from_bytes([2; 32]), size: 300 },
            mode: 0o640,
            mtime: Mtime { seconds: 1_700_000_000, nanos: 5 },
            attributes: [(Bytes::from_static(b"k"), Bytes::from_static(b"v"))].into(),
            dead: false,
            time: LogicalTime(4),
            content_time: LogicalTime(3),
            place_time: LogicalTime(1),
            attributes_time: LogicalTime(4),
        };
        golden(row, GOLDEN_ROW);
    }

    const GOLDEN_ROW: &str = "0101010101010101010101010101010101000000000000000000000000000000000361206201020202020202020202020\
        2020202020202020202020202020202020202020202ac02a00380c49fd50c0501016b01760004030104";

    #[test]
    fn every_refusal_has_a_number() {
        for refusal in REFUSALS {
            round_trip(refusal);
        }
    }

    #[test]
    fn proposals_and_verdicts_round_trip() {
        let id = EntryId::from_bytes([1; 16]);
        let place = Place { parent: EntryId::TOP, name: Name::new("name").unwrap() };
        let mtime = Mtime { seconds: -1, nanos: 999_999_999 };
        let value = Value::File { content: Digest::of(b"x"), size: 1 << 40 };
        let link = Value::Link { target: Bytes::from_static(b"../there") };
        round_trip(Proposal::Create { id, place: place.clone(), value: value.clone(), mode: 0o777, mtime });
        round_trip(Proposal::Change(Change {
            id,
            content: Some(ContentChange { base_time: LogicalTime(3), base: Some(link), value: value.clone(), mtime }),
            place: Some(PlaceChange { base_time: LogicalTime(2), place }),
            attributes: Some(AttributesChange { base_time: LogicalTime(1), mode: 0, mtime }),
        }));
        round_trip(Proposal::Delete { id, base_time: LogicalTime(9), base: value });
        round_trip(Proposal::Withdraw { id });
        round_trip(Verdict::Missing(vec![Digest::of(b"y"); 3]));
        round_trip(Verdict::Conflict { id, revision: 7 });
        round_trip(Verdict::Held { seq: 300 });
        round_trip(Verdict::Withdrawn);
        round_trip(Verdict::Refused(Refusal::Stale));
    }
}
