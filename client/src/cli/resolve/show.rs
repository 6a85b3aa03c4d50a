//! A conflict on the terminal: who, when, how large, and what differs.

use console::style;

use quics_proto::common::v1::Value;

use super::merging::{self, Texts};
use super::whole;
use crate::api;
use crate::cli::sides::{Conflict, Side};
use crate::cli::{Failure, difference, files, output};

/// Lines of a difference that are shown at first.
pub(super) const LINES: usize = 40;
/// Shows the sides of a conflict.
pub(super) async fn sides(agent: &mut api::Client, conflict: &Conflict) -> Result<(), Failure> {
    for (index, side) in conflict.sides.iter().enumerate() {
        let mut what = side.what();
        if let Some(dimensions) = dimensions(agent, conflict, side).await {
            what = format!("{what}, {dimensions}");
        }
        if let Some(files) = whole::count(agent, conflict, side).await {
            what = format!("{what}, {files}");
        }
        output::line(format_args!("  {}  {}: {what}", index + 1, style(side.name()).bold()))?;
    }
    Ok(())
}

/// The dimensions of a picture.
async fn dimensions(agent: &mut api::Client, conflict: &Conflict, side: &Side) -> Option<String> {
    let request = files::request(&conflict.listed.root_id, side.file()?, &conflict.listed.path);
    difference::dimensions(agent, conflict.relative(), request).await
}

/// What could be shown of the differences.
#[derive(Default)]
pub(super) struct Shown {
    /// Whether anything was.
    pub(super) any: bool,
    /// The texts, where they can be merged.
    pub(super) texts: Option<Texts>,
}

/// Shows what differs between the server's version and every candidate's, at most `lines` lines of each.
/// Where both changed something common, what each changed is shown; what the server's changed once.
pub(super) async fn difference(agent: &mut api::Client, conflict: &Conflict, lines: usize) -> Result<Shown, Failure> {
    let mut shown = Shown::default();
    let server = conflict.server().name();
    let mut bases: Vec<&Value> = Vec::new();
    for side in conflict.candidates() {
        let base = side.base.as_ref();
        let first = base.is_none_or(|base| !bases.contains(&base));
        if side.unit().is_some() {
            let printed = whole::difference(agent, conflict, side, first, lines).await?;
            bases.extend(base.filter(|_| printed));
            shown.any |= printed;
            continue;
        }
        let Some(texts) = merging::texts(agent, conflict, side).await? else { continue };
        let other = side.name();
        if base.is_none() {
            print(&format!("From {server} to {other}:"), &texts.server, &texts.other, lines)?;
        } else {
            if first {
                print(&format!("What {server} changed:"), &texts.base, &texts.server, lines)?;
            }
            print(&format!("What {other} changed:"), &texts.base, &texts.other, lines)?;
        }
        bases.extend(base);
        shown.any = true;
        shown.texts = Some(texts);
    }
    shown.texts = shown.texts.filter(|_| merging::partner(conflict).is_ok());
    Ok(shown)
}

fn print(title: &str, before: &[u8], after: &[u8], lines: usize) -> Result<(), Failure> {
    difference::print(title, before, after, lines, "d shows all")
}
