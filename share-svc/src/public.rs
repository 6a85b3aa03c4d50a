//! What strangers see: pages and downloads, over HTTP/1.1, HTTP/2 and HTTP/3, from one service.
//!
//! ```text
//! request ── visitor ── address ── desk ──┬── page              what is shown
//!                                         └── flow ── zip       bytes
//!                                   answer                      headers that all answers have
//! ```
//!
//! # Invariants
//! - A link that is none has one answer, whatever is wrong with it, after the same time.
//! - Only POST counts a download; looking at a page never does.
//! - A body that is not whole never ends as if it were.

mod address;
mod answer;
pub(crate) mod certificate;
mod conditions;
mod flow;
mod names;
mod order;
mod page;
mod visitor;
mod zip;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, LAST_MODIFIED,
    LOCATION, SET_COOKIE,
};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use quics_kit::secret::Secret;
use quics_quic::Network;
use quics_types::Name;
use tokio::time::{Instant, sleep_until};
use tonic::service::Routes;

use self::address::{Address, What};
use self::answer::{page, plain, refuse};
use self::conditions::Wanted;
use self::flow::Flows;
use self::names::{Preview, disposition, media};
use self::order::Order;
use self::visitor::Visits;
use crate::desk::{Begun, Desk, End, Ended, Fetch, File, Item, ItemKind, Key, Opened, Refusal, Token, Visitor};

pub(crate) use self::flow::Limits;

/// Where the style sheet is; another one gets another address.
const STYLE: &str = "/style-2.css";
/// Who takes no more than so many bytes of a longer file has looked at it, and not downloaded it.
const LOOKED: u64 = 64 << 10;
/// Bytes of a form.
const FORM: usize = 16 << 10;
/// When an answer leaves that says that nothing is here, counted from its request: far later than it is known, so that a link
/// that never was takes as long as one that was taken back, of which more is looked up.
const CLOSED_AFTER: Duration = Duration::from_millis(20);

/// Everything that answers need.
struct Public<D> {
    desk: Arc<D>,
    flows: Flows,
    visits: Visits,
    /// What says that HTTP/3 is spoken here too; where there is no TLS, nothing.
    alt_svc: Option<String>,
    /// Whether browsers come by TLS, here or at the proxy.
    secure: bool,
}

/// How strangers are served.
pub(crate) struct Serving {
    /// The port at which those outside reach HTTP/3, if it is spoken.
    pub(crate) port: Option<u16>,
    /// Whether browsers come by TLS, whatever a proxy says of a request.
    pub(crate) secure: bool,
    /// Who is believed to say from where a request came, and how.
    pub(crate) proxies: Vec<Network>,
    /// Downloads at a time.
    pub(crate) limits: Limits,
}

/// What is served to strangers.
pub(crate) fn routes<D: Desk>(desk: Arc<D>, serving: Serving) -> Routes {
    let Serving { port, secure, proxies, limits } = serving;
    let alt_svc = port.map(|port| format!("h3=\":{port}\"; ma=86400"));
    let public = Public { desk, flows: Flows::new(limits), visits: Visits::new(proxies), alt_svc, secure };
    Routes::from(router(Arc::new(public)))
}

fn router<D: Desk>(public: Arc<Public<D>>) -> Router {
    Router::new().fallback(handle::<D>).with_state(public)
}

async fn handle<D: Desk>(State(public): State<Arc<Public<D>>>, request: Request) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let Some(visitor) = public.visits.of(&parts) else { return refuse(Refusal::Closed) };
    let head = parts.method == Method::HEAD;
    let mut response = match (&parts.method, address::parse(parts.uri.path())) {
        (_, None) => refuse(Refusal::Closed),
        (&Method::GET | &Method::HEAD, Some(Address::Style)) => answer::style(),
        (&Method::GET | &Method::HEAD, Some(Address::Robots)) => answer::robots(),
        (&Method::GET | &Method::HEAD, Some(Address::Link { token, what })) => {
            public.look(visitor, token, what, &parts).await
        }
        (&Method::GET | &Method::HEAD, Some(Address::Begun { token, what, path })) => {
            public.fetch(visitor, &Key::Grant(token), what, &path, &parts.headers, head).await
        }
        (&Method::POST, Some(Address::Link { token, what: What::Password })) => {
            public.unlock(visitor, token, body).await
        }
        (&Method::POST, Some(Address::Link { token, what: What::Begin(what, path) })) => {
            public.begin(visitor, token, what, &path, &parts.headers).await
        }
        _ => answer::not_allowed(),
    };
    if response.extensions_mut().remove::<answer::Untimed>().is_some() {
        sleep_until(begun + CLOSED_AFTER).await;
    }
    answer::common(&mut response, public.alt_svc.as_deref());
    if head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// What a link's addresses begin with.
fn base(token: &Token) -> String {
    format!("/s/{}", address::text(token))
}

/// The session that a browser brings.
fn session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix("quics=").map(str::to_owned))
}

impl<D: Desk> Public<D> {
    /// Answers what only looks.
    async fn look(&self, visitor: Visitor, token: Token, what: What, parts: &Parts) -> Response {
        let base = base(&token);
        let headers = &parts.headers;
        let key = Key::Link { token, session: session(headers) };
        let head = parts.method == Method::HEAD;
        let shown = match what {
            What::Page(path) => self.show(visitor, &key, &base, &path, parts.uri.query()).await,
            What::Raw(path) => self.raw(visitor, &key, &path, headers, head).await,
            What::Fetch(what, path) => match self.fetched(visitor, &key, what, &path, headers, head).await {
                Err(Refusal::NotBegun) => {
                    return page(StatusCode::METHOD_NOT_ALLOWED, page::begin(&base, &path, what));
                }
                fetched => fetched,
            },
            What::Password | What::Begin(..) => return answer::not_allowed(),
        };
        match shown {
            Ok(response) => response,
            Err(Refusal::Locked) => page(StatusCode::UNAUTHORIZED, page::password(&base, false)),
            Err(refusal) => refuse(refusal),
        }
    }

