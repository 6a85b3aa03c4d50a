//! Waiting until everything is in sync.

use std::collections::HashSet;
use std::sync::Arc;

use quics_proto::agent::v1::Connection;
use quics_types::RootId;

use super::Core;
use super::root::Root;
use crate::engine::Event;

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Every change that was there at the call is in sync.
    pub(crate) in_sync: bool,
    /// What waits for a person, one sentence each.
    pub(crate) waiting: Vec<String>,
}

/// Waits until these roots have everything that was there at the call, here and on the server, or cannot go on
/// without a person.
///
/// Neither the watcher nor the server may have told of the newest changes yet. So each root is looked through once, and
/// has the server say once more how far it is.
///
/// # Cancel safety
/// Can be dropped at any time; the look goes on.
pub(crate) async fn wait(core: &Core, roots: &[Arc<Root>]) -> Waited {
    let mut changed = core.changed.subscribe();
    for root in roots {
        root.wish(Event::Overflow);
        // `false` when its engine has ended, which its view says below.
        let _ended = root.settle().await;
    }
    let mut told: HashSet<RootId> = HashSet::new();
    loop {
        changed.mark_unchanged();
        for root in roots.iter().filter(|root| !told.contains(&root.id)).collect::<Vec<_>>() {
            let view = root.view.borrow().clone();
            if let (true, Some(cursor)) = (view.level && !view.stuck(), view.cursor)
                && core.board.catch_up(root.id, cursor).await
            {
                told.insert(root.id);
                let _ended = root.settle().await;
            }
        }
        let connection = core.transport();
        let mut waited = Waited { in_sync: true, waiting: Vec::new() };
        if connection == Connection::Revoked {
            waited.waiting.push("this device was revoked: run `quics leave --force` and join again".to_owned());
        }
        let online = matches!(connection, Connection::Quic | Connection::Tcp);
        let mut over = true;
        for root in roots {
            let view = root.view.borrow().clone();
            let name = crate::text::line(&root.entry.lock().name);
            waited.waiting.extend(view.waiting().into_iter().map(|text| format!("{name}: {text}")));
            let in_sync = view.in_sync() && online && told.contains(&root.id);
            waited.in_sync &= in_sync;
            over &= in_sync || view.stuck() || connection == Connection::Revoked;
        }
        if over || changed.changed().await.is_err() {
            return waited;
        }
    }
}
