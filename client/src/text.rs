//! Text for people: whatever came from a disk or a peer is made safe for a terminal here.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use quics_types::Name;

/// Shows bytes that are a path: names as [`Name`] shows them, `/` as it is.
pub fn path(path: &(impl AsRef<Path> + ?Sized)) -> PathText {
    bytes(path.as_ref().as_os_str().as_bytes())
}

/// Shows bytes that are a path, or a part of one.
pub fn bytes(bytes: &[u8]) -> PathText {
    PathText(Bytes::copy_from_slice(bytes))
}

/// A path that can be printed.
#[derive(Debug, Clone)]
pub struct PathText(Bytes);

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split(|byte| *byte == b'/').enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            match (part, Name::new(Bytes::copy_from_slice(part))) {
                (_, Ok(name)) => write!(f, "{name}")?,
                (b"." | b"..", _) => f.write_str(if part.len() == 1 { "." } else { ".." })?,
                // Too long for a name, or with a NUL in it: piece by piece.
                _ => part
                    .chunks(quics_types::limits::NAME_BYTES)
                    .try_for_each(|piece| f.write_str(&line(&String::from_utf8_lossy(piece))))?,
            }
        }
        Ok(())
    }
}

/// Makes a text one safe line: control characters and those that turn the direction of text are escaped.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Shows a number of bytes as people read it: "3 B", "1.5 KiB", "12 GiB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Shows a count with its noun: "1 file", "3 files".
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_drive_a_terminal() {
        assert_eq!(bytes(b"/a\x1b[2J/\xff/..").to_string(), "/a\\u{1b}[2J/\\xff/..");
        assert_eq!(line("a\u{1b}]0;x\u{7}\u{202e}b\n"), "a\\u{1b}]0;x\\u{7}\\u{202e}b\\n");
        let long = [b'\x07'; 600];
        assert!(bytes(&long).to_string().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(4 << 30), "4.0 GiB");
        assert_eq!(size(12 << 30), "12 GiB");
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".to_owned(), "0 files".to_owned()));
    }
}
