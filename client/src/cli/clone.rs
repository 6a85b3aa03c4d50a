//! `quics clone`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::CloneRootRequest;

use super::{Context, Failure, context, output, password, progress};

const EXAMPLES: &str = "\
The directory is made if it is not there. One that has files already is merged: what is equal is taken as it is, what
differs is kept and asked about, nothing is overwritten.

Examples:
  quics clone papers ~/Documents
  quics clone papers ~/Documents --wait
  quics clone 5c0b…2f ~/Documents       by id, as `quics roots --json` shows it";

/// Sync a root of the server into a directory of this computer
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Clone {
    /// The root's name or id, see `quics roots`
    #[arg(value_name = "ROOT")]
    root: String,
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Give the root's password; it is asked for (or read from stdin)
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    patience: progress::Patience,
}

impl Clone {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let path = context::place(&self.directory)?;
        let password = if self.password { password::ask("Password of the root: ")? } else { String::new() };
        let request = CloneRootRequest { root: self.root, path: context::bytes(&path), password };
        let root = agent.clone_root(request).await?.into_inner().root.unwrap_or_default();
        output::line(format_args!(
            "The root \"{}\" is at {} now.",
            crate::text::line(&root.name),
            crate::text::bytes(&root.path)
        ))?;
        self.patience.follow(context, &mut agent, root.root_id).await
    }
}
