//! `quics explain`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::ExplainRequest;
use quics_proto::common::v1::{Row, Value, value::Kind};
use serde::Serialize;

use super::failure::DONE;
use super::{Context, Failure, context, output};

/// Say why a file is, or is not, in sync
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics explain ~/Documents/report.odt
  quics explain --json ~/Documents/report.odt")]
pub(super) struct Explain {
    /// The file or directory; it need not exist
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ExplainJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<RowJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    synced: Option<ValueJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<ValueJson>,
    conflict: bool,
}

#[derive(Serialize)]
struct RowJson {
    entry: String,
    #[serde(flatten)]
    value: ValueJson,
    time: u64,
    content_time: u64,
    place_time: u64,
    attributes_time: u64,
    mode: String,
    modified_at: Option<String>,
    deleted: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ValueJson {
    Directory,
    File { content: String, size: u64 },
    Unit { content: String, size: u64 },
    Link { target: String },
    Unknown,
}

impl From<Option<&Value>> for ValueJson {
    fn from(value: Option<&Value>) -> Self {
        match value.and_then(|value| value.kind.as_ref()) {
            Some(Kind::Directory(_)) => Self::Directory,
            Some(Kind::File(file)) => Self::File { content: output::hex(&file.content_id), size: file.size },
            Some(Kind::Unit(unit)) => Self::Unit { content: output::hex(&unit.content_id), size: unit.size },
            Some(Kind::Link(link)) => Self::Link { target: String::from_utf8_lossy(&link.target).into_owned() },
            None => Self::Unknown,
        }
    }
}

impl std::fmt::Display for ValueJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory => f.write_str("a directory"),
            Self::File { content, size } => {
                write!(f, "a file of {}, content {:.16}…", crate::text::size(*size), content)
            }
            Self::Unit { content, size } => {
                write!(f, "a directory of {} as a whole, content {:.16}…", crate::text::size(*size), content)
            }
            Self::Link { target } => write!(f, "a link to {}", crate::text::line(target)),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl From<&Row> for RowJson {
    fn from(row: &Row) -> Self {
        Self {
            entry: output::hex(&row.entry_id),
            value: row.value.as_ref().into(),
            time: row.time,
            content_time: row.content_time,
            place_time: row.place_time,
            attributes_time: row.attributes_time,
            mode: format!("{:03o}", row.mode),
            modified_at: output::moment(row.modified_at),
            deleted: row.tombstone,
        }
    }
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let path = context::bytes(&context::place(&self.path)?);
        let told = agent.explain(ExplainRequest { path }).await?.into_inner();
        let server = told.remote.as_ref().map(RowJson::from);
        let synced = told.synced.as_ref().map(|row| ValueJson::from(row.value.as_ref()));
        let local = told.local.as_ref().map(|value| ValueJson::from(Some(value)));
        if self.json {
            output::json(&ExplainJson {
                root: output::hex(&told.root_id),
                path: output::PathJson::new(&told.relative_path),
                summary: told.summary,
                server,
                synced,
                local,
                conflict: told.conflict.is_some(),
            })?;
            return Ok(DONE);
        }
        output::line(format_args!("{}: {}", crate::text::path(&self.path), crate::text::line(&told.summary)))?;
        if let Some(local) = local {
            output::line(format_args!("  here:    {local}"))?;
        }
        if let Some(synced) = synced {
            output::line(format_args!("  synced:  {synced}"))?;
        }
        if let Some(server) = server {
            let deleted = if server.deleted { ", deleted" } else { "" };
            output::line(format_args!("  server:  {}, logical time {}{deleted}", server.value, server.time))?;
            output::line(format_args!(
                "           content since {}, place since {}, attributes ({}) since {}",
                server.content_time, server.place_time, server.mode, server.attributes_time
            ))?;
        }
        Ok(DONE)
    }
}
