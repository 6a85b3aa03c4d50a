//! Restores: what would change, and having sync-svc do it.
//!
//! A restore is planned from the versions up to its preview's cursor and no later ones, so that what is done is what was
//! shown. Its changes carry the logical times that they were planned from: sync-svc leaves out what has changed since.

pub(crate) mod apply;
mod choose;
pub(crate) mod preview;
mod target;

use std::collections::HashMap;

use quics_proto::history::v1 as history;
use quics_types::{EntryId, WallTime};

use crate::Error;
use crate::db::keys::Point;
use crate::encode;
use crate::plan::{self, Plan};
use crate::view::View;

pub(crate) use choose::Looked;
use target::Target;

/// A restore, planned.
pub(crate) struct Planned<'a> {
    pub(crate) view: View<'a>,
    /// From here it was planned.
    pub(crate) from: Point,
    target: Target,
    keep_new: bool,
    /// What was looked at and differs, by the entries.
    pub(crate) looked: HashMap<EntryId, Looked>,
    pub(crate) unchanged: u64,
    pub(crate) plan: Plan,
}

/// Plans a restore from the newest point, or from the one of its preview.
///
/// # Errors
/// One sentence where it cannot be.
pub(crate) fn plan(
    view: View<'_>,
    request: history::RestorePlan,
    from: Option<u64>,
    now: WallTime,
) -> Result<Planned<'_>, Error> {
    let Some(state) = view.state()? else { return Err(Error::Nothing("nothing is known of this root yet".into())) };
    let from = match from {
        None => state.point,
        Some(seq) if seq <= state.point.seq => Point { seq, ..state.point },
        Some(_) => return Err(Error::Outdated),
    };
    let what = request.what.ok_or(Error::Asked("what is to be restored is missing"))?;
    let target = match what {
        history::restore_plan::What::To(to) => {
            let subject = encode::subject_or_root(to.subject)?;
            let moment = encode::moment(to.moment)?.ok_or(Error::Asked("say to which moment"))?;
            Target::moment(view, &subject, moment, from, now)?
        }
        history::restore_plan::What::UndoGroupId(id) => Target::undo(view, encode::group(&id)?, from)?,
        history::restore_plan::What::Burst(history::Burst { device_id, since_seq }) => {
            Target::burst(view, encode::device(&device_id)?, since_seq, from)?
        }
    };
    let chosen = choose::choose(view, &target, from, &request.only)?;
    let mut tree = target::Between { view, from, target: &target, known: &chosen.looked };
    let plan = plan::plan(chosen.candidates, &mut tree, request.keep_new)?;
    let (looked, unchanged) = (chosen.looked, chosen.unchanged);
    Ok(Planned { view, from, target, keep_new: request.keep_new, looked, unchanged, plan })
}
