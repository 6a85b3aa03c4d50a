//! Units on the terminal: how many files, and which of them differ.

use std::collections::BTreeMap;

use bytes::Bytes;
use console::style;
use quics_chunks::{Bundle, MemberKind};
use quics_proto::common::v1::File;
use quics_types::Digest;

use crate::api;
use crate::cli::sides::{Conflict, Side, unit};
use crate::cli::{Failure, files, output};
use crate::text;

/// Bundles of up to so many bytes are compared by what is in their files, larger ones by their lists alone.
const COMPARED: usize = 32 << 20;

/// What a unit holds: its files and links by path.
pub(super) struct Whole {
    files: BTreeMap<Bytes, (MemberKind, Option<Digest>)>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    Changed,
}

/// Reads what a unit holds. `None`: it cannot be had now.
async fn read(agent: &mut api::Client, conflict: &Conflict, bundle: &File) -> Option<Whole> {
    let request = files::request(&conflict.listed.root_id, bundle, &conflict.listed.path);
    if let Ok(Some(bytes)) = files::read(agent, request, COMPARED).await {
        return whole(&bytes, bundle.size);
    }
    list(agent, conflict, bundle).await
}

/// Reads the list of what a unit holds. `None`: it cannot be had now.
async fn list(agent: &mut api::Client, conflict: &Conflict, bundle: &File) -> Option<Whole> {
    let request = files::request(&conflict.listed.root_id, bundle, &conflict.listed.path);
    let prefix = files::head(agent, request.clone(), Bundle::PREFIX).await.ok()?;
    let head = Bundle::head_of(prefix.as_slice().try_into().ok()?).ok()?;
    whole(&files::head(agent, request, head).await.ok()?, bundle.size)
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
    fn changes(&self, after: &Whole) -> Vec<(Bytes, Change)> {
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

/// How many files a side has, if it is a unit.
pub(super) async fn count(agent: &mut api::Client, conflict: &Conflict, side: &Side) -> Option<String> {
    let whole = list(agent, conflict, &side.unit()?).await?;
    Some(text::count(whole.files.len() as u64, "file"))
}

/// Shows which files differ between the server's unit and a candidate's: what each has changed, where it is known what
/// both began with (the server's only where `both`). At most `lines` of each. Gives whether there was anything to show.
pub(super) async fn difference(
    agent: &mut api::Client,
    conflict: &Conflict,
    side: &Side,
    both: bool,
    lines: usize,
) -> Result<bool, Failure> {
    let server = conflict.server();
    let (Some(left), Some(right)) = (server.unit(), side.unit()) else { return Ok(false) };
    let (Some(left), Some(right)) = (read(agent, conflict, &left).await, read(agent, conflict, &right).await) else {
        return Ok(false);
    };
    let base = match unit(side.base.as_ref()) {
        Some(base) => read(agent, conflict, &base).await,
        None => None,
    };
    match base {
        Some(base) => {
            if both {
                print(&format!("What {} changed:", server.name()), &base.changes(&left), lines)?;
            }
            print(&format!("What {} changed:", side.name()), &base.changes(&right), lines)?;
        }
        None => print(&format!("From {} to {}:", server.name(), side.name()), &left.changes(&right), lines)?,
    }
    Ok(true)
}

fn print(title: &str, changes: &[(Bytes, Change)], lines: usize) -> Result<(), Failure> {
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
        let more = text::count((changes.len() - lines) as u64, "more file");
        output::line(format_args!("  … and {more} (d shows all)"))?;
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
