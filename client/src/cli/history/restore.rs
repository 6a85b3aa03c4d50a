//! `quics restore`

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use console::{StyledObject, style};
use quics_proto::history::v1::moment::Moment as Then;
use quics_proto::history::v1::preview_restore_response::Message;
use quics_proto::history::v1::restore_plan::What;
use quics_proto::history::v1::{
    ListRestoresRequest, ListedRestore, Moment, PreviewRestoreRequest, RestoreChange, RestoreKind, RestorePlan,
    RestoreRequest, RestoreState, RestoreSummary, RestoreTo,
};
use quics_proto::sync::v1::{GroupState, Refusal};
use serde::Serialize;
use tonic::Code;

use super::at::{self, At, Place};
use super::{History, confirmed, gone, stream, what};
use crate::account::call;
use crate::cli::failure::{DONE, WAITING};
use crate::cli::{Context, Failure, output};
use crate::home::RootEntry;
use crate::text;

mod fit;
mod json;

use fit::Fit;
use json::{ChangeJson, DoneJson};

/// Changes that are named before the question, unless all are asked for.
const SHOWN: usize = 60;
/// How often a restore that was cut off is asked for again, and how far apart.
const TRIES: u32 = 20;
/// The shortest beginning of an id that names a restore.
const SHORTEST: usize = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// Bring back a file, a directory or a root as it was
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("which").required(true).args(["target", "undo", "list"])),
    after_help = format!("\
What would change is shown first, and nothing is done before you say yes. A restore makes new versions, so it can be
undone like anything else; what changes while you look stays as it is and is named. {}

Examples:
  quics restore ~/Documents/plan.odt@7
  quics restore ~/Documents --at \"yesterday 9am\" --dry-run
  quics restore ~/Documents --at \"2h ago\" --only '*.odt' --keep-new
  quics restore --undo 6f1c…", at::MOMENTS)
)]
pub(in crate::cli) struct Restore {
    /// What to bring back, with its moment; or without, and the moment by --at
    #[arg(value_name = "PATH[@T]")]
    target: Option<OsString>,
    /// The moment: a time, or a commit of the root (#1200)
    #[arg(long, value_name = "TIME", requires = "target", conflicts_with_all = ["undo", "list"])]
    at: Option<String>,
    /// Take this restore back
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// List the restores of the roots here, the newest first
    #[arg(long)]
    list: bool,
    /// Only what matches this pattern, in gitignore's syntax; may be given more than once
    #[arg(long, value_name = "GLOB", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    only: Vec<String>,
    /// Bring back what is missing or changed, and delete and move nothing
    #[arg(long)]
    keep_new: bool,
    /// Show what would change, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Name everything that would change, however much it is
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON: the changes, one a line, then what came of it
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut history = History::find(context).await?;
        if self.list {
            return list(context, &mut history, self.json).await;
        }
        let (place, what) = match (&self.undo, &self.target) {
            (Some(id), _) => undo(context, &mut history, id).await?,
            (None, Some(target)) => self.to(context, target).await?,
            (None, None) => return Err(Failure::usage("say what to restore")),
        };
        let plan = RestorePlan { what: Some(what), only: self.only.clone(), keep_new: self.keep_new };
        let head = match &plan.what {
            Some(What::To(RestoreTo { moment: Some(Moment { moment: Some(Then::Time(at)) }), .. })) => {
                format!("As of {}:", output::when_exactly(Some(*at)))
            }
            _ => String::new(),
        };
        let how = Show { head: &head, json: self.json, all: self.all, fits: true };
        let summary = shown(&mut history, &place, &plan, how).await?;
        let nothing = is_nothing(&summary);
        if self.dry_run || nothing {
            if self.json {
                output::json_line(&DoneJson::new(&summary, None))?;
            }
            return Ok(if nothing && summary.stays + summary.lost > 0 { WAITING } else { DONE });
        }
        if !self.yes {
            confirmed("Restore?", self.json)?;
        }
        let restored = carry_out(&mut history, &place, plan, &summary).await?;
        if self.json {
            output::json_line(&DoneJson::new(&summary, Some(&restored)))?;
        } else {
            restored.print()?;
            restored.print_left_out()?;
        }
        Ok(if restored.state.left_out == 0 { DONE } else { WAITING })
    }

    /// The place and the moment that the arguments name.
    async fn to(&self, context: &Context, target: &OsString) -> Result<(Place, What), Failure> {
        let (place, moment) = match &self.at {
            Some(at) => (Place::find(context, Path::new(target))?, at::parse(at)?),
            None => {
                let At { place, moment } = At::find(context, target).await?;
                (place, moment)
            }
        };
        let to = RestoreTo { subject: place.subject(), moment: Some(moment) };
        Ok((place, What::To(to)))
    }
}

