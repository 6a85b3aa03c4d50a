//! The certificate authority: its key, and what it signs.
//!
//! `ca/key.pem` (0600) and `ca/cert.pem` in the data directory, made at the first start. Where one CA is to replace
//! another, `ca/trust.pem` holds the certificates of further CAs that everybody is told to trust meanwhile. Every certificate names exactly
//! one device or service in a URI (RFC 5280, 4.2.1.6) and says what it may be used for: a device's for clients only, so
//! that no device can pose as a service.

use std::path::Path;
use std::time::{Duration, SystemTime};

use quics_kit::data;
use quics_kit::identity::Key;
use quics_kit::names::Subject;
use quics_kit::ticket::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::error::{Error, Result};

const MAX_FILE: u64 = 64 << 10;
/// Further CAs that may be trusted.
const MAX_OTHERS: usize = 8;
/// The longest certificate request, in bytes.
const MAX_REQUEST: usize = 4096;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The CA's life.
const CA_LIFE: Duration = DAY.saturating_mul(20 * 365);
/// How far certificates begin in the past, for clocks that are behind; at most a tenth of their life.
const BACKDATED: Duration = Duration::from_secs(3600);

/// What a certificate request asks for, once its signature was verified.
pub(crate) struct Requested {
    key: rcgen::PublicKey,
    hash: [u8; 32],
}

impl Requested {
    /// Reads a request (PKCS#10, DER) and verifies that its sender has the key. Only the key is used of it.
    pub(crate) fn read(der: &[u8]) -> Result<Requested> {
        if der.len() > MAX_REQUEST {
            return Err(Error::Malformed("the certificate request is longer than 4 KiB"));
        }
        let request = CertificateSigningRequestParams::from_der(&der.into())
            .map_err(|_| Error::Malformed("the certificate request is malformed or not signed by its key"))?;
        let key = request.public_key;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
            return Err(Error::Malformed("the key is not an ECDSA key of P-256"));
        }
        let hash = key_hash(&key.subject_public_key_info());
        Ok(Requested { key, hash })
    }

    /// By which the key is remembered.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// The hash by which a public key (SubjectPublicKeyInfo, DER) is remembered.
pub(crate) fn key_hash(public: &[u8]) -> [u8; 32] {
    *blake3::hash(public).as_bytes()
}

/// A certificate that was just signed.
pub(crate) struct Signed {
    /// The leaf, then the CA: who enrols has to see it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) ends_at: SystemTime,
}

/// The CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    others: Vec<CertificateDer<'static>>,
    life: Duration,
}

impl Authority {
    /// Reads the CA in `directory`, or makes it. `life` is that of the certificates it signs.
    pub(crate) fn open(directory: &Path, life: Duration, now: SystemTime) -> Result<Authority> {
        let (key_path, certificate_path) = (directory.join("key.pem"), directory.join("cert.pem"));
        let damaged = |what: &Path| Error::Damaged(format!("{} is not what it should be", what.display()));
        let key_text = data::read_small(&key_path, MAX_FILE)?;
        let certificate_text = data::read_small(&certificate_path, MAX_FILE)?;
        let (key, certificate) = match (key_text, certificate_text) {
            (Some(key), Some(certificate)) => {
                let key = PrivatePkcs8KeyDer::from_pem_slice(&key).map_err(|_| damaged(&key_path))?;
                let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
                    .map_err(|_| damaged(&key_path))?;
                let der = CertificateDer::from_pem_slice(&certificate).map_err(|_| damaged(&certificate_path))?;
                (key, der)
            }
            // A certificate is written after its key and never changes: without it nobody was enrolled yet.
            (_, None) => make(&key_path, &certificate_path, now)?,
            (None, Some(_)) => return Err(damaged(&key_path)),
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(Error::Authority)?;
        let others_path = directory.join("trust.pem");
        let others = data::read_small(&others_path, MAX_FILE)?.unwrap_or_default();
        let others: Vec<_> = CertificateDer::pem_slice_iter(&others)
            .take(MAX_OTHERS + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| damaged(&others_path))?;
        if others.len() > MAX_OTHERS {
            return Err(Error::TooMany("certificates in ca/trust.pem"));
        }
        Ok(Authority { issuer, certificate, others, life })
    }

    /// What is trusted: DER of each CA, its own first.
    pub(crate) fn trust(&self) -> Vec<CertificateDer<'static>> {
        let others = self.others.iter().filter(|other| **other != self.certificate);
        std::iter::once(&self.certificate).chain(others).cloned().collect()
    }

    /// The CA's fingerprint.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// When a certificate that is signed at `now` ends.
    pub(crate) fn end(&self, now: SystemTime) -> SystemTime {
        now + self.life
    }

    /// Signs a certificate for the requested key in the name of `subject`.
    pub(crate) fn sign(&self, requested: &Requested, subject: Subject, now: SystemTime) -> Result<Signed> {
        self.sign_key(&requested.key, subject, now)
    }

    /// Signs a certificate for a key of this process.
    pub(crate) fn sign_own(&self, key: &Key, subject: Subject, now: SystemTime) -> Result<Signed> {
        self.sign_key(key.pair(), subject, now)
    }

