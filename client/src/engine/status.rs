//! What the engine tells people: counts, problems, and why one path is not in sync.

use bytes::Bytes;
use quics_reconcile::{Conflict, NodeId, Row, Subject, Value};
use quics_types::{Cursor, EntryId, Name, Place};

use super::{Engine, Link};
use crate::folder::RelPath;

/// Problems that a status lists; there may be more.
const LISTED: usize = 100;

/// What runs right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Entries that the running scan has looked at.
    pub scanned_entries: u64,
    /// Bytes of the files that are being read and sent.
    pub ingesting_bytes: u64,
    /// Bytes of the files that are being fetched.
    pub fetching_bytes: u64,
}

/// The state of a root.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Everything here is on the server and the other way round, as far as both know; conflicts and problems may wait
    /// for a person.
    pub in_sync: bool,
    /// A scan of everything runs.
    pub scanning: bool,
    /// The streams to the server are open and through their beginning.
    pub connected: bool,
    /// The user has paused it.
    pub paused: bool,
    /// Entries that both sides have.
    pub entries: u64,
    /// Proposals under way, and things on the disk that are no entries yet.
    pub outgoing: u64,
    /// Entries that are to be looked at, or wait.
    pub unsettled: u64,
    /// Entries of the server that are not here yet.
    pub incoming: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// What a person has to decide about.
    pub hold: Option<String>,
    /// Why the engine cannot go on.
    pub failure: Option<String>,
    /// Paths that cannot be synced, with the reason; at most 100.
    pub problems: Vec<(RelPath, String)>,
    /// How many such paths there are.
    pub problem_count: u64,
    /// What runs right now.
    pub progress: Progress,
    /// Up to where the feed was taken.
    pub cursor: Option<Cursor>,
}

/// The state of one path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// One sentence: in sync, or why not.
    pub summary: String,
    /// What the server has.
    pub remote: Option<Row>,
    /// The value that both sides agreed on last.
    pub synced: Option<Value>,
    /// What is on the disk, as far as it is known.
    pub local: Option<Value>,
    /// The open conflict.
    pub conflict: Option<Conflict>,
}

impl Engine {
    /// The state of the root.
    pub fn status(&mut self) -> Status {
        let (synced, bound) = self.trees.synced_and_bound();
        let idle = !self.look.pending()
            && self.contents.idle()
            && self.flights.len() == 0
            && self.receipts.is_empty()
            && self.later.is_empty()
            && !self.trees.has_subjects();
        let live = self.trees.live_remote();
        Status {
            in_sync: idle
                && self.may_act()
                && self.look.scanned()
                && self.hold.current().is_none()
                && self.trees.held() == 0,
            scanning: self.look.scanning(),
            connected: self.link == Link::Up && self.level,
            paused: self.paused,
            entries: bound as u64,
            outgoing: self.outgoing(),
            unsettled: self.trees.unsettled() as u64,
            incoming: live.saturating_sub(synced) as u64,
            conflicts: self.trees.conflicts().count() as u64,
            hold: self.hold.current().map(ToString::to_string).or_else(|| self.braked()),
            failure: self.failure(),
            problems: self.problems.iter().take(LISTED).map(|(path, why)| (path.clone(), why.clone())).collect(),
            problem_count: self.problems.len() as u64,
            progress: Progress {
                scanned_entries: self.look.seen,
                ingesting_bytes: self.contents.ingesting_bytes(),
                fetching_bytes: self.contents.fetching_bytes(),
            },
            cursor: self.cursor,
        }
    }

    /// Proposals under way, and what is new on the disk and can be sent.
    fn outgoing(&self) -> u64 {
        let is_new = |node: &&NodeId| self.trees.node(**node).is_some_and(|it| it.entry.is_none());
        let unfit = self.unfit.iter().filter(is_new).count();
        (self.flights.len() + self.trees.new_nodes().saturating_sub(unfit)) as u64
    }

    /// What to say where the server holds changes of this device.
    fn braked(&self) -> Option<String> {
        let held = self.trees.held();
        let changes = crate::text::count(held as u64, "change");
        (held > 0).then(|| {
            format!(
                "this device has changed or deleted unusually much: the server holds {changes} of it until an owner of \
                 the root has decided (`quics hold`)"
            )
        })
    }

    /// The open conflicts, each with the path where its entry is or would be, and its row.
    pub fn conflicts(&self) -> Vec<(RelPath, Row, Conflict)> {
        let mut list: Vec<_> = self
            .trees
            .conflicts()
            .filter_map(|(id, conflict)| {
                let path = self.remote_path(id).unwrap_or_default();
                Some((path, self.trees.remote(id)?.clone(), conflict.clone()))
            })
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }

