//! Holds: changes that wait for a person.
//!
//! A folder that vanished, lost its marker or is another file system, and a folder that lost an unusual share and
//! number of its entries, stop the root. Nothing is deleted anywhere until a person has said what was meant.

use std::fmt;

use quics_reconcile::{Subject, Trees};

use super::Engine;
use crate::folder::Identity;

/// Fewer missing entries than this are never unusual.
const UNUSUAL_COUNT: usize = 200;
/// One in so many of all entries is unusual.
const UNUSUAL_SHARE: usize = 2;

/// Why a root waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// The folder is not the one that was added.
    Folder(Identity),
    /// Unusually many entries are gone from the folder.
    MassDelete {
        /// How many are gone.
        missing: usize,
        /// Of how many.
        of: usize,
    },
    /// The server does not know what it told this device: it was restored from an older backup or made anew.
    ServerRestored,
    /// The user is no member of the root any more, or it is gone.
    Ended(String),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Folder(Identity::Gone) => f.write_str(
                "the folder is gone; bring it back, or detach the root; nothing was deleted on the server",
            ),
            Hold::Folder(Identity::Unmarked) => f.write_str(
                "the folder has lost its .quics directory: it may be an empty mount point; bring the real one back, or \
                 detach the root and clone it again; nothing was deleted on the server",
            ),
            Hold::Folder(_) => f.write_str(
                "another folder or file system is at this path; bring the real one back, or detach the root; nothing was \
                 deleted on the server",
            ),
            Hold::MassDelete { missing, of } => write!(
                f,
                "{missing} of {of} entries are gone here; say whether that was meant: `quics hold release --delete` \
                 deletes them everywhere, `quics hold release --restore` brings them back"
            ),
            Hold::ServerRestored => f.write_str(
                "the server has lost what it knew (restored from an older backup?); nothing is changed here; detach the \
                 root and clone it into the same folder: what is equal is adopted, what differs is asked about",
            ),
            Hold::Ended(reason) => write!(f, "{reason}"),
        }
    }
}

/// The holds of one root.
#[derive(Debug, Default)]
pub(super) struct Holds {
    hold: Option<Hold>,
    /// The user said that what is missing was meant; holds until everything is quiet.
    deletes_meant: bool,
}

impl Holds {
    pub(super) fn current(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    pub(super) fn set(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    pub(super) fn clear(&mut self) {
        self.hold = None;
    }

    /// Whether nothing may be sent or applied; a mass delete stops only the deletes.
    pub(super) fn stops_everything(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| !matches!(hold, Hold::MassDelete { .. }))
    }

    /// Whether a delete may be proposed now.
    pub(super) fn lets_delete(&mut self, trees: &Trees) -> bool {
        if self.deletes_meant {
            return true;
        }
        if self.hold.is_some() {
            return false;
        }
        let (of, bound) = trees.synced_and_bound();
        let missing = of.saturating_sub(bound);
        if missing >= UNUSUAL_COUNT && missing.saturating_mul(UNUSUAL_SHARE) >= of {
            self.hold = Some(Hold::MassDelete { missing, of });
            return false;
        }
        true
    }
}

impl Engine {
    /// The user says what a hold was about.
    pub(super) fn release(&mut self, delete: bool) {
        match self.hold.hold.take() {
            Some(Hold::MassDelete { .. }) => {
                let missing: Vec<_> = self.trees.synced_ids().filter(|id| self.trees.node_of(*id).is_none()).collect();
                self.hold.deletes_meant = delete;
                for id in missing {
                    if delete {
                        self.trees.mark(id);
                    } else if !self.busy.contains(&Subject::Entry(id)) {
                        self.trees.forgotten(id);
                    }
                }
            }
            other => self.hold.hold = other,
        }
    }

    /// Looks whether this is still the folder that was added; a hold about it goes by itself when it is back.
    pub(super) fn check_folder(&mut self) -> bool {
        let identity = self.folder.check_identity().unwrap_or(Identity::Gone);
        let held = matches!(self.hold.current(), Some(Hold::Folder(_)));
        match identity {
            Identity::Same if held => {
                self.hold.clear();
                true
            }
            Identity::Same => true,
            other => {
                self.hold.set(Hold::Folder(other));
                false
            }
        }
    }

    /// Forgets the answer about a burst of deletes when the burst is over.
    pub(super) fn check_hold_over(&mut self) {
        let (of, bound) = self.trees.synced_and_bound();
        if of == bound {
            self.hold.deletes_meant = false;
            if matches!(self.hold.current(), Some(Hold::MassDelete { .. })) {
                self.hold.clear(); // everything came back by itself
            }
        }
    }
}
