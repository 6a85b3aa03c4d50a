//! `quics hold`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quics_proto::agent::v1::{GetStatusRequest, HoldChoice, ReleaseHoldRequest, RootStatus};
use serde::Serialize;

use super::failure::{DONE, UNREACHABLE, WAITING};
use super::{Context, Failure, context, output};

mod brakes;
mod rewind;

pub(super) use brakes::Sync;
use rewind::Rewind;

/// List what is held until you decide, or decide
#[derive(Debug, Args)]
#[command(after_help = "\
A root is held when its folder is gone or is another one, or when unusually much was deleted in it at once. Nothing of
that reaches the server before you have said what was meant.

A device is braked by the server when it overwrites, empties, renames or deletes an unusual share of a root in a short
time. Its further changes are kept apart, the other devices keep what they have, and an owner of the root decides.

Examples:
  quics hold list
  quics hold release ~/Documents --restore            bring back what is missing here
  quics hold release ~/Documents --delete             delete it everywhere
  quics hold release ~/Documents --device laptop      let the changes of a braked device pass
  quics hold rewind ~/Documents --device laptop       take all of them back, with those from before the brake")]
pub(super) struct Hold {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what is held, and which devices are braked
    List {
        /// Name what is held of braked devices
        #[arg(long)]
        files: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take back everything that a braked device did
    Rewind(Rewind),
    /// Let a held root, or a braked device, go on
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
        /// What this braked device does was meant: let it pass
        #[arg(long, group = "choice", value_name = "NAME")]
        device: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct HeldJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    reason: String,
}

#[derive(Serialize)]
struct ReleasedJson {
    #[serde(flatten)]
    path: output::PathJson,
    choice: &'static str,
}

#[derive(Serialize)]
struct ListJson {
    held: Vec<HeldJson>,
    braked: Vec<brakes::BrakeJson>,
}

impl Hold {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.what {
            None => list(context, self.json, false).await,
            Some(What::List { files, json }) => list(context, json || self.json, files).await,
            Some(What::Rewind(rewind)) => rewind.run(context).await,
            Some(What::Release { directory, device: Some(device), json, .. }) => {
                brakes::release(context, directory.as_deref(), &device, json || self.json).await
            }
            Some(What::Release { directory, delete, json, .. }) => {
                release(context, directory, delete, json || self.json).await
            }
        }
    }
}

/// What the agent says of the roots here.
async fn roots(context: &Context) -> Result<Vec<RootStatus>, Failure> {
    let mut agent = context.agent().await?;
    let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
    Ok(status.roots)
}

/// Those that are held.
fn held(roots: &[RootStatus]) -> Vec<&RootStatus> {
    roots.iter().filter(|root| !root.hold.is_empty()).collect()
}

async fn list(context: &Context, json: bool, files: bool) -> Result<u8, Failure> {
    let roots = roots(context).await?;
    let held = held(&roots);
    // What is held here is known without the server.
    let (braked, code) = match brakes::all(context, files).await {
        Ok(braked) => (braked, DONE),
        Err(Failure { code: UNREACHABLE, text }) => {
            eprintln!("quics: whether a device is braked cannot be said: {text}");
            (Vec::new(), UNREACHABLE)
        }
        Err(failure) => return Err(failure),
    };
    if json {
        let held = held.iter().map(|root| HeldJson {
            root: root.name.clone(),
            path: output::PathJson::new(&root.path),
            reason: root.hold.clone(),
        });
        output::json(&ListJson { held: held.collect(), braked: braked.iter().map(brakes::Braked::json).collect() })?;
    } else if held.is_empty() && braked.is_empty() {
        output::line(if code == DONE { "Nothing is held." } else { "Nothing is held here." })?;
    } else {
        for root in &held {
            output::line(format_args!("{}: {}", crate::text::bytes(&root.path), crate::text::line(&root.hold)))?;
        }
        braked.iter().try_for_each(brakes::Braked::print)?;
    }
    Ok(if held.is_empty() && braked.is_empty() { code } else { WAITING })
}

async fn release(context: &Context, directory: Option<PathBuf>, delete: bool, json: bool) -> Result<u8, Failure> {
    let roots = roots(context).await?;
    let path = match (directory, held(&roots).as_slice()) {
        (Some(directory), _) => context::bytes(&context::place(&directory)?),
        (None, [only]) => only.path.clone(),
        (None, []) => return Err(Failure::new("nothing is held")),
        (None, _) => return Err(Failure::usage("several roots are held: say which one")),
    };
    let choice = if delete { HoldChoice::Delete } else { HoldChoice::Restore };
    let mut agent = context.agent().await?;
    agent.release_hold(ReleaseHoldRequest { path: path.clone(), choice: choice as i32 }).await?;
    if json {
        let choice = if delete { "delete" } else { "restore" };
        output::json(&ReleasedJson { path: output::PathJson::new(&path), choice })?;
    }
    Ok(DONE)
}
