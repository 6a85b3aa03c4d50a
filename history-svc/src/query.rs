//! What can be asked of a root's history.

pub(crate) mod restores;
pub(crate) mod tree;
pub(crate) mod versions;

use quics_types::{EntryId, WallTime};

use crate::Error;
use crate::db::keys::Point;
use crate::encode::{Moment, Subject};
use crate::view::{At, View};

/// Finds the point that a moment is. A version's is none of a root.
///
/// # Errors
/// One sentence where the root was not made yet, or where the moment is still to come.
pub(crate) fn point(view: View<'_>, moment: Option<Moment>, now: WallTime) -> Result<Point, Error> {
    let Some(state) = view.state()? else { return Err(Error::Nothing("nothing is known of this root yet".into())) };
    match moment {
        None => Ok(state.point),
        Some(Moment::Version { .. }) => Err(Error::Asked("a version is a moment of one entry; say a time or a commit")),
        Some(Moment::Seq(seq)) if seq > state.point.seq => Err(Error::Nothing(format!(
            "commit {seq} is not known (yet): history reaches up to commit {} now",
            state.point.seq
        ))),
        Some(Moment::Seq(seq)) => Ok(Point { seq, ..state.point }),
        Some(Moment::Time(time)) if time > now => Err(Error::Asked("that time is still to come")),
        Some(Moment::Time(time)) => {
            let found = view.point_at(time)?;
            found.ok_or_else(|| Error::Nothing("the root was empty then: its history begins later".into()))
        }
    }
}

/// The entry that is asked for, as it was at a point.
///
/// By a path it is the one that was there then, alive; else the one that is there now and was elsewhere then; else the one
/// that was there last.
///
/// # Errors
/// Nothing ever had this path.
pub(crate) fn entry(view: View<'_>, subject: &Subject, point: Point) -> Result<EntryId, Error> {
    let path = match subject {
        Subject::Entry(entry) => return Ok(*entry),
        Subject::Path(path) => path,
    };
    if let Some(then) = view.find(path, point)? {
        return Ok(then);
    }
    let newest = view.newest_point()?;
    if let Some(now) = view.find(path, newest)?
        && view.at(now, point)?.is_some_and(|at| at.is_live())
    {
        return Ok(now);
    }
    if let Some(last) = view.find_last(path, point)? {
        return Ok(last);
    }
    match view.find_last(path, newest)? {
        Some(later) => Ok(later),
        None => Err(Error::Nothing("nothing ever had this path".into())),
    }
}

/// The version of a subject at a moment.
///
/// # Errors
/// One sentence says why there was none.
pub(crate) fn version(view: View<'_>, subject: &Subject, moment: Option<Moment>, now: WallTime) -> Result<At, Error> {
    let newest = view.newest_point()?;
    if let Some(Moment::Version { time, side }) = moment {
        let entry = entry(view, subject, newest)?;
        if entry == EntryId::TOP {
            return Err(Error::Asked("the root itself has no versions; say a time or a commit (#1200)"));
        }
        let latest = view.at(entry, newest)?.ok_or_else(|| Error::Nothing("nothing is known of this entry".into()))?;
        let found = with_time(view, entry, time, side)?;
        return found.ok_or_else(|| {
            Error::Nothing(match side {
                0 if time > latest.row().time.0 => {
                    format!("version {time} is not there yet: the newest is {}", latest.row().time.0)
                }
                0 => format!("version {time} is missing: history never heard of it"),
                _ => format!("version {time} has no side {side}"),
            })
        });
    }
    let point = point(view, moment, now)?;
    let entry = entry(view, subject, point)?;
    if entry == EntryId::TOP {
        return Err(Error::Asked("the root itself has no versions; name something in it"));
    }
    match view.at(entry, point)? {
        Some(at) if at.is_live() => Ok(at),
        Some(at) if moment.is_none() => Err(Error::Nothing(format!(
            "it is deleted; its last version before that is {}",
            at.row().time.0.saturating_sub(1)
        ))),
        Some(at) => Err(Error::Nothing(format!(
            "it was deleted then; its last version before that is {}",
            at.row().time.0.saturating_sub(1)
        ))),
        None => Err(Error::Nothing("it was not there yet then".into())),
    }
}

/// A version by its logical time and side.
fn with_time(view: View<'_>, entry: EntryId, time: u64, side: u32) -> Result<Option<At>, Error> {
    let Some(accepted) = view.with_time(entry, time)? else { return Ok(None) };
    if side == 0 {
        return Ok(Some(accepted));
    }
    // The sides stand behind it, up to the next version that was accepted.
    let mut from = (accepted.point, 1);
    loop {
        let page = view.versions_from(entry, from, crate::view::PAGE)?;
        let Some(last) = page.last() else { return Ok(None) };
        from = (last.point, last.side.saturating_add(1));
        for at in page {
            match at.side {
                0 => return Ok(None),
                number if number == side && at.row().time.0 == time => return Ok(Some(at)),
                _ => {}
            }
        }
    }
}