    /// Where an entry is or was, as the server's tree has it; `None` for one that is not known.
    pub fn where_is(&self, entry: EntryId) -> Option<RelPath> {
        if entry == EntryId::TOP { Some(RelPath::root()) } else { self.remote_path(entry) }
    }

    /// Whether something has this place, on the server or on the disk.
    pub fn taken(&self, place: &Place) -> bool {
        let here = self.trees.node_of(place.parent).and_then(|parent| self.trees.child(parent, &place.name));
        here.is_some() || self.trees.remote_at(place).is_some()
    }

    /// Why a path is not in sync, or that it is.
    pub fn explain(&mut self, path: &RelPath) -> Explanation {
        if let Some(unit) = self.unit_around(path).filter(|unit| unit != path) {
            let mut told = self.explain(&unit);
            told.summary =
                format!("it is a part of {unit}, which is one thing with everything in it: {}", told.summary);
            return told;
        }
        let node = self.resolve(path).and_then(|(parent, name)| self.trees.child(parent, &name));
        let by_node = node.and_then(|node| self.trees.node(node)).and_then(|it| it.entry);
        let entry = by_node.or_else(|| {
            let (parent, name) = self.resolve(path)?;
            let parent = self.trees.node(parent)?.entry?;
            self.trees.remote_at(&Place { parent, name })
        });
        let entry = entry.or_else(|| self.last_at(path));
        let mut told = Explanation {
            local: node.and_then(|node| self.trees.node(node)?.value.clone()),
            remote: entry.and_then(|entry| self.trees.remote(entry).cloned()),
            synced: entry.and_then(|entry| self.trees.agreed_value(entry).cloned()),
            conflict: entry.and_then(|entry| self.trees.conflict(entry).cloned()),
            summary: String::new(),
        };
        told.summary = self.summary(path, node.is_some(), entry, &told);
        told
    }

    /// The entry that the server has at a path, or had last, in directories that may be gone as well.
    fn last_at(&self, path: &RelPath) -> Option<EntryId> {
        path.as_bytes().split(|byte| *byte == b'/').try_fold(EntryId::TOP, |parent, name| {
            let place = Place { parent, name: Name::new(Bytes::copy_from_slice(name)).ok()? };
            self.trees.remote_at(&place).or_else(|| {
                // Tombstones have no index: this is asked for by a person, and seldom.
                let dead = self.trees.remote_rows().filter(|row| row.dead && row.place == place);
                dead.max_by_key(|row| row.mtime).map(|row| row.id)
            })
        })
    }

    fn summary(&self, path: &RelPath, here: bool, entry: Option<EntryId>, told: &Explanation) -> String {
        let subject = entry.map(Subject::Entry);
        if let Some(why) = self.problems.get(path) {
            return format!("it {why}");
        }
        if let Some(failure) = self.failure() {
            return failure;
        }
        if let Some(hold) = self.hold.current() {
            return hold.to_string();
        }
        let place =
            self.resolve(path).and_then(|(parent, name)| Some(Place { parent: self.trees.node(parent)?.entry?, name }));
        if self.trees.is_held(entry, place.as_ref()) {
            return "the server holds this device's change until an owner of the root has decided (`quics hold`)"
                .to_owned();
        }
        if self.paused {
            return "syncing is paused: `quics resume` lets it go on".to_owned();
        }
        if let Some(conflict) = &told.conflict {
            let mine = conflict.is_disputed_by(self.config.device);
            let whose = if mine { "this device's change" } else { "another device's change" };
            return format!("{whose} is in conflict with the server's version; a person has to choose");
        }
        if !here && told.remote.as_ref().is_none_or(|row| row.dead) {
            return "nothing of that name is here or on the server, or it is ignored".to_owned();
        }
        if self.link != Link::Up {
            return "the server cannot be reached; changes are sent when it can".to_owned();
        }
        if !self.look.scanned() {
            return "the folder is being scanned".to_owned();
        }
        if subject.is_some_and(|subject| self.busy.contains(&subject)) {
            return "it is on its way".to_owned();
        }
        if subject.is_some_and(|subject| self.resting.contains(&subject)) {
            return "it is tried again in a moment".to_owned();
        }
        let remote = told.remote.as_ref().filter(|row| !row.dead).map(|row| &row.value);
        match (&told.local, remote) {
            (Some(local), Some(remote)) if local == remote => "it is in sync".to_owned(),
            (None, Some(_)) if !here => "it is on the server and not here yet".to_owned(),
            (None, _) if here => "it changed and its content is not known yet".to_owned(),
            (Some(_), None) => "it is here and not on the server yet".to_owned(),
            _ => "it changed and is about to be synced".to_owned(),
        }
    }
}
