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
    /// Seconds between two rounds of giving back the room of what nothing refers to any more; 0: only when asked
    #[arg(long, env = "QUICS_RECLAIM_EVERY", default_value_t = 24 * 3600, value_name = "SECONDS")]
    pub reclaim_every: u64,
    /// Seconds between the two marks of such a round
    #[arg(long, env = "QUICS_RECLAIM_GRACE", default_value_t = 3600, value_name = "SECONDS")]
    pub reclaim_grace: u64,
    /// Where history-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_HISTORY", value_name = "HOST:PORT")]
    pub history: Option<String>,
    /// Where share-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_SHARE", value_name = "HOST:PORT")]
    pub share: Option<String>,
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service, reserve: 256 << 20, reclaim_every: 24 * 3600, reclaim_grace: 3600, history: None, share: None }
    }
}
