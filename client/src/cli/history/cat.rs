//! `quics cat`

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use clap::Args;
use quics_proto::common::v1::File;
use quics_proto::common::v1::value::Kind;
use quics_proto::history::v1::Version;

use super::at::{self, At, Place};
use super::{History, gone, number, value};
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, context, files};
use crate::text;

/// Write a version of a file to the output
#[derive(Debug, Args)]
#[command(after_help = format!("\
{}

Examples:
  quics cat ~/Documents/plan.txt@7
  quics cat ~/Documents/plan.txt@\"yesterday 9am\"", at::MOMENTS))]
pub(in crate::cli) struct Cat {
    /// The file and the moment
    #[arg(value_name = "PATH@T")]
    at: OsString,
}

impl Cat {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let at = At::find(context, &self.at).await?;
        let version = History::find(context).await?.version(&at).await?;
        let mut out = std::io::stdout().lock();
        let file = match value(&version).and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => file,
            Some(Kind::Link(link)) => {
                out.write_all(&link.target)?;
                return Ok(DONE);
            }
            Some(Kind::Directory(_)) => return Err(is(&at.place, "a directory then: `quics ls --at` lists it")),
            Some(Kind::Unit(_)) => {
                return Err(is(&at.place, "a directory then, kept as one thing: `quics get -o DIR` writes it"));
            }
            None => return Err(is(&at.place, "deleted then")),
        };
        let mut agent = context.agent().await?;
        files::copy(&mut agent, request(&at.place, &version, file)?, &mut out, Path::new("-")).await?;
        out.flush()?;
        Ok(DONE)
    }
}

fn is(place: &Place, what: &str) -> Failure {
    Failure::new(format!("{} was {what}", place.shown()))
}

/// What to ask the agent for a version's bytes.
///
/// # Errors
/// One sentence where they are not kept any more.
pub(super) fn request(
    place: &Place,
    version: &Version,
    file: &File,
) -> Result<quics_proto::agent::v1::ReadContentRequest, Failure> {
    if let Some(removed) = &version.removed {
        let (path, number) = (text::bytes(&version.path), number(version));
        return Err(Failure::new(format!("the content of {path}@{number} is not kept any more: {}", gone(removed))));
    }
    let like = context::bytes(&place.local(&version.path));
    Ok(files::request(&place.root_id(), file, &like))
}
