//! The certificate of the public side: files, read again when they change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use quics_kit::data;
use quics_quic::{Tls, certificate_end};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

/// Bytes of a file, at most.
const MOST: u64 = 1 << 20;
/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

/// Why a certificate is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A file is not there, or has not in it what it should.
    #[error("{} holds no {what} in PEM form", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error("the key in {} does not belong to the certificate in {}: {reason}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It has run out.
    #[error("the certificate in {} has expired: put a new one there", .0.display())]
    Expired(PathBuf),
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What stood in the files.
#[derive(PartialEq, Eq)]
pub(crate) struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    /// Reads both.
    pub(crate) fn read(&self) -> Result<Read, Error> {
        let nothing = |path: &PathBuf, what| Error::Nothing { path: path.clone(), what };
        let certificate = data::read_small(&self.certificate, MOST)?;
        let key = data::read_small(&self.key, MOST)?;
        Ok(Read {
            certificate: certificate.ok_or_else(|| nothing(&self.certificate, "certificate"))?,
            key: key.ok_or_else(|| nothing(&self.key, "private key"))?,
        })
    }

    /// Makes what stood in them of use.
    fn parse(
        &self,
        read: &Read,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let nothing = |path: &PathBuf, what| Error::Nothing { path: path.clone(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| nothing(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|_| nothing(&self.key, "private key"))?;
        match certificate_end(&chain[0]) {
            Some(end) if end > now => Ok((chain, key)),
            Some(_) => Err(Error::Expired(self.certificate.clone())),
            None => Err(nothing(&self.certificate, "certificate")),
        }
    }

    fn mismatch(&self, error: &quics_quic::Error) -> Error {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        Error::Mismatch { certificate, key, reason: error.to_string() }
    }

    /// The identity that stands in them.
    pub(crate) fn tls(&self, read: &Read, now: SystemTime) -> Result<Tls, Error> {
        let (chain, key) = self.parse(read, now)?;
        Tls::public(chain, key).map_err(|error| self.mismatch(&error))
    }

    fn replace(&self, tls: &Tls, read: &Read, now: SystemTime) -> Result<(), Error> {
        let (chain, key) = self.parse(read, now)?;
        tls.replace_public(chain, key).map_err(|error| self.mismatch(&error))
    }
}

/// Takes what the files hold whenever that changes, until shutdown. What is of no use is told, and the one before stays.
pub(crate) async fn follow(
    files: Files,
    mut known: Read,
    tls: Tls,
    now: impl Fn() -> SystemTime + Send + 'static,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        let looked = files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || looked.read()).await else { continue };
        let taken = match read {
            Ok(read) if read == known => continue,
            Ok(read) => {
                let taken = files.replace(&tls, &read, now());
                // One that is of no use is told of once.
                known = read;
                taken
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => tracing::info!(certificate = %files.certificate.display(), "certificate.taken"),
            Err(error) => tracing::error!(%error, "certificate.not_taken"),
        }
    }
}
