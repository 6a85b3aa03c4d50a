//! Names of entries: bytes, compared as bytes.

use bytes::Bytes;

use crate::{EntryId, Error, limits};

/// The name of an entry below its parent: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
///
/// Names are bytes and compared as bytes. What a device cannot hold (case, Unicode form) is that device's hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Bytes);

impl Name {
    /// The name of every device's own directory in a synced folder, which no entry of a root has.
    pub const OWN: &str = ".quics";

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`Error::Name`] says which rule the bytes break.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let bytes = bytes.into();
        match &bytes[..] {
            b"" => Err(Error::Name("it is empty")),
            b"." | b".." => Err(Error::Name("it is . or ..")),
            long if long.len() > limits::NAME_BYTES => Err(Error::Name("it has more than 255 bytes")),
            other if other.iter().any(|b| matches!(b, b'/' | 0)) => Err(Error::Name("it contains / or NUL")),
            _ => Ok(Self(bytes)),
        }
    }

    /// Checks and takes a name that an entry of a root is to have.
    ///
    /// # Errors
    /// As [`Name::new`]; and for [`Name::OWN`].
    pub fn of_entry(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let name = Self::new(bytes)?;
        if name.as_bytes() == Self::OWN.as_bytes() { Err(Error::Name("it is every device's own")) } else { Ok(name) }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as shared bytes, for a message.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl std::fmt::Display for Name {
    /// Prints the name safely for a terminal: control characters and bytes that are not UTF-8 are escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for piece in self.0.utf8_chunks() {
            for c in piece.valid().chars() {
                if c.is_control() || is_bidi_control(c) {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for b in piece.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Where an entry is: below which parent, under which name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The directory that holds the entry.
    pub parent: EntryId,
    /// The entry's name in that directory.
    pub name: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\0b"] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new(vec![b'x'; 256]).is_err());
        assert!(Name::new(vec![b'x'; 255]).is_ok());
        assert!(Name::new("...").is_ok());
    }

    #[test]
    fn no_entry_has_the_name_of_what_is_every_devices_own() {
        assert!(Name::of_entry(".quics").is_err() && Name::of_entry("..").is_err());
        assert!(Name::of_entry(".quicsignore").is_ok() && Name::of_entry("quics").is_ok());
    }

    #[test]
    fn printing_a_name_cannot_drive_a_terminal() {
        let name = Name::new(&b"a\x1b[2J\n\xff\xe2\x80\xaeb"[..]).unwrap();
        assert_eq!(name.to_string(), "a\\u{1b}[2J\\n\\xff\\u{202e}b");
    }
}
