//! How a root deals with conflicts.

use crate::Role;

/// How a root deals with conflicts; the same for all its devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

#[cfg(test)]
mod tests {
    use super::*;

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
