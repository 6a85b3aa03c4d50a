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

/// Takes all that is left of `buffer`, which is in one piece: as it is where it ends in a [`Payload`], else as a copy.
pub(crate) fn take_rest(buffer: &mut impl Buf) -> Bytes {
    let length = buffer.remaining();
    let slice = buffer.chunk();
    let place = slice.as_ptr();
    if slice.len() != length {
        return buffer.copy_to_bytes(length);
    }
    let copy = if is_headers_sized(length) { Bytes::copy_from_slice(slice) } else { Bytes::new() };
    ADVANCED.set(None);
    buffer.advance(length);
    match ADVANCED.take() {
        Some(bytes) if bytes.len() == length && bytes.as_ptr() == place => bytes,
        _ => copy,
    }
}
