//! A certificate authority for tests.

use std::time::{Duration, SystemTime};

use quics_quic::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate chain and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ca { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// The CA's own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Issues a certificate for `localhost` and 127.0.0.1 with a URI, that ends at `end`.
    pub(crate) fn issue(&self, uri: &str, end: SystemTime) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
            SanType::URI(uri.try_into().unwrap()),
        ];
        params.not_before = (end - Duration::from_secs(7 * 86_400)).into();
        params.not_after = end.into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }

    /// Issues a certificate that is valid for a day.
    pub(crate) fn valid(&self, uri: &str) -> Identity {
        self.issue(uri, SystemTime::now() + Duration::from_secs(86_400))
    }

    /// Issues a certificate that ran out a day ago.
    pub(crate) fn expired(&self, uri: &str) -> Identity {
        self.issue(uri, SystemTime::now() - Duration::from_secs(86_400))
    }

    pub(crate) fn tls(&self, identity: Option<Identity>) -> Tls {
        Tls::new(vec![self.certificate()], identity).unwrap()
    }

    pub(crate) fn server(&self) -> Tls {
        self.tls(Some(self.valid("quics://service/test")))
    }

    pub(crate) fn client(&self, uri: &str) -> Tls {
        self.tls(Some(self.valid(uri)))
    }
}
