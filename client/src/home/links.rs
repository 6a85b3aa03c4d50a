//! What opens the links that were made on this device: the server keeps no more of it than a hash.
//!
//! A file a link, named by the link's id in hexadecimal, with the token in base64url and a newline.

use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;

use super::{Error, Home};

/// Bytes of a file that is read.
const LONGEST: u64 = 256;

/// What opens a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Takes what was drawn.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads it as it stands at the end of a link's address.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its bytes, for share-svc alone.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it stands at the end of the link's address.
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Home {
    /// Where the tokens are.
    pub(super) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    fn link(&self, id: &[u8]) -> PathBuf {
        self.links().join(data_encoding::HEXLOWER.encode(id))
    }

    /// Keeps what opens a link.
    ///
    /// # Durability
    /// It is durable when this has returned.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_token(&self, id: &[u8], token: &Token) -> Result<(), Error> {
        let path = self.link(id);
        let written = quics_kit::data::make_private(&self.links())
            .and_then(|()| quics_kit::data::write_atomic(&path, format!("{}\n", token.text()).as_bytes(), 0o600));
        written.map_err(|error| failed("write", path, error))
    }

    /// What opens a link, where it was made here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn token(&self, id: &[u8]) -> Result<Option<Token>, Error> {
        let path = self.link(id);
        let kept = quics_kit::data::read_small(&path, LONGEST).map_err(|error| failed("read", path, error))?;
        Ok(kept.and_then(|text| Token::parse(std::str::from_utf8(&text).ok()?.trim_end())))
    }

    /// Forgets what opened a link.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn forget_token(&self, id: &[u8]) -> Result<(), Error> {
        let path = self.link(id);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

fn failed(action: &'static str, path: PathBuf, error: quics_kit::data::Error) -> Error {
    match error {
        quics_kit::data::Error::Io { source, .. } => Error::Io { action, path, source },
        other => Error::Io { action, path, source: std::io::Error::other(other) },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_kept_for_this_user_alone_and_shown_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("h"))).unwrap();
        let (id, token) = ([7; 16], Token::new([9; 32]));
        assert_eq!(home.token(&id).unwrap(), None);
        home.keep_token(&id, &token).unwrap();
        assert_eq!(home.token(&id).unwrap().as_ref(), Some(&token));
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(home.links()), mode(home.link(&id))), (0o700, 0o600));
        home.forget_token(&id).unwrap();
        home.forget_token(&id).unwrap();
        assert_eq!(home.token(&id).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_token_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("h"))).unwrap();
        home.keep_token(&[7; 16], &Token::new([9; 32])).unwrap();
        std::fs::write(home.link(&[7; 16]), "short").unwrap();
        assert_eq!(home.token(&[7; 16]).unwrap(), None);
        std::fs::write(home.link(&[7; 16]), [b'A'; 300]).unwrap();
        assert!(home.token(&[7; 16]).is_err());
    }

    #[test]
    fn a_token_is_text_in_an_address_and_not_in_a_log() {
        let token = Token::new([0xff; 32]);
        assert_eq!(token.text(), "__________________________________________8");
        assert_eq!(Token::parse(&token.text()), Some(token.clone()));
        assert_eq!(Token::parse("AAAA"), None);
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
