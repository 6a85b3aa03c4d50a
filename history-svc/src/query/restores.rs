//! The restores of a root, the newest first, in pages.

use std::collections::HashSet;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::RestoreState;
use quics_types::GroupId;

use crate::Error;
use crate::db::keys;
use crate::encode;
use crate::view::View;

/// Restores of a page, at most, and where it is not said.
const MOST: u32 = 256;

/// Answers a question for restores; of these it is not known yet that they are over.
pub(crate) fn list(
    view: View<'_>,
    request: &history::ListRestoresRequest,
    under_way: &HashSet<GroupId>,
) -> Result<history::ListRestoresResponse, Error> {
    let size = if request.page_size == 0 { MOST } else { request.page_size.min(MOST) } as usize;
    let (from, end) = keys::all(b'h', view.root);
    let to = if request.page_token.is_empty() {
        end
    } else {
        let rest = HEXLOWER.decode(request.page_token.as_bytes()).ok();
        let key = rest.map(|rest| [&from[..], &rest[..]].concat()).filter(|key| keys::parse_group_order(key).is_some());
        key.ok_or(Error::Asked("the page token is none of this list"))?.into()
    };
    let rows = view.reads.raw_range_back(&from, &to, size)?;
    let next = rows.last().filter(|_| rows.len() == size);
    let next_page_token = next.map(|(key, _)| HEXLOWER.encode(&key[from.len()..])).unwrap_or_default();
    let mut restores = Vec::new();
    for (key, _) in &rows {
        let id = keys::parse_group_order(key).ok_or_else(|| Error::damaged(key))?;
        let state = match () {
            () if under_way.contains(&id) => RestoreState::UnderWay,
            () if view.reads.raw(&keys::withdrawn(view.root, id))?.is_some() => RestoreState::Withdrawn,
            () => RestoreState::Finished,
        };
        let group = view.group(id)?.ok_or_else(|| Error::damaged(key))?.record;
        restores.push(history::ListedRestore {
            group_id: Bytes::copy_from_slice(id.as_bytes()),
            device_id: Bytes::copy_from_slice(group.device.as_bytes()),
            device_name: group.device_name,
            at: encode::stamp(group.at),
            changes: group.changes,
            state: state as i32,
        });
    }
    Ok(history::ListRestoresResponse { restores, next_page_token })
}
