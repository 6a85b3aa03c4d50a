//! `quics get`

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use quics_proto::common::v1::{self as common, value::Kind};
use quics_proto::history::v1::{ListTreeRequest, Version};

use super::at::{self, At, Place};
use super::{History, cat, ls, number, value};
use crate::api;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, files};
use crate::text;

/// Write a version of a file or directory to a new place
#[derive(Debug, Args)]
#[command(after_help = format!("\
What is in the folder now stays as it is. {}

Examples:
  quics get ~/Documents/plan.odt@7 -o /tmp/plan.odt
  quics get \"~/Documents/letters@2h ago\" -o /tmp/letters", at::MOMENTS))]
pub(in crate::cli) struct Get {
    /// The file or directory, and the moment
    #[arg(value_name = "PATH@T")]
    at: OsString,
    /// Where to write it; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Get {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let at = At::find(context, &self.at)?;
        let mut history = History::find(context).await?;
        let version = if at.place.relative.is_empty() { None } else { Some(history.version(&at).await?) };
        let mut writing = Writing { context, place: &at.place, agent: context.agent().await? };
        if let Some(version) = version.filter(|version| !is_directory(version)) {
            if value(&version).is_none() {
                let (path, number) = (at.place.shown(), number(&version));
                return Err(Failure::new(format!("{path} was deleted with version {number}: give an older one")));
            }
            writing.one(&version, &self.output).await?;
            return Ok(DONE);
        }
        writing.directory(&mut history, &at, &self.output).await?;
        Ok(DONE)
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
    /// A directory as it was, with everything in it. What was written of one that fails stays, and is named.
    async fn directory(&mut self, history: &mut History, at: &At, output: &Path) -> Result<(), Failure> {
        let wrong = |error: std::io::Error| Failure::new(format!("cannot make {}: {error}", text::path(output)));
        DirBuilder::new().mode(0o700).create(output).map_err(wrong)?;
        let request = ListTreeRequest {
            root_id: at.place.root_id(),
            subject: at.place.subject(),
            moment: Some(at.moment),
            recursive: true,
        };
        let mut entries = Vec::new();
        ls::tree(history, request, |version| {
            entries.push(version.clone());
            Ok(())
        })
        .await?;
        for version in &entries {
            let under = version.path.strip_prefix(&self.place.relative[..]).unwrap_or(&version.path);
            let to = output.join(std::ffi::OsStr::from_bytes(under.strip_prefix(b"/").unwrap_or(under)));
            if is_directory(version) {
                DirBuilder::new().mode(0o700).create(&to).map_err(wrong)?;
            } else {
                self.one(version, &to).await?;
            }
        }
        // Behind their members, which have to be written into them.
        for version in entries.iter().rev().filter(|version| is_directory(version)) {
            let under = version.path.strip_prefix(&self.place.relative[..]).unwrap_or(&version.path);
            let to = output.join(std::ffi::OsStr::from_bytes(under.strip_prefix(b"/").unwrap_or(under)));
            dress(&to, version).map_err(wrong)?;
        }
        Ok(())
    }

    /// A file, link or unit.
    async fn one(&mut self, version: &Version, to: &Path) -> Result<(), Failure> {
        let wrong = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", text::path(to)));
        match value(version).and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => {
                files::write(&mut self.agent, cat::request(self.place, version, file)?, to).await?;
                dress(to, version).map_err(wrong)
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
fn dress(to: &Path, version: &Version) -> std::io::Result<()> {
    let row = version.row.clone().unwrap_or_default();
    fs::set_permissions(to, Permissions::from_mode(row.mode & 0o777))?;
    let Some(at) = row.modified_at.filter(|_| !is_directory(version)) else { return Ok(()) };
    let nanos = Duration::from_nanos(at.nanos.unsigned_abs().into());
    let before = Duration::from_secs(at.seconds.unsigned_abs());
    let whole = if at.seconds < 0 { UNIX_EPOCH.checked_sub(before) } else { UNIX_EPOCH.checked_add(before) };
    let Some(modified) = whole.and_then(|whole: SystemTime| whole.checked_add(nanos)) else { return Ok(()) };
    File::open(to)?.set_times(FileTimes::new().set_modified(modified))
}
