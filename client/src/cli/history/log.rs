//! `quics log`

use std::path::PathBuf;

use clap::Args;
use quics_proto::history::v1::{Cause, ListVersionsRequest, Version};
use quics_proto::registry::v1::Device;

use super::at::{self, Place};
use super::{History, VersionJson, author, cause, number, value, what};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, devices, output};
use crate::text;

/// Show the versions of a file, or everything that happened in a directory or root
#[derive(Debug, Args)]
#[command(after_help = "\
A file's versions follow it through moves and renames; --path shows instead what had this path, one after the other. The
side of a conflict that was not chosen is a version too: 7.1 lost to 7.

Examples:
  quics log ~/Documents/plan.odt
  quics log ~/Documents --since yesterday --device laptop
  quics log ~/Documents --deleted")]
pub(in crate::cli) struct Log {
    /// A file, a directory with everything in it, or a root [default: the root that you are in]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// What had this name in this directory, instead of what is there now through its moves
    #[arg(long = "path")]
    by_path: bool,
    /// Only what the server accepted from then on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what the server accepted until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what this device did, by name or id
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Only what this user's devices did
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only what was deleted and is not back
    #[arg(long)]
    deleted: bool,
    /// Go on where a list ended: what it says at its end
    #[arg(long, value_name = "MARK", default_value = "", hide_default_value = true)]
    before: String,
    /// At most so many, the newest first; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print JSON, one version a line
    #[arg(long)]
    json: bool,
}

impl Log {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = Place::find_or_only(context, self.path.as_deref())?;
        let whole = place.relative.is_empty();
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut request = ListVersionsRequest {
            root_id: place.root_id(),
            subject: if whole { None } else { place.subject() },
            by_path: self.by_path,
            since: self.since.as_deref().map(at::time).transpose()?,
            until: self.until.as_deref().map(at::time).transpose()?,
            device: self.device.clone().unwrap_or_default(),
            user: self.user.clone().unwrap_or_default(),
            deleted: self.deleted,
            page_size: 0,
            page_token: self.before.clone(),
            below: false,
        };
        let mut history = History::find(context).await?;
        request.below = !whole && !self.by_path && history.is_directory(&place).await?;
        let whole = whole || request.below;
        let (mut shown, mut last) = (0, None);
        loop {
            request.page_size = u32::try_from((limit - shown).min(1000)).unwrap_or(1000);
            let page = history.client.list_versions(call(request.clone())).await;
            let page = page.map_err(|status| history.refused_at(&place, &status))?.into_inner();
            for version in &page.versions {
                if self.json {
                    output::json_line(&VersionJson::new(version))?;
                } else {
                    self.print(&place, version, whole, &mut last)?;
                }
            }
            shown += page.versions.len();
            if page.next_page_token.is_empty() {
                break;
            }
            if shown >= limit {
                let mark = text::line(&page.next_page_token);
                if self.json {
                    eprintln!("quics: there are older ones: --before {mark} goes on with them");
                } else {
                    output::line(format_args!(
                        "… and older ones: --before {mark} goes on with them, --limit 0 shows all"
                    ))?;
                }
                return Ok(DONE);
            }
            request.page_token = page.next_page_token;
        }
        if shown == 0 {
            self.known(context, &place).await?;
        }
        if shown == 0 && !self.json {
            output::line("Nothing that fits.")?;
        }
        Ok(DONE)
    }

    /// Whether whoever is asked for is somebody: a device of a member, or a user who has one.
    ///
    /// # Errors
    /// One sentence.
    async fn known(&self, context: &Context, place: &Place) -> Result<(), Failure> {
        if self.device.is_none() && self.user.is_none() {
            return Ok(());
        }
        let devices = devices::of_root(context, place.root_id()).await?;
        let any = |is: &dyn Fn(&Device) -> bool| devices.iter().any(is);
        let unknown = |what: &str, name: &str| {
            let (name, root) = (text::line(name), text::line(&place.root.name));
            Failure::new(format!("no member of \"{root}\" {what} \"{name}\", and nothing that fits is of one"))
        };
        if let Some(name) = self
            .device
            .as_deref()
            .filter(|name| !any(&|device: &Device| device.name == **name || output::hex(&device.device_id) == **name))
        {
            return Err(unknown("has a device called", name));
        }
        match self.user.as_deref().filter(|name| !any(&|device: &Device| device.user_name == **name)) {
            Some(name) => Err(unknown("with a device is called", name)),
            None => Ok(()),
        }
    }

    /// One line a version; a path where it is not the one of the line before.
    fn print(
        &self,
        asked: &Place,
        version: &Version,
        whole: bool,
        last: &mut Option<bytes::Bytes>,
    ) -> Result<(), Failure> {
        if !whole && last.is_none() && !self.by_path && version.path != asked.relative {
            output::line(format_args!("{}  (its directories had other names before)", text::bytes(&asked.relative)))?;
        }
        if !whole && last.as_ref() != Some(&version.path) {
            output::line(text::bytes(&version.path))?;
            *last = Some(version.path.clone());
        }
        let when = output::when_exactly(version.row.as_ref().and_then(|row| row.accepted_at));
        let mut told = cause(version).to_owned();
        if !version.moved_from.is_empty() {
            told = format!("{told} from {}", text::bytes(&version.moved_from));
        }
        if !version.group_id.is_empty() {
            told = format!("{told} by {}", output::hex(&version.group_id));
        }
        let deleted = version.row.as_ref().is_some_and(|row| row.tombstone);
        if deleted && version.cause() != Cause::Delete {
            told = format!("{told}: deleted");
        }
        if value(version).is_some() {
            told = format!("{told}, {}", what(value(version)));
        }
        if let Some(removed) = &version.removed {
            told = format!("{told} (not kept: {})", text::line(&removed.why));
        }
        if version.pinned {
            told = format!("{told}, pinned");
        }
        let (number, author) = (number(version), author(version));
        if whole {
            output::line(format_args!("{when}  {author:14}  {}@{number}  {told}", text::bytes(&version.path)))?;
        } else {
            output::line(format_args!("  {number:>6}  {when}  {author:14}  {told}"))?;
        }
        if version.missing > 0 {
            let missing = text::count(version.missing, "version");
            output::line(format_args!("          … {missing} before it missing: history-svc never heard of them"))?;
        }
        Ok(())
    }
}
