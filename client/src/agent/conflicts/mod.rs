//! Conflicts as people see them: who, what and when; how they are answered; and the news of them.
//!
//! ```text
//!  sync-svc ── Prompt ──> prompts ──> Desk (open conflicts, names) ──> listing ──> local API ──> command line
//!      ^                     ├──> notice (desktop)                                    │
//!      │                     └──> merging (where the root wants it) ──┐               │
//!      └────────────────────────── answer, undo ──────────────────────┴───────────────┘
//! ```
//!
//! # What it does not do
//! It decides nothing: what an answer does is the server's business, and comes here as any other change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use quics_proto::sync::v1 as sync;
use quics_types::{EntryId, RootId};
use tokio::sync::{broadcast, watch};

mod answer;
mod content;
mod error;
mod listing;
mod merging;
mod names;
mod news;
mod notice;
mod prompts;
mod settings;
mod undo;

use crate::agent::Core;

pub(crate) use error::Error;
pub(crate) use names::Names;
pub use names::label;

/// Keeps the news of conflicts coming, and does what is to be done by itself, until the agent stops.
pub(crate) async fn keep(core: Arc<Core>) {
    // They listen before the first news come.
    let (told, merged) = (core.desk.listen(), core.desk.listen());
    let work = async {
        tokio::join!(prompts::keep(&core), notice::keep(&core, told), merging::keep(&core, merged));
    };
    core.stop.run_until_cancelled(work).await;
}

/// News that a slow listener may have waiting.
const NEWS: usize = 1024;

/// What the agent knows of conflicts beside its engines.
#[derive(Debug)]
pub(crate) struct Desk {
    names: Mutex<HashMap<RootId, Arc<Names>>>,
    settings: Mutex<HashMap<RootId, sync::RootSettings>>,
    /// What the server said last of each open conflict.
    open: Mutex<BTreeMap<(RootId, EntryId), sync::ConflictPrompt>>,
    news: broadcast::Sender<Arc<sync::ConflictPrompt>>,
    /// What people call the devices that are braked.
    pub(super) braked: watch::Sender<BTreeMap<RootId, Vec<String>>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            names: Mutex::default(),
            settings: Mutex::default(),
            open: Mutex::default(),
            news: broadcast::Sender::new(NEWS),
            braked: watch::Sender::default(),
        }
    }
}
