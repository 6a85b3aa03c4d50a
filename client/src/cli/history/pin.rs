//! `quics pin`, `quics unpin` and `quics pins`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use quics_proto::history::v1::{ListPinsRequest, PinRequest, UnpinRequest};
use serde::Serialize;

use super::at::{self, At, Place};
use super::{History, VersionJson, number, value, what};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Keep a version of a file, whatever the policy says
#[derive(Debug, Args)]
#[command(after_help = format!("\
{}

Examples:
  quics pin ~/Documents/plan.odt@7 --note \"as it was signed\"
  quics pin ~/Documents/plan.odt@\"yesterday 9am\"", at::MOMENTS))]
pub(in crate::cli) struct Pin {
    /// The file and the moment
    #[arg(value_name = "PATH@T")]
    at: OsString,
    /// Why, for whoever sees it in `quics pins`
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

impl Pin {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let At { place, moment } = At::find(context, &self.at).await?;
        let mut history = History::find(context).await?;
        let (root_id, subject) = (place.root_id(), place.subject());
        let request = PinRequest { root_id, subject, moment: Some(moment), note: self.note };
        let pinned = history.keeping.pin(call(request)).await;
        let pinned = pinned.map_err(|status| history.refused_at(&place, &status))?.into_inner();
        let version = pinned.pin.and_then(|pin| pin.version).unwrap_or_default();
        let (path, number) = (text::bytes(&version.path), number(&version));
        output::line(format_args!("{path}@{number} is pinned: it is kept until `quics unpin`."))?;
        Ok(DONE)
    }
}

/// End what `quics pin` began: the version is kept as long as the policy says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics unpin ~/Documents/plan.odt@7")]
pub(in crate::cli) struct Unpin {
    /// The file and the moment
    #[arg(value_name = "PATH@T")]
    at: OsString,
}

impl Unpin {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let At { place, moment } = At::find(context, &self.at).await?;
        let mut history = History::find(context).await?;
        let (root_id, subject) = (place.root_id(), place.subject());
        let request = UnpinRequest { root_id, subject, moment: Some(moment) };
        let unpinned = history.keeping.unpin(call(request)).await;
        let unpinned = unpinned.map_err(|status| history.refused_at(&place, &status))?.into_inner();
        let version = unpinned.version.unwrap_or_default();
        let (path, number) = (text::bytes(&version.path), number(&version));
        output::line(format_args!("{path}@{number} is not pinned any more."))?;
        Ok(DONE)
    }
}

/// List the pinned versions of a root
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics pins
  quics pins ~/Documents --json")]
pub(in crate::cli) struct Pins {
    /// A root's name, or anything in it [default: the root that you are in]
    #[arg(value_name = "ROOT|PATH")]
    root: Option<PathBuf>,
    /// Print JSON, one pin a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PinJson {
    #[serde(flatten)]
    version: VersionJson,
    note: String,
    pinned_at: Option<String>,
    pinned_by: String,
    pinned_from: String,
}

impl Pins {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = Place::find_or_only(context, self.root.as_deref())?;
        let mut history = History::find(context).await?;
        let mut request = ListPinsRequest { root_id: place.root_id(), ..Default::default() };
        let mut none = true;
        loop {
            let page = history.keeping.list_pins(call(request.clone())).await;
            let page = page.map_err(|status| history.refused(&status))?.into_inner();
            for pin in page.pins {
                none = false;
                let version = pin.version.unwrap_or_default();
                if self.json {
                    output::json_line(&PinJson {
                        version: VersionJson::new(&version),
                        note: pin.note,
                        pinned_at: output::moment(pin.at),
                        pinned_by: pin.user_name,
                        pinned_from: pin.device_name,
                    })?;
                    continue;
                }
                let (path, number) = (text::bytes(&version.path), number(&version));
                let (size, when) = (what(value(&version)), output::when(pin.at));
                let (who, device) = (text::line(&pin.user_name), text::line(&pin.device_name));
                let note = if pin.note.is_empty() { String::new() } else { format!("  {}", text::line(&pin.note)) };
                output::line(format_args!("{path}@{number}  {size}  by {who} from {device}, {when}{note}"))?;
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        if none && !self.json {
            output::line("Nothing is pinned.")?;
        }
        Ok(DONE)
    }
}
