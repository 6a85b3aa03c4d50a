//! One at a time for each content.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use quics_types::Digest;
use tokio::sync::OwnedMutexGuard;

/// Makes transfers of the same content wait for each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>>);

impl Turns {
    /// Waits for the content's turn, which lasts as long as what is returned.
    pub(super) async fn take(&self, content: Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            // Those that nobody holds or waits for.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(content).or_default().clone()
        };
        turn.lock_owned().await
    }
}
