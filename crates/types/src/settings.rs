//! How a root deals with conflicts.

use bytes::Bytes;

use crate::{Name, Role};

/// How a root deals with conflicts; the same for all its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Raised with every change; 0: never set, everything has its default.
    pub revision: u64,
    /// Who may answer.
    pub answerers: Answerers,
    /// Hours between reminders of an open conflict; 0: none.
    pub reminder_hours: u32,
    /// Days after which the server keeps both sides of an open conflict by itself; 0: never.
    pub both_after_days: u32,
    /// Whether texts merge without being asked.
    pub merge: MergePolicy,
    /// Names of directories that conflict and resolve only as a whole; at most [`crate::limits::UNIT_NAMES`].
    pub unit_names: Vec<Name>,
}

/// Who may answer the conflicts of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answerers {
    /// Every member who may write.
    #[default]
    Writers,
    /// Who has a candidate in the conflict, and owners.
    Involved,
    /// Owners only.
    Owners,
}

/// Whether texts merge without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergePolicy {
    /// Nothing merges by itself.
    #[default]
    Ask,
    /// Texts whose changes do not touch each other are merged by the first device that sees it.
    AutoClean,
}

impl Answerers {
    /// Whether somebody with this role may answer; `involved` if the person has a candidate in the conflict.
    pub fn allow(self, role: Role, involved: bool) -> bool {
        match (role, self) {
            (Role::Reader, _) => false,
            (Role::Owner, _) => true,
            (Role::Writer, Answerers::Writers) => true,
            (Role::Writer, Answerers::Involved) => involved,
            (Role::Writer, Answerers::Owners) => false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        // The directories in which version control systems keep a repository, whose files only fit each other.
        let units = [".git", ".hg", ".svn", ".bzr", ".jj", "_darcs"];
        Self {
            revision: 0,
            answerers: Answerers::default(),
            reminder_hours: 0,
            both_after_days: 0,
            merge: MergePolicy::default(),
            unit_names: units.iter().filter_map(|name| Name::new(Bytes::from_static(name.as_bytes())).ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_units_are_all_names() {
        assert_eq!(Settings::default().unit_names.len(), 6);
    }

    #[test]
    fn readers_never_answer_and_owners_always_may() {
        for answerers in [Answerers::Writers, Answerers::Involved, Answerers::Owners] {
            for involved in [false, true] {
                assert!(!answerers.allow(Role::Reader, involved) && answerers.allow(Role::Owner, involved));
            }
        }
        assert!(Answerers::Writers.allow(Role::Writer, false));
        assert!(Answerers::Involved.allow(Role::Writer, true) && !Answerers::Involved.allow(Role::Writer, false));
        assert!(!Answerers::Owners.allow(Role::Writer, true));
    }
}
