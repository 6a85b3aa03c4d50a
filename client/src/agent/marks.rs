//! Marks in the feed: how a device learns that it has been told everything that the server had at a moment.
//!
//! A mark is a subscription from a cursor of an epoch that no server has (answered by `CursorUnknown`, with that very
//! cursor), and behind it one from where the device is. The server takes requests in their order; so a level that comes
//! after the answer to the first was made after the mark was asked for. The engine sees only the level.

use std::collections::HashMap;

use parking_lot::Mutex;
use quics_types::{Cursor, Epoch, RootId};
use tokio::sync::oneshot;

/// Marks that one root may have at a time.
const MARKS: usize = 64;

/// The marks that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<HashMap<RootId, Vec<Mark>>>);

#[derive(Debug)]
struct Mark {
    epoch: Epoch,
    passed: bool,
    reached: oneshot::Sender<()>,
}

impl Marks {
    /// Begins a mark: the cursor that has to be subscribed from before the real one, and what resolves when the mark is
    /// reached (with an error when the session ends before). `None`: too many wait already.
    pub(crate) fn begin(&self, root: RootId) -> Option<(Cursor, oneshot::Receiver<()>)> {
        let mut marks = self.0.lock();
        let marks = marks.entry(root).or_default();
        marks.retain(|mark| !mark.reached.is_closed());
        if marks.len() >= MARKS {
            return None;
        }
        let epoch = Epoch(u64::from_le_bytes(quics_kit::random::bytes()));
        let (reached, waits) = oneshot::channel();
        marks.push(Mark { epoch, passed: false, reached });
        // Not 0: before the first commit every epoch is as good as another.
        Some((Cursor { epoch, seq: u64::MAX }, waits))
    }

    /// Takes note of a cursor that the server does not know. `true`: it was a mark's and means nothing else.
    pub(crate) fn unknown(&self, root: RootId, cursor: Cursor) -> bool {
        let mut marks = self.0.lock();
        let mark = marks.get_mut(&root).and_then(|marks| marks.iter_mut().find(|mark| mark.epoch == cursor.epoch));
        if let Some(mark) = mark {
            mark.passed = true;
            return true;
        }
        // A mark whose waiter has gone is still answered.
        cursor.seq == u64::MAX
    }

    /// A level of this root was handed to its engine.
    pub(crate) fn level(&self, root: RootId) {
        let mut marks = self.0.lock();
        let Some(waiting) = marks.remove(&root) else { return };
        let (reached, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|mark| mark.passed);
        for mark in reached {
            // Who waited may have gone.
            let _gone = mark.reached.send(());
        }
        if !rest.is_empty() {
            marks.insert(root, rest);
        }
    }

    /// The server tells nothing more of a root: no mark of it is reached any more.
    pub(crate) fn end(&self, root: RootId) {
        self.0.lock().remove(&root);
    }

    /// The session is over: no mark of it is reached any more.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_reached_by_the_first_level_behind_its_answer() {
        let (marks, root) = (Marks::default(), RootId::from_bytes([1; 16]));
        let (cursor, mut waits) = marks.begin(root).unwrap();
        let (other, mut lost) = marks.begin(root).unwrap();
        assert_ne!(cursor.epoch, other.epoch);
        marks.level(root);
        assert!(waits.try_recv().is_err(), "this level was made before");
        assert!(marks.unknown(root, cursor));
        assert!(!marks.unknown(root, Cursor { epoch: Epoch(1), seq: 4 }), "a real cursor is not hidden");
        marks.level(root);
        assert_eq!(waits.try_recv(), Ok(()));
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        marks.end(RootId::from_bytes([2; 16]));
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it is of another root");
        marks.end(root);
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let (_, mut lost) = marks.begin(root).unwrap();
        marks.clear();
        assert_eq!(lost.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn marks_are_bounded_and_those_that_nobody_waits_for_are_forgotten() {
        let (marks, root) = (Marks::default(), RootId::from_bytes([1; 16]));
        let waits: Vec<_> = (0..MARKS).map(|_| marks.begin(root).unwrap()).collect();
        assert!(marks.begin(root).is_none());
        drop(waits);
        assert!(marks.begin(root).is_some());
    }
}
