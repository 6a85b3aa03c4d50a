//! What a restore would change, by path.

use std::collections::HashMap;

use bytes::Bytes;
use quics_proto::history::v1 as history;
use quics_types::{Cursor, EntryId, Name, Place, limits};

use super::{Looked, Planned, choose};
use crate::Error;
use crate::encode;
use crate::plan::Item;
use crate::view::Paths;

/// Changes of one message, at most, and about how many bytes.
const CHANGES: usize = 1024;
const BYTES: usize = 512 << 10;

/// Tells the changes in order of their paths, then the summary; `out` says whether somebody still listens.
pub(crate) fn tell(
    planned: &Planned<'_>,
    mut out: impl FnMut(Vec<history::RestoreChange>) -> bool,
) -> Result<Option<history::RestoreSummary>, Error> {
    let (mut changes, mut summary) = changes(planned)?;
    changes.sort_by(|a, b| path(a).cmp(path(b)));
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for change in changes {
        count(&mut summary, &change);
        bytes += 128 + change.path_now.len() + change.path_then.len();
        batch.push(change);
        if batch.len() >= CHANGES || bytes >= BYTES {
            bytes = 0;
            if !out(std::mem::take(&mut batch)) {
                return Ok(None);
            }
        }
    }
    if !batch.is_empty() && !out(batch) {
        return Ok(None);
    }
    Ok(Some(summary))
}

fn path(change: &history::RestoreChange) -> &Bytes {
    if change.path_then.is_empty() { &change.path_now } else { &change.path_then }
}

fn changes(planned: &Planned<'_>) -> Result<(Vec<history::RestoreChange>, history::RestoreSummary), Error> {
    let view = planned.view;
    let to_seq = planned.to_seq();
    let epoch = view.state()?.map_or(quics_types::Epoch(0), |state| state.epoch);
    let from = Some(Cursor { epoch, seq: planned.from.seq }.into());
    let mut summary =
        history::RestoreSummary { unchanged: planned.unchanged, from, to_seq, ..history::RestoreSummary::default() };
    let mut changes = Vec::new();
    let mut told = std::collections::HashSet::new();
    let mut landing = Landing::new(planned);
    for item in &planned.plan.items {
        told.insert(item.id);
        let mut change = match planned.looked.get(&item.id) {
            Some(looked) => message(item.id, looked, kind(item)),
            None => planned.pulled(item)?,
        };
        if let (Some(then), None) = (&item.then, item.stays) {
            change.path_then = landing.of(&then.place)?;
        }
        changes.push(change);
    }
    for (id, looked) in &planned.looked {
        if let Some(stays) = looked.stays {
            changes.push(message(
                *id,
                looked,
                match stays {
                    choose::Stays::Lost => history::RestoreKind::Lost,
                    choose::Stays::Changed => history::RestoreKind::Stays,
                },
            ));
        } else if !told.contains(id) {
            // With what is new kept.
            summary.unchanged += 1;
        }
    }
    Ok((changes, summary))
}

fn kind(item: &Item) -> history::RestoreKind {
    match (&item.now, &item.then) {
        _ if item.stays.is_some() => history::RestoreKind::Stays,
        (None, _) => history::RestoreKind::Create,
        (_, None) => history::RestoreKind::Delete,
        (Some(now), Some(then)) if now.place != then.place => history::RestoreKind::Move,
        (Some(_), Some(_)) => history::RestoreKind::Change,
    }
}

fn message(id: EntryId, looked: &Looked, kind: history::RestoreKind) -> history::RestoreChange {
    history::RestoreChange {
        entry_id: Bytes::copy_from_slice(id.as_bytes()),
        kind: kind as i32,
        path_now: looked.path_now.clone(),
        path_then: looked.path_then.clone(),
        now: looked.value_now.as_ref().map(Into::into),
        then: looked.value_then.as_ref().map(Into::into),
        late: looked.late,
        removed: looked.removed.as_ref().map(encode::removed),
    }
}

