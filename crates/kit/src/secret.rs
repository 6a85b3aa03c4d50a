//! Bytes that are never shown.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that nobody but their bearer may know; they have no readable `Debug` form and are wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Draws a secret of 128 bits.
    pub fn draw() -> Self {
        Self::from(crate::random::bytes::<16>().to_vec())
    }

    /// The bytes, for whoever has to send or hash them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The form that is stored: a BLAKE3 hash keyed by `context` (`derive_key` mode). Right for random secrets only;
    /// passwords need a slow hash.
    pub fn hash(&self, context: &'static str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &[u8]) -> bool {
        // `blake3::Hash` compares in constant time; hashing first hides the length too.
        blake3::hash(&self.0) == blake3::hash(other)
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::from(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(secret.matches(b"hunter2") && !secret.matches(b"hunter3") && !secret.matches(b"hunter"));
    }

    #[test]
    fn hashes_of_different_contexts_differ() {
        let secret = Secret::draw();
        assert_ne!(secret.hash("quics 2026 one"), secret.hash("quics 2026 two"));
    }
}
