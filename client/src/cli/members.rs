//! What is in units, on the terminal: how many files, and which of them differ.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use console::style;
use quics_chunks::{Bundle, MemberKind};
use quics_proto::agent::v1::ReadContentRequest;
use quics_types::Digest;

use super::{Failure, files, output};
use crate::api;
use crate::text;

/// Bundles of up to so many bytes are compared by what is in their files, larger ones by their lists alone.
const COMPARED: usize = 32 << 20;

/// What a unit holds: its files and links by path.
pub(super) struct Whole {
    files: BTreeMap<Bytes, (MemberKind, Option<Digest>)>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
    Changed,
}

/// Reads what a unit holds, whose bundle is asked for. `None`: it cannot be had now.
pub(super) async fn read(agent: &mut api::Client, request: ReadContentRequest) -> Option<Whole> {
    let size = size(&request)?;
    if let Ok(Some(bytes)) = files::read(agent, request.clone(), COMPARED).await {
        return whole(&bytes, size);
    }
    list(agent, request).await
}

/// Reads the list of what a unit holds. `None`: it cannot be had now.
pub(super) async fn list(agent: &mut api::Client, request: ReadContentRequest) -> Option<Whole> {
    let size = size(&request)?;
    let prefix = files::head(agent, request.clone(), Bundle::PREFIX).await.ok()?;
    let head = Bundle::head_of(prefix.as_slice().try_into().ok()?).ok()?;
    whole(&files::head(agent, request, head).await.ok()?, size)
}

/// Reads what a unit holds as it is on the disk.
///
/// # Errors
/// One sentence.
pub(super) fn here(at: &Path) -> Result<Whole, Failure> {
    let wrong = || Failure::new(format!("{} cannot be read as a whole now: try again", text::path(at)));
    let (bytes, size) = files::bundle(at, COMPARED)?;
    whole(&bytes, size).ok_or_else(wrong)
}

fn size(request: &ReadContentRequest) -> Option<u64> {
    request.file.as_ref().map(|bundle| bundle.size)
}

fn whole(bytes: &[u8], size: u64) -> Option<Whole> {
    let bundle = Bundle::read(bytes, size).ok()?;
    let mut at = usize::try_from(bundle.head_size()).ok()?;
    let mut files = BTreeMap::new();
    for member in bundle.members() {
        let end = at.checked_add(usize::try_from(member.bytes()).ok()?)?;
        if member.kind != MemberKind::Directory {
            files.insert(member.path.clone(), (member.kind.clone(), bytes.get(at..end).map(Digest::of)));
        }
        at = end;
    }
    Some(Whole { files })
}

/// Whether a file is another one: by what is in it where both were read, otherwise by kind and length alone.
fn differ((kind, content): &(MemberKind, Option<Digest>), (now, read): &(MemberKind, Option<Digest>)) -> bool {
    kind != now || content.zip(*read).is_some_and(|(before, after)| before != after)
}

impl Whole {
    /// How many files and links it holds, for people.
    pub(super) fn count(&self) -> String {
        text::count(self.files.len() as u64, "file")
    }

    /// What is another in `after`, by path.
    pub(super) fn changes(&self, after: &Whole) -> Vec<(Bytes, Change)> {
        let mut found = Vec::new();
        for (path, before) in &self.files {
            match after.files.get(path) {
                None => found.push((path.clone(), Change::Removed)),
                Some(now) if differ(before, now) => found.push((path.clone(), Change::Changed)),
                Some(_) => {}
            }
        }
        let added = after.files.keys().filter(|path| !self.files.contains_key(*path));
        found.extend(added.map(|path| (path.clone(), Change::Added)));
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

/// Shows changes under a title, at most `lines` of them; `more` says how to see the others.
pub(super) fn print(title: &str, changes: &[(Bytes, Change)], lines: usize, more: &str) -> Result<(), Failure> {
    output::line(format_args!("  {}", style(title).dim()))?;
    for (path, change) in changes.iter().take(lines) {
        let path = text::bytes(path);
        output::line(match change {
            Change::Added => style(format!("  + {path}")).green(),
            Change::Removed => style(format!("  - {path}")).red(),
            Change::Changed => style(format!("  ~ {path}")).yellow(),
        })?;
    }
    if changes.len() > lines {
        let count = text::count((changes.len() - lines) as u64, "more file");
        output::line(format_args!("  … and {count} ({more})"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quics_chunks::Member;

    use super::*;

    fn made(files: &[(&'static str, &'static str)], cut: bool) -> Whole {
        let member = |(path, text): &(&'static str, &'static str)| Member {
            path: Bytes::from_static(path.as_bytes()),
            kind: MemberKind::File { size: text.len() as u64, executable: false },
        };
        let bundle = Bundle::new(files.iter().map(member).collect()).unwrap();
        let mut bytes = bundle.head().to_vec();
        if !cut {
            files.iter().for_each(|(_, text)| bytes.extend_from_slice(text.as_bytes()));
        }
        whole(&bytes, bundle.size()).unwrap()
    }

    #[test]
    fn files_differ_by_what_is_in_them_where_that_was_read() {
        let (left, right) = (&[("HEAD", "one"), ("a", "x"), ("b", "x")], &[("HEAD", "two"), ("a", "x"), ("c", "x")]);
        let names = |changes: Vec<(Bytes, Change)>| -> Vec<(String, Change)> {
            changes.into_iter().map(|(path, change)| (text::bytes(&path).to_string(), change)).collect()
        };
        let changes = names(made(left, false).changes(&made(right, false)));
        let expected = [("HEAD", Change::Changed), ("b", Change::Removed), ("c", Change::Added)];
        assert_eq!(changes, expected.map(|(path, change)| (path.to_owned(), change)));
        // Of lists alone a text of the same length is no difference.
        let changes = names(made(left, true).changes(&made(right, true)));
        let by_list = expected[1..].iter().map(|(path, it)| ((*path).to_owned(), *it)).collect::<Vec<_>>();
        assert_eq!(changes, by_list);
        assert_eq!(names(made(left, false).changes(&made(right, true))), by_list, "one of the two was not read");
    }
}
