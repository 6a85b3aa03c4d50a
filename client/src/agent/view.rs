//! What the agent shows of a root, and when that counts as in sync.

use quics_reconcile::{Conflict, Row, Value};
use quics_types::Cursor;

use crate::folder::RelPath;

/// The state of one root as its engine last told it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct View {
    /// The engine has been opened and runs.
    pub(crate) running: bool,
    /// Why it cannot go on, in one sentence.
    pub(crate) failed: Option<String>,
    /// What a person has to decide about, in one sentence.
    pub(crate) hold: Option<String>,
    /// Nothing is sent or applied by the user's wish.
    pub(crate) paused: bool,
    /// Directories remain to be looked at.
    pub(crate) scanning: bool,
    /// The streams are through their beginning and the feed was followed to where the server said that it ends.
    pub(crate) level: bool,
    /// Nothing is dirty, in flight or waiting but for what a person has to decide.
    pub(crate) quiet: bool,
    /// Live entries.
    pub(crate) entries: u64,
    /// Entries and bytes to be sent.
    pub(crate) outgoing: (u64, u64),
    /// Entries and bytes to be applied.
    pub(crate) incoming: (u64, u64),
    /// Open conflicts.
    pub(crate) conflicts: u64,
    /// What cannot be synced, with the reason; the first hundred.
    pub(crate) problems: Vec<(Vec<u8>, String)>,
    /// How many there are.
    pub(crate) problem_count: u64,
    /// Entries that the running scan has looked at.
    pub(crate) scanned: u64,
    /// How far the feed has been taken.
    pub(crate) cursor: Option<Cursor>,
}

/// An open conflict and where its entry is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpenConflict {
    pub(crate) path: RelPath,
    pub(crate) row: Row,
    pub(crate) conflict: Conflict,
}

/// Why a path is as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Explained {
    pub(crate) summary: String,
    pub(crate) synced: Option<Value>,
    pub(crate) remote: Option<Row>,
    pub(crate) local: Option<Value>,
    pub(crate) conflict: Option<Conflict>,
}

impl View {
    /// The view of an engine that cannot run.
    pub(crate) fn failure(reason: String) -> Self {
        Self { failed: Some(reason), ..Self::default() }
    }

    /// Whether everything here is on the server and the other way round, conflicts and problems apart.
    pub(crate) fn in_sync(&self) -> bool {
        self.running && self.level && self.quiet && !self.scanning && self.hold.is_none() && self.failed.is_none()
    }

    /// What waits for a person, one sentence each.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        waiting.extend(self.failed.clone());
        waiting.extend(self.hold.clone());
        if self.paused {
            waiting.push("it is paused: `quics resume` lets it go on".to_owned());
        }
        if self.conflicts > 0 {
            let count = crate::text::count(self.conflicts, "open conflict");
            waiting.push(format!("{count}: `quics conflicts` lists them"));
        }
        waiting
    }

    /// Whether it can get in sync without a person.
    pub(crate) fn stuck(&self) -> bool {
        self.failed.is_some() || self.hold.is_some() || self.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> View {
        View { running: true, level: true, quiet: true, ..View::default() }
    }

    #[test]
    fn in_sync_needs_the_server_the_disk_and_nobody_waiting() {
        assert!(quiet().in_sync());
        assert!(!View { level: false, ..quiet() }.in_sync());
        assert!(!View { quiet: false, ..quiet() }.in_sync());
        assert!(!View { scanning: true, ..quiet() }.in_sync());
        assert!(!View { hold: Some("gone".into()), ..quiet() }.in_sync());
        assert!(!View::default().in_sync());
    }

    #[test]
    fn a_conflict_waits_for_a_person_and_stops_nothing() {
        let view = View { conflicts: 2, ..quiet() };
        assert!(view.in_sync() && !view.stuck());
        assert_eq!(view.waiting(), ["2 open conflicts: `quics conflicts` lists them"]);
    }
}
