//! Lists of the local API: roots with where they are here, conflicts with their paths.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use prost_types::Timestamp;
use quics_proto::agent::v1 as api;
use quics_proto::registry::v1 as registry;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_types::{EntryId, RootId};

use crate::account::call;
use crate::agent::{Core, Root};
use crate::home::RootEntry;

/// Pages that are asked for at most.
const PAGES: usize = 64;

/// A root of the server with where it is here.
pub(super) fn root(root: registry::Root, here: &[RootEntry]) -> api::ListedRoot {
    let entry = here.iter().find(|entry| entry.id.as_bytes().as_slice() == root.root_id);
    let path = entry.map(|entry| Bytes::copy_from_slice(entry.path.as_os_str().as_bytes()));
    api::ListedRoot { root: Some(root), path: path.unwrap_or_default() }
}

/// The server's own account of a root's conflicts, with times; empty where it cannot be asked now.
pub(super) async fn since(core: &Core, root: RootId) -> HashMap<EntryId, sync::ConflictState> {
    let mut client = SyncServiceClient::new(core.sync.now());
    let mut found = HashMap::new();
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let root_id = Bytes::copy_from_slice(root.as_bytes());
        let request = sync::ListConflictsRequest { root_id, page_size: 0, page_token };
        let page = match client.list_conflicts(call(request)).await {
            Ok(page) => page.into_inner(),
            Err(status) => {
                tracing::debug!(%status, "conflicts.unknown");
                break;
            }
        };
        for conflict in page.conflicts {
            if let Ok(id) = EntryId::from_slice(&conflict.entry_id) {
                found.insert(id, conflict);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    found
}

/// The open conflicts of a root that this device knows of.
pub(super) async fn conflicts(root: &Root, since: &HashMap<EntryId, sync::ConflictState>) -> Vec<api::ListedConflict> {
    let entry = root.entry.lock().clone();
    let open = root.conflicts().await.unwrap_or_default();
    let listed = open.into_iter().map(|open| {
        let mut path = entry.path.clone();
        path.push(std::ffi::OsStr::from_bytes(open.path.as_bytes()));
        let told = since.get(&open.row.id).filter(|told| told.revision == open.conflict.revision).cloned();
        let opened: Option<Timestamp> = told.as_ref().and_then(|told| told.opened_at);
        api::ListedConflict {
            root_id: Bytes::copy_from_slice(root.id.as_bytes()),
            root_name: entry.name.clone(),
            path: Bytes::copy_from_slice(path.as_os_str().as_bytes()),
            row: Some((&open.row).into()),
            conflict: Some(told.unwrap_or_else(|| sync::ConflictState::from_domain(open.row.id, &open.conflict))),
            since: opened,
        }
    });
    listed.collect()
}
