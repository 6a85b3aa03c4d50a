//! Who may change something through the ops port.

use tonic::Code;
use tonic::metadata::MetadataMap;

use crate::data::{self, DataDir};
use crate::secret::Secret;
use crate::status::Domain;

const FILE: &str = "admin.token";

/// The token that lies in the data directory (0600) for whoever may administer the service. Clones are the same.
#[derive(Debug, Clone)]
pub struct AdminToken(Secret);

/// Says that a call that changes something did not bring the admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this call needs the admin token (metadata `authorization: Bearer <the text of admin.token>`)")]
pub struct Denied;

impl Domain for Denied {
    fn code(&self) -> Code {
        Code::PermissionDenied
    }
}

impl AdminToken {
    /// Reads the token, made at the first start.
    pub(super) fn load(data: &DataDir) -> Result<Self, data::Error> {
        let path = data.file(FILE);
        if let Some(text) = data::read_small(&path, 256)? {
            let text = text.trim_ascii();
            if text.len() >= 32 {
                return Ok(Self(Secret::from(text.to_vec())));
            }
        }
        let text = data_encoding::HEXLOWER.encode(&crate::random::bytes::<32>());
        data::write_atomic(&path, format!("{text}\n").as_bytes(), 0o600)?;
        Ok(Self(Secret::from(text.into_bytes())))
    }

    /// Checks that a call brings the token.
    ///
    /// # Errors
    /// [`Denied`], whatever is wrong.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Denied> {
        let given = metadata.get("authorization").and_then(|value| value.to_str().ok()).ok_or(Denied)?;
        let given = given.strip_prefix("Bearer ").ok_or(Denied)?;
        if self.0.matches(given.trim().as_bytes()) { Ok(()) } else { Err(Denied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_kept_and_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::open(temp.path()).unwrap();
        AdminToken::load(&data).unwrap();
        let token = AdminToken::load(&data).unwrap();
        let text = std::fs::read_to_string(data.file(FILE)).unwrap();
        let mut metadata = MetadataMap::new();
        assert_eq!(token.check(&metadata), Err(Denied));
        for (value, answer) in [
            (format!("Bearer {}", text.trim()), Ok(())),
            (text.trim().to_owned(), Err(Denied)),
            (format!("Bearer {}0", text.trim()), Err(Denied)),
            ("Bearer ".to_owned(), Err(Denied)),
        ] {
            metadata.insert("authorization", value.parse().unwrap());
            assert_eq!(token.check(&metadata), answer, "{value}");
        }
        assert!(!format!("{token:?}").contains(text.trim()));
    }
}
