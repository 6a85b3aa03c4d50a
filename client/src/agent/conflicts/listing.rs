//! Open conflicts with everything that a person wants to know of them.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use quics_reconcile::beside;
use quics_types::{DeviceId, EntryId, Mtime, Name, Place, Role};

use super::Names;
use crate::agent::{Core, Root};
use crate::folder::RelPath;
use crate::group::{self, Group, Member};

/// Numbers that are tried for a name beside another.
const NUMBERS: u32 = 999;

/// A conflict and where its entry is.
pub(super) struct Found {
    pub(super) path: RelPath,
    pub(super) row: common::Row,
    pub(super) state: sync::ConflictState,
}

impl Core {
    /// The open conflicts of a root that this device knows of, by path.
    pub(crate) async fn conflicts(&self, root: &Arc<Root>) -> Vec<api::ListedConflict> {
        let open = root.ask(|engine| engine.conflicts()).await.unwrap_or_default();
        let found: Vec<Found> = {
            let told = self.desk.open.lock();
            let join = |open: crate::agent::view::OpenConflict| {
                let prompt = told.get(&(root.id, open.row.id));
                let newer = prompt.filter(|prompt| revision(prompt) >= open.conflict.revision).cloned();
                let (row, state) = newer.map_or((None, None), |prompt| (prompt.row, prompt.conflict));
                Found {
                    path: open.path,
                    row: row.unwrap_or_else(|| (&open.row).into()),
                    state: state.unwrap_or_else(|| sync::ConflictState::from_domain(open.row.id, &open.conflict)),
                }
            };
            open.into_iter().map(join).collect()
        };
        let groups = group::groups(&found.iter().map(|found| member(root, found)).collect::<Vec<_>>());
        let mut listed = self.dress(root, found).await;
        for (listed, group) in listed.iter_mut().zip(groups) {
            let Group { id, directory } = group;
            // Joining nothing would add a slash.
            let mut path = root.path();
            if !directory.is_empty() {
                path.push(std::ffi::OsStr::from_bytes(&directory));
            }
            (listed.group_id, listed.group_path) = (id, Bytes::copy_from_slice(path.as_os_str().as_bytes()));
        }
        listed
    }

    /// The last conflict of the entry at a path, open or over; `None` if there never was one, or the server cannot say.
    pub(crate) async fn last_conflict(&self, root: &Arc<Root>, path: RelPath) -> Option<api::ListedConflict> {
        let asked = path.clone();
        let row = root.ask(move |engine| engine.explain(&asked).remote).await??;
        let request = sync::GetConflictRequest {
            root_id: Bytes::copy_from_slice(root.id.as_bytes()),
            entry_id: Bytes::copy_from_slice(row.id.as_bytes()),
        };
        match self.sync_client().get_conflict(crate::account::call(request)).await {
            Ok(answer) => {
                let state = answer.into_inner().conflict?;
                self.dress(root, vec![Found { path, row: (&row).into(), state }]).await.pop()
            }
            Err(status) => {
                tracing::debug!(%status, "conflict.unknown");
                None
            }
        }
    }

    /// Adds names, paths and rights.
    pub(super) async fn dress(&self, root: &Arc<Root>, found: Vec<Found>) -> Vec<api::ListedConflict> {
        if found.is_empty() {
            return Vec::new();
        }
        let devices: Vec<Bytes> = found.iter().flat_map(devices).filter(|id| !id.is_empty()).collect();
        let names = self.names(root.id, &devices).await;
        let settings = self.known_settings(root.id).await;
        let seconds = second_names(root, &found, &names).await;
        let entry = root.entry.lock().clone();
        let account = self.account.lock().clone();
        let dress = |(found, seconds): (Found, Vec<Bytes>)| {
            let mut path = entry.path.clone();
            path.push(std::ffi::OsStr::from_bytes(found.path.as_bytes()));
            let side = |(candidate, second_name): (&sync::Candidate, Bytes)| api::Side {
                author: Some(names.author(&candidate.device_id)),
                second_name,
            };
            let sides: Vec<api::Side> = found.state.candidates.iter().zip(seconds).map(side).collect();
            let involved = sides.iter().any(|side| side.author.as_ref().is_some_and(|author| author.same_user));
            let author = (!found.row.device_id.is_empty()).then(|| names.author(&found.row.device_id));
            api::ListedConflict {
                root_id: Bytes::copy_from_slice(root.id.as_bytes()),
                root_name: entry.name.clone(),
                path: Bytes::copy_from_slice(path.as_os_str().as_bytes()),
                since: found.state.opened_at,
                author,
                sides,
                group_id: String::new(),
                group_path: Bytes::new(),
                answered: found
                    .state
                    .resolution
                    .as_ref()
                    .map(|it| super::news::answered(it, &names))
                    .unwrap_or_default(),
                may_answer: may_answer(entry.role, settings.as_ref(), involved),
                root_length: u32::try_from(entry.path.as_os_str().len()).unwrap_or(u32::MAX),
                row: Some(found.row),
                conflict: Some(found.state),
            }
        };
        tracing::trace!(device = %account.device, count = found.len(), "conflicts.listed");
        found.into_iter().zip(seconds).map(dress).collect()
    }

