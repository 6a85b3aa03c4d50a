//! Lists for those who own links: what there is, and what was fetched.

use quics_kit::caller::Caller;
use quics_proto::share::v1 as share;
use quics_types::{DeviceId, Role, RootId};

use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Download};
use crate::desk::Link;
use crate::grpc::encode;
use crate::service::Service;
use crate::store::{self, Known, State, each};

/// Links of a page, at most, and where it is not said.
const LINKS: u32 = 256;
/// Lines of a page, at most, and where it is not said.
const LINES: u32 = 1000;
const USUAL_LINES: u32 = 100;

/// Whether a device's user may see a link: it is that user's, or the root is.
pub(crate) fn may_see(service: &Service, device: DeviceId, known: &Known) -> bool {
    let guard = service.guard(Caller::Device(device));
    let role = guard.role(known.root);
    role.as_ref().is_ok_and(|role| *role == Role::Owner || guard.is_involved(&[known.link.device]))
}

/// A page of links, the newest first. All of them are looked at: there are few beside everything else.
pub(crate) fn links(
    service: &Service,
    device: DeviceId,
    request: &share::ListLinksRequest,
) -> Result<share::ListLinksResponse, Error> {
    let (reads, now) = (service.reads(), service.now());
    let range = match RootId::from_slice(&request.root_id) {
        Ok(root) => keys::links(root),
        Err(_) => keys::all(b'l'),
    };
    let mut found = Vec::new();
    let mut may_own = std::collections::HashMap::<RootId, bool>::new();
    each(reads, range, |key, link: records::Link| {
        let (root, id) = keys::parse_link(key).ok_or_else(|| Error::damaged(key))?;
        let guard = service.guard(Caller::Device(device));
        let owns = *may_own.entry(root).or_insert_with(|| guard.owner(root).is_ok());
        let mine = || guard.role(root).is_ok() && guard.is_involved(&[link.device]);
        if owns || mine() {
            found.push((link.created, id, root));
        }
        Ok(true)
    })?;
    found.sort_unstable_by_key(|(created, id, _)| (std::cmp::Reverse(*created), id.0));
    let size = if request.page_size == 0 { LINKS } else { request.page_size.min(LINKS) } as usize;
    let skipped = encode::page(&request.page_token)?;
    let behind = |created: &quics_types::WallTime, id: &Link| [&created.0.to_be_bytes()[..], &id.0].concat();
    let mut rest = found.into_iter().peekable();
    if let Some(last) = &skipped {
        while rest.peek().is_some_and(|(created, id, _)| behind(created, id) != *last) {
            rest.next();
        }
        rest.next();
    }
    let (mut links, mut next_page_token) = (Vec::new(), String::new());
    for (created, id, root) in rest {
        let Some(known) = store::known(reads, root, id)? else { continue };
        if !request.ended && !matches!(known.state(now), State::Open | State::Making) {
            continue;
        }
        links.push(encode::message(&known, now));
        if links.len() == size {
            next_page_token = encode::page_behind(&behind(&created, &id));
            break;
        }
    }
    Ok(share::ListLinksResponse { links, next_page_token, url_base: service.url_base.clone() })
}

/// A page of a link's log, the newest first.
pub(crate) fn downloads(
    service: &Service,
    id: Link,
    request: &share::ListDownloadsRequest,
) -> Result<share::ListDownloadsResponse, Error> {
    let size = if request.page_size == 0 { USUAL_LINES } else { request.page_size.min(LINES) } as usize;
    let (from, end) = keys::downloads(id);
    let to = match encode::page(&request.page_token)?.map(<[u8; 8]>::try_from) {
        None => end,
        Some(Ok(number)) => keys::download(id, u64::from_be_bytes(number)),
        Some(Err(_)) => return Err(Error::Asked("the page token is none of this list".to_owned())),
    };
    let rows = service.reads().range_back(&from, &to, size)?;
    let last = rows.last().filter(|_| rows.len() == size).and_then(|(key, _)| keys::parse_download(key));
    let next_page_token = last.map(|number| encode::page_behind(&number.to_be_bytes())).unwrap_or_default();
    let line = |(key, stored): (bytes::Bytes, quics_records::Stored)| {
        Ok(encode::download(quics_records::decode::<Download>(&key, stored)?.record))
    };
    let downloads = rows.into_iter().map(line).collect::<Result<_, Error>>()?;
    Ok(share::ListDownloadsResponse { downloads, next_page_token })
}
