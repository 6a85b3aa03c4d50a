//! What differs between two contents, on the terminal.

use bytes::Bytes;
use console::style;
use quics_proto::agent::v1::ReadContentRequest;

use super::{Failure, files, output};
use crate::api;
use crate::merge::{self, Mark};
use crate::text;

/// The part of a picture in which its dimensions are looked for.
pub(super) const HEAD: usize = 256 << 10;
/// Columns of a tab.
const TAB: usize = 4;

/// Shows what differs between two texts, at most `lines` lines of it; `more` says how to see the others.
pub(super) fn print(title: &str, before: &[u8], after: &[u8], lines: usize, more: &str) -> Result<(), Failure> {
    let diff = merge::diff(before, after);
    output::line(format_args!("  {}", style(title).dim()))?;
    for line in diff.iter().take(lines) {
        let shown = safe(line.text);
        let shown = match line.mark {
            Mark::Same => format!("    {shown}"),
            Mark::Gap => "  …".to_owned(),
            Mark::Removed => style(format!("  - {shown}")).red().to_string(),
            Mark::Added => style(format!("  + {shown}")).green().to_string(),
        };
        output::line(shown)?;
    }
    if diff.len() > lines {
        output::line(format_args!("  … and {} ({more})", text::count((diff.len() - lines) as u64, "more line")))?;
    }
    Ok(())
}

/// The dimensions of a picture, by its name and its first bytes.
pub(super) async fn dimensions(agent: &mut api::Client, path: &[u8], request: ReadContentRequest) -> Option<String> {
    if !is_picture(path) {
        return None;
    }
    // A courtesy: where it cannot be had now, the size has to do.
    dimensions_of(&files::head(agent, request, HEAD).await.ok()?)
}

/// The dimensions of a picture with these first bytes.
pub(super) fn dimensions_of(head: &[u8]) -> Option<String> {
    imagesize::blob_size(head).ok().map(|size| format!("{} × {} pixels", size.width, size.height))
}

fn is_picture(path: &[u8]) -> bool {
    const ENDINGS: [&str; 10] = ["avif", "bmp", "gif", "heic", "heif", "jpeg", "jpg", "png", "tiff", "webp"];
    let Some(dot) = path.iter().rposition(|byte| *byte == b'.') else { return false };
    let ending = &path[dot + 1..];
    ENDINGS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(ending))
}

/// A content that is a text and not too long to compare.
pub(super) async fn text_of(agent: &mut api::Client, request: ReadContentRequest) -> Result<Option<Bytes>, Failure> {
    let read = files::read(agent, request, merge::TEXT_BYTES).await?;
    Ok(read.filter(|bytes| merge::is_text(bytes)).map(Bytes::from))
}

/// A line of a text that cannot drive the terminal; its tabs stay tabs.
fn safe(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let parts: Vec<String> = text.split('\t').map(text::line).collect();
    parts.join(&" ".repeat(TAB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_drive_the_terminal_and_keeps_its_tabs() {
        assert_eq!(safe(b"a\tb\x1b[31m\xff"), "a    b\\u{1b}[31m\u{fffd}");
    }

    #[test]
    fn pictures_are_known_by_their_ending() {
        assert!(is_picture(b"a/b.JPG") && is_picture(b"x.png") && !is_picture(b"png") && !is_picture(b"x.txt"));
    }
}
