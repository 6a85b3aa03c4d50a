//! What differs between two texts, with some lines around it.

use super::{hunks, lines};

/// Common lines that are shown around a difference.
const AROUND: usize = 3;

/// Where a line of a difference belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Both texts have it.
    Same,
    /// Only the first.
    Removed,
    /// Only the second.
    Added,
    /// Lines that both have are left out here.
    Gap,
}

/// A line of a difference, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it belongs.
    pub mark: Mark,
    /// Its bytes; empty for a gap.
    pub text: &'a [u8],
}

/// What differs between two texts; nothing where they are equal.
pub fn diff<'a>(before: &'a [u8], after: &'a [u8]) -> Vec<Line<'a>> {
    let (before, after) = (lines(before), lines(after));
    let mut shown = Vec::new();
    // Up to where the first text was shown.
    let mut at = 0;
    for hunk in hunks(&before, &after) {
        let lead = hunk.before.start.saturating_sub(AROUND);
        let tail = (at + AROUND).min(hunk.before.start);
        if shown.is_empty() {
            at = lead;
            if lead > 0 {
                shown.push(Line { mark: Mark::Gap, text: b"" });
            }
        } else if tail < lead {
            shown.extend(before[at..tail].iter().map(|text| line(Mark::Same, text)));
            shown.push(Line { mark: Mark::Gap, text: b"" });
            at = lead;
        }
        shown.extend(before[at..hunk.before.start].iter().map(|text| line(Mark::Same, text)));
        shown.extend(before[hunk.before.clone()].iter().map(|text| line(Mark::Removed, text)));
        shown.extend(after[hunk.after].iter().map(|text| line(Mark::Added, text)));
        at = hunk.before.end;
    }
    if !shown.is_empty() {
        let end = (at + AROUND).min(before.len());
        shown.extend(before[at..end].iter().map(|text| line(Mark::Same, text)));
        if end < before.len() {
            shown.push(Line { mark: Mark::Gap, text: b"" });
        }
    }
    shown
}

fn line(mark: Mark, text: &[u8]) -> Line<'_> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    Line { mark, text: text.strip_suffix(b"\r").unwrap_or(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        let mark = |mark| match mark {
            Mark::Same => ' ',
            Mark::Removed => '-',
            Mark::Added => '+',
            Mark::Gap => '~',
        };
        let lines = diff(before.as_bytes(), after.as_bytes());
        lines.iter().map(|line| format!("{}{} ", mark(line.mark), std::str::from_utf8(line.text).unwrap())).collect()
    }

    #[test]
    fn a_difference_is_shown_with_what_is_around_it_and_gaps() {
        let many: String = (0..30).map(|number| format!("{number}\n")).collect();
        let other = many.replace("5\n", "five\n").replace("20\n", "");
        let told = shown("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n");
        assert_eq!(told, "~  2  3  4 -5 +five  6  7  8 ~ ");
        assert!(shown(&many, &other).matches('~').count() >= 3);
        assert_eq!(shown(&many, &many), "");
    }

    #[test]
    fn the_first_and_the_last_line_can_differ() {
        assert_eq!(shown("", "a"), "+a ");
        assert_eq!(shown("a\n", ""), "-a ");
        assert_eq!(shown("a\nb", "a\nb\n"), " a -b +b ");
    }
}
