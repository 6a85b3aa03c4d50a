//! Waiting until everything is in sync.

use std::sync::Arc;

use quics_proto::agent::v1::Connection;

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
/// The watcher may not have told of the newest changes yet, so each root is looked through once.
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
    loop {
        changed.mark_unchanged();
        let connection = core.transport();
        let online = matches!(connection, Connection::Quic | Connection::Tcp);
        let mut waited = Waited { in_sync: true, waiting: Vec::new() };
        if connection == Connection::Revoked {
            waited.in_sync = false;
            waited.waiting.push("this device was revoked: run `quics leave --force` and join again".to_owned());
        }
        let mut over = true;
        for root in roots {
            let view = root.view.borrow().clone();
            let name = root.entry.lock().name.clone();
            waited.waiting.extend(view.waiting().into_iter().map(|text| format!("{}: {text}", crate::text::line(&name))));
            let in_sync = view.in_sync() && online;
            waited.in_sync &= in_sync;
            over &= in_sync || view.stuck() || connection == Connection::Revoked;
        }
        if over || changed.changed().await.is_err() {
            return waited;
        }
    }
}
