//! `quics detach`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::DetachRootRequest;

use super::failure::DONE;
use super::{Context, Failure, context, output};

const EXAMPLES: &str = "\
The files stay here and on the server; other devices go on.

Example:
  quics detach ~/Documents";

/// Stop syncing a directory here; the files stay
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Detach {
    /// The directory, or anything in it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Detach {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let path = context::bytes(&context::place(&self.directory)?);
        let root = agent.detach_root(DetachRootRequest { path }).await?.into_inner().root.unwrap_or_default();
        output::line(format_args!(
            "The root \"{}\" is not synced here any more; the files stay at {}.",
            crate::text::line(&root.name),
            crate::text::bytes(&root.path)
        ))?;
        Ok(DONE)
    }
}
