//! Keys of the metadata store.

use bytes::{BufMut, Bytes, BytesMut};
pub(crate) use quics_records::keys::{after_prefix, behind};
use quics_types::{DeviceId, Digest, EntryId, GroupId, LeaseId, Place, ResolutionId, RootId};

/// The counter of the outbox.
pub(crate) const OUTBOX_NEXT: &[u8] = b"O";
/// Up to where the outbox was applied.
pub(crate) const APPLIED: &[u8] = b"A";

/// What a feed key names: one of an entry's two records, or the root's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Row,
    Conflict,
    Settings,
    Brakes,
}

fn key(tag: u8, root: RootId, parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::with_capacity(17 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.put_u8(tag);
    key.put_slice(root.as_bytes());
    for part in parts {
        key.put_slice(part);
    }
    key.freeze()
}

pub(crate) fn root(root: RootId) -> Bytes {
    key(b'r', root, &[])
}

pub(crate) fn epoch(root: RootId, first_seq: u64) -> Bytes {
    key(b'n', root, &[&first_seq.to_be_bytes()])
}

pub(crate) fn entry(root: RootId, id: EntryId) -> Bytes {
    key(b'e', root, &[id.as_bytes()])
}

pub(crate) fn place(root: RootId, place: &Place) -> Bytes {
    key(b'p', root, &[place.parent.as_bytes(), place.name.as_bytes()])
}

/// The keys of the live entries in a directory: from, to.
pub(crate) fn children(root: RootId, parent: EntryId) -> (Bytes, Bytes) {
    let from = key(b'p', root, &[parent.as_bytes()]);
    let to = after_prefix(&from);
    (from, to)
}

pub(crate) fn tombstone(root: RootId, place: &Place) -> Bytes {
    key(b'd', root, &[place.parent.as_bytes(), place.name.as_bytes()])
}

pub(crate) fn conflict(root: RootId, id: EntryId) -> Bytes {
    key(b'c', root, &[id.as_bytes()])
}

pub(crate) fn feed(root: RootId, seq: u64, kind: Kind) -> Bytes {
    key(b'f', root, &[&seq.to_be_bytes(), &[kind as u8]])
}

/// The keys of the feed behind a commit: from, to.
pub(crate) fn feed_after(root: RootId, seq: u64) -> (Bytes, Bytes) {
    (key(b'f', root, &[&seq.saturating_add(1).to_be_bytes()]), after_prefix(&key(b'f', root, &[])))
}

/// The commit and kind of a feed key; `None` if it is none.
pub(crate) fn parse_feed(key: &[u8]) -> Option<(u64, Kind)> {
    let seq = key.get(17..25)?.try_into().ok().map(u64::from_be_bytes)?;
    match key.get(25..)? {
        [0] => Some((seq, Kind::Row)),
        [1] => Some((seq, Kind::Conflict)),
        [2] => Some((seq, Kind::Settings)),
        [3] => Some((seq, Kind::Brakes)),
        _ => None,
    }
}

pub(crate) fn resolution(root: RootId, id: ResolutionId) -> Bytes {
    key(b'q', root, &[id.as_bytes()])
}

pub(crate) fn answered(root: RootId, id: ResolutionId, entry: EntryId) -> Bytes {
    key(b'u', root, &[id.as_bytes(), entry.as_bytes()])
}

/// The resolution of such a key; `None` if it is none.
pub(crate) fn parse_answered(key: &[u8]) -> Option<ResolutionId> {
    ResolutionId::from_slice(key.get(17..33)?).ok()
}

pub(crate) fn resolved(root: RootId, seq: u64) -> Bytes {
    key(b't', root, &[&seq.to_be_bytes()])
}

pub(crate) fn settings(root: RootId) -> Bytes {
    key(b's', root, &[])
}

pub(crate) fn brakes(root: RootId) -> Bytes {
    key(b'j', root, &[])
}

/// A change of a device that a brake holds.
pub(crate) fn held(root: RootId, device: DeviceId, entry: EntryId) -> Bytes {
    key(b'x', root, &[device.as_bytes(), entry.as_bytes()])
}

/// The keys of all held changes of a device: from, to.
pub(crate) fn held_all(root: RootId, device: DeviceId) -> (Bytes, Bytes) {
    let from = key(b'x', root, &[device.as_bytes()]);
    let to = after_prefix(&from);
    (from, to)
}

/// The entry of a held change's key; `None` if it is none.
pub(crate) fn parse_held(key: &[u8]) -> Option<EntryId> {
    EntryId::from_slice(key.get(33..)?).ok()
}

pub(crate) fn device(root: RootId, device: DeviceId) -> Bytes {
    key(b'i', root, &[device.as_bytes()])
}

pub(crate) fn verdict(root: RootId, device: DeviceId, incarnation: u64, seq: u64) -> Bytes {
    key(b'v', root, &[device.as_bytes(), &incarnation.to_be_bytes(), &seq.to_be_bytes()])
}

/// The incarnation and seq of a verdict's key; `None` if it is none.
pub(crate) fn parse_verdict(key: &[u8]) -> Option<(u64, u64)> {
    let number = |range| key.get::<std::ops::Range<usize>>(range)?.try_into().ok().map(u64::from_be_bytes);
    Some((number(33..41)?, number(41..49)?))
}

pub(crate) fn acknowledged(root: RootId, device: DeviceId) -> Bytes {
    key(b'k', root, &[device.as_bytes()])
}

pub(crate) fn blob(root: RootId, digest: Digest) -> Bytes {
    key(b'b', root, &[digest.as_bytes()])
}

pub(crate) fn lease(root: RootId, lease: LeaseId) -> Bytes {
    key(b'l', root, &[lease.as_bytes()])
}

/// The root and the lease of a lease's key; `None` if it is none.
pub(crate) fn parse_lease(key: &[u8]) -> Option<(RootId, LeaseId)> {
    Some((RootId::from_slice(key.get(1..17)?).ok()?, LeaseId::from_slice(key.get(17..)?).ok()?))
}

pub(crate) fn leased(root: RootId, lease: LeaseId, number: u64) -> Bytes {
    key(b'm', root, &[lease.as_bytes(), &number.to_be_bytes()])
}

pub(crate) fn wanted(root: RootId, digest: Digest) -> Bytes {
    key(b'w', root, &[digest.as_bytes()])
}

pub(crate) fn group(root: RootId, group: GroupId) -> Bytes {
    key(b'g', root, &[group.as_bytes()])
}

/// The root and the group of a group's key; `None` if it is none.
pub(crate) fn parse_group(key: &[u8]) -> Option<(RootId, GroupId)> {
    Some((RootId::from_slice(key.get(1..17)?).ok()?, GroupId::from_slice(key.get(17..)?).ok()?))
}

pub(crate) fn staged(root: RootId, group: GroupId, number: u64) -> Bytes {
    key(b'h', root, &[group.as_bytes(), &number.to_be_bytes()])
}

/// The keys of all changes of a group: from, to.
pub(crate) fn staged_all(root: RootId, group: GroupId) -> (Bytes, Bytes) {
    let from = key(b'h', root, &[group.as_bytes()]);
    let to = after_prefix(&from);
    (from, to)
}

pub(crate) fn outbox(number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'o');
    key.put_u64(number);
    key.freeze()
}

