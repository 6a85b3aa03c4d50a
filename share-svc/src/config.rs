//! What the service is told at its start.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use quics_quic::Network;

use crate::db::records::Sharers;
use crate::policy::ServerPolicy;
use crate::public::Limits;
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
    /// How links are made and served.
    #[command(flatten)]
    pub links: Links,
}

/// How links are made and served.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Links")]
pub struct Links {
    /// Where to serve whoever has a link; the first port of the installation otherwise. Without a certificate only loopback
    #[arg(long, env = "QUICS_PUBLIC_LISTEN", value_name = "IP:PORT")]
    public_listen: Option<SocketAddr>,
    /// What the addresses of links begin with, as people outside reach it
    #[arg(long, env = "QUICS_PUBLIC_URL", value_name = "https://HOST", value_parser = url)]
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
    /// Downloads that run at a time in all (1024)
    #[arg(long, env = "QUICS_DOWNLOADS", value_name = "NUMBER", value_parser = count())]
    downloads: Option<usize>,
    /// Downloads of one link that run at a time (256)
    #[arg(long, env = "QUICS_DOWNLOADS_PER_LINK", value_name = "NUMBER", value_parser = count())]
    downloads_per_link: Option<usize>,
    /// Downloads to one address that run at a time (256)
    #[arg(long, env = "QUICS_DOWNLOADS_PER_ADDRESS", value_name = "NUMBER", value_parser = count())]
    downloads_per_address: Option<usize>,
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

fn count() -> impl clap::builder::TypedValueParser<Value = usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
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

impl Links {
    /// The arguments that say all this to the service.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        if let Some(listen) = self.public_listen {
            option("--public-listen", listen.to_string().into());
        }
        if let Some(url) = &self.public_url {
            option("--public-url", url.into());
        }
        if let Some(Files { certificate, key }) = self.certificate() {
            option("--certificate", certificate.into());
            option("--key", key.into());
        }
        for proxy in &self.trusted_proxy {
            option("--trusted-proxy", proxy.to_string().into());
        }
        for (name, number) in [
            ("--downloads", self.downloads),
            ("--downloads-per-link", self.downloads_per_link),
            ("--downloads-per-address", self.downloads_per_address),
        ] {
            if let Some(number) = number {
                option(name, number.to_string().into());
            }
        }
        if let Some(value) = self.sharers.to_possible_value() {
            option("--sharers", value.get_name().into());
        }
        if let Some(days) = self.longest_link {
            option("--longest-link", days.to_string().into());
        }
        if self.link_passwords {
            arguments.push("--link-passwords".into());
        }
        arguments
    }

    /// Whether strangers are served over TLS.
    pub fn secure(&self) -> bool {
        self.certificate.is_some()
    }

    /// Where strangers are served, by a service that listens at `listen` and whose installation begins with `port`.
    pub fn address(&self, listen: IpAddr, port: u16) -> SocketAddr {
        let listen = if self.secure() { listen } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        self.public_listen.unwrap_or(SocketAddr::new(listen, port))
    }

    /// What the addresses of links begin with, if strangers are served at `bound`.
    pub fn url(&self, bound: SocketAddr) -> String {
        let scheme = if self.secure() { "https" } else { "http" };
        match &self.public_url {
            Some(told) => told.clone(),
            None if bound.ip().is_unspecified() => format!("{scheme}://localhost:{}", bound.port()),
            None => format!("{scheme}://{bound}"),
        }
    }

    /// Whether links begin with what only this machine can reach, since nobody has said how it is reached from outside.
    pub fn only_here(&self, bound: SocketAddr) -> bool {
        self.public_url.is_none() && (bound.ip().is_unspecified() || bound.ip().is_loopback())
    }

    /// The certificate's files, if there are any.
    pub(crate) fn certificate(&self) -> Option<Files> {
        let (certificate, key) = self.certificate.clone().zip(self.key.clone())?;
        Some(Files { certificate, key })
    }

    /// The port at which those outside reach what is served at `bound`.
    pub(crate) fn outer_port(&self, bound: SocketAddr) -> u16 {
        let Some(url) = &self.public_url else { return bound.port() };
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let host = rest.split('/').next().unwrap_or_default();
        // The colons of an address of IPv6 stand in brackets.
        let port =
            host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(if scheme == "http" { 80 } else { 443 })
    }

    /// Downloads at a time.
    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            all: self.downloads.unwrap_or(usual.all),
            per_link: self.downloads_per_link.unwrap_or(usual.per_link),
            per_address: self.downloads_per_address.unwrap_or(usual.per_address),
        }
    }

    /// The proxies that are believed.
    pub(crate) fn proxies(&self) -> Vec<Network> {
        self.trusted_proxy.clone()
    }

    /// What holds for links of all roots; the roots' own policies may be stricter.
    pub(crate) fn policy(&self) -> ServerPolicy {
        let days = |days| Duration::from_secs(u64::from(days) * 86_400);
        ServerPolicy {
            sharers: self.sharers,
            longest: self.longest_link.map(days),
            password_required: self.link_passwords,
        }
    }
}

