//! What stands in the metadata store: keys, values and their encodings.
//!
//! A point is a generation (u32) and a commit's number (u64) of a root; points are in the order of what happened. The
//! generation rises when sync-svc is found to be of another chain, so that numbers that come again stand behind the old ones.
//! Numbers in keys are big-endian, so that ranges come in their order.
//!
//! | key | value |
//! |---|---|
//! | `v` root entry point side | a version: what the entry was from this point on; from side 1, what lost a conflict then |
//! | `t` root point entry side | the moment: the latest acceptance up to then. The timeline of the root |
//! | `p` root parent name 0 point | the entry that took this place then |
//! | `r` root | how far the root is known |
//! | `g` root group | a restore: who, when, and between which points its changes are |
//! | `h` root point group | the order of the restores, by their first changes |
//! | `x` root | the root has to be compared with sync-svc |
//! | `k` root | the policy, if one was set |
//! | `s` root | how far the versions were looked through by the policy |
//! | `n` root entry point side origin | a pin of this version: who, when and the note |
//! | `q` root group | a restore was begun of which nobody has said yet that it is finished |
//! | `u` root purge | a purge: who, when, why, and how far it is |
//! | `w` root purge | its contents |
//! | `y` root purge | it has not ended |
//! | `P` | how far the events are applied |

pub(crate) mod keys;
pub(crate) mod records;
