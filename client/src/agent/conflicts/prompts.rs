//! The Prompt stream: what the server says of open conflicts, kept and passed on.
//!
//! One stream is open for all roots as long as there is a session; it is opened anew when it is lost, or when roots come
//! or go. What it says at first replaces what was known before, so nothing stays open that was closed meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::prompt_response::Message;
use quics_types::{EntryId, RootId};
use tokio::sync::broadcast;

use super::listing::revision;
use crate::agent::{Core, messages, session};

/// Keeps the stream open, for ever.
pub(super) async fn keep(core: &Arc<Core>) {
    let mut failures = 0;
    loop {
        let roots = wanted(core).await;
        let mut caught_up = false;
        let end = follow(core, &roots, &mut caught_up).await;
        failures = if caught_up { 0 } else { failures + 1 };
        match end {
            Ok(()) => tracing::debug!("prompts.roots_changed"),
            Err(reason) => {
                tracing::debug!(reason, failures, "prompts.lost");
                tokio::time::sleep(session::pause(failures)).await;
            }
        }
    }
}

/// Waits until there is a session and any root, and gives the roots.
async fn wanted(core: &Core) -> BTreeSet<RootId> {
    let mut changed = core.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let roots: BTreeSet<RootId> = core.roots.lock().keys().copied().collect();
        if core.is_online() && !roots.is_empty() {
            return roots;
        }
        // The sender lives as long as the core.
        let _changed = changed.changed().await;
    }
}

/// Follows one stream until it breaks (why), or until the roots are others.
async fn follow(core: &Arc<Core>, roots: &BTreeSet<RootId>, caught_up: &mut bool) -> Result<(), String> {
    let root_ids = roots.iter().map(|root| Bytes::copy_from_slice(root.as_bytes())).collect();
    let said = |status: tonic::Status| format!("{} ({:?})", status.message(), status.code());
    let mut client = core.sync_client();
    let mut stream = client.prompt(sync::PromptRequest { root_ids }).await.map_err(said)?.into_inner();
    let mut changed = core.changed.subscribe();
    let mut seen = BTreeSet::new();
    loop {
        let message = tokio::select! {
            message = stream.message() => message.map_err(said)?.and_then(|it| it.message).ok_or("the stream ended")?,
            _changed = changed.changed() => {
                if core.roots.lock().keys().eq(roots) { continue }
                return Ok(());
            }
        };
        match message {
            Message::Prompt(prompt) => {
                let key = key(&prompt).ok_or("a prompt that is about nothing")?;
                if !*caught_up {
                    seen.insert(key);
                }
                core.desk.take(key, prompt);
            }
            Message::CaughtUp(_) => {
                *caught_up = true;
                core.desk.forget(|key| roots.contains(&key.0) && !seen.contains(key));
                core.note_change();
            }
            Message::Brakes(prompt) => {
                let root = messages::root(&prompt.root_id).map_err(|error| error.to_string())?;
                let on = prompt.brakes.iter().filter(|brake| brake.stage() == sync::BrakeStage::On);
                let devices: Vec<Bytes> = on.map(|brake| brake.device_id.clone()).collect();
                let names = core.names(root, &devices).await;
                core.desk.brake(root, devices.iter().map(|device| names.label(device)).collect());
                core.note_change();
            }
            Message::Ended(ended) => {
                let root = messages::root(&ended.root_id).map_err(|error| error.to_string())?;
                core.desk.forget(|key| key.0 == root);
                core.desk.brake(root, Vec::new());
            }
        }
    }
}

type Key = (RootId, EntryId);

fn key(prompt: &sync::ConflictPrompt) -> Option<Key> {
    let entry = &prompt.conflict.as_ref()?.entry_id;
    Some((RootId::from_slice(&prompt.root_id).ok()?, EntryId::from_slice(entry).ok()?))
}

impl super::Desk {
    /// Keeps what the server says of a conflict, and tells those who listen, unless it was known.
    fn take(&self, key: Key, prompt: sync::ConflictPrompt) {
        let open = prompt.conflict.as_ref().is_some_and(|conflict| !conflict.candidates.is_empty());
        let known = {
            let mut all = self.open.lock();
            let known = all.get(&key).is_some_and(|known| revision(known) >= revision(&prompt));
            if open {
                all.insert(key, prompt.clone());
            } else {
                all.remove(&key);
            }
            known
        };
        // When the stream is opened again, all that is open is told again.
        if !(known && prompt.news() == sync::PromptNews::Open) {
            // Without listeners nobody misses it.
            let _unheard = self.news.send(Arc::new(prompt));
        }
    }

    /// Keeps which devices the server has braked in a root.
    fn brake(&self, root: RootId, devices: Vec<String>) {
        for device in &devices {
            tracing::warn!(%root, device, "device.braked");
        }
        self.braked.send_modify(|braked| {
            braked.insert(root, devices);
        });
    }

    fn forget(&self, over: impl Fn(&Key) -> bool) {
        self.open.lock().retain(|key, _| !over(key));
    }

    /// The news from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<sync::ConflictPrompt>> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::conflicts::Desk;

    fn prompt(revision: u64, news: sync::PromptNews, candidates: usize) -> sync::ConflictPrompt {
        let conflict = sync::ConflictState {
            entry_id: vec![2; 16].into(),
            revision,
            candidates: vec![sync::Candidate::default(); candidates],
            ..Default::default()
        };
        let root_id = vec![1; 16].into();
        sync::ConflictPrompt { root_id, conflict: Some(conflict), news: news as i32, asked: true, row: None }
    }

    #[test]
    fn what_is_told_again_is_no_news_and_what_is_over_is_forgotten() {
        let desk = Desk::default();
        let mut heard = desk.listen();
        let mut take = |it: sync::ConflictPrompt| {
            desk.take(key(&it).unwrap(), it);
            heard.try_recv().is_ok()
        };
        assert!(take(prompt(3, sync::PromptNews::Open, 1)));
        assert!(!take(prompt(3, sync::PromptNews::Open, 1)), "the stream was only opened again");
        assert!(take(prompt(3, sync::PromptNews::Reminder, 1)));
        assert!(take(prompt(4, sync::PromptNews::NewCandidate, 2)));
        assert!(take(prompt(5, sync::PromptNews::Resolved, 0)));
        assert!(desk.open.lock().is_empty());
        assert!(take(prompt(6, sync::PromptNews::Open, 1)), "a new conflict on the same entry");
        desk.forget(|(root, _)| *root == RootId::from_bytes([1; 16]));
        assert!(desk.open.lock().is_empty());
    }
}
