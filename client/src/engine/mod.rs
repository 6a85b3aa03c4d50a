//! The agent's engine for one root: stepped, events in, actions out.
//!
//! It holds the three trees, asks the planner what to do, and does what needs no waiting itself through the
//! [`Folder`](crate::folder::Folder) and the metadata store. What needs waiting (the server, large contents) leaves
//! as an [`Action`] and comes back as an [`Event`]. It reads no clock but the folder's and draws its random numbers
//! from the generator that it was given, so that one seed replays any run.

mod event;

pub use event::{Action, Event, FetchFailure, IngestFailure, Ingested, Record, Ticket};
