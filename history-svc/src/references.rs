//! What keeps contents alive: every version that still has one.
//!
//! sync-svc reclaims what nobody names, so a name that is left out here is a content that is lost. Rows that are durable are
//! read, all of them; whatever cannot be read ends the stream without its end, and then nothing is reclaimed.

use quics_proto::sync::v1 as sync;
use quics_records::{Reads, decode};
use quics_types::{Digest, RootId};

use crate::db::keys;
use crate::db::records::Version;
use crate::service::Service;
use crate::{Error, store};

/// Versions of one look at the store.
const STEP: usize = 1024;
/// Contents of one message.
const CONTENTS: usize = 4096;

/// What was told when all was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) count: u64,
    /// Epoch and number of the last event that is applied.
    pub(crate) position: Option<(u64, u64)>,
}

/// Tells the contents of a root's versions, in messages; `None` if `tell` wants no more.
///
/// # Errors
/// [`Error::Behind`]: not everything up to `at_least` is applied, or the root is to be compared with sync-svc's. Those of the
/// store.
pub(crate) fn tell(
    service: &Service,
    root: RootId,
    at_least: Option<u64>,
    mut tell: impl FnMut(Vec<Digest>) -> bool,
) -> Result<Option<Told>, Error> {
    let reads = Reads::durable(&*service.meta);
    let position = store::durable(&*service.meta)?.position;
    let applied = position.map_or(0, |(_, number)| number);
    if at_least.is_some_and(|least| applied < least) || reads.raw(&keys::repair(root))?.is_some() {
        return Err(Error::Behind);
    }
    let (mut from, to) = keys::all(b'v', root);
    let (mut waiting, mut count) = (Vec::new(), 0);
    loop {
        let page = reads.range(&from, &to, STEP)?;
        let Some((last, _)) = page.last() else { break };
        from = keys::behind(last);
        for (key, stored) in page {
            let version = decode::<Version>(&key, stored)?.record;
            let content = version.row.value.content().filter(|_| !version.row.dead && version.removed.is_none());
            let Some((content, _)) = content else { continue };
            // The versions of an entry stand together: one that was renamed has its content again.
            if waiting.last() != Some(&content) {
                waiting.push(content);
            }
        }
        while waiting.len() >= CONTENTS {
            let rest = waiting.split_off(CONTENTS);
            let full = std::mem::replace(&mut waiting, rest);
            count += full.len() as u64;
            if !tell(full) {
                return Ok(None);
            }
        }
    }
    count += waiting.len() as u64;
    if !waiting.is_empty() && !tell(waiting) {
        return Ok(None);
    }
    Ok(Some(Told { count, position }))
}

/// A message of contents.
pub(crate) fn contents(digests: &[Digest]) -> sync::ReferencesResponse {
    let content_ids = digests.iter().map(|digest| bytes::Bytes::copy_from_slice(digest.as_bytes())).collect();
    let contents = sync::ReferencedContents { content_ids };
    sync::ReferencesResponse { message: Some(sync::references_response::Message::Contents(contents)) }
}

/// The last message.
pub(crate) fn finish(told: Told) -> sync::ReferencesResponse {
    let position = told.position.map(|(epoch, number)| sync::EventPosition { epoch, number });
    let finish = sync::ReferencesFinish { count: told.count, position };
    sync::ReferencesResponse { message: Some(sync::references_response::Message::Finish(finish)) }
}
