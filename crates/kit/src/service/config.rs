//! What every service is told at its start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::names::Service;
use crate::telemetry;

/// How much the ops ports lie above the services' ports.
const OPS: u16 = 10;

/// The part of a service's configuration that all services have; flags, or environment variables.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Config {
    /// Directory of this service's data; made where it is missing
    #[arg(long, env = "QUICS_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// Address to listen on for devices and services: 0.0.0.0 or :: for all of this machine's
    #[arg(long, env = "QUICS_LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    pub listen: IpAddr,
    /// Address to listen on for operations (health, reflection, administration)
    #[arg(long, env = "QUICS_OPS_LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    pub ops_listen: IpAddr,
    /// First port of the installation; 0 takes free ones
    #[arg(long, env = "QUICS_PORT_BASE", default_value_t = 6120, value_name = "PORT")]
    pub port_base: u16,
    /// Where registry-svc is, if not where the service ticket says
    #[arg(long, env = "QUICS_REGISTRY", value_name = "HOST:PORT")]
    pub registry: Option<String>,
    /// File with the service ticket that registry-svc writes (service.ticket in its data directory)
    #[arg(long, env = "QUICS_JOIN", value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// How the process logs.
    #[command(flatten)]
    pub log: telemetry::Options,
}

impl Config {
    /// The defaults with this data directory and free ports.
    pub fn on_free_ports(data: impl Into<PathBuf>) -> Self {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            data: data.into(),
            listen: localhost,
            ops_listen: localhost,
            port_base: 0,
            registry: None,
            join: None,
            log: telemetry::Options::default(),
        }
    }

    /// Where a service listens; port 0 for a free one.
    pub fn address(&self, service: Service) -> SocketAddr {
        SocketAddr::new(self.listen, self.port(service, 0))
    }

    /// The port on which share-svc serves strangers: the first one; 0 for a free one.
    pub fn public_port(&self) -> u16 {
        self.port_base
    }

    /// Where a service's ops port listens; port 0 for a free one.
    pub fn ops_address(&self, service: Service) -> SocketAddr {
        SocketAddr::new(self.ops_listen, self.port(service, OPS))
    }

    fn port(&self, service: Service, above: u16) -> u16 {
        match self.port_base {
            0 => 0,
            base => base.saturating_add(service.port_offset() + above),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_count_from_the_base_and_zero_is_free() {
        let mut config = Config::on_free_ports("/nowhere");
        assert_eq!(config.address(Service::Sync).port(), 0);
        config.port_base = 6120;
        assert_eq!(config.address(Service::Registry).port(), 6121);
        assert_eq!(config.ops_address(Service::Share).port(), 6134);
    }
}
