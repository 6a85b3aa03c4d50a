//! The index in memory: which chunk is where.
//!
//! A chunk is known by 96 bits of a hash of its root and digest, keyed with a random key of this process. Two chunks
//! that share them would be taken for one; with a billion chunks the chance of that is 10⁻¹¹ over the life of a store,
//! and nobody can aim for it without the key. So a question whether a chunk is there reads no disk, which a first start
//! on a folder that the server has already (hundreds of thousands of such questions) needs. What is read is compared
//! with its full name in any case.

use parking_lot::RwLock;
use quics_types::{Digest, RootId};

use super::{
    header::Key,
    record::{ALIGN, Spot},
    table::{Fingerprint, Table},
};
use crate::Position;

const SHARDS: usize = 64;
const OFFSET_BITS: u32 = 22;
const SPAN_BITS: u32 = 13;
/// The highest number of a segment.
pub(super) const LAST_SEGMENT: u32 = (1 << (64 - OFFSET_BITS - SPAN_BITS)) - 1;

/// Where a record is and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) spot: Spot,
    /// Bytes, header and padding included.
    pub(super) span: u32,
}

impl Place {
    /// The end of the record.
    pub(super) fn position(&self) -> Position {
        position(self.spot.segment, self.spot.offset + self.span)
    }

    fn pack(self) -> u64 {
        let (offset, span) = (self.spot.offset / ALIGN, self.span / ALIGN);
        u64::from(self.spot.segment) << (OFFSET_BITS + SPAN_BITS) | u64::from(offset) << SPAN_BITS | u64::from(span)
    }

    fn unpack(packed: u64) -> Self {
        let bits = |shift: u32, count: u32| ((packed >> shift) & ((1 << count) - 1)) as u32;
        let spot = Spot {
            segment: (packed >> (OFFSET_BITS + SPAN_BITS)) as u32,
            offset: bits(SPAN_BITS, OFFSET_BITS) * ALIGN,
        };
        Self { spot, span: bits(0, SPAN_BITS) * ALIGN }
    }
}

/// The position behind the bytes of a segment before `end`.
pub(super) fn position(segment: u32, end: u32) -> Position {
    Position(u64::from(segment) << 32 | u64::from(end))
}

/// Maps chunks to places. Shards keep the pause short when a table grows.
pub(super) struct Index {
    hash_key: Key,
    shards: Vec<RwLock<Table>>,
}

impl Index {
    pub(super) fn new(hash_key: Key) -> Self {
        Self { hash_key, shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// The fingerprint under which a chunk is known here.
    pub(super) fn key(&self, root: RootId, digest: Digest) -> Fingerprint {
        let mut name = [0; RootId::LEN + Digest::LEN];
        name[..RootId::LEN].copy_from_slice(root.as_bytes());
        name[RootId::LEN..].copy_from_slice(digest.as_bytes());
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *blake3::keyed_hash(&self.hash_key, &name).as_bytes();
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
    }

    fn shard(&self, key: Fingerprint) -> &RwLock<Table> {
        // The table orders by the first words; the last one is free.
        &self.shards[key[2] as usize % SHARDS]
    }

    pub(super) fn get(&self, key: Fingerprint) -> Option<Place> {
        self.shard(key).read().get(&key).map(Place::unpack)
    }

    /// As [`Index::get`]; `seen` runs while the place can neither change nor go.
    pub(super) fn get_with(&self, key: Fingerprint, seen: impl FnOnce(Place)) -> Option<Place> {
        let table = self.shard(key).read();
        let place = table.get(&key).map(Place::unpack);
        if let Some(place) = place {
            seen(place);
        }
        place
    }

    /// Visits every chunk, in no order. The callback must not ask the index.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Fingerprint, Place)) {
        for shard in &self.shards {
            shard.read().iter().for_each(|(key, packed)| visit(key, Place::unpack(packed)));
        }
    }

    /// Sets the place of a chunk and returns the one before.
    pub(super) fn insert(&self, key: Fingerprint, place: Place) -> Option<Place> {
        self.shard(key).write().insert(key, place.pack()).map(Place::unpack)
    }

    pub(super) fn remove(&self, key: Fingerprint) -> Option<Place> {
        self.shard(key).write().remove(&key).map(Place::unpack)
    }

    /// Removes a chunk if its place is this one and `condition` holds; no [`Index::get_with`] comes in between.
    pub(super) fn remove_if(&self, key: Fingerprint, place: Place, condition: impl FnOnce() -> bool) -> bool {
        let mut table = self.shard(key).write();
        let removes = table.get(&key) == Some(place.pack()) && condition();
        removes && table.remove(&key).is_some()
    }

    /// Chunks, and bytes of memory.
    pub(super) fn size(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(chunks, bytes), shard| {
            let table = shard.read();
            (chunks + table.len() as u64, bytes + table.bytes() as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::{header::LARGEST_SEGMENT, record::LONGEST};

    #[test]
    fn the_farthest_place_of_the_longest_record_is_kept() {
        let far = Place {
            spot: Spot { segment: LAST_SEGMENT, offset: LARGEST_SEGMENT - LONGEST / ALIGN * ALIGN },
            span: LONGEST,
        };
        let near = Place { spot: Spot { segment: 1, offset: 8192 }, span: 192 };
        for place in [far, near] {
            assert_eq!(Place::unpack(place.pack()), place);
            assert_ne!(place.pack(), 0);
        }
        assert!(near.position() < far.position());
    }

    #[test]
    fn the_same_digest_in_another_root_is_another_chunk() {
        let index = Index::new([1; 32]);
        let digest = Digest::of(b"x");
        let [one, two] = [1, 2].map(|b| index.key(RootId::from_bytes([b; 16]), digest));
        index.insert(one, Place { spot: Spot { segment: 1, offset: 8192 }, span: 192 });
        assert_eq!(index.get(two), None);
        assert_ne!(Index::new([2; 32]).key(RootId::from_bytes([1; 16]), digest), one);
    }
}
