//! What registry-svc is told at its start.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use quics_kit::names::FIRST_USER;
use quics_kit::service;

/// How long the certificates of devices and services live unless told otherwise: seven days.
const CERTIFICATE_SECONDS: u64 = 7 * 24 * 3600;

/// registry-svc's configuration; flags, or environment variables.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Config {
    /// What all services are told.
    #[command(flatten)]
    pub common: service::Config,
    /// Host (or host:port) under which devices reach this server, for tickets; may be given more than once
    #[arg(long, env = "QUICS_ADVERTISE", value_delimiter = ',', value_name = "HOST[:PORT]")]
    pub advertise: Vec<String>,
    /// Name of the user that a fresh server has
    #[arg(long, env = "QUICS_FIRST_USER", default_value = FIRST_USER, value_name = "NAME")]
    pub first_user: String,
    /// Life of certificates in seconds
    #[arg(long, env = "QUICS_CERTIFICATE_SECONDS", default_value_t = CERTIFICATE_SECONDS, value_name = "SECONDS")]
    pub certificate_seconds: u64,
}

impl Config {
    /// The defaults around `common`.
    pub fn new(common: service::Config) -> Self {
        let (advertise, first_user) = (Vec::new(), FIRST_USER.to_owned());
        Self { common, advertise, first_user, certificate_seconds: CERTIFICATE_SECONDS }
    }

    /// The life of certificates.
    pub fn certificate_life(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds.max(1))
    }

    /// What tickets name, as `host:port`: what was configured, else the address that is bound, else (bound to all) this
    /// machine's address towards the default route and its host name.
    pub(crate) fn addresses(&self, bound: SocketAddr) -> Vec<String> {
        let port = bound.port();
        let configured: Vec<String> = self.advertise.iter().map(|host| with_port(host.trim(), port)).collect();
        if !configured.is_empty() {
            return configured;
        }
        if !bound.ip().is_unspecified() {
            return vec![bound.to_string()];
        }
        let mut found = Vec::new();
        found.extend(outward(bound.ip()).map(|ip| SocketAddr::new(ip, port).to_string()));
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        if !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            found.push(format!("{host}:{port}"));
        }
        found
    }
}

fn with_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if quics_kit::ticket::is_address(host) => host.to_owned(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// The local address that packets to the outside would have; connecting a UDP socket sends none. The destinations are
/// documentation addresses (RFC 5737, RFC 3849).
fn outward(bound: IpAddr) -> Option<IpAddr> {
    let (any, outside) = match bound {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(outside).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_name_what_was_configured_or_what_is_bound() {
        let mut config = Config::new(service::Config::on_free_ports("/nowhere"));
        let bound = SocketAddr::from(([127, 0, 0, 1], 7001));
        assert_eq!(config.addresses(bound), ["127.0.0.1:7001"]);
        config.advertise =
            ["files.example.org", "files.example.org:443", "2001:db8::5", "192.0.2.7"].map(String::from).into();
        let named = ["files.example.org:7001", "files.example.org:443", "[2001:db8::5]:7001", "192.0.2.7:7001"];
        assert_eq!(config.addresses(bound), named);
    }

    #[test]
    fn a_server_that_listens_everywhere_never_names_that() {
        let config = Config::new(service::Config::on_free_ports("/nowhere"));
        for address in config.addresses(SocketAddr::from(([0, 0, 0, 0], 7001))) {
            assert!(quics_kit::ticket::is_address(&address) && !address.starts_with("0.0.0.0"), "{address}");
        }
    }
}
