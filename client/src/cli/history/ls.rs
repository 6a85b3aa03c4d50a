//! `quics ls`

use std::path::PathBuf;

use clap::Args;
use quics_proto::history::v1::list_tree_response::Message;
use quics_proto::history::v1::{ListTreeRequest, ListTreeResponse, Version};
use tonic::Streaming;

use super::at::{self, Place};
use super::{History, VersionJson, author, number, stream, value, what};
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output};
use crate::text;

/// List what was in a directory at a moment
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics ls ~/Documents --at \"2026-11-20 14:00\"
  quics ls ~/Documents/letters --at \"2h ago\" --recursive")]
pub(in crate::cli) struct Ls {
    /// A directory in a root, which need not exist now [default: the root that you are in]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// A time, or a commit of the root (#1200) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// With everything in the directories in it
    #[arg(short, long)]
    recursive: bool,
    /// Print JSON, one entry a line
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = Place::find_or_only(context, self.path.as_deref())?;
        let request = ListTreeRequest {
            root_id: place.root_id(),
            subject: place.subject(),
            moment: self.at.as_deref().map(at::parse).transpose()?,
            recursive: self.recursive,
        };
        let mut history = History::find(context).await?;
        let mut empty = true;
        tree(&mut history, &place, request, |version| {
            empty = false;
            if self.json {
                return Ok(output::json_line(&VersionJson::new(version))?);
            }
            let row = version.row.clone().unwrap_or_default();
            let under = version.path.strip_prefix(&place.relative[..]).unwrap_or(&version.path);
            let name = text::bytes(under.strip_prefix(b"/").unwrap_or(under));
            let (what, when) = (what(value(version)), output::when_exactly(row.accepted_at));
            let (number, author) = (number(version), author(version));
            let kept = if version.removed.is_some() { "  (its content is not kept any more)" } else { "" };
            Ok(output::line(format_args!("{:04o}  {what:>10}  {when}  {author:14}  {name}@{number}{kept}", row.mode))?)
        })
        .await?;
        if empty && !self.json {
            output::line("Nothing was in it then.")?;
        }
        Ok(DONE)
    }
}

/// Lists a tree, entry by entry; fails where it is not whole.
pub(super) async fn tree(
    history: &mut History,
    place: &Place,
    request: ListTreeRequest,
    mut each: impl FnMut(&Version) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut tree = Tree::open(history, place, request).await?;
    while let Some(version) = tree.next(history).await? {
        each(&version)?;
    }
    Ok(())
}

/// A tree that is being listed.
pub(super) struct Tree {
    listed: Streaming<ListTreeResponse>,
    place: Place,
    /// Entries of the message that came last, and how many came.
    entries: std::vec::IntoIter<Version>,
    count: u64,
    whole: bool,
}

impl Tree {
    /// Asks for it.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn open(history: &mut History, place: &Place, request: ListTreeRequest) -> Result<Self, Failure> {
        let listed = history.client.list_tree(stream(request)).await;
        let listed = listed.map_err(|status| history.refused_at(place, &status))?.into_inner();
        Ok(Self { listed, place: place.clone(), entries: Vec::new().into_iter(), count: 0, whole: false })
    }

    /// The next entry; `None` behind the last one of a tree that is whole.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn next(&mut self, history: &History) -> Result<Option<Version>, Failure> {
        loop {
            if let Some(version) = self.entries.next() {
                self.count += 1;
                return Ok(Some(version));
            }
            if self.whole {
                return Ok(None);
            }
            let message = self.listed.message().await.map_err(|status| history.refused_at(&self.place, &status))?;
            match message.and_then(|message| message.message) {
                Some(Message::Entries(entries)) => self.entries = entries.entries.into_iter(),
                Some(Message::Finish(finish)) if finish.count == self.count => self.whole = true,
                _ => return Err(Failure::new("the list broke off before its end: try again")),
            }
        }
    }
}
