//! registry-svc's own certificate, and the ticket by which the other services come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quics_kit::clock::Clock;
use quics_kit::data::{self, DataDir};
use quics_kit::identity::{self, Key};
use quics_kit::names::{Service, Subject};
use quics_kit::secret::Secret;
use quics_kit::ticket::Ticket;
use quics_quic::Tls;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::service::Registry;

/// The longest sleep: the clock may jump.
const NAP: Duration = Duration::from_secs(60);
/// The service ticket's file in the data directory (0600).
const SERVICE_TICKET: &str = "service.ticket";

/// A certificate that registry-svc signs for itself; its key is drawn at each start and kept in memory only.
pub(crate) struct Identity {
    current: identity::Identity,
    tls: Tls,
}

impl Identity {
    pub(crate) fn issue(authority: &Authority, clock: &dyn Clock) -> Result<Identity> {
        let current = sign(authority, clock)?;
        let tls = current.tls()?;
        Ok(Identity { current, tls })
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Signs anew at two thirds of each certificate's life, until `shutdown`.
    pub(crate) async fn keep(mut self, registry: Registry, shutdown: CancellationToken) -> Result<()> {
        loop {
            let ahead = self.current.renew_at().duration_since(registry.now()).unwrap_or_default();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // A certificate that is due at once, as with a moved clock, must not become a busy loop.
                () = tokio::time::sleep(ahead.clamp(Duration::from_millis(100), NAP)) => {}
            }
            if self.current.renew_at() <= registry.now() {
                self.current = sign(&registry.inner.authority, registry.inner.clock.as_ref())?;
                self.current.put_into(&self.tls)?;
                tracing::info!("certificate.renewed");
            }
        }
    }
}

fn sign(authority: &Authority, clock: &dyn Clock) -> Result<identity::Identity> {
    let key = Key::generate()?;
    let signed = authority.sign_own(&key, Subject::Service(Service::Registry), clock.now())?;
    Ok(identity::Identity::new(key, signed.chain, authority.trust())?)
}

/// Gives the service secret, drawn at the first start, and writes the service ticket for this start's address.
pub(crate) fn service_ticket(data: &DataDir, authority: &Authority, bound: SocketAddr) -> Result<Secret> {
    let path = data.file(SERVICE_TICKET);
    let secret = match data::read_small(&path, 4096)? {
        Some(text) => {
            let before: Ticket = String::from_utf8_lossy(&text)
                .parse()
                .map_err(|error| Error::Damaged(format!("{}: {error}", path.display())))?;
            before.secret
        }
        None => Secret::draw(),
    };
    let ip = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let addresses = vec![SocketAddr::new(ip, bound.port()).to_string()];
    let ticket = Ticket { addresses, fingerprint: authority.fingerprint(), secret: secret.clone() };
    data::write_atomic(&path, format!("{ticket}\n").as_bytes(), 0o600)?;
    Ok(secret)
}
