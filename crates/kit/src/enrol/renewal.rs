//! Certificates live days; this keeps one fresh.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, Tls};
use rand::Rng;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{CALL, Error, certificates, is_unreachable, refusal, unreachable};
use crate::clock::Clock;
use crate::identity::Identity;

/// The longest sleep: the clock may jump, and a suspended machine's timers stand still.
const NAP: Duration = Duration::from_secs(60);
/// Pauses after failed attempts, jittered: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// Asks registry-svc for a new certificate of the same key, and for where the services are.
///
/// `channel` must be one that shows `identity`, expired or not.
///
/// # Errors
/// [`Error::Revoked`], [`Error::Unreachable`], [`Error::Failed`], or what is wrong with the answer.
pub async fn renew(channel: &Channel, identity: &Identity) -> Result<(Identity, registry::Services), Error> {
    let request = registry::RenewRequest { certificate_request: identity.key().request()?.into() };
    let mut message = tonic::Request::new(request);
    message.set_timeout(CALL);
    let answer =
        RegistryServiceClient::new(channel.clone()).renew(message).await.map_err(|status| match status.code() {
            Code::Unauthenticated => Error::Failed(Box::new(status)),
            _ if is_unreachable(&status) => unreachable(&[], status),
            _ => refusal(status),
        })?;
    let answer = answer.into_inner();
    let (chain, trust) = certificates(answer.credentials.ok_or(Error::Answer("it holds no certificate"))?);
    Ok((identity.renewed(chain, trust)?, answer.services.unwrap_or_default()))
}

/// Keeps an identity renewed for as long as its process lives.
pub struct Renewal {
    /// The identity's directory.
    pub directory: PathBuf,
    /// What all connections of this process take their certificate from.
    pub tls: Tls,
    /// The way to registry-svc, on that `tls`.
    pub channel: Channel,
    /// Says when it is time.
    pub clock: Arc<dyn Clock>,
    /// Told of each new certificate, after it is stored and in use, so that connections which show the old one can be
    /// made anew.
    pub on_renewed: Box<dyn Fn(&Identity) + Send + Sync>,
}

impl Renewal {
    /// Renews at two thirds of each certificate's life, and at once where that time is past; after a failure again with
    /// growing pauses.
    ///
    /// # Errors
    /// [`Error::Revoked`], at which there is nothing more to do; every other failure is logged and tried again. Without
    /// one it returns at `shutdown`.
    pub async fn run(self, mut identity: Identity, shutdown: CancellationToken) -> Result<(), Error> {
        let mut pause = PAUSES.0;
        loop {
            let due = identity.renew_at();
            let wait = match due.duration_since(self.clock.now()) {
                Ok(ahead) if !ahead.is_zero() => ahead.min(NAP),
                _ => match self.once(&identity).await {
                    Ok(renewed) => {
                        tracing::info!(subject = %renewed.subject(), "certificate.renewed");
                        identity = renewed;
                        pause = PAUSES.0;
                        // Never at once again: a clock that disagrees with the server's must not become a busy loop.
                        pause
                    }
                    Err(Error::Revoked) => return Err(Error::Revoked),
                    Err(error) => {
                        tracing::warn!(%error, "certificate.renewal_failed");
                        let wait = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
                        pause = (pause * 2).min(PAUSES.1);
                        wait
                    }
                },
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn once(&self, identity: &Identity) -> Result<Identity, Error> {
        let (renewed, _) = renew(&self.channel, identity).await?;
        let directory = self.directory.clone();
        let renewed = tokio::task::spawn_blocking(move || renewed.store(&directory).map(|()| renewed))
            .await
            .map_err(|_| Error::Answer("storing it was cut off"))??;
        renewed.put_into(&self.tls)?;
        self.channel.reconnect();
        (self.on_renewed)(&renewed);
        Ok(renewed)
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("directory", &self.directory).finish_non_exhaustive()
    }
}
