//! Names for what gets a place of its own beside something else.

use quics_types::{EntryId, Name, limits};

/// What follows the last dot is an extension up to this length.
const EXTENSION_BYTES: usize = 16;
/// Bytes of a tag that are kept.
const TAG_BYTES: usize = 100;

/// What follows an entry's id in the name of a parked unit.
const UNIT: &str = ".unit";

/// The name under which an entry is parked in the staging directory while others stand in its way. A unit's says what it
/// is: it looks like any directory.
pub fn parked_name(id: EntryId, unit: bool) -> Name {
    let name = format!("{id}{}", if unit { UNIT } else { "" });
    Name::new(name).expect("hexadecimal digits and a dot are a name")
}

/// The entry that is parked under a name; `None` if the name is none of that kind.
pub fn parked_entry(name: &Name) -> Option<EntryId> {
    let text = std::str::from_utf8(name.as_bytes()).ok()?;
    text.strip_suffix(UNIT).unwrap_or(text).parse().ok()
}

/// Whether a unit is parked under a name.
pub fn is_parked_unit(name: &Name) -> bool {
    name.as_bytes().ends_with(UNIT.as_bytes())
}

/// The name for something that gives way to `name`: `report (from Ada).txt`, then `report (from Ada 2).txt`.
///
/// The number counts from 1. The result is always a valid name: the stem is cut where it would be too long, between
/// characters if the name is UTF-8, and what a name cannot contain is replaced in the tag.
pub fn beside(name: &Name, tag: &str, number: u32) -> Name {
    let tag: String = tag.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    let tag = String::from_utf8_lossy(cut(tag.as_bytes(), TAG_BYTES));
    let tag = if number > 1 { format!(" ({tag} {number})") } else { format!(" ({tag})") };
    let (stem, extension) = split(name.as_bytes());
    let mut bytes = cut(stem, limits::NAME_BYTES - tag.len() - extension.len()).to_vec();
    bytes.extend_from_slice(tag.as_bytes());
    bytes.extend_from_slice(extension);
    // Neither part has a slash or a NUL, and the tag is more than two dots.
    Name::new(bytes).expect("a name that was put together of valid parts is valid")
}

/// A name's stem and its extension with the dot; a dot at the start is part of the stem.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_BYTES => name.split_at(dot),
        _ => (name, b""),
    }
}

/// The first bytes of a text, without a part of a character at the end.
fn cut(text: &[u8], limit: usize) -> &[u8] {
    let mut end = text.len().min(limit);
    while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &[u8], tag: &str, number: u32) -> String {
        beside(&Name::new(name.to_vec()).unwrap(), tag, number).to_string()
    }

    #[test]
    fn a_parked_entry_is_known_by_its_name_and_so_is_a_unit() {
        let id = EntryId::from_bytes([0x5a; 16]);
        for unit in [false, true] {
            let name = parked_name(id, unit);
            assert_eq!((parked_entry(&name), is_parked_unit(&name)), (Some(id), unit));
        }
        assert_eq!(parked_entry(&Name::new("new-1").unwrap()), None);
    }

    #[test]
    fn the_tag_stands_before_the_extension() {
        assert_eq!(text(b"report.txt", "from Ada", 1), "report (from Ada).txt");
        assert_eq!(text(b"report.txt", "from Ada", 2), "report (from Ada 2).txt");
        assert_eq!(text(b"notes", "from Ada", 1), "notes (from Ada)");
        assert_eq!(text(b".profile", "from Ada", 1), ".profile (from Ada)");
        assert_eq!(text(b"a.this is no extension", "x", 1), "a.this is no extension (x)");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "\u{e4}".repeat(125) + ".txt";
        let name = beside(&Name::new(long).unwrap(), "from Ada", 1);
        assert!(name.as_bytes().len() <= limits::NAME_BYTES);
        let text = std::str::from_utf8(name.as_bytes()).unwrap();
        assert!(text.ends_with("\u{e4} (from Ada).txt"), "{text}");
    }

    #[test]
    fn no_tag_makes_a_name_that_cannot_exist() {
        assert_eq!(text(b"a", "../\0\n", 1), "a (..___)");
        let name = beside(&Name::new(vec![b'x'; 255]).unwrap(), &"y".repeat(4000), u32::MAX);
        assert!(name.as_bytes().len() <= limits::NAME_BYTES);
        assert_eq!(text(b"\xff\xff.txt", "", 1), "\\xff\\xff ().txt");
    }
}