fn count(summary: &mut history::RestoreSummary, change: &history::RestoreChange) {
    use history::RestoreKind as Kind;
    match change.kind() {
        Kind::Create => summary.created += 1,
        Kind::Change => summary.changed += 1,
        Kind::Move => summary.moved += 1,
        Kind::Delete => summary.deleted += 1,
        Kind::Lost => summary.lost += 1,
        Kind::Stays => summary.stays += 1,
        Kind::Unspecified => {}
    }
    summary.late += u64::from(change.late);
    let comes = matches!(change.kind(), Kind::Create | Kind::Change | Kind::Move) && change.now != change.then;
    let size = change
        .then
        .clone()
        .and_then(|value| quics_reconcile::Value::try_from(value).ok())
        .and_then(|value| value.content());
    if comes {
        summary.bytes += size.map_or(0, |(_, size)| size);
    }
}

/// Finds where things will be: a directory that the restore leaves alone is where it is now, whatever it was called then.
struct Landing<'a> {
    planned: &'a Planned<'a>,
    places: HashMap<EntryId, &'a Place>,
    known: HashMap<EntryId, Bytes>,
}

impl<'a> Landing<'a> {
    fn new(planned: &'a Planned<'a>) -> Self {
        let placed = planned.plan.items.iter().filter(|item| item.stays.is_none());
        let places = placed.filter_map(|item| Some((item.id, &item.then.as_ref()?.place))).collect();
        Self { planned, places, known: HashMap::from([(EntryId::TOP, Bytes::new())]) }
    }

    /// The path of a place.
    fn of(&mut self, place: &Place) -> Result<Bytes, Error> {
        let (mut above, mut parent) = (Vec::new(), place.parent);
        while !self.known.contains_key(&parent) && above.len() < limits::DEPTH {
            let at = match self.places.get(&parent) {
                Some(at) => (*at).clone(),
                None => match self.planned.view.at(parent, self.planned.from)? {
                    Some(at) => at.version.row.place,
                    None => break,
                },
            };
            above.push((parent, at.name));
            parent = at.parent;
        }
        let mut path = self.known.get(&parent).cloned().unwrap_or_default();
        for (directory, name) in above.into_iter().rev() {
            path = below(&path, &name);
            self.known.insert(directory, path.clone());
        }
        Ok(below(&path, &place.name))
    }
}

fn below(directory: &Bytes, name: &Name) -> Bytes {
    if directory.is_empty() {
        return Bytes::copy_from_slice(name.as_bytes());
    }
    [directory.as_ref(), b"/", name.as_bytes()].concat().into()
}

impl Planned<'_> {
    /// The commit that it goes back to.
    fn to_seq(&self) -> u64 {
        match &self.target {
            super::Target::Point { point, .. } => point.seq,
            super::Target::Version(at) => at.point.seq,
            super::Target::Undo(_) => 0,
        }
    }

    /// Something that changes because others do.
    fn pulled(&self, item: &Item) -> Result<history::RestoreChange, Error> {
        let now = self.view.at(item.id, self.from)?.filter(|at| at.is_live());
        let then = self.target.then(self.view, item.id, self.from)?.filter(|at| at.is_live());
        let mut paths = Paths::new(self.view, self.from);
        let path_now = now.as_ref().map(|at| paths.of(&at.row().place)).transpose()?.unwrap_or_default();
        let path_then = match &then {
            Some(at) => Paths::new(self.view, at.point.max(self.target_point())).of(&at.row().place)?,
            None => Bytes::new(),
        };
        let looked = Looked {
            now: item.now.clone(),
            path_now,
            path_then,
            value_now: now.map(|at| at.version.row.value),
            value_then: then.filter(|_| item.then.is_some()).map(|at| at.version.row.value),
            late: false,
            removed: None,
            stays: None,
        };
        Ok(message(item.id, &looked, kind(item)))
    }

    fn target_point(&self) -> crate::db::keys::Point {
        match &self.target {
            super::Target::Point { point, .. } => *point,
            super::Target::Version(at) => at.point,
            super::Target::Undo(_) => self.from,
        }
    }
}
