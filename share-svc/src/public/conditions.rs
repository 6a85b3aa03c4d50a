//! What of a file is wanted: conditions and ranges (RFC 9110, 13 and 14).

use std::ops::Range;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// No byte of the range is in the file.
    Beyond,
    /// What they have is what there is.
    Unchanged,
    /// What they want to go on with is not there any more.
    Changed,
}

/// Judges the headers of a request for a file of `size` bytes with this strong entity tag, quotes included.
pub(super) fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let lists = |list: &str, weak: bool| {
        list.split(',')
            .map(str::trim)
            .any(|one| one == "*" || one == tag || (weak && one.strip_prefix("W/") == Some(tag)))
    };
    if text(IF_MATCH).is_some_and(|list| !lists(list, false)) {
        return Wanted::Changed;
    }
    if text(IF_NONE_MATCH).is_some_and(|list| lists(list, true)) {
        return Wanted::Unchanged;
    }
    // A date never shows that it is the same: only the tag does.
    if text(IF_RANGE).is_some_and(|one| one.trim() != tag) {
        return Wanted::Whole;
    }
    match text(RANGE) {
        Some(range) => part(range, size),
        None => Wanted::Whole,
    }
}

/// One range; several, and what does not read, are answered with the whole.
fn part(range: &str, size: u64) -> Wanted {
    let Some(range) = range.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((from, to)) = range.trim().split_once('-').filter(|_| !range.contains(',')) else { return Wanted::Whole };
    let number = |text: &str| match text {
        text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // More digits than a number has are a number beyond every file.
            Some(text.parse::<u64>().unwrap_or(u64::MAX))
        }
        _ => None,
    };
    let (first, end) = match (from.trim(), to.trim()) {
        ("", last) => match number(last) {
            Some(0) => return Wanted::Beyond,
            Some(last) => (size.saturating_sub(last), size),
            None => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => (first, size),
            None => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
            _ => return Wanted::Whole,
        },
    };
    if first >= size { Wanted::Beyond } else { Wanted::Part(first..end) }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn of(headers: &[(HeaderName, &str)]) -> Wanted {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        wanted(&headers, "\"t\"", 100)
    }

    #[test]
    fn single_ranges_are_parts_and_all_else_is_the_whole() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=10-", Wanted::Part(10..100)),
            ("bytes=-5", Wanted::Part(95..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=90-500", Wanted::Part(90..100)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
        ] {
            assert_eq!(of(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_something_else_is_the_whole() {
        assert_eq!(of(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"t\"")]), Wanted::Part(1..3));
        assert_eq!(of(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"u\"")]), Wanted::Whole);
        assert_eq!(of(&[(RANGE, "bytes=1-2"), (IF_RANGE, "W/\"t\"")]), Wanted::Whole);
        assert_eq!(of(&[(RANGE, "bytes=1-2"), (IF_RANGE, "Tue, 24 Nov 2026 00:00:00 GMT")]), Wanted::Whole);
        assert_eq!(of(&[(IF_NONE_MATCH, "\"s\", W/\"t\"")]), Wanted::Unchanged);
        assert_eq!(of(&[(IF_NONE_MATCH, "\"s\"")]), Wanted::Whole);
        assert_eq!(of(&[(IF_MATCH, "\"s\"")]), Wanted::Changed);
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        let headers = [(RANGE, "bytes=0-".parse().unwrap())].into_iter().collect();
        assert_eq!(wanted(&headers, "\"t\"", 0), Wanted::Beyond);
    }
}
