//! `quics hold rewind`

use std::path::PathBuf;

use clap::Args;
use quics_proto::history::v1::restore_plan::What;
use quics_proto::history::v1::{Burst, RestorePlan};
use quics_proto::sync::v1::BrakeStage;

use super::brakes::{self, Sync};
use crate::cli::failure::DONE;
use crate::cli::history::{self, History, Place, restore};
use crate::cli::{Context, Failure, output};
use crate::text;

/// Take back everything that a braked device did
///
/// What went through before the brake is restored like any restore, after you have seen it; what is held is undone on the
/// device itself, and stays in history.
#[derive(Debug, Args)]
pub(super) struct Rewind {
    /// The synced directory [default: the one in which the device is braked]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The braked device
    #[arg(long, value_name = "NAME")]
    device: String,
    /// Show what would change, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Name everything that would change, however much it is
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Rewind {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let braked = brakes::find(context, self.directory.as_deref(), &self.device).await?;
        let brake = braked.listed.brake.clone().unwrap_or_default();
        let place = Place { root: braked.root.clone(), relative: Default::default() };
        let what = What::Burst(Burst { device_id: brake.device_id.clone(), since_seq: brake.since_seq });
        let plan = RestorePlan { what: Some(what), ..Default::default() };
        let mut history = History::find(context).await?;
        output::line("What went through before the brake:")?;
        let summary = restore::show(&mut history, &place, &plan, self.all).await?;
        let held = text::count(braked.listed.held, "held change");
        let device = text::line(&braked.device);
        output::line(format_args!("{held} would be undone on \"{device}\"."))?;
        if self.dry_run {
            return Ok(DONE);
        }
        if !self.yes {
            history::confirmed("Rewind?", false)?;
        }
        // First what everybody has: until then the device stays braked, and the same command goes on where it was cut off.
        let code = if restore::is_nothing(&summary) {
            DONE
        } else {
            restore::apply(&mut history, &place, plan.clone(), &summary).await?
        };
        Sync::new(context)?.decide(&braked, BrakeStage::TakenBack).await?;
        // What went through between the look and the decision.
        let code = match restore::preview(&mut history, &place, &plan, |_| Ok(())).await? {
            summary if restore::is_nothing(&summary) => code,
            summary => restore::apply(&mut history, &place, plan, &summary).await?.max(code),
        };
        output::line(format_args!("Rewound: \"{device}\" undoes {held} as soon as it is online."))?;
        Ok(code)
    }
}