/// How a preview is shown.
pub(in crate::cli) struct Show<'a> {
    /// Empty: none.
    pub(in crate::cli) head: &'a str,
    pub(in crate::cli) json: bool,
    /// However much it is.
    pub(in crate::cli) all: bool,
    /// What this device could not take is refused.
    pub(in crate::cli) fits: bool,
}

impl Show<'_> {
    fn headline(&self, now: bool) -> io::Result<()> {
        if now && !self.head.is_empty() { output::line(self.head) } else { Ok(()) }
    }
}

/// Shows what would change under a headline, one change a line, and says it in one sentence; in JSON the changes alone. What
/// is refused, by the server or because it does not fit here, shows nothing.
pub(in crate::cli) async fn shown(
    history: &mut History,
    place: &Place,
    plan: &RestorePlan,
    how: Show<'_>,
) -> Result<RestoreSummary, Failure> {
    let mut fit = how.fits.then(|| Fit::new(place));
    if how.json || how.all {
        // What is named as it comes is looked at before.
        if let Some(mut fit) = fit.take() {
            let look = |change: &RestoreChange| {
                fit.take(change);
                Ok(())
            };
            preview(history, place, plan, look).await?;
            fit.end()?;
        }
    }
    let (mut lines, mut count) = (Vec::new(), 0);
    let summary = preview(history, place, plan, |change| {
        count += 1;
        if let Some(fit) = &mut fit {
            fit.take(change);
        }
        if how.json {
            return Ok(output::json_line(&ChangeJson::new(change))?);
        }
        if how.all {
            how.headline(count == 1)?;
            output::line(line(change))?;
        } else if count <= SHOWN {
            lines.push(line(change));
        }
        Ok(())
    })
    .await?;
    fit.map_or(Ok(()), Fit::end)?;
    if how.json {
        return Ok(summary);
    }
    how.headline(!how.all || count == 0)?;
    lines.iter().try_for_each(output::line)?;
    if count > SHOWN && !how.all {
        let more = text::count((count - SHOWN) as u64, "more change");
        output::line(format_args!("  … and {more} (--all names them)"))?;
    }
    output::line(told(&summary, !plan.only.is_empty()))?;
    Ok(summary)
}

/// Whether a restore would change nothing.
pub(in crate::cli) fn is_nothing(summary: &RestoreSummary) -> bool {
    summary.created + summary.changed + summary.moved + summary.deleted == 0
}

/// What came of a restore.
pub(in crate::cli) struct Restored {
    pub(in crate::cli) id: Bytes,
    pub(in crate::cli) state: GroupState,
    /// The paths of those that were left out, in the order of the state's entries.
    left_out: Vec<Bytes>,
}

impl Restored {
    /// Says what was done, and how it is taken back.
    pub(in crate::cli) fn print(&self) -> Result<(), Failure> {
        let (made, id) = (text::count(self.state.made, "change"), output::hex(&self.id));
        output::line(format_args!("Restored: {made} made. `quics restore --undo {id}` takes them back."))?;
        Ok(())
    }

    /// Names what was left as it is, and why.
    pub(in crate::cli) fn print_left_out(&self) -> Result<(), Failure> {
        if self.state.left_out > 0 {
            let count = text::count(self.state.left_out, "entry").replace("entrys", "entries");
            output::line(format_args!("{count} left as they are:"))?;
            for (entry, path) in self.state.entries.iter().zip(&self.left_out) {
                output::line(format_args!("  {}: {}", text::bytes(path), reason(entry.reason())))?;
            }
        }
        Ok(())
    }

    pub(in crate::cli) fn left_out_json(&self) -> Vec<output::PathJson> {
        self.left_out.iter().map(|path| output::PathJson::new(path)).collect()
    }
}

