//! What lets a device in, as people type and paste it.

use quics_kit::enrol::Right;
use quics_kit::ticket::{Fingerprint, is_address};

use super::{Error, REGISTRY_PORT};

/// Where a server is, how to know it, and by what right it lets this device in.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Addresses of registry-svc, tried in this order.
    pub addresses: Vec<String>,
    /// The CA that the server has to show.
    pub fingerprint: Fingerprint,
    /// The right.
    pub right: Right,
}

/// Finds the ticket in what was pasted: the whole line that the server printed, quotes, and breaks that a mail or
/// terminal put into the word.
pub fn paste(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '$')).collect();
    // "quics join" and whatever else stands before the ticket.
    let begin = words.iter().position(|word| word.to_ascii_lowercase().starts_with("quics") && word.contains('-'));
    words[begin.unwrap_or(0)..].concat()
}

/// Reads a server's address; the port may be left out.
///
/// # Errors
/// [`Error::Address`] for what is none.
pub fn address(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let bare = !text.contains(':') || text.ends_with(']');
    let full = if bare { format!("{text}:{REGISTRY_PORT}") } else { text.to_owned() };
    if text.is_empty() || text.contains('/') || !is_address(&full) {
        return Err(Error::Address { text: text.to_owned() });
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_line_is_a_ticket() {
        for text in [
            "quics1-abc234",
            "  quics1-abc234\n",
            "quics join quics1-abc234",
            "$ quics join 'quics1-abc234'",
            "quics1-abc\n  234",
            "\u{1b}quics1-abc234",
        ] {
            assert_eq!(paste(text), "quics1-abc234", "{text:?}");
        }
        assert_eq!(paste("hello"), "hello");
        assert_eq!(paste(""), "");
    }

    #[test]
    fn an_address_may_lack_its_port() {
        assert_eq!(address("srv").unwrap(), "srv:6121");
        assert_eq!(address("srv:7000").unwrap(), "srv:7000");
        assert_eq!(address("[::1]").unwrap(), "[::1]:6121");
        for bad in ["", "https://srv", "srv:", "srv:0", "srv:x", "a b"] {
            assert!(matches!(address(bad), Err(Error::Address { .. })), "{bad:?}");
        }
    }
}
