//! How deep a place lies.

use quics_types::{EntryId, limits};

use crate::View;

/// What is found on the way up from a directory.
pub(crate) enum Depth {
    Fine,
    /// There is no live directory.
    Gone,
    /// What is to lie there is above it.
    Cycle,
    TooDeep,
}

/// Walks up from `parent`: whether it is a live directory, how deep it lies, and whether `below` is above it.
pub(crate) fn depth_below<V: View>(view: &V, parent: EntryId, below: Option<EntryId>) -> Result<Depth, V::Error> {
    let mut at = parent;
    for step in 0..limits::DEPTH {
        if at == EntryId::TOP {
            return Ok(Depth::Fine);
        }
        match view.row(at)? {
            Some(row) if row.is_live_directory() => {
                if Some(at) == below {
                    return Ok(Depth::Cycle);
                }
                at = row.place.parent;
            }
            Some(_) if step > 0 && Some(at) == below => return Ok(Depth::Cycle),
            _ => return Ok(Depth::Gone),
        }
    }
    Ok(Depth::TooDeep)
}