/// Has a restore carried out; one that is cut off is asked for again, under the same id.
pub(in crate::cli) async fn carry_out(
    history: &mut History,
    place: &Place,
    plan: RestorePlan,
    summary: &RestoreSummary,
) -> Result<Restored, Failure> {
    let id = Bytes::copy_from_slice(&quics_kit::random::bytes::<16>());
    let request =
        RestoreRequest { root_id: place.root_id(), plan: Some(plan), from: summary.from, group_id: id.clone() };
    let mut tries = 0;
    loop {
        match history.client.restore(stream(request.clone())).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let state = answer.state.unwrap_or_default();
                return Ok(Restored { id, state, left_out: answer.left_out_paths });
            }
            Err(status) if tries < TRIES && matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => {
                let Failure { code, text } = history.refused(&status);
                let id = output::hex(&request.group_id);
                let lost = matches!(status.code(), Code::Unavailable | Code::Unknown);
                let known = if lost {
                    format!("; whether restore {id} is done, `quics restore --list` says")
                } else {
                    String::new()
                };
                return Err(Failure { code, text: format!("{text}{known}") });
            }
        }
    }
}

/// Shows what has changed in a directory since a moment.
pub(super) async fn changes_since(history: &mut History, at: &At) -> Result<(), Failure> {
    let to = RestoreTo { subject: at.place.subject(), moment: Some(at.moment) };
    let plan = RestorePlan { what: Some(What::To(to)), only: Vec::new(), keep_new: false };
    let mut none = true;
    preview(history, &at.place, &plan, |change| {
        none = false;
        let now = || text::bytes(&change.path_now);
        // Seen the other way round: what a restore would take back has happened since.
        output::line(match change.kind() {
            RestoreKind::Create => style(format!("  - {}", text::bytes(&change.path_then))).red(),
            RestoreKind::Delete => style(format!("  + {}", now())).green(),
            RestoreKind::Move => style(format!("  > {} → {}", text::bytes(&change.path_then), now())).yellow(),
            _ => style(format!("  ~ {}  {}", now(), sizes(change, true))).yellow(),
        })?;
        Ok(())
    })
    .await?;
    if none {
        output::line("Nothing has changed since.")?;
    }
    Ok(())
}

/// Asks what a restore would change.
pub(in crate::cli) async fn preview(
    history: &mut History,
    place: &Place,
    plan: &RestorePlan,
    mut each: impl FnMut(&RestoreChange) -> Result<(), Failure>,
) -> Result<RestoreSummary, Failure> {
    let request = PreviewRestoreRequest { root_id: place.root_id(), plan: Some(plan.clone()) };
    let asked = history.client.preview_restore(stream(request)).await;
    let mut told = asked.map_err(|status| history.refused_at(place, &status))?.into_inner();
    while let Some(message) = told.message().await.map_err(|status| history.refused_at(place, &status))? {
        match message.message {
            Some(Message::Changes(changes)) => changes.changes.iter().try_for_each(&mut each)?,
            Some(Message::Summary(summary)) => return Ok(summary),
            None => {}
        }
    }
    Err(Failure::new("the preview broke off before its end: nothing was changed, try again"))
}

/// A change for people.
fn line(change: &RestoreChange) -> StyledObject<String> {
    let (now, then) = (text::bytes(&change.path_now), text::bytes(&change.path_then));
    let late = if change.late { "  (made before then, arrived after it)" } else { "" };
    match change.kind() {
        RestoreKind::Create => style(format!("  + {then}  {}{late}", what(change.then.as_ref()))).green(),
        RestoreKind::Delete => style(format!("  - {now}{late}")).red(),
        RestoreKind::Move => style(format!("  > {now} → {then}{late}")).yellow(),
        RestoreKind::Lost => {
            let why = change.removed.as_ref().map(|removed| format!(": {}", gone(removed))).unwrap_or_default();
            style(format!("  ! {then}  its content is not kept any more{why}")).red()
        }
        RestoreKind::Stays => {
            let path = if change.path_now.is_empty() { &then } else { &now };
            style(format!("  = {path}  stays as it is: it was changed since, or something else is in its way")).dim()
        }
        _ => style(format!("  ~ {then}  {}{late}", sizes(change, false))).yellow(),
    }
}

fn sizes(change: &RestoreChange, forward: bool) -> String {
    let (now, then) = (what(change.now.as_ref()), what(change.then.as_ref()));
    match (now == then, forward) {
        (true, _) => now,
        (false, true) => format!("{then} → {now}"),
        (false, false) => format!("{now} → {then}"),
    }
}

