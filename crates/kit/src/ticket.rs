//! The one word that a person pastes to let a device in.
//!
//! # Text form
//!
//! `quics1-` and lower-case base32 (RFC 4648, no padding) of
//!
//! ```text
//! addresses u8 (1 to 8) | each: length u8, "host:port" | CA fingerprint [32] | secret [16] | checksum [4]
//! ```
//!
//! The checksum is the first 4 bytes of the BLAKE3 of all before it: it catches a word that was cut or mistyped, and is
//! no protection. Upper case is taken too. Base32 is longer than base64 but a double click selects it, and it survives
//! being read aloud.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use rustls_pki_types::CertificateDer;

use crate::secret::Secret;

const PREFIX: &str = "quics1-";
const MAX_ADDRESSES: usize = 8;
const SECRET_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// Longer texts are no tickets; they are not decoded.
const MAX_TEXT: usize = 4096;

/// The BLAKE3 of a CA certificate's DER: what a device trusts before it trusts anything else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(*blake3::hash(certificate).as_bytes())
    }

    /// Makes a fingerprint of its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shown as 64 hexadecimal digits in groups of four, for people who compare.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, pair) in self.0.chunks(2).enumerate() {
            let separator = if n == 0 { "" } else { " " };
            write!(f, "{separator}{}", data_encoding::HEXLOWER.encode(pair))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = Error;
    /// Reads 64 hexadecimal digits of either case; spaces and colons between them do not count.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | ':')).collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| Error::Fingerprint)?;
        bytes.try_into().map(Self).map_err(|_| Error::Fingerprint)
    }
}

/// An invitation: where the server is, how to know it, and the secret that it asks for.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Where registry-svc may be reached, as `host:port`; tried in this order. One to eight.
    pub addresses: Vec<String>,
    /// The server's CA.
    pub fingerprint: Fingerprint,
    /// What the server takes once, 128 bits.
    pub secret: Secret,
}

/// Says why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not begin as tickets do.
    #[error("this is not a ticket: a ticket is one word that begins with `quics1-`")]
    Prefix,
    /// A newer program made the ticket.
    #[error("this ticket is of a newer form than this program knows; update it")]
    Newer,
    /// A character that tickets do not have.
    #[error("the ticket has a character at place {at} that does not belong there; copy it again")]
    Character {
        /// The place, counted from 1.
        at: usize,
    },
    /// Part of it is missing or was changed.
    #[error("the ticket is incomplete or mistyped; copy it again")]
    Checksum,
    /// The checksum is right and the content is not what a ticket holds.
    #[error("the ticket's content makes no sense: {0}")]
    Content(&'static str),
    /// A fingerprint's text form is wrong.
    #[error("a fingerprint is 64 hexadecimal digits")]
    Fingerprint,
}

impl fmt::Display for Ticket {
    /// The text form, secret included: for the person that asked for the ticket, never for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(128);
        let addresses = &self.addresses[..self.addresses.len().min(MAX_ADDRESSES)];
        bytes.push(addresses.len() as u8);
        for address in addresses {
            let address = &address.as_bytes()[..address.len().min(255)];
            bytes.push(address.len() as u8);
            bytes.extend_from_slice(address);
        }
        bytes.extend_from_slice(self.fingerprint.as_bytes());
        bytes.extend_from_slice(self.secret.expose());
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(&checksum.as_bytes()[..CHECKSUM_BYTES]);
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(Error::Prefix);
        }
        let text = text.to_ascii_lowercase();
        let Some(body) = text.strip_prefix(PREFIX) else { return Err(foreign(&text)) };
        let wrong = |at: usize| Error::Character { at: PREFIX.len() + at + 1 };
        if let Some((at, _)) = body.char_indices().find(|(_, c)| !matches!(c, 'a'..='z' | '2'..='7')) {
            return Err(wrong(at));
        }
        // Only letters and digits of the alphabet are left, so that what is wrong is the length.
        let bytes = BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes()).map_err(|_| Error::Checksum)?;
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Error::Checksum)?;
        if blake3::hash(content).as_bytes()[..CHECKSUM_BYTES] != checksum[..] {
            return Err(Error::Checksum);
        }
        read(content).ok_or(Error::Content("its parts do not fit its length")).and_then(Ticket::check)
    }
}

