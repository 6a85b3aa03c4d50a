//! Who this process is: its key, the certificate of it, and whom it trusts.
//!
//! # Files
//!
//! In a directory of its own: `identity.pem` (0600; the private key, PKCS#8, and the certificate chain, leaf first, in one
//! file so that they always belong together), `trust.pem` (the CA certificates) and, only while enrolling, `key.pem` (0600;
//! the key that is being enrolled, kept so that a repeated attempt asks for the same one).

mod key;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quics_quic::Tls;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

pub use key::{Key, pending_key};

use crate::names::Subject;
use crate::{data, pem};

const IDENTITY: &str = "identity.pem";
const TRUST: &str = "trust.pem";
/// Longer files are not ours.
const MAX_FILE: u64 = 256 << 10;
/// Certificates of a chain or trust list.
const MAX_CERTIFICATES: usize = 16;

/// Says why there is no usable identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A file or message does not hold what it should.
    #[error("{what} is damaged or not what it should be: {why}")]
    Malformed {
        /// The file or message.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No key could be made or no request signed.
    #[error("cannot make a key or sign with it: {0}")]
    Crypto(#[source] rcgen::Error),
    /// The TLS library refuses key, chain or trust list.
    #[error(transparent)]
    Tls(#[from] quics_quic::Error),
}

fn malformed(what: impl fmt::Display, why: impl fmt::Display) -> Error {
    Error::Malformed { what: what.to_string(), why: why.to_string() }
}

/// A key, the certificate chain that registry-svc signed for it, and the CAs to trust.
#[derive(Debug)]
pub struct Identity {
    key: Key,
    chain: Vec<CertificateDer<'static>>,
    trust: Vec<CertificateDer<'static>>,
    subject: Subject,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Identity {
    /// Puts an identity together and checks that its parts belong to each other.
    ///
    /// `chain` begins with the certificate of `key`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the certificate is not of this key or names neither device nor service, or if a list is
    /// empty or too long.
    pub fn new(
        key: Key,
        chain: Vec<CertificateDer<'static>>,
        trust: Vec<CertificateDer<'static>>,
    ) -> Result<Identity, Error> {
        let counts = 1..=MAX_CERTIFICATES;
        let leaf = chain.first().filter(|_| counts.contains(&chain.len()) && counts.contains(&trust.len()));
        let leaf = leaf.ok_or_else(|| malformed("the certificate chain or trust list", "empty or too long"))?;
        let seen = Certificate::read(leaf)?;
        if seen.public != key.public() {
            return Err(malformed("the certificate", "it belongs to another key"));
        }
        let subject = Subject::among(&seen.uris)
            .ok_or_else(|| malformed("the certificate", "it names neither a device nor a service"))?;
        Ok(Identity { subject, not_before: seen.not_before, not_after: seen.not_after, key, chain, trust })
    }

    /// Reads the identity that is stored in `directory`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Data`] if a file cannot be read, [`Error::Malformed`] if one is damaged.
    pub fn load(directory: &Path) -> Result<Option<Identity>, Error> {
        let path = directory.join(IDENTITY);
        let Some(text) = data::read_small(&path, MAX_FILE)?.map(Zeroizing::new) else { return Ok(None) };
        let trust_path = directory.join(TRUST);
        let trust = data::read_small(&trust_path, MAX_FILE)?
            .ok_or_else(|| malformed(trust_path.display(), "it is missing beside identity.pem"))?;
        let key = Key::from_pem(&text).map_err(|error| malformed(path.display(), error))?;
        let chain = certificates(&path, &text)?;
        Identity::new(key, chain, certificates(&trust_path, &trust)?).map(Some)
    }

    /// Stores the identity in `directory` (made where it is missing) and ends an enrolment that is under way.
    ///
    /// # Durability
    /// Durable on return. Cut off in between, the old or the new identity is found.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn store(&self, directory: &Path) -> Result<(), Error> {
        data::make_private(directory)?;
        let mut text = self.key.to_pem();
        for certificate in &self.chain {
            text.push_str(&pem::encode("CERTIFICATE", certificate));
        }
        let trust: String = self.trust.iter().map(|certificate| pem::encode("CERTIFICATE", certificate)).collect();
        // The trust list first: an identity without one would not load.
        data::write_atomic(&directory.join(TRUST), trust.as_bytes(), 0o644)?;
        data::write_atomic(&directory.join(IDENTITY), text.as_bytes(), 0o600)?;
        data::remove(&directory.join(key::PENDING))?;
        Ok(())
    }

    /// Removes what [`store`](Self::store) wrote, key first.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn remove(directory: &Path) -> Result<(), Error> {
        for name in [key::PENDING, IDENTITY, TRUST] {
            data::remove(&directory.join(name))?;
        }
        Ok(())
    }

    /// Makes TLS material of it.
    ///
    /// # Errors
    /// [`Error::Tls`] if the TLS library refuses it.
    pub fn tls(&self) -> Result<Tls, Error> {
        Ok(Tls::new(self.trust.clone(), Some((self.chain.clone(), self.key.der())))?)
    }

    /// Puts it in place of what `tls` holds; connections made from now on use it.
    ///
    /// # Errors
    /// [`Error::Tls`]; then `tls` is as it was.
    pub fn put_into(&self, tls: &Tls) -> Result<(), Error> {
        Ok(tls.replace(self.trust.clone(), Some((self.chain.clone(), self.key.der())))?)
    }

    /// Puts a renewed certificate of the same key, and the trust list that came with it, in place of the old ones.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they do not belong to the key, or to another device or service than before.
    pub fn renewed(
        &self,
        chain: Vec<CertificateDer<'static>>,
        trust: Vec<CertificateDer<'static>>,
    ) -> Result<Identity, Error> {
        let key = Key::from_pem(self.key.to_pem().as_bytes())?;
        let renewed = Identity::new(key, chain, trust)?;
        if renewed.subject != self.subject {
            return Err(malformed("the renewed certificate", "it names somebody else"));
        }
        Ok(renewed)
    }

    /// The same identity with another trust list.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the list is empty or too long.
    pub fn trusting(self, trust: Vec<CertificateDer<'static>>) -> Result<Identity, Error> {
        Identity::new(self.key, self.chain, trust)
    }

    /// When the certificate is to be renewed: at two thirds of its life.
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life / 3 * 2
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whom the certificate names.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The CAs that are trusted.
    pub fn trust(&self) -> &[CertificateDer<'static>] {
        &self.trust
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(text)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(path.display(), error))
}

/// What is read off a certificate.
#[derive(Debug)]
pub struct Certificate {
    /// Its URI names.
    pub uris: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The public key (SubjectPublicKeyInfo, DER).
    pub public: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate without judging it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is none.
    pub fn read(der: &CertificateDer<'_>) -> Result<Certificate, Error> {
        let (_, seen) = X509Certificate::from_der(der).map_err(|error| malformed("a certificate", error))?;
        let names = seen.subject_alternative_name().map_err(|error| malformed("a certificate", error))?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(Certificate {
            uris: uris.collect(),
            not_before: time(seen.validity().not_before.timestamp()),
            not_after: time(seen.validity().not_after.timestamp()),
            public: seen.public_key().raw.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

    use super::*;

    fn identity(life: Duration) -> Identity {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = ca.self_signed(&ca_key).unwrap();
        let key = Key::generate().unwrap();
        let mut leaf = CertificateParams::default();
        let from = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        leaf.not_before = from.into();
        leaf.not_after = (from + life).into();
        leaf.subject_alt_names = vec![SanType::URI(format!("quics:device:{}", "5a".repeat(16)).try_into().unwrap())];
        let leaf = leaf.signed_by(key.pair(), &rcgen::Issuer::new(ca, ca_key)).unwrap();
        Identity::new(key, vec![leaf.into(), root.der().clone()], vec![root.into()]).unwrap()
    }

    #[test]
    fn an_identity_survives_its_files() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("identity");
        assert!(Identity::load(&directory).unwrap().is_none());
        let pending = pending_key(&directory).unwrap().public();
        assert_eq!(pending_key(&directory).unwrap().public(), pending, "a second attempt has the same key");

        let stored = identity(Duration::from_secs(900));
        stored.store(&directory).unwrap();
        let loaded = Identity::load(&directory).unwrap().unwrap();
        assert_eq!(loaded.subject(), stored.subject());
        assert_eq!(loaded.key().public(), stored.key().public());
        assert_eq!((loaded.chain.len(), loaded.trust.len()), (2, 1));
        loaded.tls().unwrap();
        let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(IDENTITY), 0o600);
        assert!(!directory.join(key::PENDING).exists(), "enrolling is over");

        Identity::remove(&directory).unwrap();
        assert!(Identity::load(&directory).unwrap().is_none());
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let identity = identity(Duration::from_secs(900));
        assert_eq!(identity.not_after().duration_since(identity.renew_at()).unwrap(), Duration::from_secs(300));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let one = identity(Duration::from_secs(900));
        let other = Key::generate().unwrap();
        assert!(matches!(Identity::new(other, one.chain, one.trust), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_absence() {
        let temp = tempfile::tempdir().unwrap();
        identity(Duration::from_secs(900)).store(temp.path()).unwrap();
        data::write_atomic(&temp.path().join(IDENTITY), b"-----BEGIN nonsense", 0o600).unwrap();
        assert!(matches!(Identity::load(temp.path()), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", Key::generate().unwrap()), "Key");
        assert!(!format!("{:?}", identity(Duration::from_secs(9))).contains("PRIVATE"));
    }
}
