//! Three-way merge: two changes of one text become one text.
//!
//! Both sides are compared with the base. Where only one side changed something, its change is taken; where changes
//! overlap or touch each other (the rule of diff3, with the care of git), both are shown between markers, unless they
//! are the same.

use std::ops::Range;

use super::{Hunk, hunks, lines};

/// The sides' names, as markers show them.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Of the server's text.
    pub server: &'a str,
    /// Of the text before both changes.
    pub base: &'a str,
    /// Of the other side's text.
    pub other: &'a str,
}

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Both changes in one text.
    Clean(Vec<u8>),
    /// A text with markers where the changes touch each other.
    Marked {
        /// The text.
        text: Vec<u8>,
        /// How many such places it has.
        places: usize,
    },
}

/// Merges two changes of `base`.
pub fn merge(base: &[u8], server: &[u8], other: &[u8], labels: Labels<'_>) -> Merged {
    let base = lines(base);
    let (mut one, mut two) = (Side::new(&base, lines(server)), Side::new(&base, lines(other)));
    let (mut text, mut places, mut at) = (Vec::new(), 0, 0);
    while let Some(region) = next_region(&one, &two) {
        append(&mut text, &base[at..region.start]);
        let (first, second) = (one.take(&region), two.take(&region));
        match (first, second) {
            (first, None) => append(&mut text, &one.lines[first.unwrap_or_default()]),
            (None, Some(second)) => append(&mut text, &two.lines[second]),
            (Some(first), Some(second)) if one.lines[first.clone()] == two.lines[second.clone()] => {
                append(&mut text, &one.lines[first]);
            }
            (Some(first), Some(second)) => {
                places += 1;
                mark(&mut text, "<<<<<<<", labels.server);
                append(&mut text, &one.lines[first]);
                mark(&mut text, "|||||||", labels.base);
                append(&mut text, &base[region.clone()]);
                mark(&mut text, "=======", "");
                append(&mut text, &two.lines[second]);
                mark(&mut text, ">>>>>>>", labels.other);
            }
        }
        at = region.end;
    }
    append(&mut text, &base[at..]);
    if places == 0 { Merged::Clean(text) } else { Merged::Marked { text, places } }
}

/// One side, and how far it was taken.
struct Side<'a> {
    lines: Vec<&'a [u8]>,
    hunks: Vec<Hunk>,
    /// The first hunk that was not taken.
    next: usize,
    /// How many lines more than the base it has, up to there.
    ahead: isize,
}

impl<'a> Side<'a> {
    fn new(base: &[&[u8]], lines: Vec<&'a [u8]>) -> Self {
        let hunks = hunks(base, &lines);
        Self { lines, hunks, next: 0, ahead: 0 }
    }

    /// The lines that this side has for a region of the base; `None` where it did not change it.
    fn take(&mut self, region: &Range<usize>) -> Option<Range<usize>> {
        let start = region.start.checked_add_signed(self.ahead)?;
        let before = self.next;
        while let Some(hunk) = self.hunks.get(self.next).filter(|hunk| hunk.before.end <= region.end) {
            self.ahead += hunk.after.len().cast_signed() - hunk.before.len().cast_signed();
            self.next += 1;
        }
        let end = region.end.checked_add_signed(self.ahead)?;
        (self.next > before).then_some(start..end)
    }
}

/// The next lines of the base that were changed, with all changes that touch each other.
fn next_region(one: &Side<'_>, two: &Side<'_>) -> Option<Range<usize>> {
    let (mut first, mut second) = (one.hunks[one.next..].iter().peekable(), two.hunks[two.next..].iter().peekable());
    let start = [first.peek(), second.peek()].into_iter().flatten().map(|hunk| hunk.before.start).min()?;
    let mut region = start..start;
    loop {
        let touches = |hunk: &&Hunk| hunk.before.start <= region.end;
        let Some(hunk) = first.next_if(touches).or_else(|| second.next_if(touches)) else { return Some(region) };
        region.end = region.end.max(hunk.before.end);
    }
}

/// Adds lines. A last line without an end gets one when something follows it.
fn append(text: &mut Vec<u8>, lines: &[&[u8]]) {
    for line in lines {
        end_line(text);
        text.extend_from_slice(line);
    }
}

fn mark(text: &mut Vec<u8>, sign: &str, label: &str) {
    end_line(text);
    let label: String = label.chars().filter(|c| !c.is_control()).collect();
    text.extend_from_slice(format!("{sign} {label}").trim_end().as_bytes());
    text.push(b'\n');
}

fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
}

