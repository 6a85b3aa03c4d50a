//! Which address stands for what, and how names stand in addresses.
//!
//! | address | what |
//! |---|---|
//! | `/s/TOKEN` | the page of a link |
//! | `/s/TOKEN/f/PATH` | the page of something in its folder |
//! | `/s/TOKEN/get[/PATH]` | the file |
//! | `/s/TOKEN/raw[/PATH]` | the file, to be shown in its page |
//! | `/s/TOKEN/zip[/PATH]` | the folder |
//! | `/s/TOKEN/password` | takes the password (POST) |
//! | `/s/TOKEN/begin/get[/PATH]`, `…/zip[/PATH]` | begins a download that is counted (POST) |
//! | `/d/GRANT/get[/PATH]`, `…/zip[/PATH]` | a download that was begun |
//!
//! Tokens are 32 bytes in base64url; names are percent-encoded bytes. What is no name (`..`, a slash or NUL in it) has no
//! address: it is answered like a link that is none.

use std::fmt::Write as _;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use percent_encoding::percent_decode;
use quics_types::{Name, limits};

use crate::desk::{Fetch, Token};

/// What an address stands for.
pub(super) enum Address {
    Style,
    Robots,
    Link { token: Token, what: What },
    Begun { token: Token, what: Fetch, path: Vec<Name> },
}

/// What is wanted of a link.
pub(super) enum What {
    Page(Vec<Name>),
    Fetch(Fetch, Vec<Name>),
    /// The file, to be shown in its page.
    Raw(Vec<Name>),
    Password,
    Begin(Fetch, Vec<Name>),
}

impl Fetch {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Fetch::File => "get",
            Fetch::Zip => "zip",
        }
    }
}

/// Reads an address; `None` if it stands for nothing.
pub(super) fn parse(path: &str) -> Option<Address> {
    match path {
        super::STYLE => return Some(Address::Style),
        "/robots.txt" => return Some(Address::Robots),
        _ => {}
    }
    let mut parts = path.strip_prefix('/')?.split('/');
    let (kind, token) = (parts.next()?, token(parts.next()?)?);
    let word = parts.next();
    let fetch = |word: &str| match word {
        "get" => Some(Fetch::File),
        "zip" => Some(Fetch::Zip),
        _ => None,
    };
    match (kind, word) {
        ("s", None | Some("")) => Some(Address::Link { token, what: What::Page(Vec::new()) }),
        ("s", Some("f")) => Some(Address::Link { token, what: What::Page(names(parts)?) }),
        ("s", Some("raw")) => Some(Address::Link { token, what: What::Raw(names(parts)?) }),
        ("s", Some("password")) => Some(Address::Link { token, what: What::Password }),
        ("s", Some("begin")) => {
            let what = fetch(parts.next()?)?;
            Some(Address::Link { token, what: What::Begin(what, names(parts)?) })
        }
        ("s", Some(word)) => Some(Address::Link { token, what: What::Fetch(fetch(word)?, names(parts)?) }),
        ("d", Some(word)) => Some(Address::Begun { token, what: fetch(word)?, path: names(parts)? }),
        _ => None,
    }
}

fn token(text: &str) -> Option<Token> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(Token)
}

fn names<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Vec<Name>> {
    let mut names = Vec::new();
    for part in parts {
        if names.len() >= limits::DEPTH {
            return None;
        }
        let bytes: Vec<u8> = percent_decode(part.as_bytes()).collect();
        names.push(Name::of_entry(Bytes::from(bytes)).ok()?);
    }
    Some(names)
}

/// The text of a token.
pub(super) fn text(token: &Token) -> String {
    BASE64URL_NOPAD.encode(&token.0)
}

/// Appends names to an address, each byte that is no letter, digit, `-`, `.`, `_` or `~` percent-encoded.
pub(super) fn join<'a>(mut address: String, names: impl IntoIterator<Item = &'a [u8]>) -> String {
    for name in names {
        address.push('/');
        for byte in name {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => address.push(char::from(*byte)),
                // Writing to a text cannot fail.
                byte => _ = write!(address, "%{byte:02X}"),
            }
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str) -> Option<Vec<Name>> {
        match parse(path) {
            Some(Address::Link { what: What::Page(names), .. }) => Some(names),
            _ => None,
        }
    }

    #[test]
    fn names_of_any_bytes_come_back_from_their_addresses() {
        let token = text(&Token([7; 32]));
        for name in [&b"a b"[..], b"\xff\xfe", b"%2F", b"\"'<>\n", "\u{202e}gpj".as_bytes(), &[b'x'; 255]] {
            let address = join(format!("/s/{token}/f"), [name, b"b"]);
            assert!(address.is_ascii() && !address.contains(['"', '<', '\n']), "{address}");
            let names = page(&address).unwrap();
            assert_eq!(names.iter().map(Name::as_bytes).collect::<Vec<_>>(), [name, b"b"]);
        }
    }

    #[test]
    fn tricks_with_paths_are_no_addresses() {
        let token = text(&Token([7; 32]));
        for path in ["f/..", "f/%2e%2e/a", "f/a%2Fb", "f/a//b", "f/.", "f/%00", "f/", "get/..%2f", "x", "get/%2E%2E"] {
            assert!(parse(&format!("/s/{token}/{path}")).is_none(), "{path}");
        }
        for path in ["", "/", "/s", "/s/", "/s/abc", "/x", "//s", "/s/../robots.txt", &format!("/s/{token}x")] {
            assert!(parse(path).is_none(), "{path}");
        }
        assert!(page(&format!("/s/{token}")).is_some() && page(&format!("/s/{token}/")).is_some());
    }
}
