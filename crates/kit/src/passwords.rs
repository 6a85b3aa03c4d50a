//! Passwords are kept as argon2id hashes (RFC 9106; the crate's defaults: 19 MiB, 2 passes, 1 lane).

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tokio::sync::Semaphore;

use crate::random;
use crate::secret::Secret;

/// Hashes that are computed at a time; each takes 19 MiB.
const AT_A_TIME: usize = 2;
/// The longest password, in bytes.
const MAX_PASSWORD: usize = 1024;

/// Why a password was not hashed or compared.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than anybody needs.
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    /// The stored hash does not read.
    #[error("a password's stored hash is damaged: {0}")]
    Damaged(argon2::password_hash::Error),
    /// Hashing failed.
    #[error("cannot hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    /// The process is about to end.
    #[error("shutting down")]
    Draining,
}

type Result<T> = std::result::Result<T, Error>;

/// Computes hashes off the async threads, a few at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// The hash that is checked where there is none, so that both take the same time.
    nobody: Arc<std::sync::OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_A_TIME)), nobody: Arc::default() }
    }
}

impl Passwords {
    /// Hashes a password into its PHC form; an empty one into an empty text.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Hash`], [`Error::Draining`].
    pub async fn hash(&self, password: Secret) -> Result<String> {
        if password.expose().is_empty() {
            return Ok(String::new());
        }
        if password.expose().len() > MAX_PASSWORD {
            return Err(Error::TooLong);
        }
        self.off_thread(move || hash(password.expose())).await
    }

    /// Tells whether this is the password of `stored`; with an empty `stored` it takes as long and says no.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Hash`], [`Error::Draining`].
    pub async fn verify(&self, password: Secret, stored: String) -> Result<bool> {
        if password.expose().len() > MAX_PASSWORD {
            return Ok(false);
        }
        let nobody = self.nobody.clone();
        self.off_thread(move || {
            let known = !stored.is_empty();
            let stored = if known { stored } else { dummy(&nobody)? };
            let parsed = PasswordHash::new(&stored).map_err(Error::Damaged)?;
            match Argon2::default().verify_password(password.expose(), &parsed) {
                Ok(()) => Ok(known),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(Error::Hash(error)),
            }
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        // The semaphore is never closed.
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Error::Draining)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|_| Error::Draining)?
    }
}

fn dummy(nobody: &std::sync::OnceLock<String>) -> Result<String> {
    if let Some(known) = nobody.get() {
        return Ok(known.clone());
    }
    let made = hash(&random::bytes::<16>())?;
    Ok(nobody.get_or_init(|| made).clone())
}

fn hash(password: &[u8]) -> Result<String> {
    let salt = SaltString::encode_b64(&random::bytes::<16>()).map_err(Error::Hash)?;
    Ok(Argon2::default().hash_password(password, &salt).map_err(Error::Hash)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_verifies() {
        let passwords = Passwords::default();
        let secret = |text: &str| Secret::from(text.as_bytes().to_vec());
        let stored = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, passwords.hash(secret("correct horse")).await.unwrap(), "salted");
        assert!(passwords.verify(secret("correct horse"), stored.clone()).await.unwrap());
        assert!(!passwords.verify(secret("Correct horse"), stored.clone()).await.unwrap());
        assert!(!passwords.verify(secret(""), stored).await.unwrap());
        assert!(!passwords.verify(secret("anything"), String::new()).await.unwrap());
        assert!(!passwords.verify(secret(""), String::new()).await.unwrap());
        assert_eq!(passwords.hash(secret("")).await.unwrap(), "");
    }
}
