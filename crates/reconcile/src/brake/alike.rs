//! Files that were all different and become all the same: a text that is written over everything.
//!
//! What counts is what is lost: so many different contents that one content takes the place of. A licence that is brought up
//! to date in forty packages was one content before and is one after; texts that are formatted stay as different as they were.

use std::collections::{HashMap, HashSet};

use quics_types::{Digest, EntryId, limits};

use super::WINDOW;

/// Different contents that become the same one before that is no accident.
pub(super) const ALIKE: usize = 16;

/// The contents that files became lately, with what they were.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// By what they became.
    groups: HashMap<u64, Group>,
    /// Entries that are remembered in them.
    known: usize,
}

/// Most contents are one file's: they cost no more than a place in the table.
#[derive(Debug)]
enum Group {
    One { minute: u64, was: u64, id: EntryId },
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    minute: u64,
    were: HashSet<u64>,
    /// The entries, until they are enough.
    ids: Vec<EntryId>,
}

/// A digest is as good as drawn by lot: a part of it tells contents apart.
fn short(content: &Digest) -> u64 {
    content.as_bytes().first_chunk().map_or(0, |part| u64::from_be_bytes(*part))
}

impl Alike {
    /// Notes that a file has become another one. Gives the entries that are known from now on as overwritten by what
    /// others became as well.
    pub(super) fn note(&mut self, id: EntryId, (was, is): (&Digest, &Digest), minute: u64) -> Vec<EntryId> {
        let was = short(was);
        let group = match self.groups.entry(short(is)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                if self.known < limits::BURST {
                    self.known += 1;
                    vacant.insert(Group::One { minute, was, id });
                }
                return Vec::new();
            }
            std::collections::hash_map::Entry::Occupied(group) => group.into_mut(),
        };
        if let Group::One { minute, was, id } = *group {
            *group = Group::Many(Box::new(Many { minute, were: HashSet::from([was]), ids: vec![id] }));
        }
        let Group::Many(many) = group else { return Vec::new() };
        many.minute = minute;
        if self.known >= limits::BURST || !many.were.insert(was) {
            return Vec::new();
        }
        self.known += 1;
        match many.were.len() {
            count if count < ALIKE => {
                many.ids.push(id);
                Vec::new()
            }
            // They are handed out once.
            _ => std::mem::take(&mut many.ids).into_iter().chain([id]).collect(),
        }
    }

    /// Forgets groups of which nothing has been heard of late.
    pub(super) fn forget(&mut self, now: u64) {
        self.groups.retain(|_, group| match group {
            Group::One { minute, .. } => *minute + WINDOW > now,
            Group::Many(many) => many.minute + WINDOW > now,
        });
        let count = |group: &Group| match group {
            Group::One { .. } => 1,
            Group::Many(many) => many.were.len(),
        };
        self.known = self.groups.values().map(count).sum();
    }
}
