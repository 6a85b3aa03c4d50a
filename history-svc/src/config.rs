//! What the service is told at its start.

/// The configuration: what all services have, and this one's own.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "history-svc",
    version,
    about = "QUIC-S history service: versions of entries, and what brings them back"
)]
pub struct Config {
    /// What all services have.
    #[command(flatten)]
    pub service: quics_kit::service::Config,
    /// Where sync-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_SYNC", value_name = "HOST:PORT")]
    pub sync: Option<String>,
    /// Where share-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_SHARE", value_name = "HOST:PORT")]
    pub share: Option<String>,
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service, sync: None, share: None }
    }
}
