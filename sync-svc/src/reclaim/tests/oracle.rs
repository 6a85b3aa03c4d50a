//! What has to be there, read from the rows by other means than the marks'.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use quics_chunks::{ChunkStore, ManifestReader};
use quics_reconcile::{CandidateState, Value};
use quics_records::Reads;
use quics_types::Digest;

use super::contents::{CONTENTS, content};
use super::world::{ROOT, World};
use crate::db::answers::Answered;
use crate::db::keys;
use crate::db::records::{self, ConflictEntry, Entry};

impl World {
    /// The contents that have to be there.
    pub(super) fn needed(&self) -> Vec<Digest> {
        let mut needed: Vec<Digest> =
            self.past.iter().filter_map(|row| row.value.content()).map(|(id, _)| id).collect();
        let mut value = |value: &Value| needed.extend(value.content().map(|(id, _)| id));
        for reads in [Reads::latest(&self.meta), Reads::durable(&self.meta)] {
            for (key, stored) in self.rows(reads, b'e') {
                let row = records::decode::<Entry>(&key, stored).unwrap().record.row;
                if !row.dead {
                    value(&row.value);
                }
            }
            for (key, stored) in self.rows(reads, b'c') {
                let entry = records::decode::<ConflictEntry>(&key, stored).unwrap().record;
                for candidate in entry.conflict.candidates.values() {
                    if let CandidateState::Value(state) = &candidate.state {
                        value(state);
                    }
                }
            }
            for (key, stored) in self.rows(reads, b'u') {
                let answered = records::decode::<Answered>(&key, stored).unwrap().record;
                let rows = answered.rows.iter().flat_map(|(before, after)| before.iter().chain([&after.row]));
                rows.filter(|row| !row.dead).for_each(|row| value(&row.value));
                for settled in answered.resolution.settled.values() {
                    if let CandidateState::Value(state) = &settled.candidate.state {
                        value(state);
                    }
                }
            }
        }
        needed
    }

    pub(super) fn rows(&self, reads: Reads<'_>, tag: u8) -> Vec<(Bytes, quics_records::Stored)> {
        let (from, to) = keys::all(tag, Some(ROOT));
        reads.range(&from, &to, 4096).unwrap()
    }

    /// Everything that is needed reads, and the looking changes nothing.
    pub(super) fn check(&self) {
        self.check_told();
        for content in self.needed().into_iter().collect::<BTreeSet<_>>() {
            let source = self.contents().of(ROOT);
            let reader = ManifestReader::open(&source, content).unwrap_or_else(|e| panic!("{content} is gone: {e}"));
            for leaf in reader {
                let leaf = leaf.unwrap_or_else(|e| panic!("a page of {content} is gone: {e}"));
                assert!(self.contents().read(ROOT, leaf.digest).unwrap().is_some(), "a chunk of {content} is gone");
            }
        }
    }

    /// Nothing of what devices were told is there has gone.
    fn check_told(&self) {
        for digest in self.tasks.iter().flat_map(|task| &task.told) {
            let there = self.contents().read(ROOT, *digest).unwrap();
            assert!(there.is_some(), "a chunk is gone that a device was told is there");
        }
    }

    /// The contents from which candidates were made; they are kept where they are there.
    pub(super) fn bases(&self) -> Vec<Digest> {
        let reads = Reads::latest(&self.meta);
        let open = self.rows(reads, b'c').into_iter().flat_map(|(key, stored)| {
            let entry = records::decode::<ConflictEntry>(&key, stored).unwrap().record;
            entry.conflict.candidates.into_values().filter_map(|it| it.base).collect::<Vec<_>>()
        });
        let settled = self.rows(reads, b'u').into_iter().flat_map(|(key, stored)| {
            let answered = records::decode::<Answered>(&key, stored).unwrap().record;
            answered.resolution.settled.into_values().filter_map(|it| it.candidate.base).collect::<Vec<_>>()
        });
        open.chain(settled).filter_map(|base| base.content()).map(|(id, _)| id).collect()
    }

    /// What the contents consist of that are needed, or are kept where they are there.
    pub(super) fn closure(&self) -> BTreeSet<Digest> {
        let known = (0..CONTENTS).map(content);
        let needed: HashSet<Digest> = self.needed().into_iter().chain(self.bases()).collect();
        let of = known.filter(|it| it.value.content().is_some_and(|(id, _)| needed.contains(&id)));
        of.flat_map(|it| it.packed.into_iter().map(|chunk| chunk.digest)).collect()
    }

    pub(super) fn records(&self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let visit = &mut |record: quics_chunks::RecordInfo| {
            found.insert(record.digest);
            std::ops::ControlFlow::Continue(())
        };
        self.chunks.records(visit).unwrap();
        found
    }
}