    /// What the server has just told of a conflict, as it is shown.
    pub(crate) async fn tell(
        &self,
        root: &Arc<Root>,
        prompt: &sync::ConflictPrompt,
    ) -> Option<api::WatchPromptsResponse> {
        let state = prompt.conflict.clone()?;
        let row = prompt.row.clone().unwrap_or_default();
        let path = where_is(root, &state.entry_id, &row).await;
        let resolution = state.resolution.clone().unwrap_or_default();
        let listed = self.dress(root, vec![Found { path, row, state }]).await.pop()?;
        let chosen = resolution.chosen.map(|chosen| chosen.device_id).unwrap_or_default();
        let mut devices = vec![resolution.device_id, chosen];
        devices.retain(|id| !id.is_empty());
        devices.extend(listed.sides.iter().filter_map(|side| Some(side.author.as_ref()?.device_id.clone())));
        let names = self.names(root.id, &devices).await;
        let text = super::news::sentence(&listed, prompt.news(), &names);
        Some(api::WatchPromptsResponse {
            conflict: Some(listed),
            news: prompt.news,
            asked: prompt.asked,
            text,
            missed: false,
        })
    }
}

/// The devices that a conflict names.
fn devices(found: &Found) -> Vec<Bytes> {
    let mut all: Vec<Bytes> = found.state.candidates.iter().map(|candidate| candidate.device_id.clone()).collect();
    all.push(found.row.device_id.clone());
    if let Some(resolution) = &found.state.resolution {
        all.push(resolution.device_id.clone());
        all.extend(resolution.chosen.as_ref().map(|chosen| chosen.device_id.clone()));
    }
    all
}

/// The revision that a prompt is about.
pub(super) fn revision(prompt: &sync::ConflictPrompt) -> u64 {
    prompt.conflict.as_ref().map_or(0, |conflict| conflict.revision)
}

/// Where an entry is: as the engine knows it, else by its row, which may have come before the engine's.
pub(super) async fn where_is(root: &Root, entry: &[u8], row: &common::Row) -> RelPath {
    let Ok(id) = EntryId::from_slice(entry) else { return RelPath::root() };
    let place: Option<Place> = row.place.clone().and_then(|place| place.try_into().ok());
    let asked = root.ask(move |engine| {
        let known = engine.path_of(id);
        known.or_else(|| place.and_then(|place| Some(engine.path_of(place.parent)?.join(&place.name))))
    });
    asked.await.flatten().unwrap_or_default()
}

/// Whether a user may answer a conflict, as far as is known here.
pub(super) fn may_answer(role: Role, settings: Option<&sync::RootSettings>, involved: bool) -> bool {
    match (role, settings.map(sync::RootSettings::answerers).unwrap_or_default()) {
        (Role::Owner, _) => true,
        (Role::Reader, _) => false,
        (Role::Writer, sync::Answerers::Owners) => false,
        (Role::Writer, sync::Answerers::Involved) => involved,
        (Role::Writer, sync::Answerers::Writers | sync::Answerers::Unspecified) => true,
    }
}

fn member(root: &Root, found: &Found) -> Member {
    let newest = found.state.candidates.iter().map(|candidate| {
        let device = DeviceId::from_slice(&candidate.device_id).unwrap_or(DeviceId::from_bytes([0; 16]));
        let at = candidate.accepted_at.unwrap_or_default();
        (Mtime { seconds: at.seconds, nanos: u32::try_from(at.nanos).unwrap_or(0) }, device)
    });
    let (at, device) = newest.max().unwrap_or((Mtime::default(), DeviceId::from_bytes([0; 16])));
    Member { root: root.id, path: found.path.as_bytes().to_vec(), newest: (device, at) }
}

/// For each candidate a free name beside the entry's; empty for a delete. The first one of an entry that was deleted
/// takes its place.
async fn second_names(root: &Root, found: &[Found], names: &Names) -> Vec<Vec<Bytes>> {
    let wanted: Vec<(Option<Place>, bool, Vec<Option<String>>)> = found
        .iter()
        .map(|found| {
            let mark = |candidate: &sync::Candidate| {
                candidate.value.is_some().then(|| format!("from {}", names.label(&candidate.device_id)))
            };
            let place = found.row.place.clone().and_then(|place| place.try_into().ok());
            (place, found.row.tombstone, found.state.candidates.iter().map(mark).collect())
        })
        .collect();
    let none: Vec<Vec<Bytes>> = wanted.iter().map(|(_, _, marks)| vec![Bytes::new(); marks.len()]).collect();
    let asked = root.ask(move |engine| {
        let mut all = Vec::with_capacity(wanted.len());
        for (place, dead, marks) in wanted {
            let mut given: Vec<Name> = Vec::new();
            let mut vacant = dead;
            let names = marks.into_iter().map(|mark| {
                let (Some(place), Some(mark)) = (&place, mark) else { return Bytes::new() };
                if std::mem::take(&mut vacant) {
                    return place.name.to_bytes();
                }
                let mut tried = (1..=NUMBERS).map(|number| beside(&place.name, &mark, number));
                let free = tried.find(|name| {
                    let there = Place { parent: place.parent, name: name.clone() };
                    !given.contains(name) && !engine.taken(&there)
                });
                given.extend(free.clone());
                free.map_or_else(Bytes::new, |name| name.to_bytes())
            });
            let names: Vec<Bytes> = names.collect();
            all.push(names);
        }
        all
    });
    asked.await.unwrap_or(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_answer_is_told_by_role_settings_and_part() {
        let settings =
            |answerers: sync::Answerers| Some(sync::RootSettings { answerers: answerers as i32, ..Default::default() });
        for (role, answerers, involved, may) in [
            (Role::Reader, sync::Answerers::Writers, true, false),
            (Role::Writer, sync::Answerers::Writers, false, true),
            (Role::Writer, sync::Answerers::Involved, false, false),
            (Role::Writer, sync::Answerers::Involved, true, true),
            (Role::Writer, sync::Answerers::Owners, true, false),
            (Role::Owner, sync::Answerers::Owners, false, true),
        ] {
            assert_eq!(may_answer(role, settings(answerers).as_ref(), involved), may, "{role} {answerers:?}");
        }
        assert!(may_answer(Role::Writer, None, false), "the usual settings, where they are not known");
    }
}
