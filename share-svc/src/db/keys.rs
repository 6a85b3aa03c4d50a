//! Keys of the metadata store.

use bytes::{BufMut, Bytes, BytesMut};
use quics_records::keys::after_prefix;
use quics_types::RootId;

pub(crate) use quics_records::keys::behind;

fn key(tag: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.put_u8(tag);
    for part in parts {
        key.put_slice(part);
    }
    key.freeze()
}

fn below(prefix: Bytes) -> (Bytes, Bytes) {
    let to = after_prefix(&prefix);
    (prefix, to)
}

/// All links: from, to.
pub(crate) fn all_links() -> (Bytes, Bytes) {
    below(key(b'l', &[]))
}

/// The root of a link's key; `None` if it is none.
pub(crate) fn parse_link(key: &[u8]) -> Option<RootId> {
    RootId::from_slice(key.get(1..17)?).ok()
}
