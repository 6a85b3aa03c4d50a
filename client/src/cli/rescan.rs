//! `quics rescan`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::RescanRequest;

use super::failure::DONE;
use super::{Context, Failure, context};

const EXAMPLES: &str = "\
The agent sees changes by itself and looks through everything from time to time; this makes it look now.

Examples:
  quics rescan
  quics rescan ~/Documents";

/// Look through everything again, now
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rescan {
    /// A synced directory [default: all]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Rescan {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        agent.rescan(RescanRequest { path: optional(self.directory)? }).await?;
        Ok(DONE)
    }
}

/// The path of one root for the local API, empty for all.
pub(super) fn optional(path: Option<PathBuf>) -> Result<bytes::Bytes, Failure> {
    path.map_or(Ok(bytes::Bytes::new()), |path| Ok(context::bytes(&context::place(&path)?)))
}
