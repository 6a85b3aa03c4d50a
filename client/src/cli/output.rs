//! Results on stdout: tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints one line.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a value as JSON, indented.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints a value as JSON on one line, for a stream of them.
pub(super) fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Prints rows in columns, each as wide as its widest cell; the last is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = io::stdout().lock();
    for row in std::iter::once(&head).chain(rows) {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&console::pad_str(cell, *width, console::Alignment::Left, None));
            text.push_str("  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// A path in JSON: text where it is UTF-8, with the bytes in hexadecimal where it is not.
#[derive(Debug, Serialize)]
pub(super) struct PathJson {
    /// For people and for most programs; what is not UTF-8 is replaced.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl PathJson {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let hex = std::str::from_utf8(bytes).is_err().then(|| data_encoding::HEXLOWER.encode(bytes));
        Self { path: String::from_utf8_lossy(bytes).into_owned(), path_hex: hex }
    }
}

/// An id in hexadecimal.
pub(super) fn hex(id: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(id)
}

/// A moment as RFC 3339, in UTC.
pub(super) fn moment(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    jiff::Timestamp::new(time.seconds, time.nanos).ok().map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A moment for people, by this computer's clock and time zone.
pub(super) fn when(time: Option<prost_types::Timestamp>) -> String {
    local(time, "%Y-%m-%d %H:%M")
}

/// The same to the second, where moments that follow each other closely are told apart.
pub(super) fn when_exactly(time: Option<prost_types::Timestamp>) -> String {
    local(time, "%Y-%m-%d %H:%M:%S")
}

fn local(time: Option<prost_types::Timestamp>, format: &str) -> String {
    let at = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_text_is_told_in_hexadecimal_too() {
        assert_eq!(serde_json::to_string(&PathJson::new(b"/a b")).unwrap(), r#"{"path":"/a b"}"#);
        let odd = serde_json::to_string(&PathJson::new(b"/\xff")).unwrap();
        assert_eq!(odd, "{\"path\":\"/\u{fffd}\",\"path_hex\":\"2fff\"}");
    }

    #[test]
    fn moments_are_rfc_3339() {
        let time = prost_types::Timestamp { seconds: 0, nanos: 5 };
        assert_eq!(moment(Some(time)).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(moment(None), None);
    }
}
