//! What shows that somebody gave a link's password: a text that only this server can make, kept by the browser.
//!
//! `END.MAC`: the second since 1970 at which it ends, and BLAKE3 keyed by the server's secret over link, revision of its
//! password and end, in base64url. Nothing is kept here; a changed password makes all of them worthless.

use data_encoding::BASE64URL_NOPAD;
use quics_kit::secret::Secret;
use quics_types::WallTime;

use crate::desk::Link;

/// How long one is good for, in seconds.
const SECONDS: u64 = 12 * 3600;

/// Makes and checks them.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    key: [u8; 32],
}

impl Sessions {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// One for whoever has just given the password.
    pub(crate) fn make(&self, link: Link, revision: u32, now: WallTime) -> String {
        let end = seconds(now) + SECONDS;
        format!("{end}.{}", BASE64URL_NOPAD.encode(&self.mac(link, revision, end)))
    }

    /// Whether this is one for the link as its password is now.
    pub(crate) fn holds(&self, session: &str, link: Link, revision: u32, now: WallTime) -> bool {
        let Some((end, mac)) = session.split_once('.') else { return false };
        let (Ok(end), Ok(mac)) = (end.parse::<u64>(), BASE64URL_NOPAD.decode(mac.as_bytes())) else { return false };
        let right = Secret::from(self.mac(link, revision, end).to_vec());
        right.matches(&mac) && seconds(now) < end && end <= seconds(now) + SECONDS
    }

    fn mac(&self, link: Link, revision: u32, end: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&link.0).update(&revision.to_be_bytes()).update(&end.to_be_bytes());
        *hasher.finalize().as_bytes()
    }
}

fn seconds(time: WallTime) -> u64 {
    time.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_holds_for_its_link_its_password_and_its_time_only() {
        let (sessions, now) = (Sessions::new([7; 32]), WallTime(1_000_000_000_000));
        let later = |seconds: u64| WallTime(now.0 + seconds * 1_000_000);
        let (link, other) = (Link([1; 16]), Link([2; 16]));
        let session = sessions.make(link, 3, now);
        assert!(sessions.holds(&session, link, 3, now) && sessions.holds(&session, link, 3, later(SECONDS - 1)));
        assert!(!sessions.holds(&session, other, 3, now) && !sessions.holds(&session, link, 4, now));
        assert!(!sessions.holds(&session, link, 3, later(SECONDS)));
        assert!(!Sessions::new([8; 32]).holds(&session, link, 3, now));
        let longer = session.replacen(|first: char| first.is_ascii_digit(), "9", 1);
        for forged in [longer.as_str(), "", ".", "9.", "x.y", &session[..session.len() - 1]] {
            assert!(!sessions.holds(forged, link, 3, now), "{forged}");
        }
    }
}
