//! What the server tells: the feed, levels, snapshots.

use std::collections::HashSet;

use quics_reconcile::RootDigest;
use quics_types::{Cursor, EntryId};

use super::content::content_id;
use super::{Action, Engine, Link, Record};

/// Rows of a snapshot under way.
pub(super) type Arrived = HashSet<EntryId>;

impl Engine {
    /// Asks for the feed, from where this device is; without a cursor for a snapshot first.
    pub(super) fn subscribe(&mut self) {
        if self.link != Link::Up || self.subscribed {
            return;
        }
        match self.cursor {
            Some(cursor) => {
                self.subscribed = true;
                self.actions.push(Action::Subscribe { cursor });
            }
            None => {
                self.arrived.clear();
                self.actions.push(Action::Snapshot);
            }
        }
    }

    /// Takes a record; names its entry.
    fn take_record(&mut self, record: Record) -> Option<EntryId> {
        Some(match record {
            Record::Row { row, inline } => {
                let id = row.id;
                if let (Some((content, _)), Some(bytes), false) = (row.value.content(), inline, row.dead) {
                    let wanted = self.trees.base(id).is_none_or(|base| base.value != row.value);
                    if wanted && content_id(&bytes) == Some(content) {
                        self.contents.keep_inline(content, bytes);
                    }
                }
                self.trees.receive_row(row);
                id
            }
            Record::Conflict { id, conflict, settled } => {
                self.trees.receive_conflict(id, conflict, settled);
                id
            }
            Record::Closed { id, settled, row } => {
                self.trees.receive_closed(id, settled, row);
                id
            }
            Record::Brakes { seq, on } => {
                if !on.contains(&self.config.device) {
                    self.trees.brake_over(seq);
                }
                return None;
            }
        })
    }

    pub(super) fn changes(&mut self, records: Vec<Record>, cursor: Cursor) {
        for record in records {
            self.take_record(record);
        }
        self.trees.bind();
        self.cursor = Some(cursor);
        self.persist.meta = true;
    }

    pub(super) fn level(&mut self, cursor: Cursor, digest: [u8; 32], count: u64) {
        self.level = true;
        if self.cursor != Some(cursor) {
            self.cursor = Some(cursor);
            self.persist.meta = true;
        }
        let told = (cursor, digest, count);
        // Told twice without a change in between and nothing under way: the trees have to agree now.
        let repeated = self.level_seen == Some(told);
        self.level_seen = Some(told);
        if repeated && self.verified != Some(cursor) && self.flights.len() == 0 {
            self.verify(cursor, digest, count);
        }
    }

    /// Proves that this device has what the server has.
    fn verify(&mut self, cursor: Cursor, digest: [u8; 32], count: u64) {
        let (mut sum, mut rows) = (RootDigest::EMPTY, 0);
        for row in self.trees.remote_rows().filter(|row| !row.dead) {
            sum.add(row);
            rows += 1;
        }
        if *sum.as_bytes() == digest && rows == count {
            self.verified = Some(cursor);
        } else {
            tracing::warn!(rows, count, "the server's tree is not what this device was told: asking for a snapshot");
            self.level = false;
            self.arrived.clear();
            self.actions.push(Action::Snapshot);
        }
    }

    pub(super) fn snapshot(&mut self, records: Vec<Record>, finish: Option<Cursor>) {
        for record in records {
            let entry = self.take_record(record);
            self.arrived.extend(entry);
        }
        let Some(cursor) = finish else { return };
        // What the server has not got any more and never told about.
        let known: Vec<EntryId> = self
            .trees
            .remote_rows()
            .filter(|row| !row.dead && !self.arrived.contains(&row.id))
            .map(|row| row.id)
            .collect();
        if !known.is_empty() && self.cursor.is_some() {
            tracing::warn!(rows = known.len(), "rows that the snapshot has not got are unknown from now on");
        }
        for id in known {
            if self.trees.base(id).is_none() {
                self.trees.remove_remote(id);
            }
        }
        self.arrived.clear();
        self.trees.bind();
        self.cursor = Some(cursor);
        self.persist.meta = true;
        self.subscribed = false;
        self.subscribe();
    }
}
