//! Message payload on its way through `h3`, without a copy.
//!
//! `h3` writes through the `Buf` trait, which shows slices and never gives up the `Bytes` behind them. [`Payload`]
//! leaves what is advanced over in a place where the send stream, which does the advancing, picks it up.

use std::cell::Cell;

use bytes::{Buf, Bytes};

thread_local! {
    static ADVANCED: Cell<Option<Bytes>> = const { Cell::new(None) };
}

/// Holds the payload of one DATA frame.
#[derive(Debug)]
pub(crate) struct Payload(Bytes);

impl Payload {
    /// Takes the payload.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Payload(bytes)
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.0
    }

    fn advance(&mut self, count: usize) {
        ADVANCED.set(Some(self.0.split_to(count)));
    }
}

/// Takes all that is left of `buffer` without a copy; `None` (and nothing taken) if it does not end in a [`Payload`].
///
/// Only to be called where the rest is a payload in one piece, as it is for DATA frames once their head is taken.
pub(crate) fn lift(buffer: &mut impl Buf) -> Option<Bytes> {
    let length = buffer.remaining();
    if buffer.chunk().len() != length {
        return None;
    }
    ADVANCED.set(None);
    buffer.advance(length);
    ADVANCED.take().filter(|bytes| bytes.len() == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_lifted_out_as_the_same_memory() {
        let bytes = Bytes::from(vec![7; 1_000]);
        let place = bytes.as_ptr();
        let lifted = lift(&mut Payload::new(bytes)).unwrap();
        assert_eq!((lifted.len(), lifted.as_ptr()), (1_000, place));
    }
}
