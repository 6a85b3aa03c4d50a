//! Merging without asking, where the root's settings say so: texts whose changes do not touch each other.
//!
//! The device whose candidate it is does it, and only where its candidate is the only one: so nobody does it twice, and
//! an answer that crosses with a person's is refused as any stale one.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use quics_kit::clock::{Clock as _, SystemClock, timestamp};
use quics_proto::common::v1::{self as common, value::Kind};
use quics_proto::sync::v1 as sync;
use quics_types::RootId;
use rustix::fs::MemfdFlags;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::spawn_blocking;

use super::{Error, answer};
use crate::agent::{Core, Root};
use crate::engine::IngestFailure;
use crate::folder::Body;
use crate::merge::{self, Labels, Merged, TEXT_BYTES};
use crate::transfer::{self, Failure};

/// Merges what can be merged, for ever.
pub(super) async fn keep(core: &Arc<Core>, mut news: Receiver<Arc<sync::ConflictPrompt>>) {
    loop {
        match news.recv().await {
            Ok(prompt) => consider(core, &prompt).await,
            // More came than could wait: what is open now is looked at as a whole.
            Err(RecvError::Lagged(_)) => {
                let open: Vec<_> = core.desk.open.lock().values().cloned().collect();
                for prompt in open {
                    consider(core, &prompt).await;
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn consider(core: &Arc<Core>, prompt: &sync::ConflictPrompt) {
    let own = core.account.lock().device;
    let Some(sides) = sides(prompt, own.as_bytes()) else { return };
    let root = RootId::from_slice(&prompt.root_id).ok().and_then(|id| core.roots.lock().get(&id).cloned());
    let Some(root) = root else { return };
    let wanted = core.known_settings(root.id).await.is_some_and(|it| it.merge() == sync::MergePolicy::AutoClean);
    if !wanted {
        return;
    }
    match merge_one(core, &root, prompt, &sides).await {
        Ok(Some(true)) => tracing::info!(root = %root.id, "conflict.merged"),
        Ok(outcome) => tracing::debug!(root = %root.id, ?outcome, "conflict.not_merged"),
        Err(error) => tracing::warn!(%error, root = %root.id, "conflict.merge_failed"),
    }
}

/// The three contents of a conflict that is this device's to merge: the server's, the base, its own.
fn sides(prompt: &sync::ConflictPrompt, own: &[u8]) -> Option<[common::File; 3]> {
    let row = prompt.row.as_ref().filter(|row| !row.tombstone)?;
    let [candidate] = prompt.conflict.as_ref()?.candidates.as_slice() else { return None };
    if candidate.device_id != own || candidate.role() != sync::CandidateRole::Own {
        return None;
    }
    let file = |value: Option<&common::Value>| match value?.kind.as_ref()? {
        Kind::File(file) if file.size <= TEXT_BYTES as u64 => Some(file.clone()),
        _ => None,
    };
    Some([file(row.value.as_ref())?, file(candidate.base.as_ref())?, file(candidate.value.as_ref())?])
}

/// Merges one conflict and answers it. `None`: it is no clean merge. `Some(false)`: something came in between.
async fn merge_one(
    core: &Arc<Core>,
    root: &Arc<Root>,
    prompt: &sync::ConflictPrompt,
    sides: &[common::File; 3],
) -> Result<Option<bool>, Error> {
    let mut texts = Vec::with_capacity(sides.len());
    for file in sides {
        let mut text = Vec::new();
        let mut pieces = Box::pin(core.read_content(root, file, None)?);
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.map_err(Error::Content)?);
        }
        texts.push(text);
    }
    let merged = spawn_blocking(move || {
        if !texts.iter().all(|text| merge::is_text(text)) {
            return None;
        }
        let labels = Labels { server: "server", base: "before", other: "mine" };
        match merge::merge(&texts[1], &texts[0], &texts[2], labels) {
            Merged::Clean(text) => Some(Bytes::from(text)),
            Merged::Marked { .. } => None,
        }
    });
    let Ok(Some(text)) = merged.await else { return Ok(None) };
    let modified_at = Some(timestamp(SystemClock.now()));
    let merged = match answer::inline(text.clone(), modified_at) {
        Some(merged) => merged,
        None => {
            let content = send(core, root, text.clone()).await?;
            answer::merged(content, text.len() as u64, modified_at, None)
        }
    };
    let state = prompt.conflict.clone().unwrap_or_default();
    let choice = Some(sync::answer::Choice::KeepMerged(merged));
    let answer = sync::Answer { entry_id: state.entry_id, revision: state.revision, choice };
    Ok(Some(core.answer(root, vec![answer]).await?.done))
}

/// Brings a text to the server.
async fn send(core: &Core, root: &Root, text: Bytes) -> Result<quics_types::Digest, Error> {
    let size = text.len() as u64;
    let file = spawn_blocking(move || -> std::io::Result<File> {
        let mut file = File::from(rustix::fs::memfd_create("merged", MemfdFlags::CLOEXEC)?);
        file.write_all(&text)?;
        file.rewind()?;
        Ok(file)
    });
    let failed = |reason: String| Error::Content(Failure::Refused(reason));
    let file =
        file.await.map_err(std::io::Error::other).and_then(|file| file).map_err(|error| failed(error.to_string()))?;
    transfer::send(&core.remote(root), &Arc::default(), Body::File(file), size).await.map_err(|failure| match failure {
        IngestFailure::Offline => Error::Content(Failure::Offline("the connection broke off".to_owned())),
        other => failed(format!("{other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: u8, size: u64) -> Option<common::Value> {
        Some(common::Value { kind: Some(Kind::File(common::File { content_id: vec![id; 32].into(), size })) })
    }

    fn prompt() -> sync::ConflictPrompt {
        let candidate = sync::Candidate {
            device_id: vec![1; 16].into(),
            role: sync::CandidateRole::Own as i32,
            value: file(3, 1),
            base: file(2, 1),
            ..Default::default()
        };
        let conflict = sync::ConflictState { candidates: vec![candidate], ..Default::default() };
        let row = common::Row { value: file(1, 1), ..Default::default() };
        sync::ConflictPrompt { conflict: Some(conflict), row: Some(row), ..Default::default() }
    }

    #[test]
    fn only_ones_own_only_candidate_with_a_base_is_merged_without_asking() {
        assert_eq!(sides(&prompt(), &[1; 16]).unwrap().map(|file| file.content_id[0]), [1, 2, 3]);
        assert!(sides(&prompt(), &[2; 16]).is_none(), "another device's");
        let changed = |change: fn(&mut sync::ConflictPrompt)| {
            let mut prompt = prompt();
            change(&mut prompt);
            sides(&prompt, &[1; 16])
        };
        assert!(changed(|it| it.row.as_mut().unwrap().tombstone = true).is_none());
        assert!(changed(|it| it.conflict.as_mut().unwrap().candidates[0].base = None).is_none());
        assert!(changed(|it| it.conflict.as_mut().unwrap().candidates[0].value = None).is_none());
        assert!(changed(|it| it.conflict.as_mut().unwrap().candidates[0].role = 3).is_none());
        let two = |it: &mut sync::ConflictPrompt| {
            let candidates = &mut it.conflict.as_mut().unwrap().candidates;
            candidates.push(candidates[0].clone());
        };
        assert!(changed(two).is_none());
        assert!(changed(|it| it.row.as_mut().unwrap().value = file(1, u64::MAX)).is_none());
    }
}
