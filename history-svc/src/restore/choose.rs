//! Which entries a restore is about.

use std::collections::HashMap;

use bytes::Bytes;
use quics_reconcile::Value;
use quics_types::{EntryId, WallTime, limits};

use super::target::{self, Target};
use crate::Error;
use crate::db::keys::Point;
use crate::db::records::{Removed, Version};
use crate::globs::Globs;
use crate::intake::wall_time;
use crate::plan::{Candidate, Node};
use crate::view::{At, Paths, Sweep, View};

/// An entry that is another than it is to be.
pub(crate) struct Looked {
    pub(crate) now: Option<Node>,
    /// The paths; empty where it is not.
    pub(crate) path_now: Bytes,
    pub(crate) path_then: Bytes,
    pub(crate) value_now: Option<Value>,
    pub(crate) value_then: Option<Value>,
    /// Something was made of it before the moment and accepted after it, whatever came behind.
    pub(crate) late: bool,
    /// Why it stays as it is, whatever is planned.
    pub(crate) stays: Option<Stays>,
    /// Why its content is not kept any more, if it is to be that.
    pub(crate) removed: Option<Removed>,
}

/// Why an entry stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Its content is not kept any more.
    Lost,
    /// It has changed since what is undone.
    Changed,
}

/// What was chosen.
pub(super) struct Chosen {
    pub(super) candidates: Vec<Candidate>,
    pub(super) looked: HashMap<EntryId, Looked>,
    pub(super) unchanged: u64,
}

/// Looks at everything that has changed since, and takes what lies in the subject and fits a pattern.
pub(super) fn choose(view: View<'_>, target: &Target, from: Point, only: &[String]) -> Result<Chosen, Error> {
    let only = (!only.is_empty()).then(|| Globs::new(only.iter().map(String::as_str))).transpose()?;
    let then_point = match target {
        Target::Point { point, .. } => *point,
        Target::Version(at) => at.point,
        Target::Undo(_) => from,
    };
    let mut scope = match target {
        Target::Point { of, point, .. } if *of != EntryId::TOP => {
            Some((Below::new(*of, from), Below::new(*of, *point)))
        }
        _ => None,
    };
    let (mut now_paths, mut then_paths) = (Paths::new(view, from), Paths::new(view, then_point));
    let mut chosen = Chosen { candidates: Vec::new(), looked: HashMap::new(), unchanged: 0 };
    let entries = target.entries(view, from)?;
    let versions = view.state()?.map_or(0, |state| state.versions);
    let dense = matches!(target, Target::Point { .. }) && versions <= entries.len() as u64 * Sweep::DENSE;
    let mut sweep = dense.then(|| Sweep::new(view));
    for id in entries {
        let [now, then] = match &mut sweep {
            Some(sweep) => sweep.both(id, from, then_point)?,
            None => target.both(view, id, from)?,
        };
        let (node_now, node_then) = (target::node(now.as_ref()), target::node(then.as_ref()));
        if node_now.is_none() && node_then.is_none() {
            continue;
        }
        if let Some((below_now, below_then)) = &mut scope {
            let is_in =
                below_now.holds(view, id, node_now.as_ref())? || below_then.holds(view, id, node_then.as_ref())?;
            if !is_in {
                continue;
            }
        }
        let differs = differs(now.as_ref(), then.as_ref());
        if !differs && node_now == node_then {
            chosen.unchanged += 1;
            continue;
        }
        let path = |paths: &mut Paths<'_>, node: &Option<Node>| match node {
            Some(node) => paths.of(&node.place),
            None => Ok(Bytes::new()),
        };
        let (path_now, path_then) = (path(&mut now_paths, &node_now)?, path(&mut then_paths, &node_then)?);
        let fits = |node: &Option<Node>, path: &Bytes| {
            node.as_ref().is_some_and(|node| only.as_ref().is_none_or(|only| only.matches(path, node.directory)))
        };
        if !fits(&node_now, &path_now) && !fits(&node_then, &path_then) {
            continue;
        }
        let lost = then.as_ref().is_some_and(|then| then.is_live() && then.version.removed.is_some());
        let changes_content = value(now.as_ref()) != value(then.as_ref());
        let stays = match () {
            () if lost && changes_content => Some(Stays::Lost),
            () if target.has_changed(id, now.as_ref()) => Some(Stays::Changed),
            () => None,
        };
        let late = match (target.moment_of(), &now) {
            (Some(moment), Some(now)) => is_late(view, (now, then.as_ref()), (then_point, from), moment)?,
            _ => false,
        };
        if stays.is_none() {
            chosen.candidates.push(Candidate { id, now: node_now.clone(), then: node_then, differs });
        }
        let (value_now, value_then) = (value(now.as_ref()).cloned(), value(then.as_ref()).cloned());
        let removed = then.filter(|_| stays == Some(Stays::Lost)).and_then(|then| then.version.removed);
        let looked = Looked { now: node_now, path_now, path_then, value_now, value_then, late, stays, removed };
        chosen.looked.insert(id, looked);
    }
    Ok(chosen)
}

/// Whether one of the changes behind a moment was made before it, by its device's clock.
fn is_late(
    view: View<'_>,
    (now, then): (&At, Option<&At>),
    (then_point, from): (Point, Point),
    moment: WallTime,
) -> Result<bool, Error> {
    let is_one = |version: &Version| version.changed_at.map(wall_time).is_some_and(|made| made <= moment);
    let before = then.map_or(0, |then| then.row().time.0);
    if is_one(&now.version) || now.row().time.0 == before + 1 {
        // With one change since, there is nothing between.
        return Ok(is_one(&now.version));
    }
    view.any_between(now.row().id, (then_point, from), is_one)
}

fn value(at: Option<&At>) -> Option<&Value> {
    at.filter(|at| at.is_live()).map(|at| &at.row().value)
}

/// Whether content, permissions or attributes are others. A directory has no time of its own that anybody sees.
fn differs(now: Option<&At>, then: Option<&At>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) if now.is_live() && then.is_live() => {
            let (now, then) = (now.row(), then.row());
            let mtime = then.value.content().is_some() && now.mtime != then.mtime;
            mtime || now.value != then.value || now.mode != then.mode || now.attributes != then.attributes
        }
        _ => false,
    }
}

/// Tells what lies below an entry at a point, the entry included.
struct Below {
    of: EntryId,
    point: Point,
    known: HashMap<EntryId, bool>,
}

/// Directories that are remembered.
const KNOWN: usize = 262_144;

impl Below {
    fn new(of: EntryId, point: Point) -> Self {
        Self { of, point, known: HashMap::from([(of, true), (EntryId::TOP, false)]) }
    }

    fn holds(&mut self, view: View<'_>, id: EntryId, node: Option<&Node>) -> Result<bool, Error> {
        let Some(node) = node else { return Ok(false) };
        if id == self.of {
            return Ok(true);
        }
        let (mut above, mut asked) = (node.place.parent, Vec::new());
        let holds = loop {
            if let Some(known) = self.known.get(&above) {
                break *known;
            }
            if asked.len() > limits::DEPTH {
                break false;
            }
            asked.push(above);
            match view.at(above, self.point)? {
                Some(at) => above = at.row().place.parent,
                None => break false,
            }
        };
        if self.known.len() >= KNOWN {
            self.known.retain(|id, _| *id == self.of || *id == EntryId::TOP);
        }
        self.known.extend(asked.into_iter().map(|id| (id, holds)));
        Ok(holds)
    }
}
