//! Lists of the local API: roots with where they are here.

use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::registry::v1 as registry;

use crate::home::RootEntry;

/// A root of the server with where it is here.
pub(super) fn root(root: registry::Root, here: &[RootEntry]) -> api::ListedRoot {
    let entry = here.iter().find(|entry| entry.id.as_bytes().as_slice() == root.root_id);
    let path = entry.map(|entry| Bytes::copy_from_slice(entry.path.as_os_str().as_bytes()));
    api::ListedRoot { root: Some(root), path: path.unwrap_or_default() }
}
