//! What opens a link or a begun download, and the form in which it is kept.

use quics_kit::secret::Secret;
use quics_types::Digest;

use crate::desk::Token;

/// Bytes of a token.
pub(crate) const BYTES: usize = 32;

/// The form in which a token is kept. It is looked for by this form, which says nothing about the token: how long the search
/// takes does not help who guesses.
pub(crate) fn hash(token: &Token) -> Digest {
    Digest::from_bytes(Secret::from(token.0.to_vec()).hash("quics 2026 share token"))
}

/// A new token.
pub(crate) fn draw() -> Token {
    Token(quics_kit::random::bytes())
}
