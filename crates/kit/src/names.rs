//! The services' names, and the names in certificates.

use std::fmt;
use std::str::FromStr;

use quics_types::DeviceId;

/// What the user of a fresh server is called, unless its owner said otherwise.
pub const FIRST_USER: &str = "user";

/// Names one of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Service {
    /// registry-svc: who.
    Registry,
    /// sync-svc: what is now.
    Sync,
    /// history-svc: what was.
    History,
    /// share-svc: what strangers may have.
    Share,
}

impl Service {
    /// All services, in the order of their ports.
    pub const ALL: [Service; 4] = [Service::Registry, Service::Sync, Service::History, Service::Share];

    /// The name as it stands in certificates, logs and addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Registry => "registry",
            Service::Sync => "sync",
            Service::History => "history",
            Service::Share => "share",
        }
    }

    /// What is added to the port base for the service's port; its ops port lies 10 above.
    pub const fn port_offset(self) -> u16 {
        match self {
            Service::Registry => 1,
            Service::Sync => 2,
            Service::History => 3,
            Service::Share => 4,
        }
    }

    /// The DNS name that the service's certificate is for, whatever host it runs on.
    pub const fn server_name(self) -> &'static str {
        match self {
            Service::Registry => "registry.quics",
            Service::Sync => "sync.quics",
            Service::History => "history.quics",
            Service::Share => "share.quics",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says that a text is none of the services' names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no service has this name; there are registry, sync, history and share")]
pub struct UnknownService;

impl FromStr for Service {
    type Err = UnknownService;
    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Service::ALL.into_iter().find(|service| service.as_str() == text).ok_or(UnknownService)
    }
}

/// The address of a service as registry-svc tells it, where an empty host means the one by which `known` was reached;
/// `None` where it tells none.
pub fn address_beside(known: &str, service: &str) -> Option<String> {
    let (host, port) = service.rsplit_once(':')?;
    if host.is_empty() { Some(format!("{}:{port}", known.rsplit_once(':')?.0)) } else { Some(service.to_owned()) }
}

/// Whom a certificate is for, as its URI name says: `quics:device:<32 hex digits>` or `quics:service:<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A device of a user.
    Device(DeviceId),
    /// One of the services.
    Service(Service),
}

impl Subject {
    /// Finds the subject among a certificate's URI names; `None` if none or more than one is of this form.
    pub fn among<S: AsRef<str>>(uris: &[S]) -> Option<Subject> {
        let mut found = uris.iter().filter_map(|uri| uri.as_ref().parse().ok());
        match (found.next(), found.next()) {
            (Some(subject), None) => Some(subject),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Device(device) => write!(f, "quics:device:{device}"),
            Subject::Service(service) => write!(f, "quics:service:{service}"),
        }
    }
}

/// Says that a URI names neither a device nor a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the URI names neither a device nor a service")]
pub struct NoSubject;

impl FromStr for Subject {
    type Err = NoSubject;
    fn from_str(uri: &str) -> Result<Self, NoSubject> {
        let rest = uri.strip_prefix("quics:").ok_or(NoSubject)?;
        if let Some(device) = rest.strip_prefix("device:") {
            return device.parse().map(Subject::Device).map_err(|_| NoSubject);
        }
        let service = rest.strip_prefix("service:").ok_or(NoSubject)?;
        service.parse().map(Subject::Service).map_err(|_| NoSubject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_round_trip_as_uris() {
        let device = Subject::Device(DeviceId::from_bytes([0xab; 16]));
        assert_eq!(device.to_string(), format!("quics:device:{}", "ab".repeat(16)));
        assert_eq!(device.to_string().parse(), Ok(device));
        for service in Service::ALL {
            assert_eq!(Subject::Service(service).to_string().parse(), Ok(Subject::Service(service)));
            assert!(service.server_name().starts_with(service.as_str()));
        }
    }

    #[test]
    fn a_service_without_a_host_is_where_registry_svc_is() {
        assert_eq!(address_beside("[::1]:6121", ":6122").as_deref(), Some("[::1]:6122"));
        assert_eq!(address_beside("a:6121", "b:6122").as_deref(), Some("b:6122"));
        assert_eq!(address_beside("a:6121", ""), None);
    }

    #[test]
    fn ambiguous_or_foreign_names_are_nobody() {
        let device = Subject::Device(DeviceId::from_bytes([1; 16])).to_string();
        assert_eq!(Subject::among::<String>(&[]), None);
        assert_eq!(Subject::among(&["https://example.org".to_owned()]), None);
        assert_eq!(Subject::among(&[device.clone(), "quics:service:sync".to_owned()]), None);
        assert!(Subject::among(&[device, "https://example.org".to_owned()]).is_some());
        assert!("quics:device:AB".parse::<Subject>().is_err());
        assert!("quics:service:root".parse::<Subject>().is_err());
    }
}
