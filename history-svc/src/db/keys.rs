//! Keys of the metadata store.

use bytes::{BufMut, Bytes, BytesMut};
use quics_types::{EntryId, GroupId, Place, RootId};

pub(crate) use quics_records::keys::{after_prefix, behind};

/// The events that are applied.
pub(crate) const APPLIED: &[u8] = b"P";

/// A commit of a root, in the order of what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) generation: u32,
    pub(crate) seq: u64,
}

impl Point {
    pub(crate) const BEGIN: Point = Point { generation: 0, seq: 0 };

    const BYTES: usize = 12;

    fn write(self, key: &mut BytesMut) {
        key.put_u32(self.generation);
        key.put_u64(self.seq);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (generation, seq) = bytes.split_first_chunk::<4>()?;
        let (seq, _) = seq.split_first_chunk::<8>()?;
        Some(Self { generation: u32::from_be_bytes(*generation), seq: u64::from_be_bytes(*seq) })
    }
}

fn key(tag: u8, root: RootId, parts: &[&[u8]]) -> BytesMut {
    // The longest has a parent, a name, a point and a side behind its root.
    let mut key = BytesMut::with_capacity(48 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.put_u8(tag);
    key.put_slice(root.as_bytes());
    for part in parts {
        key.put_slice(part);
    }
    key
}

/// All keys of a kind in a root: from, to.
pub(crate) fn all(tag: u8, root: RootId) -> (Bytes, Bytes) {
    let from = key(tag, root, &[]).freeze();
    let to = after_prefix(&from);
    (from, to)
}

pub(crate) fn root(root: RootId) -> Bytes {
    key(b'r', root, &[]).freeze()
}

pub(crate) fn repair(root: RootId) -> Bytes {
    key(b'x', root, &[]).freeze()
}

/// The root that a key is about; `None` for a key without one.
pub(crate) fn parse_root(key: &[u8]) -> Option<RootId> {
    RootId::from_slice(key.get(1..17)?).ok()
}

pub(crate) fn version(root: RootId, entry: EntryId, point: Point, side: u32) -> Bytes {
    let mut key = key(b'v', root, &[entry.as_bytes()]);
    point.write(&mut key);
    key.put_u32(side);
    key.freeze()
}

/// The versions of an entry up to a point, it included: from, to.
pub(crate) fn versions_until(root: RootId, entry: EntryId, point: Point) -> (Bytes, Bytes) {
    (key(b'v', root, &[entry.as_bytes()]).freeze(), behind(&version(root, entry, point, u32::MAX)))
}

/// The versions of an entry: from, to.
pub(crate) fn versions(root: RootId, entry: EntryId) -> (Bytes, Bytes) {
    let from = key(b'v', root, &[entry.as_bytes()]).freeze();
    let to = after_prefix(&from);
    (from, to)
}

/// The entry, point and side of a version's key; `None` if it is none.
pub(crate) fn parse_version(key: &[u8]) -> Option<(EntryId, Point, u32)> {
    let entry = EntryId::from_slice(key.get(17..33)?).ok()?;
    let rest = key.get(33..)?;
    let (side, _) = rest.get(Point::BYTES..)?.split_first_chunk::<4>()?;
    Some((entry, Point::read(rest)?, u32::from_be_bytes(*side)))
}

pub(crate) fn timeline(root: RootId, point: Point, entry: EntryId, side: u32) -> Bytes {
    let mut key = timeline_from(root, point);
    key.put_slice(entry.as_bytes());
    key.put_u32(side);
    key.freeze()
}

fn timeline_from(root: RootId, point: Point) -> BytesMut {
    let mut key = key(b't', root, &[]);
    point.write(&mut key);
    key
}

/// The timeline's keys from a point on: the first of them.
pub(crate) fn timeline_at(root: RootId, point: Point) -> Bytes {
    timeline_from(root, point).freeze()
}

/// The first key behind those of a point.
pub(crate) fn timeline_behind(root: RootId, point: Point) -> Bytes {
    after_prefix(&timeline_from(root, point))
}

/// The point, entry and side of a key of the timeline; `None` if it is none.
pub(crate) fn parse_timeline(key: &[u8]) -> Option<(Point, EntryId, u32)> {
    let rest = key.get(17..)?;
    let point = Point::read(rest)?;
    let rest = rest.get(Point::BYTES..)?;
    let (side, _) = rest.get(16..)?.split_first_chunk::<4>()?;
    Some((point, EntryId::from_slice(rest.get(..16)?).ok()?, u32::from_be_bytes(*side)))
}

fn place_from(root: RootId, place: &Place) -> BytesMut {
    // No name holds a 0: those of a name are together, and in the order of the names.
    key(b'p', root, &[place.parent.as_bytes(), place.name.as_bytes(), &[0]])
}

pub(crate) fn place(root: RootId, place: &Place, point: Point) -> Bytes {
    let mut key = place_from(root, place);
    point.write(&mut key);
    key.freeze()
}

/// Who came to a place up to a point, it included: from, to.
pub(crate) fn places_until(root: RootId, at: &Place, point: Point) -> (Bytes, Bytes) {
    (place_from(root, at).freeze(), behind(&place(root, at, point)))
}

/// Who came to any place in a directory: from, to.
pub(crate) fn places_in(root: RootId, parent: EntryId) -> (Bytes, Bytes) {
    let from = key(b'p', root, &[parent.as_bytes()]).freeze();
    let to = after_prefix(&from);
    (from, to)
}

/// The name and the point of a place's key; `None` if it is none.
pub(crate) fn parse_place(key: &[u8]) -> Option<(&[u8], Point)> {
    let rest = key.get(33..)?;
    let end = rest.len().checked_sub(Point::BYTES + 1)?;
    let (name, point) = rest.split_at(end);
    Some((name, Point::read(point.get(1..)?)?))
}

pub(crate) fn group(root: RootId, group: GroupId) -> Bytes {
    key(b'g', root, &[group.as_bytes()]).freeze()
}

pub(crate) fn group_order(root: RootId, point: Point, group: GroupId) -> Bytes {
    let mut key = key(b'h', root, &[]);
    point.write(&mut key);
    key.put_slice(group.as_bytes());
    key.freeze()
}

/// The group of a key of the order of restores; `None` if it is none.
pub(crate) fn parse_group_order(key: &[u8]) -> Option<GroupId> {
    GroupId::from_slice(key.get(17 + Point::BYTES..)?).ok()
}

pub(crate) fn policy(root: RootId) -> Bytes {
    key(b'k', root, &[]).freeze()
}

pub(crate) fn sweep(root: RootId) -> Bytes {
    key(b's', root, &[]).freeze()
}

pub(crate) fn restoring(root: RootId, group: GroupId) -> Bytes {
    key(b'q', root, &[group.as_bytes()]).freeze()
}

/// There if a restore was withdrawn.
pub(crate) fn withdrawn(root: RootId, group: GroupId) -> Bytes {
    key(b'y', root, &[group.as_bytes()]).freeze()
}

/// The group of a key of a restore that was begun; `None` if it is none.
pub(crate) fn parse_restoring(key: &[u8]) -> Option<GroupId> {
    GroupId::from_slice(key.get(17..)?).ok()
}

fn pins_of(root: RootId, entry: EntryId, point: Point, side: u32) -> BytesMut {
    let mut key = key(b'n', root, &[entry.as_bytes()]);
    point.write(&mut key);
    key.put_u32(side);
    key
}

pub(crate) fn pin(root: RootId, entry: EntryId, point: Point, side: u32, origin: u8) -> Bytes {
    let mut key = pins_of(root, entry, point, side);
    key.put_u8(origin);
    key.freeze()
}

/// The pins of a version: from, to.
pub(crate) fn pins(root: RootId, entry: EntryId, point: Point, side: u32) -> (Bytes, Bytes) {
    let from = pins_of(root, entry, point, side).freeze();
    let to = after_prefix(&from);
    (from, to)
}

/// The version of a pin's key; `None` if it is none.
pub(crate) fn parse_pin(key: &[u8]) -> Option<(EntryId, Point, u32)> {
    // They begin alike.
    parse_version(key)
}

pub(crate) fn purge(root: RootId, purge: GroupId) -> Bytes {
    key(b'u', root, &[purge.as_bytes()]).freeze()
}

pub(crate) fn purge_contents(root: RootId, purge: GroupId) -> Bytes {
    key(b'w', root, &[purge.as_bytes()]).freeze()
}

/// A purge that has not ended. Without a root, all of them stand together.
pub(crate) fn purging(root: RootId, purge: GroupId) -> Bytes {
    key(b'y', root, &[purge.as_bytes()]).freeze()
}

/// The root and the id of a key of a purge; `None` if it is none.
pub(crate) fn parse_purge(key: &[u8]) -> Option<(RootId, GroupId)> {
    Some((parse_root(key)?, GroupId::from_slice(key.get(17..)?).ok()?))
}

#[cfg(test)]
mod tests {
    use quics_types::Name;

    use super::*;

    const ROOT: RootId = RootId::from_bytes([0xff; 16]);
    const ENTRY: EntryId = EntryId::from_bytes([0xee; 16]);

    fn point(generation: u32, seq: u64) -> Point {
        Point { generation, seq }
    }

    #[test]
    fn keys_come_in_the_order_of_what_happened_and_are_read_back() {
        let points = [point(0, 1), point(0, 255), point(0, 256), point(0, u64::MAX), point(1, 0), point(1, 1)];
        let versions: Vec<_> =
            points.iter().flat_map(|at| [0, 1].map(|side| version(ROOT, ENTRY, *at, side))).collect();
        assert!(versions.is_sorted());
        assert_eq!(parse_version(&versions[5]), Some((ENTRY, point(0, 256), 1)));
        let (from, to) = versions_until(ROOT, ENTRY, point(0, 256));
        assert_eq!(versions.iter().filter(|key| **key >= from && **key < to).count(), 6);

        let timeline: Vec<_> = points.iter().map(|at| timeline(ROOT, *at, ENTRY, 2)).collect();
        assert!(timeline.is_sorted());
        assert_eq!(parse_timeline(&timeline[4]), Some((point(1, 0), ENTRY, 2)));
        assert!(timeline_at(ROOT, point(0, 256)) < timeline[2] && timeline[2] < timeline_behind(ROOT, point(0, 256)));
        assert!(timeline[3] < timeline_behind(ROOT, point(0, u64::MAX)));
        assert!(timeline_behind(ROOT, point(0, u64::MAX)) <= timeline_at(ROOT, point(1, 0)));
    }

    #[test]
    fn places_of_one_name_are_together_and_those_of_a_longer_one_behind_them() {
        let at = |name: &str| Place { parent: ENTRY, name: Name::new(name.to_owned()).unwrap() };
        let keys = [
            place(ROOT, &at("a"), point(0, 1)),
            place(ROOT, &at("a"), point(9, u64::MAX)),
            place(ROOT, &at("a\u{1}"), point(0, 1)),
            place(ROOT, &at("aa"), point(0, 1)),
        ];
        assert!(keys.is_sorted());
        assert_eq!(parse_place(&keys[2]), Some((&b"a\x01"[..], point(0, 1))));
        let (from, to) = places_until(ROOT, &at("a"), point(9, 0));
        assert_eq!(keys.iter().filter(|key| **key >= from && **key < to).count(), 1);
        let (from, to) = places_in(ROOT, ENTRY);
        assert!(keys.iter().all(|key| *key >= from && *key < to));
    }
}
