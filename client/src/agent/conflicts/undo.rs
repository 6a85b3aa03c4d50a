//! Answers that were given, and taking one back.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::sync::v1 as sync;
use quics_types::EntryId;
use tonic::Code;

use super::Error;
use crate::account::call;
use crate::agent::{Core, Root};

impl Core {
    /// The newest answers in a root, the newest first; at most one page.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn resolutions(&self, root: &Arc<Root>) -> Result<Vec<api::ListedResolution>, Error> {
        let root_id = Bytes::copy_from_slice(root.id.as_bytes());
        let request =
            sync::ListResolutionsRequest { root_id: root_id.clone(), page_size: 0, page_token: String::new() };
        let answer = self.sync_client().list_resolutions(call(request)).await;
        let listed = answer.map_err(|status| Error::of_call(self, &status))?.into_inner().resolutions;
        let devices: Vec<Bytes> = listed.iter().map(|it| it.device_id.clone()).collect();
        let names = self.names(root.id, &devices).await;
        let root_name = root.entry.lock().name.clone();
        let mut all = Vec::with_capacity(listed.len());
        for resolution in listed {
            let paths = paths(root, &resolution.entry_ids).await;
            let by_server = resolution.device_id.iter().all(|byte| *byte == 0);
            all.push(api::ListedResolution {
                root_id: root_id.clone(),
                root_name: root_name.clone(),
                author: (!by_server).then(|| names.author(&resolution.device_id)),
                paths,
                resolution: Some(resolution),
            });
        }
        Ok(all)
    }

    /// Takes an answer back: the one whose id begins so, or the newest of this user.
    ///
    /// # Errors
    /// [`Error`] says which there is not, or what the server says.
    pub(crate) async fn undo(&self, wanted: &str) -> Result<api::UndoResolutionResponse, Error> {
        Error::of_standing(self)?;
        let roots: Vec<Arc<Root>> = self.roots.lock().values().cloned().collect();
        let mut all = Vec::new();
        for root in roots {
            let listed = self.resolutions(&root).await?;
            all.extend(listed.into_iter().map(|listed| (root.clone(), listed)));
        }
        let (root, listed) = pick(all, wanted)?;
        let resolution = listed.resolution.clone().unwrap_or_default();
        let undo: [u8; 16] = quics_kit::random::bytes();
        let request = sync::UndoResolutionRequest {
            root_id: listed.root_id.clone(),
            resolution_id: resolution.resolution_id.clone(),
            undo_id: Bytes::copy_from_slice(&undo),
        };
        let mut client = self.sync_client();
        let answered = match client.undo_resolution(call(request.clone())).await {
            // It may have arrived: the same id makes the second one harmless.
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                client.undo_resolution(call(request)).await
            }
            answered => answered,
        };
        let response = match answered {
            Ok(response) => response.into_inner(),
            Err(status) if status.code() == Code::NotFound => {
                return Err(Error::NoResolution { id: data_encoding::HEXLOWER.encode(&resolution.resolution_id) });
            }
            Err(status) => return Err(Error::of_answer(self, &root, &status).await),
        };
        Ok(api::UndoResolutionResponse {
            undone: Some(listed),
            reopened: paths(&root, &response.reopened_entry_ids).await,
            changed: paths(&root, &response.changed_entry_ids).await,
        })
    }
}

/// The answer that is meant.
fn pick<R>(all: Vec<(R, api::ListedResolution)>, wanted: &str) -> Result<(R, api::ListedResolution), Error> {
    let told = |listed: &api::ListedResolution| listed.resolution.clone().unwrap_or_default();
    if wanted.is_empty() {
        let own = |listed: &api::ListedResolution| listed.author.as_ref().is_some_and(|author| author.same_user);
        // Taking back what took something back is asked for by its id.
        let can = |listed: &api::ListedResolution| !told(listed).undone && told(listed).undoes_resolution_id.is_empty();
        let mine = all.into_iter().filter(|(_, listed)| own(listed) && can(listed));
        let at = |listed: &api::ListedResolution| told(listed).resolved_at.map(|at| (at.seconds, at.nanos));
        return mine.max_by_key(|(_, listed)| at(listed)).ok_or(Error::NothingToUndo);
    }
    let id = wanted.to_ascii_lowercase();
    let begins =
        |listed: &api::ListedResolution| data_encoding::HEXLOWER.encode(&told(listed).resolution_id).starts_with(&id);
    let mut found = all.into_iter().filter(|(_, listed)| begins(listed));
    match (found.next(), found.next()) {
        (None, _) => Err(Error::NoResolution { id: wanted.to_owned() }),
        (Some(_), Some(_)) => Err(Error::Ambiguous { id: wanted.to_owned() }),
        (Some((_, listed)), None) if told(&listed).undone => Err(Error::Undone),
        (Some(only), None) => Ok(only),
    }
}

/// The absolute paths of entries, as far as they are known here.
async fn paths(root: &Root, entries: &[Bytes]) -> Vec<Bytes> {
    let ids: Vec<EntryId> = entries.iter().filter_map(|id| EntryId::from_slice(id).ok()).collect();
    let asked = root.ask(move |engine| ids.into_iter().filter_map(|id| engine.path_of(id)).collect::<Vec<_>>());
    let top = root.path();
    let absolute = |path: crate::folder::RelPath| {
        let path = top.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        Bytes::copy_from_slice(path.as_os_str().as_bytes())
    };
    asked.await.unwrap_or_default().into_iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: u8, seconds: i64, own: bool, undone: bool) -> ((), api::ListedResolution) {
        let resolution = sync::ListedResolution {
            resolution_id: vec![id; 16].into(),
            resolved_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            undone,
            ..Default::default()
        };
        let author = Some(api::Author { same_user: own, ..Default::default() });
        ((), api::ListedResolution { resolution: Some(resolution), author, ..Default::default() })
    }

    fn picked(all: Vec<((), api::ListedResolution)>, wanted: &str) -> Result<u8, Error> {
        pick(all, wanted).map(|(_, listed)| listed.resolution.unwrap().resolution_id[0])
    }

    #[test]
    fn the_newest_answer_of_this_user_is_meant_where_none_is_named() {
        let all = || {
            vec![
                listed(1, 10, true, false),
                listed(2, 30, false, false),
                listed(3, 20, true, false),
                listed(4, 40, true, true),
            ]
        };
        assert_eq!(picked(all(), "").unwrap(), 3);
        assert!(matches!(picked(vec![listed(2, 30, false, false)], ""), Err(Error::NothingToUndo)));
        let mut redo = listed(5, 50, true, false);
        redo.1.resolution.as_mut().unwrap().undoes_resolution_id = vec![4; 16].into();
        assert_eq!(picked([all(), vec![redo]].concat(), "").unwrap(), 3, "twice does not do it again");
        assert_eq!(picked(all(), "0202").unwrap(), 2);
        assert!(matches!(picked(all(), "04"), Err(Error::Undone)));
        assert!(matches!(picked(all(), "0"), Err(Error::Ambiguous { .. })));
        assert!(matches!(picked(all(), "ff"), Err(Error::NoResolution { .. })));
    }
}