/// The number of an outbox record's key; `None` if it is none.
pub(crate) fn parse_outbox(key: &[u8]) -> Option<u64> {
    key.strip_prefix(b"o")?.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn outbox_epoch(first: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'N');
    key.put_u64(first);
    key.freeze()
}

/// All keys of a kind, in one root or (`None`) in all: from, to.
pub(crate) fn all(tag: u8, root: Option<RootId>) -> (Bytes, Bytes) {
    let from = match root {
        Some(root) => key(tag, root, &[]),
        None => Bytes::copy_from_slice(&[tag]),
    };
    let to = after_prefix(&from);
    (from, to)
}

/// The root that a key is about; `None` for a key without one.
pub(crate) fn parse_root(key: &[u8]) -> Option<RootId> {
    RootId::from_slice(key.get(1..17)?).ok()
}

/// The id or digest that ends a key after its root; `None` if it is shorter.
pub(crate) fn tail(key: &[u8]) -> Option<&[u8]> {
    key.get(17..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: RootId = RootId::from_bytes([0xff; 16]);

    #[test]
    fn feed_keys_come_in_the_order_of_commits_and_are_read_back() {
        let seqs = [1, 2, 255, 256, u64::MAX - 1];
        let keys: Vec<_> =
            seqs.iter().flat_map(|seq| [feed(ROOT, *seq, Kind::Row), feed(ROOT, *seq, Kind::Conflict)]).collect();
        assert!(keys.is_sorted());
        let (from, to) = feed_after(ROOT, 2);
        let read: Vec<_> = keys.iter().filter(|key| **key >= from && **key < to).map(|key| parse_feed(key)).collect();
        assert_eq!(read.len(), 6);
        assert_eq!(read[0], Some((255, Kind::Row)));
        assert_eq!(read[5], Some((u64::MAX - 1, Kind::Conflict)));
    }

    #[test]
    fn a_verdicts_key_names_its_incarnation_and_seq() {
        let key = verdict(ROOT, DeviceId::from_bytes([7; 16]), 3, 99);
        assert_eq!(parse_verdict(&key), Some((3, 99)));
        assert_eq!(parse_verdict(&key[..40]), None);
    }
}
