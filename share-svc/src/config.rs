//! What the service is told at its start.

/// The configuration: what all services have, and this one's own.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "share-svc", version, about = "QUIC-S share service: links for people who have no account")]
pub struct Config {
    /// What all services have.
    #[command(flatten)]
    pub service: quics_kit::service::Config,
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service }
    }
}
