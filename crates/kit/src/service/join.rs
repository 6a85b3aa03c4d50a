//! How a service other than registry-svc becomes known to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, ChannelConfig, Tls};
use rand::Rng;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::{Error, Host};
use crate::data;
use crate::enrol::{self, FirstContact, Renewal, Right};
use crate::identity::{Identity, pending_key};
use crate::names::{Service, address_beside};
use crate::ticket::{Fingerprint, Ticket};

/// Pauses between attempts to reach registry-svc, jittered: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long registry-svc has to answer where a service is.
const ASK: Duration = Duration::from_secs(10);

/// A service that is known to registry-svc.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The service's identity; renewed by itself.
    pub tls: Tls,
    /// The way to registry-svc.
    pub registry: Channel,
    address: String,
    directory: PathBuf,
}

impl Joined {
    /// Trusts these CAs from now on, durably: for `Follow::on_trust`. It may write a small file.
    ///
    /// # Errors
    /// [`Error::Identity`]; then what was trusted before still is.
    pub fn trust(&self, trust: Vec<CertificateDer<'static>>) -> Result<(), Error> {
        let Some(identity) = Identity::load(&self.directory)? else { return Ok(()) };
        if identity.trust() == trust.as_slice() {
            return Ok(());
        }
        let identity = identity.trusting(trust)?;
        identity.store(&self.directory)?;
        Ok(identity.put_into(&self.tls)?)
    }

    /// Asks registry-svc where a service is; `None` while that has not said so itself.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn find(&self, service: Service) -> Result<Option<String>, tonic::Status> {
        let mut request = tonic::Request::new(registry::GetServicesRequest {});
        request.set_timeout(ASK);
        let services = RegistryServiceClient::new(self.registry.clone()).get_services(request).await?.into_inner();
        let told = services.services.unwrap_or_default();
        let told = match service {
            Service::Registry => told.registry,
            Service::Sync => told.sync,
            Service::History => told.history,
            Service::Share => told.share,
        };
        Ok(address_beside(&self.address, &told))
    }

    /// Makes a channel to another service at `address`.
    pub fn channel(&self, service: Service, address: impl Into<String>) -> Channel {
        Channel::new(ChannelConfig::new(address, service.server_name(), self.tls.clone()))
    }
}

impl Host {
    /// Gets this service its identity: the stored one, or a new one by the service ticket, waiting for registry-svc as
    /// long as it is not there. From then on a background task keeps it renewed.
    ///
    /// # Errors
    /// [`Error::NoTicket`], [`Error::Ticket`], [`Error::OtherInstallation`], [`Error::Identity`], [`Error::Enrol`] where
    /// waiting does not help, [`Error::Interrupted`] at `shutdown`.
    pub async fn join(&self, shutdown: &CancellationToken) -> Result<Joined, Error> {
        let directory = self.data().dir("identity")?;
        let (identity, ticket) = match Identity::load(&directory)? {
            Some(identity) => {
                let ticket = self.ticket()?;
                if let Some(ticket) = &ticket
                    && !identity.trust().iter().any(|ca| Fingerprint::of(ca) == ticket.fingerprint)
                {
                    return Err(Error::OtherInstallation { path: self.data().path().to_owned() });
                }
                (identity, ticket)
            }
            None => {
                let (identity, ticket) = self.enrol(&directory, shutdown).await?;
                (identity, Some(ticket))
            }
        };
        let address = self.registry_address(&directory, ticket.as_ref())?;
        let tls = identity.tls()?;
        let registry = Channel::new(ChannelConfig::new(&address, Service::Registry.server_name(), tls.clone()));
        let renewal = Renewal {
            directory: directory.clone(),
            tls: tls.clone(),
            channel: registry.clone(),
            clock: self.clock(),
            on_renewed: Box::new(|_| {}),
        };
        self.spawn("certificate renewal", renewal.run(identity, shutdown.clone()));
        Ok(Joined { tls, registry, address, directory })
    }

    async fn enrol(&self, directory: &Path, shutdown: &CancellationToken) -> Result<(Identity, Ticket), Error> {
        if self.config().join.is_none() {
            return Err(Error::NoTicket);
        }
        let mut pause = PAUSES.0;
        loop {
            // Read anew each time: a registry-svc that is just starting may be about to write it.
            if let Some(ticket) = self.ticket()? {
                let mut first = FirstContact::from(&ticket);
                if let Some(address) = &self.config().registry {
                    first.addresses = vec![address.clone()];
                }
                let right = Right::Service(ticket.secret.clone());
                let enrolling = enrol::enrol(&first, pending_key(directory)?, self.service.as_str(), &right);
                let enrolled = tokio::select! {
                    () = shutdown.cancelled() => return Err(Error::Interrupted),
                    enrolled = enrolling => enrolled,
                };
                match enrolled {
                    Ok(enrolled) => {
                        enrolled.identity.store(directory)?;
                        tracing::info!(service = %self.service, registry = enrolled.address, "service.enrolled");
                        return Ok((enrolled.identity, ticket));
                    }
                    Err(error @ (enrol::Error::Unreachable { .. } | enrol::Error::Limited { .. })) => {
                        tracing::info!(%error, "service.enrol_waits");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let wait = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            pause = (pause * 2).min(PAUSES.1);
            tokio::select! {
                () = shutdown.cancelled() => return Err(Error::Interrupted),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reads the service ticket; `None` where none was named or the file is not there (yet).
    fn ticket(&self) -> Result<Option<Ticket>, Error> {
        let Some(path) = &self.config().join else { return Ok(None) };
        let Some(text) = data::read_small(path, 4096)? else { return Ok(None) };
        let ticket = String::from_utf8_lossy(&text).parse();
        ticket.map(Some).map_err(|source| Error::Ticket { path: path.clone(), source })
    }

    /// Where registry-svc is: as configured, else as the ticket says, else as it was last.
    fn registry_address(&self, directory: &Path, ticket: Option<&Ticket>) -> Result<String, Error> {
        let path = directory.join("registry");
        let told = self.config().registry.clone().or_else(|| ticket?.addresses.first().cloned());
        let known = data::read_small(&path, 1024)?.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        match (told, known) {
            (Some(told), known) => {
                if known.as_ref() != Some(&told) {
                    data::write_atomic(&path, format!("{told}\n").as_bytes(), 0o600)?;
                }
                Ok(told)
            }
            (None, Some(known)) => Ok(known),
            (None, None) => Err(Error::NoTicket),
        }
    }
}
