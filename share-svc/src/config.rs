//! What the service is told at its start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::db::records::Sharers;
use crate::policy::ServerPolicy;
use crate::public::Network;
use crate::public::certificate::Files;

/// The configuration: what all services have, and this one's own.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "share-svc", version, about = "QUIC-S share service: links for people who have no account")]
pub struct Config {
    /// What all services have.
    #[command(flatten)]
    pub service: quics_kit::service::Config,
    /// Where sync-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_SYNC", value_name = "HOST:PORT")]
    pub sync: Option<String>,
    /// Where history-svc is, if not where registry-svc says
    #[arg(long, env = "QUICS_HISTORY", value_name = "HOST:PORT")]
    pub history: Option<String>,
    /// What holds for links of all roots.
    #[command(flatten)]
    pub rules: ServerRules,
    /// How strangers are served.
    #[command(flatten)]
    pub public: PublicSide,
}

/// How strangers are served.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PublicSide {
    /// Where to serve whoever has a link; the first port of the installation otherwise. Without a certificate only loopback
    #[arg(long, env = "QUICS_PUBLIC_LISTEN", value_name = "IP:PORT")]
    public_listen: Option<SocketAddr>,
    /// What the addresses of links begin with, as people outside reach it: https://files.example.org
    #[arg(long, env = "QUICS_PUBLIC_URL", value_name = "URL", value_parser = url)]
    public_url: Option<String>,
    /// File with the certificate chain (PEM), its own one first; read again when it changes
    #[arg(long, env = "QUICS_CERTIFICATE", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// File with the certificate's key (PEM)
    #[arg(long, env = "QUICS_KEY", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Address or network of a proxy that says in X-Forwarded-For from where a request came; may be given several times
    #[arg(long, env = "QUICS_TRUSTED_PROXY", value_name = "IP[/BITS]", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
}

fn url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("say it like https://files.example.org"),
    }
}

/// What holds for links of all roots; the roots' own policies may be stricter.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerRules {
    /// Who may make links
    #[arg(long, env = "QUICS_SHARERS", value_enum, default_value_t)]
    sharers: Sharers,
    /// Days that a link lasts at most
    #[arg(long, env = "QUICS_LONGEST_LINK", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    longest_link: Option<u32>,
    /// Links need a password
    #[arg(long, env = "QUICS_LINK_PASSWORDS")]
    link_passwords: bool,
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service, sync: None, history: None, rules: ServerRules::default(), public: PublicSide::default() }
    }

    /// The certificate's files, if there are any.
    pub(crate) fn certificate(&self) -> Option<Files> {
        let (certificate, key) = self.public.certificate.clone().zip(self.public.key.clone())?;
        Some(Files { certificate, key })
    }

    /// Where strangers are served.
    pub(crate) fn public_address(&self) -> SocketAddr {
        let own = || {
            let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let listen = if self.public.certificate.is_some() { self.service.listen } else { localhost };
            SocketAddr::new(listen, self.service.public_port())
        };
        self.public.public_listen.unwrap_or_else(own)
    }

    /// What the addresses of links begin with, if strangers are served at `bound`.
    pub(crate) fn public_url(&self, bound: SocketAddr) -> String {
        if let Some(told) = &self.public.public_url {
            return told.clone();
        }
        let scheme = if self.public.certificate.is_some() { "https" } else { "http" };
        if bound.ip().is_unspecified() {
            tracing::warn!("links will name localhost: say with --public-url how this server is reached from outside");
            return format!("{scheme}://localhost:{}", bound.port());
        }
        format!("{scheme}://{bound}")
    }

    /// The proxies that are believed.
    pub(crate) fn proxies(&self) -> Vec<Network> {
        self.public.trusted_proxy.clone()
    }

    pub(crate) fn policy(&self) -> ServerPolicy {
        let days = |days| Duration::from_secs(u64::from(days) * 86_400);
        let rules = &self.rules;
        ServerPolicy {
            sharers: rules.sharers,
            longest: rules.longest_link.map(days),
            password_required: rules.link_passwords,
        }
    }
}