    async fn show(
        &self,
        visitor: Visitor,
        key: &Key,
        base: &str,
        path: &[Name],
        query: Option<&str>,
    ) -> Result<Response, Refusal> {
        let opened = self.desk.open(key, visitor).await?;
        let item = self.desk.find(&opened, path).await?;
        let text = match &item.kind {
            ItemKind::Folder => {
                let items = self.desk.list(&opened, path).await?;
                page::folder(&opened, base, path, &item, items, Order::of(query))
            }
            ItemKind::File(file) => {
                let sums = self.desk.sums(&opened, file).await;
                let text = self.text(&opened, &item, file).await;
                page::file(&opened, base, path, &item, file, sums.as_ref(), text.as_deref())
            }
            ItemKind::Symlink | ItemKind::Unit => return Err(Refusal::Gone),
        };
        Ok(page(StatusCode::OK, text))
    }

    /// The beginning of a text.
    async fn text(&self, opened: &Opened, item: &Item, file: &File) -> Option<String> {
        if opened.left.is_some() || media(&item.name).1 != Some(Preview::Text) {
            return None;
        }
        let mut bytes = Vec::new();
        let mut pieces = std::pin::pin!(self.desk.read(opened, file, 0..file.size.min(page::TEXT)));
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.ok()?);
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file that is shown in its page.
    async fn raw(
        &self,
        visitor: Visitor,
        key: &Key,
        path: &[Name],
        headers: &HeaderMap,
        head: bool,
    ) -> Result<Response, Refusal> {
        let opened = self.desk.open(key, visitor).await?;
        let item = self.desk.find(&opened, path).await?;
        let ItemKind::File(file) = &item.kind else { return Err(Refusal::Gone) };
        let shown = media(&item.name).1.filter(|_| opened.left.is_none()).ok_or(Refusal::Gone)?;
        let mut response = self.file(visitor, &opened, None, &item, file, headers, head).await?;
        answer::set(&mut response, CONTENT_DISPOSITION, &disposition("inline", &item.name));
        if shown.is_sandboxed() {
            answer::sandbox(&mut response);
        }
        Ok(response)
    }

    async fn fetch(
        &self,
        visitor: Visitor,
        key: &Key,
        what: Fetch,
        path: &[Name],
        headers: &HeaderMap,
        head: bool,
    ) -> Response {
        match self.fetched(visitor, key, what, path, headers, head).await {
            Ok(response) => response,
            Err(refusal) => refuse(refusal),
        }
    }

    async fn fetched(
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
            Some(begun) if *begun != download(what, path) => return Err(Refusal::Closed),
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
    async fn file(
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

    /// Takes a password.
    async fn unlock(&self, visitor: Visitor, token: Token, body: Body) -> Response {
        let base = base(&token);
        let Ok(form) = axum::body::to_bytes(body, FORM).await else { return answer::bad_form() };
        let Some(password) = field(&form, "password") else { return answer::bad_form() };
        match self.desk.unlock(&token, &Secret::from(password), visitor).await {
            Ok(session) => {
                let mut response = see(&base);
                let secure = if self.secure || visitor.over_tls { "; Secure" } else { "" };
                let cookie = format!("quics={session}; Path={base}; HttpOnly; SameSite=Lax; Max-Age=43200{secure}");
                answer::set(&mut response, SET_COOKIE, &cookie);
                response
            }
            Err(Refusal::WrongPassword) => page(StatusCode::UNAUTHORIZED, page::password(&base, true)),
            Err(refusal) => refuse(refusal),
        }
    }

    /// Counts a download, and leads to it.
    async fn begin(&self, visitor: Visitor, token: Token, what: Fetch, path: &[Name], headers: &HeaderMap) -> Response {
        let base = base(&token);
        let key = Key::Link { token, session: session(headers) };
        // What is not there is not counted.
        let begun = async {
            let opened = self.desk.open(&key, visitor).await?;
            let item = self.desk.find(&opened, path).await?;
            match (what, &item.kind) {
                (Fetch::File, ItemKind::File(_)) | (Fetch::Zip, ItemKind::Folder) => {}
                _ => return Err(Refusal::Gone),
            }
            self.desk.begin(&key, download(what, path), visitor).await
        };
        match begun.await {
            Ok(grant) => {
                let to = format!("/d/{}/{}", address::text(&grant), what.as_str());
                see(&address::join(to, path.iter().map(Name::as_bytes)))
            }
            Err(Refusal::Locked) => page(StatusCode::UNAUTHORIZED, page::password(&base, false)),
            Err(refusal) => refuse(refusal),
        }
    }
}

/// What is begun, or was.
fn download(what: Fetch, path: &[Name]) -> Begun {
    let names: Vec<&[u8]> = path.iter().map(Name::as_bytes).collect();
    Begun { what, path: names.join(&b"/"[..]).into() }
}

/// Leads somewhere else, by GET.
fn see(to: &str) -> Response {
    let mut response = plain(StatusCode::SEE_OTHER, "");
    answer::set(&mut response, LOCATION, to);
    response
}

/// A field of a form (application/x-www-form-urlencoded).
fn field(form: &[u8], name: &str) -> Option<Vec<u8>> {
    form.split(|byte| *byte == b'&').find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        Some(percent_encoding::percent_decode(&spaced).collect())
    })
}
