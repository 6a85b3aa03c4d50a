//! A compact hash table: 20 bytes a slot, full up to nine tenths.
//!
//! Entries are kept in the order of their keys (linear probing, ordered: Amble and Knuth 1974), which is also the
//! order of their home slots, so that a search ends at the first larger key even when the table is nearly full, and a
//! removal closes the gap without tombstones. The last slots do not wrap around: a short overhang holds what is
//! pushed beyond the end.

/// The fingerprint of a root and digest: 96 bits of a keyed hash.
pub(super) type Fingerprint = [u32; 3];
/// A place, packed; never 0.
pub(super) type Packed = u64;

const FEWEST: usize = 32;
const OVERHANG: usize = 32;

#[derive(Clone, Copy)]
struct Slot {
    key: Fingerprint,
    /// Low and high half; zero in an empty slot. Two words, so that a slot needs no padding.
    value: [u32; 2],
}

const EMPTY: Slot = Slot { key: [0; 3], value: [0; 2] };

impl Slot {
    fn is_empty(&self) -> bool {
        self.value == [0; 2]
    }

    fn value(&self) -> Packed {
        u64::from(self.value[1]) << 32 | u64::from(self.value[0])
    }
}

/// Maps fingerprints to places.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Slots that are homes; the overhang follows.
    homes: usize,
    len: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that the table takes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, Packed)> {
        self.slots.iter().filter(|slot| !slot.is_empty()).map(|slot| (slot.key, slot.value()))
    }

    pub(super) fn get(&self, key: &Fingerprint) -> Option<Packed> {
        self.search(key).ok().map(|at| self.slots[at].value())
    }

    /// Sets the value of a key and returns the one before.
    pub(super) fn insert(&mut self, key: Fingerprint, value: Packed) -> Option<Packed> {
        debug_assert_ne!(value, 0, "zero marks an empty slot");
        let slot = Slot { key, value: [value as u32, (value >> 32) as u32] };
        loop {
            let at = match self.search(&key) {
                Ok(at) => return Some(std::mem::replace(&mut self.slots[at], slot).value()),
                Err(at) => at,
            };
            let full = (self.len + 1) * 10 > self.homes * 9;
            if full {
                self.grow();
                continue;
            }
            let Some(gap) = self.slots[at..].iter().position(Slot::is_empty) else {
                self.slots.resize(self.slots.len() + OVERHANG, EMPTY);
                continue;
            };
            self.slots.copy_within(at..at + gap, at + 1);
            self.slots[at] = slot;
            self.len += 1;
            return None;
        }
    }

    pub(super) fn remove(&mut self, key: &Fingerprint) -> Option<Packed> {
        let at = self.search(key).ok()?;
        let value = self.slots[at].value();
        // Everything behind moves one back until a gap or an entry that is at home.
        let homes = self.homes;
        let count = self.slots[at + 1..]
            .iter()
            .enumerate()
            .take_while(|(i, slot)| !slot.is_empty() && home(&slot.key, homes) < at + 1 + i)
            .count();
        self.slots.copy_within(at + 1..at + 1 + count, at);
        self.slots[at + count] = EMPTY;
        self.len -= 1;
        Some(value)
    }

    /// The slot of a key, or the slot where it belongs.
    fn search(&self, key: &Fingerprint) -> Result<usize, usize> {
        let start = home(key, self.homes);
        for (at, slot) in self.slots.iter().enumerate().skip(start) {
            if slot.is_empty() || slot.key > *key {
                return Err(at);
            }
            if slot.key == *key {
                return Ok(at);
            }
        }
        Err(self.slots.len())
    }

    fn grow(&mut self) {
        let homes = (self.homes + self.homes / 5).max(FEWEST);
        let old = std::mem::replace(self, Self { slots: vec![EMPTY; homes + OVERHANG], homes, len: 0 });
        // In order: each goes to its home or right behind the one before.
        let mut next = 0;
        for slot in old.slots.into_iter().filter(|slot| !slot.is_empty()) {
            let at = home(&slot.key, homes).max(next);
            if at >= self.slots.len() {
                self.slots.resize(at + OVERHANG, EMPTY);
            }
            self.slots[at] = slot;
            self.len += 1;
            next = at + 1;
        }
    }
}

/// The home slot of a key: grows with the key.
fn home(key: &Fingerprint, homes: usize) -> usize {
    let high = u64::from(key[0]) << 32 | u64::from(key[1]);
    ((u128::from(high) * homes as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_has_no_padding() {
        assert_eq!(size_of::<Slot>(), 20);
    }

    #[test]
    fn a_large_table_takes_less_than_28_bytes_an_entry() {
        let mut table = Table::default();
        for i in 0..200_000u32 {
            let hash = *blake3::hash(&i.to_le_bytes()).as_bytes();
            let word = |at: usize| u32::from_le_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]);
            table.insert([word(0), word(4), word(8)], u64::from(i) + 1);
        }
        assert_eq!(table.len(), 200_000);
        assert!(table.bytes() < 28 * 200_000, "{}", table.bytes() / 200_000);
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_map(steps in prop::collection::vec((0u32..400, 0u32..3, 1u64..), 1..2000), spread: bool) {
            let mut table = Table::default();
            let mut model = HashMap::new();
            for (i, action, value) in steps {
                // Crowded: all keys share the last home, the worst case for the overhang.
                let key = if spread { [i.wrapping_mul(0x9e37_79b9), i, 7] } else { [u32::MAX, u32::MAX, i] };
                match action {
                    0 => prop_assert_eq!(table.remove(&key), model.remove(&key)),
                    1 => prop_assert_eq!(table.insert(key, value), model.insert(key, value)),
                    _ => prop_assert_eq!(table.get(&key), model.get(&key).copied()),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (key, value) in &model {
                prop_assert_eq!(table.get(key), Some(*value));
            }
        }
    }
}
