//! How the words of the domain are written into values.
//!
//! Numbers are LEB128 (7 bits a byte, low ones first), signed ones zigzag; ids and digests are their bytes; byte strings
//! and lists are preceded by their length; an optional is preceded by 0 or 1; a choice by its number.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_reconcile::{
    Accepted, AttributesChange, Candidate, CandidateRole, CandidateState, Change, Conflict, ContentChange, PlaceChange,
    Proposal, Refusal, Row, Value, Verdict,
};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, LogicalTime, Mtime, Name, Place, ResolutionId, RootId};

/// A value does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Something that can be written into a value and read back.
pub(crate) trait Code: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Bytes) -> Result<Self, Damaged>;
}

fn take(from: &mut Bytes, count: usize) -> Result<Bytes, Damaged> {
    if count <= from.len() { Ok(from.split_to(count)) } else { Err(Damaged) }
}

fn array<const N: usize>(from: &mut Bytes) -> Result<[u8; N], Damaged> {
    take(from, N)?.as_ref().try_into().map_err(|_| Damaged)
}

impl Code for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        array::<1>(from).map(|[byte]| byte)
    }
}

impl Code for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }
}

impl Code for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = u8::read(from)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damaged);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }
}

impl Code for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        u64::read(from)?.try_into().map_err(|_| Damaged)
    }
}

impl Code for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        (((*self << 1) ^ (*self >> 63)) as u64).write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        let zigzag = u64::read(from)?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }
}

impl Code for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        let length = u64::read(from)?;
        take(from, usize::try_from(length).map_err(|_| Damaged)?)
    }
}

impl Code for String {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        String::from_utf8(Bytes::read(from)?.into()).map_err(|_| Damaged)
    }
}

impl<T: Code> Code for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Code> Code for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|item| item.write(out));
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        let count = u64::read(from)?;
        // Each item has at least a byte: a count that cannot be is refused before anything is allocated.
        if count > from.len() as u64 {
            return Err(Damaged);
        }
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<K: Code + Ord, V: Code> Code for BTreeMap<K, V> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for (key, value) in self {
            key.write(out);
            value.write(out);
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(Vec::<(K, V)>::read(from)?.into_iter().collect())
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

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

fixed!(EntryId 16, RootId 16, DeviceId 16, ResolutionId 16, Digest 32);

/// Writes a struct field by field, in the order given.
macro_rules! fields {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::db::codec::Code for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::db::codec::Code::write(&self.$field, out);)*
            }
            fn read(from: &mut bytes::Bytes) -> Result<Self, $crate::db::codec::Damaged> {
                $(let $field = $crate::db::codec::Code::read(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}
pub(crate) use fields;

/// Writes an enum without data as the number of its variant, in the order given; new ones come last.
macro_rules! choices {
    ($type:ident { $($variant:ident),* $(,)? }) => {
        impl $crate::db::codec::Code for $type {
            fn write(&self, out: &mut Vec<u8>) {
                // The order of the list is the format; the one of the type may be another.
                let all = [$($type::$variant),*];
                out.push(all.iter().position(|one| one == self).map_or(u8::MAX, |at| at as u8));
            }
            fn read(from: &mut bytes::Bytes) -> Result<Self, $crate::db::codec::Damaged> {
                let all = [$($type::$variant),*];
                let number = <u8 as $crate::db::codec::Code>::read(from)?;
                all.get(usize::from(number)).copied().ok_or($crate::db::codec::Damaged)
            }
        }
    };
}
pub(crate) use choices;

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
const REFUSALS: [Refusal; 15] = [
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
            Verdict::Held { by } => {
                out.push(4);
                by.write(out);
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
            4 => Verdict::Held { by: Code::read(from)? },
            5 => Verdict::Withdrawn,
            6 => Verdict::Refused(Code::read(from)?),
            _ => return Err(Damaged),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Code + PartialEq + std::fmt::Debug>(value: T) {
        let mut out = Vec::new();
        value.write(&mut out);
        let whole = Bytes::from(out);
        let mut rest = whole.clone();
        assert_eq!(T::read(&mut rest), Ok(value));
        assert!(rest.is_empty());
        for cut in 0..whole.len() {
            // A cut value is damage (or, for lists of nothing, another value), never a panic.
            let _ = T::read(&mut whole.slice(..cut));
        }
    }

    #[test]
    fn numbers_round_trip_and_overlong_ones_are_damage() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX] {
            round_trip(number);
        }
        for number in [0, 1, -1, i64::MIN, i64::MAX] {
            round_trip(number);
        }
        let mut overlong = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert_eq!(u64::read(&mut overlong), Err(Damaged));
        let mut endless = Bytes::from_static(&[0x80; 32]);
        assert_eq!(u64::read(&mut endless), Err(Damaged));
    }

    #[test]
    fn a_list_that_claims_more_items_than_there_are_bytes_is_refused_before_it_is_allocated() {
        let mut claim = Vec::new();
        (u64::MAX >> 1).write(&mut claim);
        assert_eq!(Vec::<u64>::read(&mut claim.into()), Err(Damaged));
    }

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
        round_trip(Verdict::Held { by: "an owner".into() });
        round_trip(Verdict::Withdrawn);
        round_trip(Verdict::Refused(Refusal::Stale));
    }
}
