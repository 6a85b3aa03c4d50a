//! What strangers see: pages and downloads, over HTTP/1.1, HTTP/2 and HTTP/3, from one service.
//!
//! ```text
//! request ── visitor ── address ── desk ──┬── page              what is shown
//!                                         └── download ── zip   bytes, on their way out by flow
//!                                   answer                      headers that all answers have
//! ```
//!
//! # Invariants
//! - A link that is none has one answer, whatever is wrong with it, after the same time.
//! - Only POST counts a download of a link that has a limit; looking at a page never counts.
//! - A body that is not whole never ends as if it were.

mod address;
mod answer;
pub(crate) mod certificate;
mod conditions;
mod download;
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
use futures_util::StreamExt;
use http::header::{CONTENT_DISPOSITION, COOKIE, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use quics_kit::secret::Secret;
use quics_quic::Network;
use quics_types::Name;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tonic::service::Routes;

use self::address::{Address, What};
use self::answer::{page, plain, refuse};
use self::flow::Flows;
use self::names::{Preview, disposition, media};
use self::order::Order;
use self::visitor::Visits;
use crate::desk::{Desk, Fetch, File, Item, ItemKind, Key, Opened, Refusal, Token, Visitor};

pub(crate) use self::flow::Limits;

/// Where the style sheet is; another one gets another address.
const STYLE: &str = "/style-2.css";
/// Bytes of a form.
const FORM: usize = 16 << 10;
/// When an answer leaves that says that nothing is here, counted from its request: far later than it is known, so that a link
/// that never was takes as long as one that was taken back, of which more is looked up.
const CLOSED_AFTER: Duration = Duration::from_millis(20);

/// Folders that are listed at a time; each may have very many entries, which are sorted in memory.
const LISTINGS: usize = 16;

/// Everything that answers need.
struct Public<D> {
    desk: Arc<D>,
    listings: Semaphore,
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
    let (flows, visits) = (Flows::new(limits), Visits::new(proxies));
    let public = Public { desk, listings: Semaphore::new(LISTINGS), flows, visits, alt_svc, secure };
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
            let key = Key::Grant(token);
            let fetched = public.fetched(visitor, &key, what, &path, &parts.headers, head).await;
            fetched.unwrap_or_else(refuse)
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
                // It is never closed.
                let _turn = self.listings.acquire().await;
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
            self.desk.begin(&key, download::of(what, path), visitor).await
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