impl Config {
    /// The defaults on top of what all services have.
    pub fn new(service: quics_kit::service::Config) -> Self {
        Self { service, sync: None, history: None, links: Links::default() }
    }

    /// Where strangers are served.
    pub(crate) fn public_address(&self) -> SocketAddr {
        self.links.address(self.service.listen, self.service.public_port())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        links: Links,
    }

    #[test]
    fn what_is_said_to_the_stack_is_said_to_the_service() {
        let said = [
            "",
            "--public-url",
            "https://files.example.org",
            "--certificate",
            "a.pem",
            "--key",
            "b.pem",
            "--trusted-proxy",
            "10.0.0.0/8,::1",
            "--downloads",
            "9",
            "--downloads-per-link",
            "8",
            "--downloads-per-address",
            "7",
            "--sharers",
            "writers",
            "--longest-link",
            "30",
            "--link-passwords",
            "--public-listen",
            "0.0.0.0:443",
        ];
        let links = Line::try_parse_from(said).unwrap().links;
        let again = Line::try_parse_from([OsString::new()].into_iter().chain(links.arguments())).unwrap().links;
        assert_eq!(format!("{links:?}"), format!("{again:?}"));
        assert_eq!(links.limits(), Limits { all: 9, per_link: 8, per_address: 7 });
        assert!(Line::try_parse_from(["", "--downloads", "0"]).is_err());
        let refused = Line::try_parse_from(["", "--certificate", "a.pem"]).unwrap_err();
        assert!(refused.to_string().contains("--key"), "{refused}");
        assert!(Line::try_parse_from(["", "--public-url", "files.example.org"]).is_err());
    }

    #[test]
    fn the_port_outside_is_that_of_the_address_of_links() {
        let bound = "0.0.0.0:6120".parse().unwrap();
        let port =
            |url: Option<&str>| Links { public_url: url.map(str::to_owned), ..Links::default() }.outer_port(bound);
        assert_eq!(port(None), 6120);
        assert_eq!(port(Some("https://files.example.org")), 443);
        assert_eq!(port(Some("https://files.example.org:8443/below")), 8443);
        assert_eq!([port(Some("https://[2001:db8::1]")), port(Some("http://[::1]:81"))], [443, 81]);
    }

    #[test]
    fn without_a_certificate_only_this_machine_is_served() {
        let plain = Links::default();
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert_eq!(plain.address(any, 6120).to_string(), "127.0.0.1:6120");
        assert_eq!(plain.url(plain.address(any, 6120)), "http://127.0.0.1:6120");
        let files = || Some("file.pem".into());
        let secure = Links { certificate: files(), key: files(), ..Links::default() };
        assert_eq!(secure.url(secure.address(any, 6120)), "https://localhost:6120");
        assert!(secure.only_here(secure.address(any, 6120)));
    }
}
