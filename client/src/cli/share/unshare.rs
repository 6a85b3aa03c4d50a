//! `quics unshare`

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use quics_proto::share::v1::{Link, RevokeLinkRequest};

use super::{Named, Sharing, list, show};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::history::Place;
use crate::cli::{Context, Failure, output};

/// Take a link back for good: nobody gets in any more, and downloads that run are cut
#[derive(Debug, Args)]
#[command(after_help = "\
A path takes back all links to just that file or folder, with --all also those to what is in it: yours, and in a root that you
own everybody's. A path that could be a link's id is ./beef.

Examples:
  quics unshare 3fa9c01d
  quics unshare https://files.example/s/…
  quics unshare ~/Documents/plan.odt
  quics unshare ~/Documents --all")]
pub(in crate::cli) struct Unshare {
    /// The beginning of the link's id, its address, or what it shows
    #[arg(value_name = "LINK|PATH")]
    what: OsString,
    /// Of a folder or a root: all links to it and to what is in it
    #[arg(long)]
    all: bool,
    /// Print JSON, one link a line
    #[arg(long)]
    json: bool,
}

impl Unshare {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut sharing = Sharing::find(context).await?;
        for link in self.meant(context, &mut sharing).await? {
            let revoked = sharing.client.revoke_link(call(RevokeLinkRequest { link_id: link.link_id })).await;
            let link = revoked.map_err(|status| sharing.refused(&status))?.into_inner().link.unwrap_or_default();
            // It opens nothing any more.
            context.home.forget_token(&link.link_id)?;
            if self.json {
                output::json_line(&show::LinkJson::new(&link, None))?;
            } else {
                let (id, path) = (show::id(&link), show::path(context, &link)?);
                output::line(format_args!("{id}  {path} is not shared by this link any more."))?;
            }
        }
        Ok(DONE)
    }

    async fn meant(&self, context: &Context, sharing: &mut Sharing) -> Result<Vec<Link>, Failure> {
        if let Some(text) = self.what.to_str().filter(|_| !self.all)
            && Named::parse(text).is_some()
        {
            return Ok(vec![sharing.named(context, text).await?]);
        }
        let path = Path::new(&self.what);
        let place = if self.all { Place::find(context, path)? } else { Place::of_path(context, path)? };
        let mut links = sharing.links(place.root_id(), false).await?.links;
        links.retain(|link| if self.all { list::below(&place.relative, link) } else { link.path == place.relative });
        if links.is_empty() {
            return Err(Failure::new(format!("{} is not shared: `quics shares` lists the links", place.shown())));
        }
        Ok(links)
    }
}
