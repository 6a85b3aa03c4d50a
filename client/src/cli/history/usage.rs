//! `quics usage`

use std::path::PathBuf;

use clap::Args;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::{Amount, GetUsageRequest};
use serde::Serialize;

use super::at::Place;
use super::policy::AmountJson;
use super::{History, stream};
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Show what a file, a directory or a root costs, now and in history
#[derive(Debug, Args)]
#[command(after_help = "\
Contents count once, as long as they are in files: what the server's disk holds is less, where pieces are shared or
compressed. What was moved or deleted counts where it is, or was last.

Examples:
  quics usage
  quics usage ~/Documents/photos")]
pub(in crate::cli) struct Usage {
    /// A root's name, or anything in it [default: the root that you are in]
    #[arg(value_name = "ROOT|PATH")]
    path: Option<PathBuf>,
    /// List at most so many of what is in a directory, the biggest first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct UsageJson {
    #[serde(flatten)]
    path: output::PathJson,
    directory: bool,
    deleted: bool,
    now: AmountJson,
    history: AmountJson,
    pinned: AmountJson,
    goes_within_30_days: AmountJson,
    removed_versions: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<UsageJson>,
}

impl UsageJson {
    fn new(usage: history::Usage, children: Vec<UsageJson>) -> Self {
        Self {
            path: output::PathJson::new(&usage.path),
            directory: usage.directory,
            deleted: usage.deleted,
            now: AmountJson::new(usage.now),
            history: AmountJson::new(usage.history),
            pinned: AmountJson::new(usage.pinned),
            goes_within_30_days: AmountJson::new(usage.soon),
            removed_versions: usage.removed,
            children,
        }
    }
}

impl Usage {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = Place::find_or_only(context, self.path.as_deref())?;
        let mut history = History::find(context).await?;
        let request = GetUsageRequest { root_id: place.root_id(), subject: place.subject() };
        let told = history.keeping.get_usage(stream(request)).await;
        let told = told.map_err(|status| history.refused_at(&place, &status))?.into_inner();
        let total = told.total.unwrap_or_default();
        if self.json {
            let children = told.children.into_iter().map(|child| UsageJson::new(child, Vec::new())).collect();
            output::json(&UsageJson::new(total, children))?;
            return Ok(DONE);
        }
        output::line(place.shown())?;
        let now = total.now.unwrap_or_default();
        output::line(format_args!("  now      {}, {}", text::count(now.versions, "file"), bytes(Some(now))))?;
        let past = total.history.unwrap_or_default();
        let versions = text::count(past.versions, "version");
        output::line(format_args!("  history  {versions}, {} beyond that", bytes(Some(past))))?;
        let (pinned, soon) = (total.pinned.unwrap_or_default(), total.soon.unwrap_or_default());
        if pinned.versions > 0 {
            output::line(format_args!("           {} pinned, {}", pinned.versions, bytes(Some(pinned))))?;
        }
        if soon.versions > 0 {
            let what = bytes(Some(soon));
            output::line(format_args!("           {} go within 30 days (`quics policy`), {what}", soon.versions))?;
        }
        if total.removed > 0 {
            output::line(format_args!("  gone     the contents of {}", text::count(total.removed, "version")))?;
        }
        if told.children.is_empty() || self.limit == 0 {
            return Ok(DONE);
        }
        output::line("")?;
        let more = told.children.len().saturating_sub(self.limit) as u64 + told.more_children;
        let rows: Vec<Vec<String>> = told.children.iter().take(self.limit).map(|child| row(&total, child)).collect();
        output::table(&["NOW", "HISTORY", "VERSIONS", "IN IT"], &rows)?;
        if more > 0 {
            output::line(format_args!("… and {more} more"))?;
        }
        Ok(DONE)
    }
}

fn row(total: &history::Usage, child: &history::Usage) -> Vec<String> {
    let under = child.path.strip_prefix(&total.path[..]).unwrap_or(&child.path);
    let name = text::bytes(under.strip_prefix(b"/").unwrap_or(under));
    let directory = if child.directory { "/" } else { "" };
    let deleted = if child.deleted { "  (deleted)" } else { "" };
    let versions = child.history.unwrap_or_default().versions;
    vec![bytes(child.now), bytes(child.history), versions.to_string(), format!("{name}{directory}{deleted}")]
}

fn bytes(amount: Option<Amount>) -> String {
    let amount = amount.unwrap_or_default();
    let about = if amount.estimated { "about " } else { "" };
    format!("{about}{}", text::size(amount.bytes))
}
