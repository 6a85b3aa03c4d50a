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
use crate::cli::{Context, Failure, difference, files, output};
use crate::merge;
use crate::text;

/// Show what differs between a version and another, or what is here now
#[derive(Debug, Args)]
#[command(after_help = format!("\
Texts are compared line by line; of pictures the dimensions are shown, of anything else the sizes. {}

Examples:
  quics diff ~/Documents/plan.txt@7              with the file as it is here, saved or not
  quics diff ~/Documents/plan.txt@5 ~/Documents/plan.txt@7
  quics diff ~/Documents@yesterday               what has changed in a directory since", at::MOMENTS))]
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
        let at = At::find(context, &self.before)?;
        let mut history = History::find(context).await?;
        if at.place.relative.is_empty() {
            return directory(&mut history, &at, self.after.is_some()).await;
        }
        let before = history.version(&at).await?;
        if matches!(value(&before).and_then(|value| value.kind.as_ref()), Some(Kind::Directory(_))) {
            return directory(&mut history, &at, self.after.is_some()).await;
        }
        let mut agent = context.agent().await?;
        let first = Side::of_version(&at.place, before)?;
        let second = match &self.after {
            Some(after) => {
                let at = At::find(context, after)?;
                Side::of_version(&at.place, history.version(&at).await?)?
            }
            None => Side::here(&at.place)?,
        };
        compare(&mut agent, &first, &second).await
    }
}

/// What has changed in a directory: what restoring it would take back.
async fn directory(history: &mut History, at: &At, two: bool) -> Result<u8, Failure> {
    if two {
        return Err(Failure::usage("two moments of a directory are not compared: give one, or a file in it"));
    }
    restore::changes_since(history, at).await?;
    Ok(DONE)
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
}

impl Side {
    fn of_version(place: &Place, version: Version) -> Result<Self, Failure> {
        let there = value(&version).cloned();
        let content = match there.as_ref().and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => Content::Kept(cat::request(place, &version, file)?),
            _ => Content::None,
        };
        let path = version.path.clone();
        Ok(Self { name: format!("{}@{}", text::bytes(&path), number(&version)), value: there, path, content })
    }

    /// What is in the folder now, synced or not.
    fn here(place: &Place) -> Result<Self, Failure> {
        let path = place.local(&place.relative);
        let name = format!("{} as it is here", text::path(&path));
        let value = files::look(&path)?.map(|kind| common::Value { kind: Some(kind) });
        let content = match value.as_ref().and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(_)) => Content::Here(path),
            _ => Content::None,
        };
        Ok(Self { name, value, path: place.relative.clone(), content })
    }

    /// The text that it is; `None` for what is none.
    async fn text(&self, agent: &mut api::Client) -> Result<Option<Bytes>, Failure> {
        match &self.content {
            Content::None => Ok(self.value.is_none().then(Bytes::new)),
            Content::Kept(request) => difference::text_of(agent, request.clone()).await,
            Content::Here(path) => Ok(files::load(path, merge::TEXT_BYTES)?.filter(|bytes| merge::is_text(bytes))),
        }
    }

    async fn dimensions(&self, agent: &mut api::Client) -> Option<String> {
        match &self.content {
            Content::None => None,
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
        let dimensions = side.dimensions(agent).await.map(|told| format!(", {told}")).unwrap_or_default();
        let what = if side.value.is_none() { "nothing".to_owned() } else { what(side.value.as_ref()) };
        output::line(format_args!("{}: {what}{dimensions}", side.name))?;
    }
    Ok(DONE)
}
