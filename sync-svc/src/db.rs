//! What stands in the metadata store: keys, values and their encodings.
//!
//! A row's key begins with a byte that says what it is and, but for the outbox, the id of its root; numbers in keys are
//! big-endian, so that ranges come in their order. A value is split over several rows where it is longer than a row of
//! the store may be, and begins with the version of its format (both in `quics-records`).
//!
//! | key | value |
//! |---|---|
//! | `r` root | the root's state: commit number, digest, counts |
//! | `n` root seq | the epoch in which the root's commits from this one on were made |
//! | `e` root entry | the entry's row, its author, time of acceptance and place in the feed |
//! | `p` root parent name | the live entry at this place |
//! | `d` root parent name | the tombstone of the entry that was at this place last |
//! | `c` root entry | the entry's conflict, open or closed |
//! | `q` root resolution | everything that was answered at once |
//! | `u` root resolution entry | what it did about one entry |
//! | `t` root seq | the resolution whose last commit this is: the order of the resolutions |
//! | `s` root | the root's settings, where they were set |
//! | `j` root | the root's brakes, where there are any |
//! | `x` root device entry | a change of an entry by a device that a brake holds |
//! | `f` root seq kind | which entry's row (0) or conflict (1) changed last in this commit, or that the settings (2) or brakes (3) did: the feed |
//! | `i` root device | the newest incarnation of the device's agent |
//! | `v` root device incarnation seq | a verdict with its proposal |
//! | `k` root device | the cursor up to which the device has acknowledged the feed |
//! | `b` root digest | a chunk or page whose bytes are in the journal |
//! | `l` root lease | an upload's lease: whose, and when it was heard of last |
//! | `m` root lease number | digests that the lease holds |
//! | `w` root digest | a chunk that was lost to damage |
//! | `g` root group | how far a group is, or what became of it |
//! | `h` root group number | a change of a group that is not made yet |
//! | `O` | the number of the next outbox record |
//! | `o` number | an outbox record |
//! | `N` number | the epoch in which the outbox's numbers from this one on were drawn |
//! | `A` | the position up to which the outbox was applied and removed |

pub(crate) mod answers;
pub(crate) mod brakes;
pub(crate) mod groups;
pub(crate) mod keys;
pub(crate) mod records;
