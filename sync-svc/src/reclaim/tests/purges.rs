//! Purges, cut off anywhere.

use std::collections::HashSet;

use quics_chunks::Packed;
use quics_meta::{Batch, MetaStore};
use quics_reconcile::Proposal;
use quics_records::Reads;
use quics_types::{DeviceId, Digest, EntryId, Mtime, Name, Place};

use super::contents::{CONTENTS, content};
use super::world::{ROOT, Round, World};
use crate::WallTime;
use crate::db::brakes::HeldEntry;
use crate::db::{keys, records};
use crate::reclaim::marking::{By, Marking};

impl World {
    /// Puts two contents that share nothing; a change with the first is held by a brake. Gives what each consists of.
    pub(super) fn with_held_change(&self) -> (Vec<Digest>, Vec<Digest>) {
        let (held, other) = (content(0), content(1));
        for chunk in held.packed.iter().chain(&other.packed) {
            self.contents().put(ROOT, chunk).unwrap();
        }
        self.contents().chunks().seal().unwrap();
        let place = Place { parent: EntryId::TOP, name: Name::new("held").unwrap() };
        let (id, mtime) = (EntryId::from_bytes([9; 16]), Mtime::default());
        let proposal = Proposal::Create { id, place, value: held.value.clone(), mode: 0o644, mtime };
        let entry = HeldEntry { proposal, order: (1, 1), at: WallTime(1), seq: 1 };
        let mut batch = Batch::new();
        records::put(&mut batch, keys::held(ROOT, DeviceId::from_bytes([0xa; 16]), id), &entry, 0);
        drop(self.meta.submit(batch).unwrap());
        self.meta.sync().unwrap();
        let digests = |packed: Vec<Packed>| packed.into_iter().map(|chunk| chunk.digest).collect();
        (digests(held.packed), digests(other.packed))
    }

    /// Purges a content, if nothing needs it; `None` where it was cut off, or is needed.
    pub(super) fn purge(&mut self) -> Option<()> {
        let never = || false;
        if !matches!(self.round, Round::Idle) {
            return None;
        }
        let cut = self.random.below(12);
        let id = content(self.random.below(CONTENTS)).value.content()?.0;
        self.past.retain(|row| row.value.content().is_none_or(|(content, _)| content != id));
        self.empty_journal();
        for pass in 0..2 {
            let contents = self.contents().clone();
            contents.chunks().seal().unwrap();
            let marks = contents.chunks().begin_marks_of(ROOT).unwrap();
            let (_running, ended) = contents.gate().begin(marks.clone());
            if !ended.is_cancelled() {
                return None;
            }
            self.meta.sync().unwrap();
            let purged = HashSet::from([id]);
            while contents.end_leases(ROOT).unwrap().is_some() {}
            self.tasks.iter_mut().for_each(|task| task.told.clear());
            while self.ledger.forget_answers(ROOT, &purged).unwrap().is_some() {
                self.meta.sync().unwrap();
            }
            self.meta.sync().unwrap();
            let mut marking = Marking::of_root(marks.clone(), ROOT, purged);
            while marking.step(&contents, &never).unwrap() {}
            let told: Vec<_> = self.past.iter().filter_map(|row| row.value.content()).map(|(id, _)| id).collect();
            marking.told(&contents, ROOT, (By::History, &told), &never).unwrap();
            if !marking.finish(&contents).unwrap().still.is_empty() {
                return None;
            }
            if cut == pass {
                self.crash();
                return None;
            }
            let condemned = marks.condemn_at_once();
            for (count, number) in (2..).zip(contents.chunks().remains(ROOT, &condemned).unwrap()) {
                contents.chunks().rewrite(number, &condemned).unwrap();
                if cut == count {
                    self.crash();
                    return None;
                }
            }
        }
        self.resolutions.clear();
        self.purges += 1;
        // Those that were uploading are told so when they commit; nothing but what is needed is there.
        let records = self.records();
        assert!(!records.contains(&id), "what was purged is left");
        let told = self.ledger.outbox_records().unwrap() == 0 && self.rows(Reads::latest(&self.meta), b'h').is_empty();
        assert!(!told || records.is_subset(&self.closure()), "something is left after a purge");
        Some(())
    }
}
