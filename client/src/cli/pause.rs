//! `quics pause` and `quics resume`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::{PauseRequest, ResumeRequest};

use super::failure::DONE;
use super::rescan::optional;
use super::{Context, Failure};

/// Stop sending and applying changes until `quics resume`
#[derive(Debug, Args)]
#[command(after_help = "\
A pause outlives a restart of the agent.

Examples:
  quics pause
  quics pause ~/Documents")]
pub(super) struct Pause {
    /// A synced directory [default: all]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        agent.pause(PauseRequest { path: optional(self.directory)? }).await?;
        Ok(DONE)
    }
}

/// Go on after `quics pause`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics resume
  quics resume ~/Documents")]
pub(super) struct Resume {
    /// A synced directory [default: all]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        agent.resume(ResumeRequest { path: optional(self.directory)? }).await?;
        Ok(DONE)
    }
}
