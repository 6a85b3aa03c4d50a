//! `quics share edit`

use clap::Args;
use quics_proto::share::v1::{Expiry, UpdateLinkRequest};

use super::until::until;
use super::{Sharing, label, limit, show};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output, password};

/// Change when a link ends, its limit, password or label
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics share edit 3fa9c01d --expires 30d
  quics share edit 3fa9c01d --no-limit --password")]
pub(super) struct Edit {
    /// The beginning of the link's id, or its address
    #[arg(value_name = "LINK")]
    link: String,
    /// When it ends: 7d, 12h, "2026-12-01 18:00", never
    #[arg(long, value_name = "TIME", value_parser = until, allow_hyphen_values = true)]
    expires: Option<Expiry>,
    /// How many downloads it is good for; those that have begun count
    #[arg(long, value_name = "N", value_parser = limit, allow_hyphen_values = true)]
    limit: Option<u32>,
    /// Any number of downloads
    #[arg(long, conflicts_with = "limit")]
    no_limit: bool,
    /// Ask for a new password: who gave the former one has to give it
    #[arg(long)]
    password: bool,
    /// No password any more
    #[arg(long, conflicts_with = "password")]
    no_password: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = label)]
    label: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Edit {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let limit = if self.no_limit { Some(0) } else { self.limit };
        let asks = self.password || self.no_password;
        if self.expires.is_none() && limit.is_none() && !asks && self.label.is_none() {
            return Err(Failure::usage("say what to change: --expires, --limit, --password or --label"));
        }
        let mut sharing = Sharing::find(context).await?;
        let link = sharing.named(context, &self.link).await?;
        let password = match (self.password, self.no_password) {
            (true, _) => Some(password::choose("New password of the link: ")?),
            (_, true) => Some(String::new()),
            _ => None,
        };
        let request =
            UpdateLinkRequest { link_id: link.link_id, expiry: self.expires, limit, password, label: self.label };
        let updated = sharing.client.update_link(call(request)).await;
        let link = updated.map_err(|status| sharing.refused(&status))?.into_inner().link.unwrap_or_default();
        if self.json {
            output::json(&show::LinkJson::new(&link, None))?;
        } else {
            output::line(format_args!("{}  {}: {}", show::id(&link), show::path(context, &link)?, show::words(&link)))?;
        }
        Ok(DONE)
    }
}
