//! `quics share log`

use clap::Args;
use quics_proto::share::v1::{Download, DownloadEnd, ListDownloadsRequest};
use serde::Serialize;

use super::Sharing;
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Show when a link was used and how much went out, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
From where is said only where the root's policy keeps addresses (`quics share policy`).

Examples:
  quics share log 3fa9c01d")]
pub(super) struct Log {
    /// The beginning of the link's id, or its address
    #[arg(value_name = "LINK")]
    link: String,
    /// Print JSON, one download a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DownloadJson {
    at: Option<String>,
    #[serde(flatten)]
    path: output::PathJson,
    bytes: u64,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

impl Log {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut sharing = Sharing::find(context).await?;
        let link = sharing.named(context, &self.link).await?;
        let mut request = ListDownloadsRequest { link_id: link.link_id, ..Default::default() };
        let mut rows = Vec::new();
        loop {
            let page = sharing.client.list_downloads(call(request.clone())).await;
            let page = page.map_err(|status| sharing.refused(&status))?.into_inner();
            for download in page.downloads {
                if self.json {
                    output::json_line(&json(download))?;
                } else {
                    rows.push(row(&download));
                }
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        if !self.json && rows.is_empty() {
            output::line("It was not downloaded yet.")?;
        } else if !self.json {
            output::table(&["WHEN", "BYTES", "HOW", "WHAT", "FROM"], &rows)?;
        }
        Ok(DONE)
    }
}

/// How a download ended, for people and for programs.
fn end(download: &Download) -> (&'static str, &'static str) {
    match download.end() {
        DownloadEnd::Unspecified => ("-", "unknown"),
        DownloadEnd::Begun => ("counted", "begun"),
        DownloadEnd::Whole => ("whole", "whole"),
        DownloadEnd::Left => ("broken off", "left"),
        DownloadEnd::Revoked => ("cut: the link was taken back", "revoked"),
        DownloadEnd::Failed => ("failed", "failed"),
        DownloadEnd::Slow => ("cut: too slow", "slow"),
    }
}

fn row(download: &Download) -> Vec<String> {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        output::when_exactly(download.at),
        text::size(download.bytes),
        end(download).0.to_owned(),
        if download.path.is_empty() { "all".to_owned() } else { text::bytes(&download.path).to_string() },
        or_dash(text::line(&download.address)),
    ]
}

fn json(download: Download) -> DownloadJson {
    DownloadJson {
        at: output::moment(download.at),
        path: output::PathJson::new(&download.path),
        bytes: download.bytes,
        end: end(&download).1,
        address: (!download.address.is_empty()).then_some(download.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_cannot_drive_a_terminal() {
        let download = Download { path: "a\u{1b}[2J".into(), address: "\u{202e}".into(), ..Default::default() };
        let row = row(&download).concat();
        assert!(!row.contains('\u{1b}') && !row.contains('\u{202e}'), "{row}");
    }
}
