//! What stands open in a root, so that its versions may not be taken: conflicts, links, and restores that are not finished.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use quics_meta::Batch;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_records::{Reads, put};
use quics_types::{DeviceId, EntryId, GroupId, RootId, WallTime, limits};

use super::shown::{self, Shown};
use crate::Error;
use crate::db::keys;
use crate::db::records::Group;
use crate::grpc::lost;
use crate::relay::submit;
use crate::restore;
use crate::service::Service;
use crate::view::View;

/// Open conflicts of a root, at most: 16 MB.
const MOST: usize = 1 << 20;

/// What of a root is not to be taken, as other services say.
#[derive(Debug, Default)]
pub(crate) struct Spared {
    /// Entries whose conflicts are open.
    pub(crate) conflicts: HashSet<EntryId>,
    /// Contents that links show.
    pub(crate) shown: Shown,
    /// When the services were asked: of what ended after that they have not spoken.
    pub(crate) asked: Option<WallTime>,
}

/// What of a root is not to be taken.
///
/// # Errors
/// [`Error::SyncAway`], [`Error::ShareAway`] and the like: nothing may be taken then.
pub(crate) async fn spared(service: &Service, root: RootId) -> Result<Spared, Error> {
    let asked = Some(service.now());
    let shown = shown::shown(service, root).await?;
    Ok(Spared { conflicts: conflicts(service, root).await?, shown, asked })
}

/// The entries of a root whose conflicts are open, as sync-svc says: base and candidates of these are versions of theirs.
///
/// # Errors
/// [`Error::SyncAway`] and the like: nothing may be taken then.
pub(crate) async fn conflicts(service: &Service, root: RootId) -> Result<HashSet<EntryId>, Error> {
    let mut client = SyncServiceClient::new(service.sync.find().await?)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let (mut open, mut page_token) = (HashSet::new(), String::new());
    loop {
        let root_id = Bytes::copy_from_slice(root.as_bytes());
        let request = sync::ListConflictsRequest { root_id, page_size: 0, page_token };
        let page = client.list_conflicts(request).await.map_err(lost)?.into_inner();
        for conflict in &page.conflicts {
            open.insert(EntryId::from_slice(&conflict.entry_id).map_err(Malformed::from)?);
        }
        if page.next_page_token.is_empty() {
            return Ok(open);
        }
        if open.len() > MOST || page.conflicts.is_empty() {
            return Err(Error::Relay("it lists conflicts without end"));
        }
        page_token = page.next_page_token;
    }
}

/// A restore that this process has in hand.
pub(crate) struct InHand {
    service: Arc<Service>,
    root: RootId,
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut restoring = self.service.restoring.lock();
        if let Some(count) = restoring.get_mut(&self.root) {
            *count -= 1;
            if *count == 0 {
                restoring.remove(&self.root);
            }
        }
    }
}

/// Notes that a restore begins, for a device; it is listed from then on. From when this is durable until its end no version of
/// the root is taken, and what was taken before is seen by who plans it.
///
/// # Errors
/// Those of the store.
pub(crate) async fn begin(
    service: &Arc<Service>,
    root: RootId,
    device: DeviceId,
    group: GroupId,
) -> Result<InHand, Error> {
    let in_hand = service.blocking(move |service| {
        // Behind a step that looked before: what it submitted becomes durable before this row does.
        let _keeping = service.keeping.lock();
        *service.restoring.lock().entry(root).or_default() += 1;
        Ok(())
    });
    in_hand.await?;
    let in_hand = InHand { service: service.clone(), root };
    let noting = service.blocking(move |service| {
        let view = View::new(Reads::latest(&*service.meta), root);
        let mut batch = Batch::new();
        batch.put(keys::restoring(root, group), Bytes::new());
        batch.delete(keys::withdrawn(root, group));
        if view.group(group)?.is_none() {
            let (point, (device_name, _)) = (view.newest_point()?, service.names(device));
            let record = Group { device, device_name, at: service.now(), first: point, last: point, changes: 0 };
            put(&mut batch, keys::group(root, group), &record, 0);
            batch.put(keys::group_order(root, point, group), Bytes::new());
        }
        Ok(batch)
    });
    submit(service, noting.await?).await?.await?;
    Ok(in_hand)
}

/// Whether a restore of a root is on its way.
///
/// # Errors
/// Those of the store; sync-svc cannot be asked: nothing may be taken then.
pub(crate) async fn is_restoring(service: &Arc<Service>, root: RootId) -> Result<bool, Error> {
    // Looked at first: one that begins after it is in hand, and one that ended before it needs no more.
    if service.restoring.lock().contains_key(&root) {
        return Ok(true);
    }
    let under_way = settle(service, root).await?;
    Ok(!under_way.is_empty() || service.restoring.lock().contains_key(&root))
}

/// Asks sync-svc what became of the restores that were begun, writes down which are over and how, and gives those that are not.
///
/// # Errors
/// Those of the store; sync-svc cannot be asked.
pub(crate) async fn settle(service: &Arc<Service>, root: RootId) -> Result<HashSet<GroupId>, Error> {
    let groups = service.blocking(move |service| begun(Reads::latest(&*service.meta), root)).await?;
    let (mut under_way, mut over) = (HashSet::new(), Vec::new());
    for group in groups {
        match restore::apply::state(service, root, group).await? {
            Some(state) if !state.finished => drop(under_way.insert(group)),
            state => over.push((group, state.is_none())),
        }
    }
    if over.is_empty() {
        return Ok(under_way);
    }
    let ended: Vec<GroupId> = over.iter().map(|(group, _)| *group).collect();
    let writing = service.blocking(move |service| {
        let _keeping = service.keeping.lock();
        // One that is in hand may have been asked about before it came to sync-svc.
        if service.restoring.lock().contains_key(&root) {
            return Ok(None);
        }
        let view = View::new(Reads::latest(&*service.meta), root);
        let mut batch = Batch::new();
        for (group, unknown) in over {
            batch.delete(keys::restoring(root, group));
            // One that has changed something was not withdrawn, even if sync-svc has forgotten it.
            if unknown && view.group(group)?.is_some_and(|kept| kept.record.changes == 0) {
                batch.put(keys::withdrawn(root, group), Bytes::new());
            }
        }
        Ok(Some(service.meta.submit(batch)?))
    });
    match writing.await {
        Ok(Some(receipt)) => drop(receipt.await?),
        Ok(None) | Err(Error::Meta(quics_meta::Error::Busy)) => under_way.extend(ended),
        Err(error) => return Err(error),
    }
    Ok(under_way)
}

/// The restores of a root that were begun; nobody has said of them that they are finished.
pub(crate) fn begun(reads: Reads<'_>, root: RootId) -> Result<Vec<GroupId>, Error> {
    let (from, to) = keys::all(b'q', root);
    let rows = reads.raw_range(&from, &to, quics_meta::MAX_PAGE)?;
    rows.iter().map(|(key, _)| keys::parse_restoring(key).ok_or_else(|| Error::damaged(key))).collect()
}
