//! What the service is told at its start.

/// The configuration: what all services have, and this one's own.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "sync-svc", version, about = "QUIC-S sync service: entries, contents, the feed of changes, conflicts")]
pub struct Config {
    /// What all services have.
    #[command(flatten)]
    pub service: quics_kit::service::Config,
    /// Bytes of disk that stay free: below, nothing is taken that adds content
    #[arg(long, env = "QUICS_RESERVE", default_value_t = 256 << 20, value_name = "BYTES")]
    pub reserve: u64,
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service, reserve: 256 << 20 }
    }
}