fn told(summary: &RestoreSummary, only: bool) -> String {
    if is_nothing(summary) {
        return match (summary.stays + summary.lost, only) {
            (0, false) => "Everything is as it was then: there is nothing to restore.".to_owned(),
            (0, true) => "Nothing that --only matches is another than it was then.".to_owned(),
            _ => "Nothing of this can be restored by itself.".to_owned(),
        };
    }
    let RestoreSummary { created, changed, moved, deleted, unchanged, .. } = summary;
    let mut told = format!(
        "{created} brought back, {changed} changed, {moved} moved, {deleted} deleted, {unchanged} unchanged; {} of \
         contents come back.",
        text::size(summary.bytes)
    );
    if summary.late > 0 {
        let late = text::count(summary.late, "change");
        told = format!("{told}\n{late} made before that time arrived only after it, and would be left behind.");
    }
    if summary.lost > 0 {
        told = format!("{told}\n{} not kept any more: they stay as they are.", text::count(summary.lost, "content"));
    }
    told
}

/// Finds the root of a restore.
async fn undo(context: &Context, history: &mut History, id: &str) -> Result<(Place, What), Failure> {
    let id = id.trim_end_matches('…').to_ascii_lowercase();
    if !(SHORTEST..=32).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::usage("this is no restore's id: `quics restore --list` shows them"));
    }
    let mut found = Vec::new();
    for (root, restore) in made(context, history).await? {
        if output::hex(&restore.group_id).starts_with(&id) {
            found.push((Place { root, relative: Bytes::new() }, What::UndoGroupId(restore.group_id)));
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found),
        (None, _) => Err(Failure::new(
            "no such restore was made in a root that is synced here: `quics restore --list` shows them",
        )),
        _ => Err(Failure::usage("several restores begin so: give more of the id")),
    }
}

/// The restores of the roots here that history-svc lists, the newest first.
async fn made(context: &Context, history: &mut History) -> Result<Vec<(RootEntry, ListedRestore)>, Failure> {
    let mut made = Vec::new();
    for root in context.home.settings()?.roots {
        let root_id = Bytes::copy_from_slice(root.id.as_bytes());
        let mut request = ListRestoresRequest { root_id, page_size: 0, page_token: String::new() };
        loop {
            let page = history.client.list_restores(call(request.clone())).await;
            let page = page.map_err(|status| history.refused(&status))?.into_inner();
            made.extend(page.restores.into_iter().map(|restore| (root.clone(), restore)));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
    }
    Ok(made)
}

async fn list(context: &Context, history: &mut History, json: bool) -> Result<u8, Failure> {
    #[derive(Serialize)]
    struct ListedJson {
        root: String,
        id: String,
        at: Option<String>,
        device: String,
        changes: u64,
        state: &'static str,
    }
    let listed = made(context, history).await?;
    if json {
        let listed = listed.iter().map(|(root, restore)| ListedJson {
            root: root.name.clone(),
            id: output::hex(&restore.group_id),
            at: output::moment(restore.at),
            device: restore.device_name.clone(),
            changes: restore.changes,
            state: state(restore),
        });
        output::json(&listed.collect::<Vec<_>>())?;
        return Ok(DONE);
    }
    if listed.is_empty() {
        output::line("Nothing was restored yet.")?;
        return Ok(DONE);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|(root, restore)| {
            let (id, when) = (output::hex(&restore.group_id), output::when_exactly(restore.at));
            let (root, device) = (text::line(&root.name), text::line(&restore.device_name));
            vec![when, root, device, restore.changes.to_string(), state(restore).replace('_', " "), id]
        })
        .collect();
    output::table(&["WHEN", "ROOT", "DEVICE", "CHANGES", "STATE", "ID"], &rows)?;
    Ok(DONE)
}

/// How far a restore is.
fn state(restore: &ListedRestore) -> &'static str {
    match restore.state() {
        RestoreState::Unspecified => "unknown",
        RestoreState::Finished => "finished",
        RestoreState::Withdrawn => "withdrawn",
        RestoreState::UnderWay => "under_way",
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ParentGone => "its directory is not there any more",
        Refusal::NameTaken => "something else has its name now",
        Refusal::NotEmpty => "something new is in it",
        Refusal::Cycle => "it would be in itself",
        Refusal::Stale => "it was changed meanwhile",
        Refusal::NoSpace | Refusal::Quota => "the server has no space for it",
        Refusal::ReadOnly => "you may not change it",
        _ => "the server could not do it",
    }
}
