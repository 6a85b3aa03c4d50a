//! `quics hold`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quics_proto::agent::v1::{GetStatusRequest, HoldChoice, ReleaseHoldRequest};
use serde::Serialize;

use super::failure::{DONE, WAITING};
use super::{Context, Failure, context, output};

/// List what is held until you decide, or decide
#[derive(Debug, Args)]
#[command(after_help = "\
A root is held when its folder is gone or is another one, or when unusually much was deleted in it at once. Nothing of
that reaches the server before you have said what was meant.

Examples:
  quics hold
  quics hold release ~/Documents --restore     bring back what is missing here
  quics hold release ~/Documents --delete      delete it everywhere")]
pub(super) struct Hold {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let a held root go on
    #[command(group(clap::ArgGroup::new("choice").required(true)))]
    Release {
        /// The synced directory [default: the only one that is held]
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// What is missing here was meant: delete it everywhere
        #[arg(long, group = "choice")]
        delete: bool,
        /// What is missing here was not meant: bring it back
        #[arg(long, group = "choice")]
        restore: bool,
    },
}

#[derive(Serialize)]
struct HeldJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    reason: String,
}

impl Hold {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
        let held: Vec<_> = status.roots.into_iter().filter(|root| !root.hold.is_empty()).collect();
        if let Some(What::Release { directory, delete, restore: _ }) = self.what {
            let path = match (directory, held.as_slice()) {
                (Some(directory), _) => context::bytes(&context::place(&directory)?),
                (None, [only]) => only.path.clone(),
                (None, []) => return Err(Failure::new("nothing is held")),
                (None, _) => return Err(Failure::usage("several roots are held: say which one")),
            };
            let choice = if delete { HoldChoice::Delete } else { HoldChoice::Restore };
            agent.release_hold(ReleaseHoldRequest { path, choice: choice as i32 }).await?;
            return Ok(DONE);
        }
        if self.json {
            let list = held.iter().map(|root| HeldJson {
                root: root.name.clone(),
                path: output::PathJson::new(&root.path),
                reason: root.hold.clone(),
            });
            output::json(&list.collect::<Vec<_>>())?;
        } else if held.is_empty() {
            output::line("Nothing is held.")?;
        } else {
            for root in &held {
                output::line(format_args!("{}: {}", crate::text::bytes(&root.path), crate::text::line(&root.hold)))?;
            }
        }
        Ok(if held.is_empty() { DONE } else { WAITING })
    }
}
