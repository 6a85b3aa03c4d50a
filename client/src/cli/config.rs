//! `quics config`

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use quics_proto::agent::v1::{GetSettingsRequest, GetStatusRequest, SetSettingsRequest};
use quics_proto::sync::v1::{Answerers, MergePolicy, RootSettings};
use serde::Serialize;

use super::failure::DONE;
use super::history::Place;
use super::hold::Sync;
use super::{Context, Failure, context, output};
use crate::api;

/// Show or change how a root deals with conflicts, and with devices that destroy much
#[derive(Debug, Args)]
#[command(after_help = "\
The settings hold for everybody who has the root; owners change them.

  merge=ask|auto-clean             texts whose changes do not touch each other are merged without asking
  answerers=writers|involved|owners
  reminder-hours=N                 0: no reminders
  both-after-days=N                keep both sides of what nobody answered in so many days; 0: never
  brake=N%|off                     brake a device that destroys so much of the root in ten minutes

Examples:
  quics config ~/Documents
  quics config Documents merge=auto-clean reminder-hours=24")]
pub(super) struct Config {
    /// A synced directory, anything in it, or a root's name
    #[arg(value_name = "ROOT")]
    root: PathBuf,
    /// What to change
    #[arg(value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A share above everything.
const OFF: u32 = 101;

#[derive(Serialize)]
struct SettingsJson {
    root: String,
    revision: u64,
    merge: &'static str,
    answerers: &'static str,
    reminder_hours: u32,
    both_after_days: u32,
    brake: String,
}

impl Config {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let path = find(&mut agent, &self.root).await?;
        let got = agent.get_settings(GetSettingsRequest { path: path.clone() }).await?.into_inner();
        let mut settings = got.settings.unwrap_or_default();
        let (brakes, changes): (Vec<&String>, Vec<&String>) =
            self.changes.iter().partition(|change| change.starts_with("brake="));
        let brake = brakes.last().map(|change| share(change)).transpose().map_err(Failure::usage)?;
        for change in &changes {
            set(&mut settings, change).map_err(Failure::usage)?;
        }
        let root = Place::of_path(context, Path::new(OsStr::from_bytes(&path)))?.root;
        let mut sync = Sync::new(context)?;
        if let Some(share) = brake {
            sync.set_share(&root, share).await?;
        }
        if !changes.is_empty() {
            let changed = agent.set_settings(SetSettingsRequest { path, settings: Some(settings) }).await?;
            settings = changed.into_inner().settings.unwrap_or_default();
        }
        let shown = read(got.root_name, &settings, sync.share(&root).await?);
        if self.json {
            output::json(&shown)?;
            return Ok(DONE);
        }
        output::line(format_args!("merge={}", shown.merge))?;
        output::line(format_args!("answerers={}", shown.answerers))?;
        output::line(format_args!("reminder-hours={}", shown.reminder_hours))?;
        output::line(format_args!("both-after-days={}", shown.both_after_days))?;
        output::line(format_args!("brake={}", shown.brake))?;
        Ok(DONE)
    }
}

/// The directory of a root that is named, or a path as it is.
async fn find(agent: &mut api::Client, root: &Path) -> Result<Bytes, Failure> {
    let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
    let named = status.roots.iter().find(|it| Some(it.name.as_str()) == root.to_str());
    match named {
        Some(named) if !root.exists() => Ok(named.path.clone()),
        _ => Ok(context::bytes(&context::place(root)?)),
    }
}

/// Makes one change.
///
/// # Errors
/// One sentence.
fn set(settings: &mut RootSettings, change: &str) -> Result<(), String> {
    let shown = || crate::text::line(change);
    let (key, value) = change.split_once('=').ok_or_else(|| format!("\"{}\" is not KEY=VALUE", shown()))?;
    let number = || value.parse::<u32>().map_err(|_| format!("\"{}\": a number is needed", shown()));
    let one_of = |names: &str| format!("\"{}\": it is one of {names}", shown());
    match key {
        "merge" => {
            settings.merge = match value {
                "ask" => MergePolicy::Ask,
                "auto-clean" => MergePolicy::AutoClean,
                _ => return Err(one_of("ask, auto-clean")),
            } as i32;
        }
        "answerers" => {
            settings.answerers = match value {
                "writers" => Answerers::Writers,
                "involved" => Answerers::Involved,
                "owners" => Answerers::Owners,
                _ => return Err(one_of("writers, involved, owners")),
            } as i32;
        }
        "reminder-hours" => settings.reminder_hours = number()?,
        "both-after-days" => settings.both_after_days = number()?,
        _ => return Err(one_of("merge=, answerers=, reminder-hours=, both-after-days=, brake=")),
    }
    Ok(())
}

/// The share of a root that a brake's setting names, in percent.
///
/// # Errors
/// One sentence.
fn share(change: &str) -> Result<u32, String> {
    let value = change.trim_start_matches("brake=");
    let percent = value.strip_suffix('%').unwrap_or(value).parse().ok().filter(|percent| (1..=100).contains(percent));
    match percent {
        Some(percent) => Ok(percent),
        None if value == "off" => Ok(OFF),
        None => Err(format!("\"{}\": it is a number of percent from 1 to 100, or off", crate::text::line(change))),
    }
}

fn read(root: String, settings: &RootSettings, share: u32) -> SettingsJson {
    SettingsJson {
        root,
        revision: settings.revision,
        merge: match settings.merge() {
            MergePolicy::Ask | MergePolicy::Unspecified => "ask",
            MergePolicy::AutoClean => "auto-clean",
        },
        answerers: match settings.answerers() {
            Answerers::Writers | Answerers::Unspecified => "writers",
            Answerers::Involved => "involved",
            Answerers::Owners => "owners",
        },
        reminder_hours: settings.reminder_hours,
        both_after_days: settings.both_after_days,
        brake: match share {
            0 => format!("{}%", quics_reconcile::brake::SHARE),
            1..=100 => format!("{share}%"),
            _ => "off".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_one_by_one_and_nonsense_is_refused() {
        let mut settings = RootSettings::default();
        for change in ["merge=auto-clean", "answerers=owners", "reminder-hours=24", "both-after-days=7"] {
            set(&mut settings, change).unwrap();
        }
        assert_eq!((settings.merge(), settings.answerers()), (MergePolicy::AutoClean, Answerers::Owners));
        assert_eq!((settings.reminder_hours, settings.both_after_days), (24, 7));
        for wrong in ["merge", "merge=maybe", "reminder-hours=soon", "nonsense=1"] {
            assert!(set(&mut settings, wrong).is_err(), "{wrong}");
        }
    }
}
