//! A conflict on the terminal: who, when, how large, and what differs.

use console::style;

use quics_proto::common::v1::Value;

use super::merging::{self, Texts};
use super::whole;
use crate::api;
use crate::cli::sides::{Conflict, Side};
use crate::cli::{Failure, files, output};
use crate::merge::{self, Mark};
use crate::text;

/// Lines of a difference that are shown at first.
pub(super) const LINES: usize = 40;
/// The part of a picture in which its dimensions are looked for.
const HEAD: usize = 256 << 10;
/// Columns of a tab.
const TAB: usize = 4;

/// Shows the sides of a conflict.
pub(super) async fn sides(agent: &mut api::Client, conflict: &Conflict) -> Result<(), Failure> {
    for (index, side) in conflict.sides.iter().enumerate() {
        let mut what = side.what();
        if let Some(dimensions) = dimensions(agent, conflict, side).await? {
            what = format!("{what}, {dimensions}");
        }
        if let Some(files) = whole::count(agent, conflict, side).await {
            what = format!("{what}, {files}");
        }
        output::line(format_args!("  {}  {}: {what}", index + 1, style(side.name()).bold()))?;
    }
    Ok(())
}

/// The dimensions of a picture.
async fn dimensions(agent: &mut api::Client, conflict: &Conflict, side: &Side) -> Result<Option<String>, Failure> {
    let Some(file) = side.file().filter(|_| is_picture(conflict.relative())) else { return Ok(None) };
    let request = files::request(&conflict.listed.root_id, file, &conflict.listed.path);
    // A courtesy: where it cannot be had now, the size has to do.
    let Ok(head) = files::head(agent, request, HEAD).await else { return Ok(None) };
    Ok(imagesize::blob_size(&head).ok().map(|size| format!("{} × {} pixels", size.width, size.height)))
}

fn is_picture(path: &[u8]) -> bool {
    const ENDINGS: [&str; 10] = ["avif", "bmp", "gif", "heic", "heif", "jpeg", "jpg", "png", "tiff", "webp"];
    let Some(dot) = path.iter().rposition(|byte| *byte == b'.') else { return false };
    let ending = &path[dot + 1..];
    ENDINGS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(ending))
}

/// What could be shown of the differences.
#[derive(Default)]
pub(super) struct Shown {
    /// Whether anything was.
    pub(super) any: bool,
    /// The texts, where they can be merged.
    pub(super) texts: Option<Texts>,
}

/// Shows what differs between the server's version and every candidate's, at most `lines` lines of each.
/// Where both changed something common, what each changed is shown; what the server's changed once.
pub(super) async fn difference(agent: &mut api::Client, conflict: &Conflict, lines: usize) -> Result<Shown, Failure> {
    let mut shown = Shown::default();
    let server = conflict.server().name();
    let mut bases: Vec<&Value> = Vec::new();
    for side in conflict.candidates() {
        let base = side.base.as_ref();
        let first = base.is_none_or(|base| !bases.contains(&base));
        if side.unit().is_some() {
            let printed = whole::difference(agent, conflict, side, first, lines).await?;
            bases.extend(base.filter(|_| printed));
            shown.any |= printed;
            continue;
        }
        let Some(texts) = merging::texts(agent, conflict, side).await? else { continue };
        let other = side.name();
        if base.is_none() {
            print(&format!("From {server} to {other}:"), &texts.server, &texts.other, lines)?;
        } else {
            if first {
                print(&format!("What {server} changed:"), &texts.base, &texts.server, lines)?;
            }
            print(&format!("What {other} changed:"), &texts.base, &texts.other, lines)?;
        }
        bases.extend(base);
        shown.any = true;
        shown.texts = Some(texts);
    }
    shown.texts = shown.texts.filter(|_| merging::partner(conflict).is_ok());
    Ok(shown)
}

fn print(title: &str, before: &[u8], after: &[u8], lines: usize) -> Result<(), Failure> {
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
        output::line(format_args!("  … and {} (d shows all)", text::count((diff.len() - lines) as u64, "more line")))?;
    }
    Ok(())
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
