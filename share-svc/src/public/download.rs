//! What is fetched: a file, or part of it, or a folder as one archive.
//!
//! The first bytes are there before anything is promised; what goes wrong later breaks the body off (`flow`).

use axum::body::Body;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};
use quics_types::Name;

use super::conditions::{self, Wanted};
use super::names::{disposition, media};
use super::{Public, answer, flow, page, zip};
use crate::desk::{Begun, Desk, End, Ended, Fetch, File, Item, ItemKind, Key, Opened, Refusal, Visitor};

/// Who takes no more than so many bytes of a longer file has looked at it, and not downloaded it.
const LOOKED: u64 = 64 << 10;

/// What is begun, or was.
pub(super) fn of(what: Fetch, path: &[Name]) -> Begun {
    let names: Vec<&[u8]> = path.iter().map(Name::as_bytes).collect();
    Begun { what, path: names.join(&b"/"[..]).into() }
}

impl<D: Desk> Public<D> {
    /// What is fetched, or begun by a grant.
    ///
    /// # Errors
    /// Why nobody gets it; nothing has been said yet.
    pub(super) async fn fetched(
        &self,
        visitor: Visitor,
        key: &Key,
        what: Fetch,
        path: &[Name],
        headers: &HeaderMap,
        head: bool,
    ) -> Result<Response, Refusal> {
        let opened = self.desk.open(key, visitor).await?;
        match &opened.begun {
            None if opened.left.is_some() => return Err(Refusal::NotBegun),
            // What was begun is good for itself, and opens nothing else of the link.
            Some(begun) if *begun != of(what, path) => return Err(Refusal::Closed),
            _ => {}
        }
        let item = self.desk.find(&opened, path).await?;
        match (what, &item.kind) {
            (Fetch::File, ItemKind::File(file)) => {
                self.file(visitor, &opened, Some(path), &item, file, headers, head).await
            }
            (Fetch::Zip, ItemKind::Folder) => self.zip(visitor, &opened, path, &item, head).await,
            _ => Err(Refusal::Gone),
        }
    }

    /// A file's bytes, as the conditions want them. Noted as a download of `noted`, if it is one.
    ///
    /// # Errors
    /// Where the first of the bytes cannot be had: nothing has been said yet.
    #[expect(clippy::too_many_arguments, reason = "a request in its parts")]
    pub(super) async fn file(
        &self,
        visitor: Visitor,
        opened: &Opened,
        noted: Option<&[Name]>,
        item: &Item,
        file: &File,
        headers: &HeaderMap,
        head: bool,
    ) -> Result<Response, Refusal> {
        let tag = format!("\"{}\"", file.content);
        let wanted = conditions::wanted(headers, &tag, file.size);
        let (status, range) = match wanted {
            Wanted::Whole => (StatusCode::OK, 0..file.size),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Unchanged => (StatusCode::NOT_MODIFIED, 0..0),
            Wanted::Changed => (StatusCode::PRECONDITION_FAILED, 0..0),
            Wanted::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        answer::set(&mut response, ETAG, &tag);
        answer::set(&mut response, ACCEPT_RANGES, "bytes");
        if let Some(changed) = page::http_date(item.changed) {
            answer::set(&mut response, LAST_MODIFIED, &changed);
        }
        match status {
            StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED => return Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                answer::set(&mut response, CONTENT_RANGE, &format!("bytes */{}", file.size));
                return Ok(response);
            }
            _ => {}
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
            answer::set(&mut response, CONTENT_RANGE, &text);
        }
        answer::set(&mut response, CONTENT_TYPE, media(&item.name).0);
        answer::set(&mut response, CONTENT_DISPOSITION, &disposition("attachment", &item.name));
        answer::set(&mut response, CONTENT_LENGTH, &(range.end - range.start).to_string());
        if head {
            return Ok(response);
        }
        let Some(counted) = self.flows.begin(opened.link, visitor.address) else { return Ok(answer::busy()) };
        let first = range.start == 0 && (range.end == file.size || range.end > LOOKED);
        let mut pieces = Box::pin(self.desk.read(opened, file, range));
        let begun = pieces.next().await.transpose()?;
        let pieces = stream::iter(begun.map(Ok)).chain(pieces);
        let noting = noted.map(|path| self.noting(opened, path, visitor, first));
        let ended = move |bytes, end| noting.into_iter().for_each(|noting| noting(bytes, end));
        *response.body_mut() = Body::new(flow::body(opened, counted, pieces, ended));
        Ok(response)
    }

    async fn zip(
        &self,
        visitor: Visitor,
        opened: &Opened,
        path: &[Name],
        item: &Item,
        head: bool,
    ) -> Result<Response, Refusal> {
        self.desk.reach().await?;
        let length = zip::length(&*self.desk, opened, path).await?;
        let mut response = Response::new(Body::empty());
        let name = if item.name.is_empty() { b"shared" } else { &item.name[..] };
        answer::set(&mut response, CONTENT_TYPE, "application/zip");
        answer::set(&mut response, CONTENT_DISPOSITION, &disposition("attachment", &[name, b".zip"].concat()));
        if let Some(length) = length {
            answer::set(&mut response, CONTENT_LENGTH, &length.to_string());
        }
        if head {
            return Ok(response);
        }
        let Some(counted) = self.flows.begin(opened.link, visitor.address) else { return Ok(answer::busy()) };
        let pieces = zip::pieces(self.desk.clone(), opened.clone(), path.to_vec());
        *response.body_mut() = Body::new(flow::body(opened, counted, pieces, self.noting(opened, path, visitor, true)));
        Ok(response)
    }

    fn noting(
        &self,
        opened: &Opened,
        path: &[Name],
        visitor: Visitor,
        first: bool,
    ) -> impl FnOnce(u64, End) + Send + 'static {
        let (desk, opened, path) = (self.desk.clone(), opened.clone(), path.to_vec());
        move |bytes, end| desk.note(&opened, &path, visitor, Ended { first, bytes, end })
    }
}
