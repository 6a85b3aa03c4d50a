//! Who may do what: as all services know it, and which roots a follower has lost.

pub use quics_kit::access::Access;
pub(crate) use quics_kit::access::Guard;
use quics_kit::caller::Caller;
use quics_kit::members::{Change, Denied};
use quics_types::RootId;
use tokio::sync::broadcast;

use crate::Error;

/// The roots, of those that the caller follows, that are not its to see any more after a change of members, each with why.
///
/// # Errors
/// [`Denied::Revoked`]: the caller itself was revoked. [`Error::Draining`]: there is nothing to follow any more.
pub(crate) fn lost(
    guard: Guard<'_>,
    changed: Result<Change, broadcast::error::RecvError>,
    roots: impl Iterator<Item = RootId>,
) -> Result<Vec<(RootId, Error)>, Error> {
    let only = match changed {
        Ok(Change::Membership { root, .. }) => Some(root),
        Ok(Change::Device { device, revoked: true }) if guard.caller == Caller::Device(device) => {
            return Err(Denied::Revoked.into());
        }
        Ok(Change::Device { .. } | Change::Attachment { .. }) => return Ok(Vec::new()),
        Err(broadcast::error::RecvError::Closed) => return Err(Error::Draining),
        _ => None,
    };
    let concerned = roots.filter(|root| only.is_none_or(|only| only == *root));
    Ok(concerned.filter_map(|root| Some((root, guard.role(root).err()?.into()))).collect())
}