    fn sign_key(&self, key: &impl PublicKeyData, subject: Subject, now: SystemTime) -> Result<Signed> {
        let ends_at = self.end(now);
        let mut params = CertificateParams::default();
        params.distinguished_name = name(match subject {
            Subject::Device(_) => "QUIC-S device",
            Subject::Service(_) => "QUIC-S service",
        });
        params.not_before = (now - BACKDATED.min(self.life / 10)).into();
        params.not_after = ends_at.into();
        params.serial_number = Some(serial());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = subject.to_string().try_into().map_err(Error::Authority)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        if let Subject::Service(service) = subject {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            let dns = service.server_name().try_into().map_err(Error::Authority)?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        let leaf = params.signed_by(key, &self.issuer).map_err(Error::Authority)?;
        Ok(Signed { chain: vec![leaf.into(), self.certificate.clone()], ends_at })
    }
}

fn make(key_path: &Path, certificate_path: &Path, now: SystemTime) -> Result<(KeyPair, CertificateDer<'static>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Authority)?;
    let mut params = CertificateParams::default();
    // A name of its own, so that two CAs are never taken for one.
    params.distinguished_name = name(&format!("QUIC-S CA {:08x}", u32::from_be_bytes(quics_kit::random::bytes())));
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFE).into();
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(Error::Authority)?;
    data::write_atomic(key_path, key.serialize_pem().as_bytes(), 0o600)?;
    data::write_atomic(certificate_path, certificate.pem().as_bytes(), 0o644)?;
    tracing::info!(fingerprint = %Fingerprint::of(certificate.der()), "ca.made");
    Ok((key, certificate.into()))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// 127 random bits: positive, unique, unguessable (RFC 5280, 4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes = quics_kit::random::bytes::<16>();
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use quics_kit::identity::{Certificate, Identity};
    use quics_kit::names::Service;
    use quics_types::DeviceId;

    use super::*;

    fn authority(directory: &Path) -> Authority {
        Authority::open(directory, 7 * DAY, SystemTime::UNIX_EPOCH + 20_000 * DAY).unwrap()
    }

    #[test]
    fn the_ca_survives_a_restart_and_its_key_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let first = authority(temp.path()).fingerprint();
        assert_eq!(authority(temp.path()).fingerprint(), first);
        let mode = std::fs::metadata(temp.path().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_or_damaged_ca_key_is_an_error_and_not_a_new_ca() {
        let temp = tempfile::tempdir().unwrap();
        authority(temp.path());
        data::write_atomic(&temp.path().join("key.pem"), b"nonsense", 0o600).unwrap();
        assert!(matches!(Authority::open(temp.path(), DAY, SystemTime::now()), Err(Error::Damaged(_))));
        data::remove(&temp.path().join("key.pem")).unwrap();
        assert!(matches!(Authority::open(temp.path(), DAY, SystemTime::now()), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_certificate_is_for_the_requested_key_and_names_its_subject() {
        let temp = tempfile::tempdir().unwrap();
        let authority = authority(temp.path());
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let key = Key::generate().unwrap();
        let requested = Requested::read(&key.request().unwrap()).unwrap();
        assert_eq!(requested.hash(), key_hash(&key.public()));
        let subject = Subject::Device(DeviceId::from_bytes([4; 16]));
        let signed = authority.sign(&requested, subject, now).unwrap();
        let seen = Certificate::read(&signed.chain[0]).unwrap();
        assert_eq!((seen.public.clone(), seen.not_after), (key.public(), now + 7 * DAY));
        assert_eq!(seen.not_before, now - BACKDATED);
        let identity = Identity::new(key, signed.chain, authority.trust()).unwrap();
        assert_eq!(identity.subject(), subject);
    }

    #[test]
    fn requests_that_do_not_prove_possession_are_refused() {
        let mut request = Key::generate().unwrap().request().unwrap();
        let last = request.len() - 1;
        request[last] ^= 1;
        assert!(matches!(Requested::read(&request), Err(Error::Malformed(_))));
        assert!(matches!(Requested::read(b""), Err(Error::Malformed(_))));
        assert!(matches!(Requested::read(&[0x30; MAX_REQUEST + 1]), Err(Error::Malformed(_))));
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&other).unwrap();
        assert!(matches!(Requested::read(request.der()), Err(Error::Malformed(_))));
    }

    #[test]
    fn only_services_may_be_servers() {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let temp = tempfile::tempdir().unwrap();
        let authority = authority(temp.path());
        let usage = |subject| {
            let key = Key::generate().unwrap();
            let signed = authority.sign_own(&key, subject, SystemTime::UNIX_EPOCH + 20_000 * DAY).unwrap();
            let (_, seen) = X509Certificate::from_der(&signed.chain[0]).unwrap();
            let usage = seen.extended_key_usage().unwrap().unwrap().value.clone();
            (usage.client_auth, usage.server_auth)
        };
        assert_eq!(usage(Subject::Device(DeviceId::from_bytes([4; 16]))), (true, false));
        assert_eq!(usage(Subject::Service(Service::Sync)), (true, true));
    }
}