fn foreign(text: &str) -> Error {
    let newer = text.strip_prefix("quics").is_some_and(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest[digits..].starts_with('-')
    });
    if newer { Error::Newer } else { Error::Prefix }
}

fn read(content: &[u8]) -> Option<Ticket> {
    let (&count, mut rest) = content.split_first()?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let (&length, more) = rest.split_first()?;
        let (address, more) = more.split_at_checked(length.into())?;
        addresses.push(std::str::from_utf8(address).ok()?.to_owned());
        rest = more;
    }
    let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
    let secret = <[u8; SECRET_BYTES]>::try_from(rest).ok()?;
    Some(Ticket { addresses, fingerprint: Fingerprint(*fingerprint), secret: Secret::from(secret.to_vec()) })
}

impl Ticket {
    fn check(self) -> Result<Self, Error> {
        if self.addresses.is_empty() || self.addresses.len() > MAX_ADDRESSES {
            return Err(Error::Content("it names no address or too many"));
        }
        if !self.addresses.iter().all(|address| is_address(address)) {
            return Err(Error::Content("an address is not host:port"));
        }
        Ok(self)
    }
}

/// Tells whether a text has the form `host:port` with a port above 0 and printable characters only.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            addresses: vec!["files.example.org:6121".to_owned(), "[::1]:6121".to_owned()],
            fingerprint: Fingerprint::from_bytes([0xc4; 32]),
            secret: Secret::from((0..16).collect::<Vec<u8>>()),
        }
    }

    /// The stored form of version 1; it must never change.
    const GOLDEN: &str = "quics1-ailgm2lmmvzs4zlymfwxa3dffzxxezz2gyytemiklm5dumk5hi3dcmrrytcmjrgeytcmjrgeytcmjrgeytcmjrgeytcm\
        jrgeytcmjrgeytcaaaicamcakbqhbaequcymbuha7cexfnwq";

    #[test]
    fn the_text_form_round_trips_in_either_case() {
        let text = ticket().to_string();
        for text in [text.clone(), text.to_ascii_uppercase(), format!("  {text}\n")] {
            let read: Ticket = text.parse().unwrap();
            assert_eq!(read.addresses, ticket().addresses);
            assert_eq!(read.fingerprint, ticket().fingerprint);
            assert_eq!(read.secret.expose(), ticket().secret.expose());
        }
    }

    #[test]
    fn the_text_form_is_the_one_of_version_1() {
        assert_eq!(ticket().to_string(), GOLDEN);
    }

    #[test]
    fn every_single_mistyped_or_missing_character_is_noticed() {
        let text = ticket().to_string();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            assert!(String::from_utf8(changed).unwrap().parse::<Ticket>().is_err(), "changed at {at}");
            let mut cut = text.clone();
            cut.remove(at);
            assert!(cut.parse::<Ticket>().is_err(), "cut at {at}");
            assert!(text[..at].parse::<Ticket>().is_err(), "only {at} characters");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!("hello".parse::<Ticket>().unwrap_err(), Error::Prefix);
        assert_eq!("".parse::<Ticket>().unwrap_err(), Error::Prefix);
        assert_eq!("quics2-abc".parse::<Ticket>().unwrap_err(), Error::Newer);
        assert_eq!("quics1-ab!c".parse::<Ticket>().unwrap_err(), Error::Character { at: 10 });
        assert_eq!("quics1-abcd".parse::<Ticket>().unwrap_err(), Error::Checksum);
        let nowhere = Ticket { addresses: vec!["nowhere".to_owned()], ..ticket() };
        assert!(matches!(nowhere.to_string().parse::<Ticket>(), Err(Error::Content(_))));
    }

    #[test]
    fn a_ticket_is_never_shown_by_debug() {
        let shown = format!("{:?}", ticket());
        assert!(shown.contains("Secret") && !shown.contains("01, 02") && !shown.contains("1, 2, 3"));
    }

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let fingerprint = Fingerprint::from_bytes([0x1f; 32]);
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().to_ascii_uppercase().replace(' ', ":").parse(), Ok(fingerprint));
        assert_eq!("1f1f".parse::<Fingerprint>(), Err(Error::Fingerprint));
    }
}
