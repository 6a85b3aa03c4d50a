//! The gate: who may begin to refer to a chunk asks for it here, and what was asked for while marks run is kept.
//!
//! ```text
//! asking() ── is it there? (find, put: marks it) ── the reference is submitted ── the token is dropped
//! ```
//!
//! A chunk may be told to be there just before a round of reclaiming begins, and be referred to long after. So whoever asks
//! holds a token from before the question until the reference is submitted, or given up. A round that begins waits until the
//! tokens of before are gone: then every reference is in a row that it walks over, or was asked for under its marks.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use quics_chunks::{ChunkStore, Marks, Position};
use quics_types::{Digest, RootId};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Error;

/// Whether marks run, and who asks.
pub(crate) struct Gate {
    marks: RwLock<Option<Marks>>,
    asking: Mutex<Asking>,
}

/// Held from a question until the reference that comes of it is submitted.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    ended: CancellationToken,
    last: Arc<DropGuard>,
}

/// Marks that run; dropping it ends them. Whoever takes chunks away by them holds it meanwhile.
pub(crate) struct Running {
    gate: Arc<Gate>,
}

impl Asking {
    fn new() -> Self {
        let ended = CancellationToken::new();
        Self { last: Arc::new(ended.clone().drop_guard()), ended }
    }

    /// Whether marks have begun since, which wait for it.
    pub(crate) fn is_waited_for(&self, gate: &Gate) -> bool {
        !Arc::ptr_eq(&self.last, &gate.asking.lock().last)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { marks: RwLock::default(), asking: Mutex::new(Asking::new()) }
    }
}

impl Gate {
    /// A token for who is about to ask.
    pub(crate) fn asking(&self) -> Asking {
        self.asking.lock().clone()
    }

    /// Looks for a chunk, and marks it where marks run.
    pub(super) fn find(
        &self,
        chunks: &dyn ChunkStore,
        root: RootId,
        digest: Digest,
    ) -> Result<Option<Position>, Error> {
        // Held over the look: whoever sees no marks has looked before they began.
        let marks = self.marks.read();
        Ok(match &*marks {
            Some(marks) => chunks.mark(marks, root, digest)?,
            None => chunks.find(root, digest)?,
        })
    }

    /// Begins marks. The second value is cancelled when everybody who asked before has come to an end.
    pub(crate) fn begin(self: &Arc<Self>, marks: Marks) -> (Running, CancellationToken) {
        *self.marks.write() = Some(marks);
        let before = std::mem::replace(&mut *self.asking.lock(), Asking::new());
        let ended = before.ended.clone();
        drop(before);
        (Running { gate: self.clone() }, ended)
    }
}

impl Running {
    /// Goes on with these marks.
    pub(crate) fn goes_on(&self, marks: Marks) {
        *self.gate.marks.write() = Some(marks);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.gate.marks.write() = None;
    }
}
