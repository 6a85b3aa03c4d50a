//! `quics get`

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use quics_proto::common::v1::{self as common, value::Kind};
use quics_proto::history::v1::{ListTreeRequest, Version};

use quics_types::Name;

use super::at::{self, At, Place};
use super::{History, cat, gone, ls, number, value};
use crate::api;
use crate::cli::failure::{DONE, WAITING};
use crate::cli::{Context, Failure, files, output};
use crate::text;

/// Write a version of a file or directory to a new place
#[derive(Debug, Args)]
#[command(after_help = format!("\
What is in the folder now stays as it is. {}

Examples:
  quics get ~/Documents/plan.odt@7 -o /tmp/plan.odt
  quics get ~/Documents/letters@\"2h ago\" -o /tmp/letters
  quics get ~/Documents/plan.txt@7 -o - | wc", at::MOMENTS))]
pub(in crate::cli) struct Get {
    /// The file or directory, and the moment
    #[arg(value_name = "PATH@T")]
    at: OsString,
    /// Where to write it; it must not exist yet. A file can be written to the output, by - or a pipe or terminal's path
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Get {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let at = At::find(context, &self.at).await?;
        let mut history = History::find(context).await?;
        let version = if at.place.relative.is_empty() { None } else { Some(history.version(&at).await?) };
        let mut writing = Writing { context, place: &at.place, agent: context.agent().await? };
        if let Some(version) = version.filter(|version| !is_directory(version)) {
            if value(&version).is_none() {
                let (path, number) = (at.place.shown(), number(&version));
                return Err(Failure::new(format!("{path} was deleted with version {number}: give an older one")));
            }
            if files::is_stream(&self.output) {
                return writing.stream(&version, &self.output).await;
            }
            writing.one(&version, &self.output).await?;
            return Ok(DONE);
        }
        if files::is_stream(&self.output) {
            return Err(Failure::usage(format!("{} is a directory: give -o the path of a new one", at.place.shown())));
        }
        let lost = writing.directory(&mut history, &at, &self.output).await?;
        for version in &lost {
            let why = version.removed.as_ref().map(gone).unwrap_or_default();
            output::line(format_args!("not written: {}@{}: {why}", text::bytes(&version.path), number(version)))?;
        }
        Ok(if lost.is_empty() { DONE } else { WAITING })
    }
}

fn is_directory(version: &Version) -> bool {
    matches!(value(version).and_then(|value| value.kind.as_ref()), Some(Kind::Directory(_)))
}

/// Writes versions to new places.
struct Writing<'a> {
    context: &'a Context,
    place: &'a Place,
    agent: api::Client,
}

impl Writing<'_> {
    /// A directory as it was, with everything in it whose content is kept; gives what is not. What was written of one that
    /// fails stays, and is named.
    async fn directory(&mut self, history: &mut History, at: &At, output: &Path) -> Result<Vec<Version>, Failure> {
        let request = ListTreeRequest {
            root_id: at.place.root_id(),
            subject: at.place.subject(),
            moment: Some(at.moment),
            recursive: true,
        };
        let (mut entries, mut lost) = (Vec::new(), Vec::new());
        ls::tree(history, &at.place, request, |version| {
            if version.removed.is_some() { &mut lost } else { &mut entries }.push(version.clone());
            Ok(())
        })
        .await?;
        files::directory(output)?;
        for version in &entries {
            let to = self.below(output, version)?;
            if is_directory(version) {
                files::directory(&to)?;
            } else {
                self.one(version, &to).await?;
            }
        }
        // Behind their members, which have to be written into them.
        for version in entries.iter().rev().filter(|version| is_directory(version)) {
            dress(&self.below(output, version)?, version)?;
        }
        Ok(lost)
    }

    /// Where an entry of the directory is written: never anywhere else than below it, whatever the server says.
    fn below(&self, output: &Path, version: &Version) -> Result<PathBuf, Failure> {
        let under = version.path.strip_prefix(&self.place.relative[..]).unwrap_or(&version.path);
        let under = under.strip_prefix(b"/").unwrap_or(under);
        let names = under.split(|byte| *byte == b'/').map(|name| Name::new(Bytes::copy_from_slice(name)));
        names.into_iter().try_fold(output.to_owned(), |at, name| match name {
            Ok(name) => Ok(at.join(std::ffi::OsStr::from_bytes(name.as_bytes()))),
            Err(_) => Err(Failure::new(format!("history-svc named {}, which cannot be", text::bytes(&version.path)))),
        })
    }

    /// A file, or where a link leads, into what is open already.
    async fn stream(&mut self, version: &Version, to: &Path) -> Result<u8, Failure> {
        let mut out = files::stream(to)?;
        match value(version).and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => {
                files::copy(&mut self.agent, cat::request(self.place, version, file)?, &mut out, to).await?;
            }
            Some(Kind::Link(link)) => out.write_all(&link.target)?,
            _ => {
                let path = text::bytes(&version.path);
                return Err(Failure::usage(format!("{path} is a directory: give -o the path of a new one")));
            }
        }
        out.flush()?;
        Ok(DONE)
    }

    /// A file, link or unit.
    async fn one(&mut self, version: &Version, to: &Path) -> Result<(), Failure> {
        match value(version).and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => {
                files::write(&mut self.agent, cat::request(self.place, version, file)?, to).await?;
                dress(to, version)
            }
            Some(Kind::Unit(unit)) => {
                let bundle = common::File { content_id: unit.content_id.clone(), size: unit.size };
                let request = cat::request(self.place, version, &bundle)?;
                files::unpack(self.context, &mut self.agent, request, to).await
            }
            Some(Kind::Link(link)) => files::link(&link.target, to),
            _ => Ok(()),
        }
    }
}

/// Gives something the permission bits and time of a version.
fn dress(to: &Path, version: &Version) -> Result<(), Failure> {
    let row = version.row.clone().unwrap_or_default();
    let modified = row.modified_at.filter(|_| !is_directory(version));
    files::dress(to, row.mode, modified.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok()))
}
