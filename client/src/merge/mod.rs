//! Texts side by side: what differs between two, and what becomes of two changes of one text.
//!
//! Pure: bytes in, bytes out. Lines are compared byte by byte, with their line ends, so nothing is changed that nobody
//! changed. How lines are matched is `imara-diff`'s business (its histogram algorithm, which stays fast on texts that
//! are made to be slow); everything that could lose a line is here.
//!
//! # Invariants
//! - A merge is clean only if no line, and no gap between lines, was touched by both sides, unless both made the same
//!   of it.
//! - With one side equal to the base, the merge is the other side.

mod diff;
mod three;

pub use diff::{Line, Mark, diff};
pub use three::{Labels, Merged, merge, new_markers};

/// The longest text that is compared or merged, in bytes.
pub const TEXT_BYTES: usize = 1 << 20;

/// Whether these bytes are a text that can be compared and merged line by line.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= TEXT_BYTES && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// The lines of a text, with their ends.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Lines that became other lines: ranges of line numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    before: std::ops::Range<usize>,
    after: std::ops::Range<usize>,
}

/// What to change in `before` to get `after`: hunks in order, with at least one common line between two.
fn hunks(before: &[&[u8]], after: &[&[u8]]) -> Vec<Hunk> {
    let mut input: imara_diff::InternedInput<&[u8]> = imara_diff::InternedInput::default();
    input.update_before(before.iter().copied());
    input.update_after(after.iter().copied());
    let mut diff = imara_diff::Diff::compute(imara_diff::Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let range = |range: std::ops::Range<u32>| range.start as usize..range.end as usize;
    diff.hunks().map(|hunk| Hunk { before: range(hunk.before), after: range(hunk.after) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_nul_is_utf_8_and_not_huge() {
        assert!(is_text(b"") && is_text("für\n".as_bytes()));
        assert!(!is_text(b"a\0b") && !is_text(b"\xff\xfe") && !is_text(&vec![b'a'; TEXT_BYTES + 1]));
    }

    #[test]
    fn hunks_turn_one_text_into_the_other() {
        let (before, after) = (lines(b"a\nb\nc\nd\n"), lines(b"a\nB\nc\nd\ne"));
        let expected = [Hunk { before: 1..2, after: 1..2 }, Hunk { before: 4..4, after: 4..5 }];
        assert_eq!(hunks(&before, &after), expected);
        assert!(hunks(&before, &before).is_empty());
    }
}
