//! How values are written into bytes.
//!
//! Numbers are LEB128 (7 bits a byte, low ones first), signed ones zigzag; ids and digests are their bytes; byte strings
//! and lists are preceded by their length; an optional is preceded by 0 or 1; a choice by its number.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A value does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// Something that can be written into a value and read back.
pub trait Code: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes a value from the front.
    ///
    /// # Errors
    /// [`Damaged`] if what stands there is none.
    fn read(from: &mut Bytes) -> Result<Self, Damaged>;
}

fn take(from: &mut Bytes, count: usize) -> Result<Bytes, Damaged> {
    if count <= from.len() { Ok(from.split_to(count)) } else { Err(Damaged) }
}

pub(crate) fn array<const N: usize>(from: &mut Bytes) -> Result<[u8; N], Damaged> {
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

/// Writes a struct field by field, in the order given.
#[macro_export]
macro_rules! fields {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::Code for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::Code::write(&self.$field, out);)*
            }
            fn read(from: &mut $crate::Bytes) -> Result<Self, $crate::Damaged> {
                $(let $field = $crate::Code::read(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// Writes an enum without data as the number of its variant, in the order given; new ones come last.
#[macro_export]
macro_rules! choices {
    ($type:ident { $($variant:ident),* $(,)? }) => {
        impl $crate::Code for $type {
            fn write(&self, out: &mut Vec<u8>) {
                // The order of the list is the format; the one of the type may be another.
                let all = [$($type::$variant),*];
                out.push(all.iter().position(|one| one == self).map_or(u8::MAX, |at| at as u8));
            }
            fn read(from: &mut $crate::Bytes) -> Result<Self, $crate::Damaged> {
                let all = [$($type::$variant),*];
                let number = <u8 as $crate::Code>::read(from)?;
                all.get(usize::from(number)).copied().ok_or($crate::Damaged)
            }
        }
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn round_trip<T: Code + PartialEq + std::fmt::Debug>(value: T) {
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
}