/// Whether a text has lines that look like markers and that none of the sides had.
pub fn new_markers(text: &[u8], sides: &[&[u8]]) -> bool {
    let looks = |line: &&[u8]| {
        let line = line.trim_ascii_end();
        line == b"======="
            || [&b"<<<<<<<"[..], b"|||||||", b">>>>>>>"]
                .iter()
                .any(|sign| line.strip_prefix(*sign).is_some_and(|rest| rest.is_empty() || rest[0] == b' '))
    };
    let known: std::collections::HashSet<&[u8]> =
        sides.iter().flat_map(|side| lines(side)).filter(looks).map(<[u8]>::trim_ascii_end).collect();
    lines(text).iter().filter(|line| looks(line)).any(|line| !known.contains(line.trim_ascii_end()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELS: Labels<'static> = Labels { server: "server", base: "before", other: "mine" };

    fn merged(base: &str, server: &str, other: &str) -> Result<String, String> {
        match merge(base.as_bytes(), server.as_bytes(), other.as_bytes(), LABELS) {
            Merged::Clean(text) => Ok(String::from_utf8(text).unwrap()),
            Merged::Marked { text, .. } => Err(String::from_utf8(text).unwrap()),
        }
    }

    #[test]
    fn changes_in_different_places_are_both_taken() {
        let base = "1\n2\n3\n4\n5\n6\n";
        assert_eq!(merged(base, "one\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\nsix\n").unwrap(), "one\n2\n3\n4\n5\nsix\n");
        assert_eq!(merged(base, "0\n1\n2\n3\n4\n5\n6\n", "1\n2\n4\n5\n6\n").unwrap(), "0\n1\n2\n4\n5\n6\n");
        assert_eq!(merged(base, "1\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\n6\n7").unwrap(), "1\n3\n4\n5\n6\n7");
    }

    #[test]
    fn changes_that_touch_each_other_are_marked_and_nothing_is_lost() {
        let told = merged("a\nb\nc\n", "a\nB\nc\n", "a\nb!\nc\n").unwrap_err();
        assert_eq!(told, "a\n<<<<<<< server\nB\n||||||| before\nb\n=======\nb!\n>>>>>>> mine\nc\n");
        // Lines next to each other, an insertion beside a removal, a removal of what the other extended.
        assert!(merged("a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n").is_err());
        let told = merged("{\n  a\n}\n", "{\n}\n", "{\n  a\n  b\n}\n").unwrap_err();
        assert!(told.contains("  a\n  b\n"), "{told}");
        assert!(merged("", "x\n", "y\n").is_err());
        let told = merged("end", "end of one", "end of two").unwrap_err();
        assert!(told.contains("end of one\n|||||||") && told.ends_with("end of two\n>>>>>>> mine\n"), "{told}");
    }

    #[test]
    fn the_same_change_on_both_sides_is_made_once() {
        assert_eq!(merged("a\nb\n", "a\nB\n", "a\nB\n").unwrap(), "a\nB\n");
        assert_eq!(merged("", "same\n", "same\n").unwrap(), "same\n");
    }

    #[test]
    fn markers_are_found_unless_the_text_had_them() {
        let Merged::Marked { text, places: 1 } = merge(b"a\n", b"b\n", b"c\n", LABELS) else { panic!("not marked") };
        assert!(new_markers(&text, &[b"a\n", b"b\n", b"c\n"]));
        assert!(!new_markers(b"Title\n=======\n", &[b"Title\n=======\n"]));
        assert!(new_markers(b"Title\n=======\n", &[b"Title\n"]));
        assert!(!new_markers(b"a <<<<<<< b\n<<<<<<<<<\n", &[]), "other lines are no markers");
    }

    /// Lines out of a small alphabet, so that they repeat.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let lines = proptest::collection::vec(prop_oneof![Just("a\n"), Just("b\n"), Just("c\n"), Just("\n")], 0..12);
        (lines, any::<bool>()).prop_map(|(lines, cut)| {
            let mut text = lines.concat().into_bytes();
            if cut {
                text.pop();
            }
            text
        })
    }

    proptest! {
        #[test]
        fn a_side_that_changed_nothing_leaves_the_other_as_it_is(base in text(), side in text()) {
            prop_assert_eq!(merge(&base, &side, &base, LABELS), Merged::Clean(side.clone()));
            prop_assert_eq!(merge(&base, &base, &side, LABELS), Merged::Clean(side.clone()));
            prop_assert_eq!(merge(&base, &side, &side, LABELS), Merged::Clean(side));
        }

        #[test]
        fn changed_lines_that_do_not_touch_are_all_there(changes in proptest::collection::vec(0u8..4, 1..40)) {
            // Distinct lines, every second of them changed by one side or the other, so no two changes touch.
            let line = |side: &str, number: usize| format!("{side} {number}\n");
            let (mut base, mut one, mut two, mut both) = (String::new(), String::new(), String::new(), String::new());
            for (number, change) in changes.iter().enumerate() {
                for text in [&mut base, &mut one, &mut two, &mut both] {
                    text.push_str(&line("kept", number));
                }
                let old = line("old", number);
                base.push_str(&old);
                let (first, second) = match change {
                    0 => (line("one", number), old.clone()),
                    1 => (old.clone(), line("two", number)),
                    2 => (String::new(), old.clone()),
                    _ => (old.clone(), format!("{old}{}", line("more", number))),
                };
                both.push_str(if first == old { &second } else { &first });
                one.push_str(&first);
                two.push_str(&second);
            }
            prop_assert_eq!(merged(&base, &one, &two), Ok(both));
        }

        #[test]
        fn no_line_of_a_side_that_the_other_left_alone_is_lost(base in text(), one in text(), two in text()) {
            // Whatever happens, what is not clean shows both sides in full where they meet.
            if let Merged::Marked { text, places } = merge(&base, &one, &two, LABELS) {
                prop_assert!(places > 0 && new_markers(&text, &[&base, &one, &two]));
            }
        }
    }
}
