//! Trees in, a plan out: the rules of sync as pure functions.
//!
//! Here stands what a server answers to a proposal ([`judge()`]) and does when a person answers a conflict ([`answer()`])
//! or wants something as it was ([`make()`]), how a device finds the entries of its folder again
//! ([`Trees::bind`]), what it does next ([`Trees::plan`]) and what it learns from what came of it ([`Trees::take`] and
//! its sisters). There is no I/O, no clock and no randomness: the same input gives the same answer, so that one seed
//! replays any failure. What is *not* here: how trees are stored, how files are written, who may do what.
//!
//! Invariants, held by the tests of this crate and by the simulation:
//! - No proposal takes away a state that its device has not seen (per aspect: content, place, attributes).
//! - A plan never removes or replaces what differs from the synced row, unless a person settled it.
//! - Remote rows never go back.
//! - Applying a plan twice does nothing the second time; quiet devices converge.

mod answer;
mod bind;
pub mod brake;
mod conflict;
mod depth;
mod digest;
mod group;
mod held;
mod judge;
mod learn;
mod names;
mod nodes;
mod plan;
#[cfg(test)]
mod properties;
mod proposal;
mod row;
#[cfg(test)]
mod testing;
mod trees;
mod undo;

pub use answer::{Answer, CandidateKey, Choice, Unanswered, answer};
pub use conflict::{Candidate, CandidateRole, CandidateState, Conflict};
pub use digest::RootDigest;
pub use group::{Made, make};
pub use judge::{Judgement, View, judge};
pub use learn::Seen;
pub use names::{beside, is_parked_unit, parked_entry, parked_name};
pub use plan::{Aspect, Step, Subject};
pub use proposal::{Accepted, AttributesChange, Change, ContentChange, PlaceChange, Proposal, Refusal, Verdict};
pub use row::{Row, Value};
pub use trees::{Base, Node, NodeId, Settled, Trees};
pub use undo::{Back, take_back};
