//! Answers, and the headers that all of them have.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ALLOW, ALT_SVC, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

use super::page as pages;
use crate::desk::Refusal;

/// Nothing but what this server sends, no script, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
/// Nothing at all but its own colours: for contents that could be active somewhere.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// On an answer that must not tell by its time what is wrong with a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Untimed;

/// Sets a header; what no header can hold is left out.
pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds what all answers have.
pub(super) fn common(response: &mut Response, alt_svc: Option<&str>) {
    if !response.headers().contains_key(CONTENT_SECURITY_POLICY) {
        set(response, CONTENT_SECURITY_POLICY, POLICY);
    }
    if !response.headers().contains_key(CACHE_CONTROL) {
        // Whoever kept it has to ask whether the link still lets them in.
        set(response, CACHE_CONTROL, "private, no-cache");
    }
    set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(response, REFERRER_POLICY, "no-referrer");
    set(response, HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    set(response, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if let Some(alt_svc) = alt_svc {
        set(response, ALT_SVC, alt_svc);
    }
}

/// Says that nothing of a content may be active.
pub(super) fn sandbox(response: &mut Response) {
    set(response, CONTENT_SECURITY_POLICY, SANDBOX);
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

pub(super) fn page(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

pub(super) fn style() -> Response {
    let mut response = plain(StatusCode::OK, include_str!("style.css"));
    set(&mut response, CONTENT_TYPE, "text/css; charset=utf-8");
    set(&mut response, CACHE_CONTROL, "public, max-age=31536000, immutable");
    response
}

pub(super) fn robots() -> Response {
    plain(StatusCode::OK, "User-agent: *\nDisallow: /\n")
}

pub(super) fn not_allowed() -> Response {
    let mut response =
        page(StatusCode::METHOD_NOT_ALLOWED, pages::notice("Not like this", "This address is not asked like this."));
    set(&mut response, ALLOW, "GET, HEAD, POST");
    response
}

pub(super) fn bad_form() -> Response {
    page(
        StatusCode::BAD_REQUEST,
        pages::notice("Not understood", "The form did not arrive whole: go back and send it again."),
    )
}

pub(super) fn busy() -> Response {
    let said = "Too many downloads are running: try again in a minute.";
    let mut response = page(StatusCode::SERVICE_UNAVAILABLE, pages::notice("Busy", said));
    set(&mut response, RETRY_AFTER, "60");
    response
}

/// Why somebody is not let in.
pub(super) fn refuse(refusal: Refusal) -> Response {
    let (status, title, text, again) = match refusal {
        Refusal::Closed => {
            let said = "There is nothing at this address. A link may have ended, been used up, or been taken back: ask whoever sent it.";
            (StatusCode::NOT_FOUND, "Nothing here", said.to_owned(), None)
        }
        Refusal::Locked | Refusal::WrongPassword => {
            (StatusCode::UNAUTHORIZED, "Password", "This link needs a password.".to_owned(), None)
        }
        Refusal::TooMany { seconds } => {
            let said = format!("Too many attempts: wait {seconds} seconds.");
            (StatusCode::TOO_MANY_REQUESTS, "Too many attempts", said, Some(seconds))
        }
        Refusal::Gone => (StatusCode::GONE, "Gone", "What this link led to is not there any more.".to_owned(), None),
        Refusal::NotBegun => (
            StatusCode::METHOD_NOT_ALLOWED,
            "Not begun",
            "Begin the download on the page of the link.".to_owned(),
            None,
        ),
        Refusal::Away { seconds } => {
            let said = "The server is busy with itself: try again in a moment. Nothing was counted.".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "In a moment", said, Some(seconds))
        }
        Refusal::Damaged => {
            let said = "What was asked for cannot be read on the server: whoever runs it was told.".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, "Damaged", said, None)
        }
        Refusal::Failed { id } => {
            let said = format!("Something failed here. Whoever runs this server finds it in the log under {id:016x}.");
            (StatusCode::INTERNAL_SERVER_ERROR, "Failed", said, None)
        }
    };
    let mut response = page(status, pages::notice(title, &text));
    if let Some(seconds) = again {
        set(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    if matches!(refusal, Refusal::Closed) {
        response.extensions_mut().insert(Untimed);
    }
    response
}
