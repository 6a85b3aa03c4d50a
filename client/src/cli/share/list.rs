//! `quics shares`

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use quics_proto::share::v1::Link;

use super::{Links, Sharing, show};
use crate::cli::failure::DONE;
use crate::cli::history::Place;
use crate::cli::{Context, Failure, output};
use crate::text;

/// List the links that you made, and those of the roots that you own
#[derive(Debug, Args)]
#[command(after_help = "\
The address of a link is shown on the device that made it: no other, and not the server, keeps what opens it.

Examples:
  quics shares
  quics shares ~/Documents --all
  quics shares --json")]
pub(in crate::cli) struct Shares {
    /// A root's name, or a file or folder: only links to it and to what is in it
    #[arg(value_name = "ROOT|PATH")]
    path: Option<PathBuf>,
    /// Also those that have ended, or were taken back
    #[arg(long)]
    all: bool,
    /// Print JSON, one link a line
    #[arg(long)]
    json: bool,
}

impl Shares {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = self.path.as_deref().map(|path| Place::find_or_only(context, Some(path))).transpose()?;
        let mut sharing = Sharing::find(context).await?;
        let root_id = place.as_ref().map_or_else(Bytes::new, Place::root_id);
        let Links { mut links, base } = sharing.links(root_id, self.all).await?;
        if let Some(place) = &place {
            links.retain(|link| below(&place.relative, link));
        }
        for link in &links {
            let address = show::address(context, &base, link)?;
            if self.json {
                output::json_line(&show::LinkJson::new(link, address))?;
                continue;
            }
            output::line(format_args!("{}  {}  {}", show::id(link), show::path(context, link)?, show::words(link)))?;
            output::line(match address {
                Some(address) => format!("          {}", text::line(&address)),
                None => format!(
                    "          made by {} on {}, which keeps the address",
                    text::line(&link.user_name),
                    text::line(&link.device_name)
                ),
            })?;
        }
        if links.is_empty() && !self.json {
            output::line("Nothing is shared: `quics share PATH` makes a link.")?;
        }
        Ok(DONE)
    }
}

/// Whether a link is to something or to what is in it.
pub(super) fn below(relative: &[u8], link: &Link) -> bool {
    let rest = link.path.strip_prefix(relative);
    relative.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_links_and_those_of_what_is_in_it() {
        let link = |path: &'static str| Link { path: path.into(), ..Default::default() };
        assert!(below(b"", &link("a/b")) && below(b"a", &link("a")) && below(b"a", &link("a/b")));
        assert!(!below(b"a", &link("ab")) && !below(b"a/b", &link("a")));
    }
}
