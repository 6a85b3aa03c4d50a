//! Which ports a stack takes: a fixed distance from the base, or free ones.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use anyhow::{Context as _, Result, bail};
use quics_kit::names::Service;

/// The base unless told.
pub const DEFAULT_BASE: u16 = 6120;

/// The last port that the house counts from the base: share-svc's ops port.
const HIGHEST_OFFSET: u16 = 14;

/// The ports of the services of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// From where they count.
    pub base: u16,
}

/// The services that a stack runs, in the order in which they start.
pub const SERVICES: [Service; 4] = [Service::Registry, Service::Sync, Service::History, Service::Share];

impl Ports {
    /// Takes the ports from `base`, or, where `base` is 0, from `before` (what this data directory had last, so that
    /// devices find it again) or from some base whose ports are free.
    ///
    /// # Errors
    /// When a port is in use, which one and what to do; when none are free; when the base is too high.
    pub fn choose(base: u16, before: Option<u16>) -> Result<Self> {
        if base != 0 {
            if base > u16::MAX - HIGHEST_OFFSET {
                bail!("--port-base {base} leaves no room for the {HIGHEST_OFFSET} ports above it");
            }
            let ports = Self { base };
            ports.probe()?;
            return Ok(ports);
        }
        if let Some(ports) = before.map(|base| Self { base }).filter(|ports| ports.probe().is_ok()) {
            return Ok(ports);
        }
        const TRIES: usize = 200;
        for _ in 0..TRIES {
            let ports = Self { base: any_base() };
            if ports.probe().is_ok() {
                return Ok(ports);
            }
        }
        bail!("no free ports were found; name a base with --port-base")
    }

    /// Where a service serves devices, over QUIC and TCP.
    pub fn serving(self, service: Service) -> u16 {
        self.base + service.port_offset()
    }

    /// A service's ops port.
    pub fn ops(self, service: Service) -> u16 {
        self.base + 10 + service.port_offset()
    }

    /// Where share-svc serves strangers.
    pub fn public(self) -> u16 {
        self.base
    }

    fn probe(self) -> Result<()> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let public = SocketAddr::new(any, self.public());
        TcpListener::bind(public).with_context(|| in_use(Service::Share, public.port(), "TCP"))?;
        UdpSocket::bind(public).with_context(|| in_use(Service::Share, public.port(), "UDP"))?;
        for service in SERVICES {
            let serving = SocketAddr::new(any, self.serving(service));
            TcpListener::bind(serving).with_context(|| in_use(service, serving.port(), "TCP"))?;
            UdpSocket::bind(serving).with_context(|| in_use(service, serving.port(), "UDP"))?;
            let ops = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.ops(service));
            TcpListener::bind(ops).with_context(|| in_use(service, ops.port(), "TCP"))?;
        }
        Ok(())
    }
}

/// Some base below the ports that systems give to outgoing connections (from 32768 on Linux), so that none of those
/// sits on a service's port while the service is being restarted.
fn any_base() -> u16 {
    const LOWEST: u16 = 10_000;
    const BASES: u64 = 22_000;
    let random = RandomState::new().build_hasher().finish() % BASES;
    LOWEST + u16::try_from(random).unwrap_or_default()
}

fn in_use(service: Service, port: u16, protocol: &str) -> String {
    format!("port {port} ({protocol}), which {service} needs, is in use; choose other ports with --port-base")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_count_from_the_base() {
        let ports = Ports { base: DEFAULT_BASE };
        assert_eq!(SERVICES.map(|service| ports.serving(service)), [6121, 6122, 6123, 6124]);
        assert_eq!(SERVICES.map(|service| ports.ops(service)), [6131, 6132, 6133, 6134]);
    }

    #[test]
    fn free_ports_are_free_and_the_ones_from_before_come_first() {
        let chosen = Ports::choose(0, None).unwrap();
        assert_ne!(chosen.base, 0);
        assert_eq!(Ports::choose(0, Some(chosen.base)).unwrap(), chosen);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let ports = Ports::choose(0, None).unwrap();
        let taken = ports.serving(Service::Sync);
        let _other = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, taken)).unwrap();
        let refused = format!("{:#}", Ports::choose(ports.base, None).unwrap_err());
        assert!(refused.contains(&format!("port {taken} (UDP)")) && refused.contains("--port-base"), "{refused}");
        assert_ne!(Ports::choose(0, Some(ports.base)).unwrap(), ports);
    }
}
