//! `quics hold rewind`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::GetStatusRequest;
use quics_proto::history::v1::restore_plan::What;
use quics_proto::history::v1::{Burst, RestorePlan, RestoreSummary};
use quics_proto::sync::v1::BrakeStage;
use serde::Serialize;

use super::brakes::{self, Braked, Sync};
use crate::cli::failure::{DONE, WAITING};
use crate::cli::history::restore::{self, Restored, Show};
use crate::cli::history::{self, History, Place};
use crate::cli::{Context, Failure, output};
use crate::text;

/// How often what went through is taken back: more comes through only until the decision is made.
const PASSES: usize = 3;

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
    /// Print JSON: what went through, one change a line, then what came of it
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RewoundJson {
    device: String,
    device_id: String,
    /// Whether it was decided: false for a dry run.
    rewound: bool,
    /// Changes that the device undoes as soon as it is online.
    held: u64,
    /// What the restores are called, by which what went through was taken back.
    restores: Vec<String>,
    made: u64,
    left_out: Vec<output::PathJson>,
    /// What stays as it is: others have changed it since, or its content is not kept any more.
    stays: u64,
}

impl Rewind {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let braked = brakes::find(context, self.directory.as_deref(), &self.device).await?;
        let brake = braked.listed.brake.clone().unwrap_or_default();
        let place = Place { root: braked.root.clone(), relative: Default::default() };
        let what = What::Burst(Burst { device_id: brake.device_id.clone(), since_seq: brake.since_seq });
        let plan = RestorePlan { what: Some(what), ..Default::default() };
        let mut history = History::find(context).await?;
        history.knows(&place, here(context, &place).await?).await?;
        // What is encrypted is brought back for all, also where this device cannot take it now.
        let how = Show { head: "What went through before the brake:", json: self.json, all: self.all, fits: false };
        let summary = restore::shown(&mut history, &place, &plan, how).await?;
        let (held, device) = (text::count(braked.listed.held, "held change"), text::line(&braked.device));
        if !self.json {
            output::line(format_args!("{held} would be undone on \"{device}\"."))?;
        }
        if self.dry_run {
            return self.end(&braked, &summary, &[], false);
        }
        if !self.yes {
            history::confirmed("Rewind?", self.json)?;
        }
        let (left, restored) = take_back(context, &mut history, &place, &plan, &braked, summary).await?;
        if !self.json {
            restored.iter().filter(|restored| restored.state.made > 0).try_for_each(Restored::print)?;
            if let Some(last) = restored.last().filter(|_| remains(&left) > 0) {
                last.print_left_out()?;
            }
            output::line(format_args!("Rewound: \"{device}\" undoes {held} as soon as it is online."))?;
        }
        self.end(&braked, &left, &restored, true)
    }

    /// Tells programs what came of it; the code says whether anything of what went through is still there.
    fn end(&self, braked: &Braked, left: &RestoreSummary, restored: &[Restored], rewound: bool) -> Result<u8, Failure> {
        let remains = remains(left);
        if self.json {
            output::json_line(&RewoundJson {
                device: braked.device.clone(),
                device_id: output::hex(&braked.listed.brake.clone().unwrap_or_default().device_id),
                rewound,
                held: braked.listed.held,
                restores: restored.iter().map(|restored| output::hex(&restored.id)).collect(),
                made: restored.iter().map(|restored| restored.state.made).sum(),
                left_out: restored.last().map(Restored::left_out_json).unwrap_or_default(),
                stays: left.stays + left.lost,
            })?;
        }
        Ok(if rewound && remains > 0 { WAITING } else { DONE })
    }
}

/// How much of what went through is not taken back.
fn remains(left: &RestoreSummary) -> u64 {
    left.created + left.changed + left.moved + left.deleted + left.stays + left.lost
}

/// The commit of a root up to which the agent here has followed it: so much went through at least.
async fn here(context: &Context, place: &Place) -> Result<u64, Failure> {
    let Some(mut agent) = context.find_agent().await? else { return Ok(0) };
    let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
    let root = status.roots.into_iter().find(|root| root.root_id == place.root_id());
    Ok(root.and_then(|root| root.cursor).map_or(0, |cursor| cursor.seq))
}

/// Takes back what everybody has, then decides: until then the device stays braked, and the same command goes on where it was
/// cut off. What went through between the look and the decision is taken back then. Gives what is left, and the restores.
async fn take_back(
    context: &Context,
    history: &mut History,
    place: &Place,
    plan: &RestorePlan,
    braked: &Braked,
    mut left: RestoreSummary,
) -> Result<(RestoreSummary, Vec<Restored>), Failure> {
    let mut restored: Vec<Restored> = Vec::new();
    for pass in 0..PASSES {
        if !restore::is_nothing(&left) {
            let done = restore::carry_out(history, place, plan.clone(), &left).await?;
            // Before it knows of them, history-svc would have what was just done be done once more.
            history.knows(place, done.state.cursor.map_or(0, |cursor| cursor.seq)).await?;
            restored.push(done);
        } else if pass > 0 {
            break;
        }
        if pass == 0 {
            Sync::new(context)?.decide(braked, BrakeStage::TakenBack).await?;
        }
        left = restore::preview(history, place, plan, |_| Ok(())).await?;
    }
    Ok((left, restored))
}
