//! Trees in, a plan out: the rules of sync as pure functions.
//!
//! Here stands what a server answers to a proposal ([`judge()`]), how a device finds the entries of its folder again
//! ((`bind`)) and what a device does next ((`plan`)). There is no I/O, no clock and no randomness: the same input
//! gives the same answer, so that one seed replays any failure. What is *not* here: how trees are stored, how files
//! are written, who may do what.
//!
//! Invariants, each held by the tests of this crate and by the simulation:
//! - No proposal takes away a state that its device has not seen (per aspect: content, place, attributes).
//! - A plan never removes or replaces what differs from the synced row, unless a person settled it.
//! - Applying a plan twice does nothing the second time; quiet devices converge.

mod conflict;
mod judge;
mod proposal;
mod row;

pub use conflict::{Candidate, CandidateRole, CandidateState, Conflict};
pub use judge::{Judgement, View, judge};
pub use proposal::{Accepted, AttributesChange, Change, ContentChange, PlaceChange, Proposal, Refusal, Verdict};
pub use row::{Row, Value};
