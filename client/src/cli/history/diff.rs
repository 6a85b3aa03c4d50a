//! `quics diff`

use std::ffi::OsString;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use quics_proto::agent::v1::ReadContentRequest;
use quics_proto::common::v1::{self as common, value::Kind};
use quics_proto::history::v1::Version;

use super::at::{self, At, Place};
use super::{History, cat, number, restore, value, what};
use crate::api;
use crate::cli::failure::DONE;
use crate::cli::members::{self, Whole};
use crate::cli::{Context, Failure, difference, files, output};
use crate::merge;
use crate::text;

mod trees;

/// Show what differs between a version and another, or what is here now
#[derive(Debug, Args)]
#[command(after_help = format!("\
Texts are compared line by line; of pictures the dimensions are shown, of anything else the sizes and whether they differ. Of
directories it is told what was created, changed and deleted. {}

Examples:
  quics diff ~/Documents/plan.txt@7              with the file as it is here, saved or not
  quics diff ~/Documents/plan.txt@5 ~/Documents/plan.txt@7
  quics diff ~/Documents@yesterday               what has changed in a directory since
  quics diff ~/Documents@\"2 days ago\" ~/Documents@yesterday", at::MOMENTS))]
pub(in crate::cli) struct Diff {
    /// The older version
    #[arg(value_name = "PATH@T")]
    before: OsString,
    /// The newer one [default: what is in the folder now]
    #[arg(value_name = "PATH@T")]
    after: Option<OsString>,
}

impl Diff {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let at = At::find(context, &self.before).await?;
        let after = match &self.after {
            Some(after) => Some(At::find(context, after).await?),
            None => None,
        };
        let mut history = History::find(context).await?;
        let before = if at.place.relative.is_empty() { None } else { Some(history.version(&at).await?) };
        let Some(before) = before.filter(|version| !is_directory(value(version))) else {
            match &after {
                Some(after) => trees::compare(&mut history, &at, after).await?,
                None => restore::changes_since(&mut history, &at).await?,
            }
            return Ok(DONE);
        };
        let mut agent = context.agent().await?;
        let first = Side::of_version(&at.place, before)?;
        let second = match &after {
            Some(after) => Side::of_version(&after.place, history.version(after).await?)?,
            None => Side::here(&at.place, &first)?,
        };
        compare(&mut agent, &first, &second).await
    }
}

fn is_directory(value: Option<&common::Value>) -> bool {
    matches!(value.and_then(|value| value.kind.as_ref()), Some(Kind::Directory(_)))
}

/// One side of a comparison.
struct Side {
    name: String,
    /// `None`: nothing is there.
    value: Option<common::Value>,
    path: Bytes,
    content: Content,
}

/// How to come by its bytes.
enum Content {
    None,
    Kept(ReadContentRequest),
    Here(PathBuf),
    /// Those of a unit's bundle.
    KeptUnit(ReadContentRequest),
    UnitHere(PathBuf),
}

impl Side {
    fn of_version(place: &Place, version: Version) -> Result<Self, Failure> {
        let there = value(&version).cloned();
        let content = match there.as_ref().and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => Content::Kept(cat::request(place, &version, file)?),
            Some(Kind::Unit(unit)) => {
                let bundle = common::File { content_id: unit.content_id.clone(), size: unit.size };
                Content::KeptUnit(cat::request(place, &version, &bundle)?)
            }
            _ => Content::None,
        };
        let path = version.path.clone();
        Ok(Self { name: format!("{}@{}", text::bytes(&path), number(&version)), value: there, path, content })
    }

    /// What is in the folder now, synced or not; a directory is read as the unit that it was.
    fn here(place: &Place, before: &Side) -> Result<Self, Failure> {
        let path = place.local(&place.relative);
        let name = format!("{} as it is here", text::path(&path));
        let value = files::look(&path)?.map(|kind| common::Value { kind: Some(kind) });
        let content = match value.as_ref().and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(_)) => Content::Here(path),
            Some(Kind::Directory(_)) if matches!(before.content, Content::KeptUnit(_)) => Content::UnitHere(path),
            _ => Content::None,
        };
        Ok(Self { name, value, path: place.relative.clone(), content })
    }

    /// The text that it is; `None` for what is none.
    async fn text(&self, agent: &mut api::Client) -> Result<Option<Bytes>, Failure> {
        match &self.content {
            Content::None => Ok(self.value.is_none().then(Bytes::new)),
            Content::KeptUnit(_) | Content::UnitHere(_) => Ok(None),
            Content::Kept(request) => difference::text_of(agent, request.clone()).await,
            Content::Here(path) => Ok(files::load(path, merge::TEXT_BYTES)?.filter(|bytes| merge::is_text(bytes))),
        }
    }

    /// What it holds, if it is a unit.
    async fn whole(&self, agent: &mut api::Client) -> Result<Option<Whole>, Failure> {
        match &self.content {
            Content::KeptUnit(request) => Ok(members::read(agent, request.clone()).await),
            Content::UnitHere(path) => members::here(path).map(Some),
            _ => Ok(None),
        }
    }

    /// The dimensions of a picture, how many files a unit has.
    async fn more(&self, agent: &mut api::Client) -> Option<String> {
        match &self.content {
            Content::KeptUnit(request) => Some(members::list(agent, request.clone()).await?.count()),
            Content::UnitHere(path) => Some(members::here(path).ok()?.count()),
            _ => self.dimensions(agent).await,
        }
    }

    async fn dimensions(&self, agent: &mut api::Client) -> Option<String> {
        match &self.content {
            Content::None | Content::KeptUnit(_) | Content::UnitHere(_) => None,
            Content::Kept(request) => difference::dimensions(agent, &self.path, request.clone()).await,
            Content::Here(path) => difference::dimensions_of(&files::head_of(path, difference::HEAD).ok()?),
        }
    }
}

async fn compare(agent: &mut api::Client, first: &Side, second: &Side) -> Result<u8, Failure> {
    if let (Some(before), Some(after)) = (first.text(agent).await?, second.text(agent).await?) {
        if before == after {
            output::line(format_args!("{} and {} are the same.", first.name, second.name))?;
        } else {
            let title = format!("From {} to {}:", first.name, second.name);
            difference::print(&title, &before, &after, usize::MAX, "")?;
        }
        return Ok(DONE);
    }
    for side in [first, second] {
        let more = side.more(agent).await.map(|told| format!(", {told}")).unwrap_or_default();
        let what = if side.value.is_none() { "nothing".to_owned() } else { what(side.value.as_ref()) };
        output::line(format_args!("{}: {what}{more}", side.name))?;
    }
    if let (Some(before), Some(after)) = (first.whole(agent).await?, second.whole(agent).await?) {
        let changes = before.changes(&after);
        // That there are none does not say that they are the same, where only lists were read.
        if !changes.is_empty() {
            let title = format!("From {} to {}:", first.name, second.name);
            members::print(&title, &changes, usize::MAX, "")?;
            return Ok(DONE);
        }
    }
    output::line(if same(agent, first, second).await? { "They are the same." } else { "They differ." })?;
    Ok(DONE)
}

/// Whether both are the same, whatever they are called.
async fn same(agent: &mut api::Client, first: &Side, second: &Side) -> Result<bool, Failure> {
    match (&first.content, &second.content) {
        (Content::Kept(request), Content::Here(path)) => files::same(agent, request.clone(), path, false).await,
        (Content::KeptUnit(request), Content::UnitHere(path)) => files::same(agent, request.clone(), path, true).await,
        _ => Ok(first.value == second.value),
    }
}
