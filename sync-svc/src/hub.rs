//! Wakes those who watch a root when something of it has become durable.
//!
//! Nothing is queued for a watcher but the names of the roots that have news: whoever is slow reads the feed later, and what
//! was committed meanwhile comes in one batch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use quics_types::RootId;
use tokio::sync::{Notify, watch};

/// All watchers, by root.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    roots: RwLock<HashMap<RootId, Vec<Arc<Watcher>>>>,
    /// Changes whenever anything was committed.
    any: watch::Sender<()>,
}

/// One watcher's pending news.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    news: Mutex<BTreeMap<RootId, News>>,
    wake: Notify,
}

/// What is new in a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The feed has gone on.
    pub(crate) committed: bool,
    /// Chunks are wanted back.
    pub(crate) wanted: bool,
    /// Open conflicts may be due for a reminder.
    pub(crate) reminder: bool,
}

impl News {
    /// The feed has gone on, and nothing else.
    pub(crate) const COMMITTED: News = News { committed: true, wanted: false, reminder: false };
}

impl Hub {
    /// Tells the watchers of a root that a commit of it is durable.
    pub(crate) fn committed(&self, root: RootId) {
        self.tell(root, News::COMMITTED);
        self.any.send_replace(());
    }

    /// Follows the commits of all roots: it changes whenever one is durable.
    pub(crate) fn follow(&self) -> watch::Receiver<()> {
        self.any.subscribe()
    }

    /// Tells the watchers of a root that chunks are wanted back.
    pub(crate) fn wanted(&self, root: RootId) {
        self.tell(root, News { wanted: true, ..News::default() });
    }

    /// Tells those who show the conflicts of a root that some may be due for a reminder.
    pub(crate) fn remind(&self, root: RootId) {
        self.tell(root, News { reminder: true, ..News::default() });
    }

    /// How many watchers there are, one that watches two roots counted twice.
    pub(crate) fn watchers(&self) -> usize {
        self.roots.read().values().map(Vec::len).sum()
    }

    fn tell(&self, root: RootId, news: News) {
        if let Some(watchers) = self.roots.read().get(&root) {
            watchers.iter().for_each(|watcher| watcher.add(root, news));
        }
    }

    fn enter(&self, root: RootId, watcher: &Arc<Watcher>) {
        let mut roots = self.roots.write();
        let watchers = roots.entry(root).or_default();
        if !watchers.iter().any(|there| Arc::ptr_eq(there, watcher)) {
            watchers.push(watcher.clone());
        }
    }

    fn leave(&self, root: RootId, watcher: &Arc<Watcher>) {
        let mut roots = self.roots.write();
        if let Some(watchers) = roots.get_mut(&root) {
            watchers.retain(|there| !Arc::ptr_eq(there, watcher));
            if watchers.is_empty() {
                roots.remove(&root);
            }
        }
    }
}

impl Watcher {
    /// Notes news for this watcher and wakes it.
    pub(crate) fn add(&self, root: RootId, news: News) {
        let mut all = self.news.lock();
        let known = all.entry(root).or_default();
        known.committed |= news.committed;
        known.wanted |= news.wanted;
        known.reminder |= news.reminder;
        drop(all);
        self.wake.notify_one();
    }

    /// Takes the root that has news and comes behind `after`, in turn.
    pub(crate) fn take(&self, after: Option<RootId>) -> Option<(RootId, News)> {
        let mut all = self.news.lock();
        let next = after.and_then(|after| all.range(after..).map(|(root, _)| *root).find(|root| *root != after));
        let root = next.or_else(|| all.keys().next().copied())?;
        all.remove(&root).map(|news| (root, news))
    }

    /// Waits until there is news.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn woken(&self) {
        while self.news.lock().is_empty() {
            self.wake.notified().await;
        }
    }
}

/// A watcher's places in the hub; dropping it gives them up.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Arc<Hub>,
    pub(crate) watcher: Arc<Watcher>,
    roots: Vec<RootId>,
}

impl Seat {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, watcher: Arc::default(), roots: Vec::new() }
    }

    /// Begins to watch a root. What is committed from now on is told.
    pub(crate) fn enter(&mut self, root: RootId) {
        self.hub.enter(root, &self.watcher);
        if !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }

    /// Stops watching a root.
    pub(crate) fn leave(&mut self, root: RootId) {
        self.hub.leave(root, &self.watcher);
        self.roots.retain(|there| *there != root);
        self.watcher.news.lock().remove(&root);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for root in &self.roots {
            self.hub.leave(*root, &self.watcher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RootId = RootId::from_bytes([1; 16]);
    const TWO: RootId = RootId::from_bytes([2; 16]);

    #[test]
    fn a_watcher_hears_of_its_roots_only_and_once_however_often_they_change() {
        let hub = Arc::new(Hub::default());
        let mut seat = Seat::new(hub.clone());
        seat.enter(ONE);
        hub.committed(ONE);
        hub.committed(ONE);
        hub.committed(TWO);
        hub.wanted(ONE);
        assert_eq!(seat.watcher.take(None), Some((ONE, News { wanted: true, ..News::COMMITTED })));
        assert_eq!(seat.watcher.take(None), None);
    }

    #[test]
    fn roots_take_turns() {
        let hub = Arc::new(Hub::default());
        let mut seat = Seat::new(hub.clone());
        seat.enter(ONE);
        seat.enter(TWO);
        hub.committed(ONE);
        hub.committed(TWO);
        let first = seat.watcher.take(None).unwrap().0;
        hub.committed(first);
        assert_eq!(seat.watcher.take(Some(first)).unwrap().0, TWO);
        assert_eq!(seat.watcher.take(Some(TWO)).unwrap().0, ONE);
    }

    #[test]
    fn who_leaves_is_forgotten() {
        let hub = Arc::new(Hub::default());
        let mut seat = Seat::new(hub.clone());
        seat.enter(ONE);
        seat.enter(TWO);
        seat.leave(ONE);
        assert_eq!(hub.watchers(), 1);
        drop(seat);
        assert_eq!(hub.watchers(), 0);
        assert!(hub.roots.read().is_empty());
    }
}
