//! What of a root's history is kept: policies and what carries them out, pins, what versions cost, purges.
//!
//! Only contents are ever taken: a version's row stays, and says when and why its content went. What is never taken: the
//! newest version of a file that is there, pinned versions, those of an entry with an open conflict, those whose content a link
//! shows, and anything of a root in which a restore is on its way or that is being compared with sync-svc.

pub(crate) mod contents;
pub(crate) mod judge;
pub(crate) mod open;
pub(crate) mod pins;
pub(crate) mod policy;
pub(crate) mod purge;
pub(crate) mod shown;
pub(crate) mod sweep;
pub(crate) mod usage;
pub(crate) mod walk;
