//! What the world needs of a server, whatever it is made of.

use bytes::Bytes;
use quics_client::engine::Record;
use quics_reconcile::{Choice, Conflict, Proposal, Row, Unanswered, Value, Verdict};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch};

/// A verdict with the proposal and the order (incarnation, seq) that it answers.
pub(crate) type Answered = ((u64, u64), Proposal, Verdict);

pub(crate) trait Side: Default {
    /// Begins an incarnation; the verdicts that older ones did not record. `None`: a newer one has begun.
    fn resume(&mut self, device: DeviceId, incarnation: u64) -> Option<Vec<Answered>>;
    /// `None`: an older incarnation asks.
    fn propose(
        &mut self,
        device: DeviceId,
        order: (u64, u64),
        recorded: u64,
        proposal: &Proposal,
        inline: Option<Bytes>,
    ) -> Option<Verdict>;
    /// A person answers a conflict of which they saw this revision.
    fn resolve(&mut self, id: EntryId, revision: u64, choice: &Choice) -> Result<(), Unanswered>;
    /// A person takes the last answer, or the last taking back, back; `false`: not here.
    fn undo(&mut self) -> bool {
        false
    }
    /// The last commit.
    fn len(&self) -> usize;
    fn epoch(&self) -> Epoch;
    fn knows(&self, cursor: Cursor) -> bool;
    /// The feed from a position: what changed again is only told at its newest place.
    fn feed(&self, from: usize, to: usize) -> Vec<Record>;
    fn level(&self) -> ([u8; 32], u64);
    fn row(&self, id: EntryId) -> Option<Row>;
    /// All live rows, and tombstones where they are at hand.
    fn rows(&self) -> Vec<Row>;
    /// The rows in the order of their commits.
    fn versions(&self) -> Vec<Row>;
    fn open(&self) -> Vec<(EntryId, Conflict)>;
    /// A content is brought.
    fn ingest(&mut self, token: &str, big: bool);
    /// The server dies and starts again; `false`: not here.
    fn crash(&mut self) -> bool;
}

/// The content of a file.
pub(crate) fn digest_of(value: &Value) -> Option<Digest> {
    value.content().map(|(content, _)| content)
}
