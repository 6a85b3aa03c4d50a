//! The private key.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{Error, MAX_FILE, malformed};
use crate::{data, pem};

/// The file of a key that is being enrolled.
pub(super) const PENDING: &str = "key.pem";

/// A private key (ECDSA, P-256).
pub struct Key(KeyPair);

impl Key {
    /// Draws a new key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the system has no randomness.
    pub fn generate() -> Result<Key, Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Key).map_err(Error::Crypto)
    }

    /// Reads a key in the PEM form of PKCS#8.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not an ECDSA key of P-256 in that form.
    pub fn from_pem(text: &[u8]) -> Result<Key, Error> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|error| malformed("a private key", error))?;
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map(Key)
            .map_err(|error| malformed("a private key", error))
    }

    /// The PEM form of PKCS#8: for a file of mode 0600 and nothing else.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode("PRIVATE KEY", self.0.serialized_der()))
    }

    /// Signs a request for a certificate (PKCS#10, DER), which proves that its sender has the key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if signing fails.
    pub fn request(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // The registry ignores the subject; some parsers do not take an empty one.
        params.distinguished_name.push(DnType::CommonName, "quics");
        let request = params.serialize_request(&self.0).map_err(Error::Crypto)?;
        Ok(request.der().to_vec())
    }

    /// The public key as it stands in certificates (SubjectPublicKeyInfo, DER).
    pub fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// The key for rcgen's signing calls.
    pub fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(super) fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.serialized_der().to_vec().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Gives the key that is being enrolled in `directory`, made if there is none: a repeated attempt asks for the same key,
/// and so gets the same device.
///
/// # Durability
/// A new key is durable on return.
///
/// # Errors
/// [`Error::Data`], [`Error::Malformed`], [`Error::Crypto`].
pub fn pending_key(directory: &Path) -> Result<Key, Error> {
    data::make_private(directory)?;
    let path = directory.join(PENDING);
    if let Some(text) = data::read_small(&path, MAX_FILE)?.map(Zeroizing::new) {
        return Key::from_pem(&text).map_err(|error| malformed(path.display(), error));
    }
    let key = Key::generate()?;
    data::write_atomic(&path, key.to_pem().as_bytes(), 0o600)?;
    Ok(key)
}
