//! What the engine is told, and what it asks for.

use bytes::Bytes;
use quics_reconcile::{Conflict, Proposal, Row, Verdict};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Name, Role};

use crate::folder::{RelPath, Spot, Stat};

/// Names one piece of work that the engine asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that happened outside the engine.
#[derive(Debug)]
pub enum Event {
    /// The streams to the server are open; nothing that was sent before arrives any more. The engine answers with
    /// [`Action::Resume`] and, when that is through, [`Action::Subscribe`].
    Connected,
    /// The streams are gone.
    Disconnected,
    /// A verdict. In the answer to [`Action::Resume`] it comes with its proposal and the incarnation that sent it.
    Verdict {
        /// The incarnation of the proposal.
        incarnation: u64,
        /// The proposal's seq.
        seq: u64,
        /// The proposal, in the answer to [`Action::Resume`].
        proposal: Option<Box<Proposal>>,
        /// The answer.
        verdict: Box<Verdict>,
    },
    /// All verdicts of older incarnations have been given.
    Resumed {
        /// The incarnation that may propose now.
        incarnation: u64,
    },
    /// A newer incarnation has spoken; this one may not go on.
    Fenced,
    /// Records of the feed, in order.
    Changes {
        /// The records.
        records: Vec<Record>,
        /// The cursor after them.
        cursor: Cursor,
    },
    /// Everything up to the cursor has come.
    Level {
        /// The cursor.
        cursor: Cursor,
        /// The root's digest at that commit.
        digest: [u8; 32],
        /// Live rows at that commit.
        count: u64,
    },
    /// A snapshot that was asked for: rows and conflicts in pages, the last with its cursor. It was verified against
    /// its count and digest by the session.
    Snapshot {
        /// Rows and conflicts.
        records: Vec<Record>,
        /// With the last page: from where to subscribe.
        finish: Option<Cursor>,
    },
    /// The server does not know the cursor.
    CursorUnknown,
    /// The subscription is over: no membership any more, or the root is gone.
    Ended {
        /// Why, for people.
        reason: String,
    },
    /// An [`Action::Ingest`] is through.
    Ingested {
        /// Which.
        ticket: Ticket,
        /// What came of it.
        result: Result<Ingested, IngestFailure>,
    },
    /// An [`Action::Fetch`] is through.
    Fetched {
        /// Which.
        ticket: Ticket,
        /// The name of the complete, verified, durable file in the folder's incoming directory.
        result: Result<Name, FetchFailure>,
    },
    /// These directories may have changed (members or contents of members).
    Touched(Vec<RelPath>),
    /// Anything may have changed.
    Overflow,
    /// Some time has passed.
    Tick,
    /// The user wants nothing sent or applied, or wants it to go on.
    Pause(bool),
    /// The user may do something else with the root than before.
    Role(Role),
    /// The user says what a hold was about: `true` deletes everywhere what is missing here, `false` brings it back.
    Release(bool),
}

/// A record of the change feed.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An entry's newest row, with its content if that is small and was asked for.
    Row {
        /// The row.
        row: Row,
        /// The content of its file.
        inline: Option<Bytes>,
    },
    /// An open conflict as it is now.
    Conflict {
        /// The entry.
        id: EntryId,
        /// The conflict.
        conflict: Conflict,
        /// What the last answer to an earlier conflict of the entry settled; no candidate if there was none.
        settled: Conflict,
    },
    /// A conflict is over.
    Closed {
        /// The entry.
        id: EntryId,
        /// What the answer settled; no candidate when the last one was taken back.
        settled: Conflict,
        /// The entry's row after it.
        row: Option<Row>,
    },
    /// The devices that are braked have changed.
    Brakes {
        /// The commit.
        seq: u64,
        /// Those whose changes are held.
        on: Vec<DeviceId>,
    },
}

/// Something that the engine wants done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Begin a new incarnation at the server.
    Resume {
        /// Its number.
        incarnation: u64,
    },
    /// Ask for the feed from a cursor.
    Subscribe {
        /// The cursor.
        cursor: Cursor,
    },
    /// Ask for a snapshot; `Subscribe` follows when it is in.
    Snapshot,
    /// Propose a change. The engine sends it again after each `Connected` until it has the verdict.
    Propose {
        /// This engine's incarnation.
        incarnation: u64,
        /// Rising.
        seq: u64,
        /// All verdicts up to here are durably recorded.
        recorded: u64,
        /// The change.
        proposal: Proposal,
        /// The content, when it is small.
        inline: Option<Bytes>,
    },
    /// Cut and hash a file and bring to the server what it lacks of it.
    Ingest {
        /// For the answer.
        ticket: Ticket,
        /// The file.
        at: Spot,
        /// What it has to be, before and after.
        expected: Stat,
    },
    /// Bring a content into the folder's incoming directory, from local versions first.
    Fetch {
        /// For the answer.
        ticket: Ticket,
        /// The content id.
        content: Digest,
        /// Bytes.
        size: u64,
        /// A local file that probably shares much with it: where it is, and its content id.
        like: Option<(Spot, Digest)>,
    },
    /// The outcome of an ingest or fetch is not wanted any more.
    Cancel {
        /// Which.
        ticket: Ticket,
    },
    /// Everything up to the cursor is durably recorded here.
    Acknowledge {
        /// The cursor.
        cursor: Cursor,
    },
}

/// A file that is on the server now, under this root's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingested {
    /// The content id.
    pub content: Digest,
    /// Bytes.
    pub size: u64,
    /// The file's stat, unchanged from before the first byte was read to after the last.
    pub stat: Stat,
}

/// Why a file could not be ingested.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestFailure {
    /// It changed while it was read, or is gone.
    Changed,
    /// The server cannot be reached; to be tried again when connected.
    Offline,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// The server refused it, for this reason: no space, quota.
    Refused(String),
}

/// Why a content could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchFailure {
    /// The server cannot be reached; to be tried again when connected.
    Offline,
    /// The server has not got all of it, or what came is damaged.
    Absent,
    /// It cannot be written here, for this reason; no space above all.
    Unwritable(String),
}
