//! What keeps contents alive: every content that a pinned link shows or may still be fetched by.
//!
//! sync-svc reclaims what nobody names, so a name that is left out here is a content that is lost. Rows that are durable are
//! read, all of them; whatever cannot be read ends the stream without its end, and then nothing is reclaimed.

use quics_types::{Digest, RootId};

use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Member, Shows};
use crate::service::Service;
use crate::store::{self, each};

/// Contents of one message.
const CONTENTS: usize = 4096;

/// Tells the contents of a root's links, in messages, and how many they were; `None` if `tell` wants no more.
///
/// # Errors
/// Those of the store.
pub(crate) fn tell(
    service: &Service,
    root: RootId,
    mut tell: impl FnMut(Vec<Digest>) -> bool,
) -> Result<Option<u64>, Error> {
    let (reads, now) = (service.reads(), service.now());
    let mut links = Vec::new();
    each(reads, keys::links(root), |key, link: records::Link| {
        let (root, id) = keys::parse_link(key).ok_or_else(|| Error::damaged(key))?;
        if !matches!(link.shows, Shows::Live) && link.revoked.is_none() {
            links.push((root, id));
        }
        Ok(true)
    })?;
    let (mut waiting, mut count) = (Vec::new(), 0);
    for (root, id) in links {
        let Some(known) = store::known(reads, root, id)?.filter(|known| known.needs_its_content(now)) else { continue };
        match known.link.shows {
            Shows::Live => {}
            Shows::Frozen(frozen) => waiting.push(frozen.content),
            Shows::Tree(_) => {
                let mut wanted = true;
                each(reads, keys::members(id, b""), |_, member: Member| {
                    waiting.extend(member.value.content().map(|(content, _)| content));
                    if waiting.len() >= CONTENTS {
                        count += waiting.len() as u64;
                        wanted = tell(std::mem::take(&mut waiting));
                    }
                    Ok(wanted)
                })?;
                if !wanted {
                    return Ok(None);
                }
            }
        }
        if waiting.len() >= CONTENTS {
            count += waiting.len() as u64;
            if !tell(std::mem::take(&mut waiting)) {
                return Ok(None);
            }
        }
    }
    count += waiting.len() as u64;
    if !waiting.is_empty() && !tell(waiting) {
        return Ok(None);
    }
    Ok(Some(count))
}
