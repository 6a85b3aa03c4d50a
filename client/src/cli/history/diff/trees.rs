//! What differs between two moments of a directory. Both lists come in the same order, so that neither is kept.

use std::cmp::Ordering;

use console::{StyledObject, style};
use quics_proto::common::v1::Row;
use quics_proto::history::v1::moment::Moment as Then;
use quics_proto::history::v1::{ListTreeRequest, Moment, Version};

use super::super::at::At;
use super::super::ls::Tree;
use super::super::{History, number, value, what};
use super::is_directory;
use crate::cli::{Failure, output};
use crate::text;

/// One moment of a directory, entry by entry.
struct Side {
    tree: Tree,
    /// The path of the directory then.
    path: bytes::Bytes,
    next: Option<Version>,
}

impl Side {
    async fn open(history: &mut History, at: &At) -> Result<Self, Failure> {
        let (mut moment, mut path) = (at.moment, at.place.relative.clone());
        if !path.is_empty() {
            let version = history.version(at).await?;
            if !is_directory(value(&version)) {
                let (path, number) = (text::bytes(&version.path), number(&version));
                return Err(Failure::new(format!("{path}@{number} is no directory, and cannot be compared with one")));
            }
            // A version of it is a moment of what is in it, too.
            if let (Some(Then::Version(_)), Some(cursor)) = (moment.moment, version.cursor) {
                moment = Moment { moment: Some(Then::Seq(cursor.seq)) };
            }
            path = version.path;
        }
        let (root_id, subject) = (at.place.root_id(), at.place.subject());
        let request = ListTreeRequest { root_id, subject, moment: Some(moment), recursive: true };
        let mut side = Self { tree: Tree::open(history, &at.place, request).await?, path, next: None };
        side.step(history).await?;
        Ok(side)
    }

    async fn step(&mut self, history: &History) -> Result<(), Failure> {
        let next = self.tree.next(history).await?;
        if let (Some(last), Some(next)) = (&self.next, &next)
            && order(self.below(last), self.below(next)) != Ordering::Less
        {
            return Err(Failure::new("history-svc gave a list that is in no order: it cannot be compared"));
        }
        self.next = next;
        Ok(())
    }

    /// The path of an entry in the directory.
    fn below<'a>(&self, version: &'a Version) -> &'a [u8] {
        let under = version.path.strip_prefix(&self.path[..]).unwrap_or(&version.path);
        under.strip_prefix(b"/").unwrap_or(under)
    }
}

/// Each directory before what is in it, by name.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}

/// Shows what was created, changed and deleted from one moment of a directory to another, by name.
pub(super) async fn compare(history: &mut History, before: &At, after: &At) -> Result<(), Failure> {
    let (mut first, mut second) = (Side::open(history, before).await?, Side::open(history, after).await?);
    let mut none = true;
    loop {
        let order = match (&first.next, &second.next) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => order(first.below(one), second.below(other)),
        };
        let told = match (order, &first.next, &second.next) {
            (Ordering::Less, Some(gone), _) => Some(style(format!("  - {}", text::bytes(first.below(gone)))).red()),
            (Ordering::Greater, _, Some(new)) => {
                let path = text::bytes(second.below(new));
                Some(style(format!("  + {path}  {}", what(value(new)))).green())
            }
            (_, Some(one), Some(other)) => changed(&text::bytes(second.below(other)).to_string(), one, other),
            _ => None,
        };
        if let Some(told) = told {
            none = false;
            output::line(told)?;
        }
        if order != Ordering::Greater {
            first.step(history).await?;
        }
        if order != Ordering::Less {
            second.step(history).await?;
        }
    }
    if none {
        output::line("Nothing differs.")?;
    }
    Ok(())
}

/// What became of something that has the same name at both moments; `None`: nothing.
fn changed(path: &str, one: &Version, other: &Version) -> Option<StyledObject<String>> {
    let mode = |version: &Version| version.row.as_ref().map(|row: &Row| row.mode);
    let told = match (what(value(one)), what(value(other))) {
        _ if value(one) == value(other) && mode(one) == mode(other) => return None,
        _ if value(one) == value(other) => "permissions".to_owned(),
        (before, after) if before == after => before,
        (before, after) => format!("{before} → {after}"),
    };
    Some(style(format!("  ~ {path}  {told}")).yellow())
}

#[cfg(test)]
mod tests {
    use quics_proto::common::v1::{File, Value, value::Kind};

    use super::*;

    fn version(content: u8, size: u64, mode: u32) -> Version {
        let file = File { content_id: vec![content].into(), size };
        let row = Row { value: Some(Value { kind: Some(Kind::File(file)) }), mode, ..Default::default() };
        Version { row: Some(row), ..Default::default() }
    }

    #[test]
    fn a_directory_stands_before_what_is_in_it_and_that_before_names_that_go_on() {
        let sorted: [&[u8]; 5] = [b"a", b"a/b", b"a/b/c", b"a-b", b"a.txt"];
        for pair in sorted.windows(2) {
            assert_eq!(order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn what_has_the_same_name_differs_by_content_kind_or_permissions() {
        let told = |one, other| {
            changed("f", &one, &other).map(|told| console::strip_ansi_codes(&told.to_string()).into_owned())
        };
        assert_eq!(told(version(1, 5, 0o644), version(1, 5, 0o644)), None);
        assert_eq!(told(version(1, 5, 0o644), version(2, 5, 0o644)).as_deref(), Some("  ~ f  5 B"));
        assert_eq!(told(version(1, 5, 0o644), version(2, 7, 0o644)).as_deref(), Some("  ~ f  5 B → 7 B"));
        assert_eq!(told(version(1, 5, 0o644), version(1, 5, 0o755)).as_deref(), Some("  ~ f  permissions"));
    }
}
