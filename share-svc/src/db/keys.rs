//! Keys of the metadata store.

use bytes::{BufMut, Bytes, BytesMut};
use quics_records::keys::after_prefix;
use quics_types::{Digest, RootId};

pub(crate) use quics_records::keys::behind;

use crate::desk::Link;

/// The key of sessions.
pub(crate) const SESSIONS: &[u8] = b"S";
/// Before the path in the key of something in a folder.
const MEMBER: usize = 1 + 16;
/// Between the names of a path in a key.
const BETWEEN: u8 = 0;

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

/// All rows of a kind: from, to.
pub(crate) fn all(tag: u8) -> (Bytes, Bytes) {
    below(key(tag, &[]))
}

pub(crate) fn link(root: RootId, link: Link) -> Bytes {
    key(b'l', &[root.as_bytes(), &link.0])
}

/// The links of a root: from, to.
pub(crate) fn links(root: RootId) -> (Bytes, Bytes) {
    below(key(b'l', &[root.as_bytes()]))
}

/// Root and link of a link's key; `None` if it is none.
pub(crate) fn parse_link(key: &[u8]) -> Option<(RootId, Link)> {
    Some((RootId::from_slice(key.get(1..17)?).ok()?, Link(key.get(17..33)?.try_into().ok()?)))
}

pub(crate) fn root_of(link: Link) -> Bytes {
    key(b'i', &[&link.0])
}

pub(crate) fn token(hash: &Digest) -> Bytes {
    key(b'k', &[hash.as_bytes()])
}

pub(crate) fn usage(link: Link) -> Bytes {
    key(b'u', &[&link.0])
}

pub(crate) fn grant(hash: &Digest) -> Bytes {
    key(b'g', &[hash.as_bytes()])
}

pub(crate) fn download(link: Link, number: u64) -> Bytes {
    key(b'd', &[&link.0, &number.to_be_bytes()])
}

/// The log of a link: from, to.
pub(crate) fn downloads(link: Link) -> (Bytes, Bytes) {
    below(key(b'd', &[&link.0]))
}

/// The number in a download's key; `None` if it is none.
pub(crate) fn parse_download(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(17..)?.try_into().ok()?))
}

pub(crate) fn policy(root: RootId) -> Bytes {
    key(b'p', &[root.as_bytes()])
}

pub(crate) fn sums(content: Digest) -> Bytes {
    key(b's', &[content.as_bytes()])
}

/// Something in a pinned folder, by its path relative to it.
///
/// Between names stands a zero byte, which is in no name and below all of them: so everything in a folder comes directly
/// behind it, and no sibling comes between (`a b` would, between `a` and `a/c`).
pub(crate) fn member(link: Link, path: &[u8]) -> Bytes {
    key(b'e', &[&link.0, &in_key(path)])
}

/// Everything below a path in a pinned folder, without the path itself: from, to. All of it for the empty path.
pub(crate) fn members(link: Link, path: &[u8]) -> (Bytes, Bytes) {
    if path.is_empty() { below(key(b'e', &[&link.0])) } else { below(key(b'e', &[&link.0, &in_key(path), &[BETWEEN]])) }
}

/// Behind everything in a folder of a pinned folder.
pub(crate) fn behind_members(link: Link, path: &[u8]) -> Bytes {
    members(link, path).1
}

/// The path in the key of something in a folder.
pub(crate) fn member_path(key: &Bytes) -> Option<Bytes> {
    let in_key = key.get(MEMBER..)?;
    Some(in_key.iter().map(|byte| if *byte == BETWEEN { b'/' } else { *byte }).collect())
}

fn in_key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { BETWEEN } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_folder_comes_directly_behind_it_whatever_its_neighbours_are_called() {
        let link = Link([7; 16]);
        let paths = ["a", "a/b", "a/b/c", "a/b d", "a b", "a-b", "a.b", "a.b/c", "ab"];
        let keys: Vec<Bytes> = paths.iter().map(|path| member(link, path.as_bytes())).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(keys.iter().zip(paths).all(|(key, path)| member_path(key).unwrap() == path.as_bytes()));
        let (from, to) = members(link, b"a");
        let inside = keys.iter().filter(|key| from <= **key && **key < to).count();
        assert_eq!(inside, 3);
    }
}
