//! This device's account: joining a server, staying known to it, leaving it.
//!
//! ```text
//!  ticket ── address, CA fingerprint, secret ──> Enrol ──> identity + settings      (join)
//!  identity, two thirds through its life ──────> Renew ──> identity                 (renew)
//!  identity ───────────────────────────────────> RevokeDevice, then forgotten       (leave)
//! ```
//!
//! # Invariants
//! - Nothing is sent to a server before it has shown the CA that the person vouched for, by a ticket or by confirming
//!   the fingerprint.
//! - The private key never leaves the home.
//! - An attempt to join that fails leaves the home without an account; trying again with the same ticket is safe.

use std::time::Duration;

use bytes::Bytes;
use quics_kit::enrol::{self, FirstContact};
use quics_kit::identity::{self, Identity};
use quics_kit::names::{Service, address_beside};
use quics_kit::ticket::{Fingerprint, Ticket};
use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, ChannelConfig, Tls};
use tonic::{Code, Request};

use crate::home::{self, Account, Locked, Settings};

mod error;
mod invitation;

pub use error::Error;
pub use invitation::{Invitation, address, paste};

/// How long a call to registry-svc may take.
const CALL: Duration = Duration::from_secs(15);
/// registry-svc's port where nobody says another.
pub const REGISTRY_PORT: u16 = 6121;

/// A call to registry-svc, with its deadline.
pub fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

/// Asks a server which CA it shows, without trusting it or telling it anything.
///
/// # Errors
/// [`Error::Unreachable`] when it does not answer.
pub async fn look(address: &str) -> Result<Fingerprint, Error> {
    enrol::fingerprint(address).await.map_err(|error| Error::of_enrol(address, error, None))
}

/// Joins a server: makes this home a device of it.
///
/// # Durability
/// On success identity and settings are durable.
///
/// # Errors
/// See [`Error`]; the home has no account then, and trying again with the same ticket is safe.
pub async fn join(locked: &Locked, invitation: &Invitation, device_name: &str) -> Result<Account, Error> {
    let mut settings = locked.home().settings()?;
    if let Some(account) = settings.account {
        return Err(Error::AlreadyJoined { device: account.device_name, server: account.server });
    }
    check_name(device_name)?;
    let directory = locked.home().identity();
    let key = identity::pending_key(&directory)?;
    let first = FirstContact { addresses: invitation.addresses.clone(), fingerprint: invitation.fingerprint };
    let enrolled = match enrol::enrol(&first, key, device_name, &invitation.right).await {
        Ok(enrolled) => enrolled,
        Err(error) => {
            let error = Error::of_enrol(&invitation.addresses.join(", "), error, Some(&invitation.right));
            if error.is_final() {
                Identity::remove(&directory)?;
            }
            return Err(error);
        }
    };
    let malformed = || Error::Malformed { server: enrolled.address.clone() };
    let (device, user, user_name) = enrolled.device.clone().ok_or_else(malformed)?;
    let account = Account {
        sync: address_beside(&enrolled.address, &enrolled.services.sync).ok_or_else(malformed)?,
        server: enrolled.address.clone(),
        device,
        device_name: device_name.to_owned(),
        user,
        user_name,
    };
    enrolled.identity.store(&directory)?;
    settings.account = Some(account.clone());
    locked.save(&settings)?;
    Ok(account)
}

/// The account and identity of a home that has joined.
///
/// # Errors
/// [`Error::NotJoined`]; what reading gives.
pub fn open(settings: &Settings, home: &home::Home) -> Result<(Account, Identity), Error> {
    let account = settings.account.clone().ok_or_else(|| Error::NotJoined { home: home.path().to_owned() })?;
    let identity = Identity::load(&home.identity())?;
    let identity = identity.ok_or_else(|| Error::NoIdentity { home: home.path().to_owned() })?;
    Ok((account, identity))
}

/// A channel to registry-svc.
pub fn registry_channel(account: &Account, tls: &Tls) -> Channel {
    Channel::new(ChannelConfig::new(&account.server, Service::Registry.server_name(), tls.clone()))
}

/// A channel to sync-svc.
pub fn sync_channel(account: &Account, tls: &Tls) -> Channel {
    Channel::new(ChannelConfig::new(&account.sync, Service::Sync.server_name(), tls.clone()))
}

/// A channel to a service whose address registry-svc told.
pub fn sister_channel(service: Service, address: &str, tls: &Tls) -> Channel {
    Channel::new(ChannelConfig::new(address, service.server_name(), tls.clone()))
}

/// What the registry says of this device when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is known; sync-svc is at this address now, where the registry said one.
    Good(Option<String>),
    /// It was revoked.
    Revoked,
    /// The registry cannot be reached or does not say.
    Unknown,
}

/// Asks the registry how this device stands. An expired certificate does not make a device revoked.
pub async fn standing(account: &Account, identity: &Identity, channel: &Channel) -> Standing {
    let mut client = RegistryServiceClient::new(channel.clone());
    match client.get_services(call(registry::GetServicesRequest {})).await {
        Ok(response) => {
            let services = response.into_inner().services.unwrap_or_default();
            Standing::Good(address_beside(&account.server, &services.sync))
        }
        Err(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            // Only Renew tells an expired certificate from a revoked key.
            match enrol::renew(channel, identity).await {
                Err(enrol::Error::Revoked) => Standing::Revoked,
                _ => Standing::Unknown,
            }
        }
        Err(_) => Standing::Unknown,
    }
}

/// Revokes this device at the server. One that is revoked already has left.
///
/// # Errors
/// [`Error::Unreachable`] and what else the server says.
pub async fn revoke_self(account: &Account, channel: Channel) -> Result<(), Error> {
    let request = registry::RevokeDeviceRequest { device_id: Bytes::copy_from_slice(account.device.as_bytes()) };
    match RegistryServiceClient::new(channel).revoke_device(call(request)).await {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unauthenticated | Code::PermissionDenied) => {
            Ok(())
        }
        Err(status) => Err(Error::of_call(&account.server, &status)),
    }
}

/// Forgets the account: settings, identity, state.
///
/// # Errors
/// What the file system says; the account is then forgotten in part and forgetting can be repeated.
pub fn forget(locked: &Locked) -> Result<(), Error> {
    locked.save(&Settings::default())?;
    Ok(locked.forget()?)
}

fn check_name(name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=64).contains(&length) && !name.chars().any(char::is_control) { Ok(()) } else { Err(Error::DeviceName) }
}

/// This computer's name, as the device's name where the person gives none.
pub fn host_name() -> String {
    let system = rustix::system::uname();
    let name: String = system.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "device".to_owned() } else { name }
}

/// An invitation by a ticket.
///
/// # Errors
/// [`Error::Ticket`] says what is wrong with the text.
pub fn by_ticket(text: &str) -> Result<Invitation, Error> {
    let ticket: Ticket = paste(text).parse()?;
    let (addresses, fingerprint) = (ticket.addresses, ticket.fingerprint);
    Ok(Invitation { addresses, fingerprint, right: enrol::Right::Ticket(ticket.secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_short_and_printable() {
        assert!(check_name("ann's laptop").is_ok());
        for bad in ["", "a\nb", &"x".repeat(65)] {
            assert!(matches!(check_name(bad), Err(Error::DeviceName)), "{bad:?}");
        }
        assert!(check_name(&host_name()).is_ok());
    }
}
