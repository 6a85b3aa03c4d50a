//! Contents that say what they are: who wrote them, where, over what, and whether they are whole.
//!
//! ```text
//! token 17 of d2 at a/b.txt over 12      the writing of this history that made it
//! …                                      filler
//! end       17 BLAKE3                    of everything before this line
//! ```
//!
//! The length names the token too, so that what a conflict's listing says of a side (its size) says which writing it is.

use anyhow::{Context as _, Result, ensure};

/// The number of a writing; from 1.
pub(crate) type Token = u64;

/// A content with token 0 would have so many bytes; each token makes it one longer, so a later one is always longer.
const SMALL: u64 = 400;
/// The same for contents of several chunks.
const LARGE: u64 = 200_000;

/// The characters of a path that a content shows.
const SHOWN: usize = 60;

/// One writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writing {
    pub(crate) token: Token,
    pub(crate) device: String,
    pub(crate) path: String,
    pub(crate) over: Vec<Token>,
    pub(crate) large: bool,
}

impl Writing {
    /// The whole content.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { token, device, .. } = self;
        let path: String = self.path.chars().take(SHOWN).collect();
        let over: Vec<String> = self.over.iter().take(5).map(ToString::to_string).collect();
        let mut bytes = format!("token {token} of {device} at {path} over {}\n", over.join(",")).into_bytes();
        let length = usize::try_from(if self.large { LARGE } else { SMALL } + token).expect("a small number");
        let end = length - end_line(*token, &[]).len();
        if self.large {
            // Most of it is the same in all large contents: what is alike is not sent again and put together locally.
            let mut stream = blake3::Hasher::new().update(b"the common filler of large contents").finalize_xof();
            let head = bytes.len();
            bytes.resize(end, 0);
            stream.fill(&mut bytes[head..]);
            for part in 1..4 {
                let stamp = format!("<{token}>");
                let at = head + (end - head) * part / 4;
                bytes[at..at + stamp.len()].copy_from_slice(stamp.as_bytes());
            }
        } else {
            while bytes.len() < end {
                bytes.extend_from_slice(format!("{token} ").as_bytes());
            }
            bytes.truncate(end);
        }
        // The last line begins a line.
        bytes[end - 1] = b'\n';
        let last = end_line(*token, &bytes);
        bytes.extend(last);
        bytes
    }
}

fn end_line(token: Token, before: &[u8]) -> Vec<u8> {
    format!("end {token:>8} {}\n", blake3::hash(before).to_hex()).into_bytes()
}

/// Which writing a content is.
///
/// # Errors
/// It is not one of them as it was written: torn, mixed, or something else.
pub(crate) fn token_of(bytes: &[u8]) -> Result<Token> {
    let end = bytes.len().checked_sub(end_line(0, &[]).len()).context("it is too short")?;
    let (before, last) = bytes.split_at(end);
    let text = std::str::from_utf8(last).ok().and_then(|line| line.strip_prefix("end "));
    let token = text.and_then(|line| line.trim_start().split(' ').next()?.parse().ok()).context("it has no end")?;
    ensure!(last == end_line(token, before), "its end is not that of what stands before it");
    ensure!(before.starts_with(format!("token {token} of ").as_bytes()), "its head is not that of its end");
    ensure!(token_by_size(bytes.len() as u64) == Some(token), "it has not the length that it was written with");
    Ok(token)
}

/// Which writing has so many bytes.
pub(crate) fn token_by_size(size: u64) -> Option<Token> {
    if size > LARGE { Some(size - LARGE) } else { size.checked_sub(SMALL).filter(|token| *token > 0) }
}

/// Whether a content of so many bytes is a small one.
pub(crate) fn is_small(size: u64) -> bool {
    size < LARGE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(token: Token, large: bool) -> Vec<u8> {
        let path = "a directory/".repeat(20);
        Writing { token, device: "d1".into(), path, over: (1..20).collect(), large }.bytes()
    }

    #[test]
    fn a_content_says_which_writing_it_is() {
        for (token, large) in [(1, false), (77, false), (999_999, false), (1, true), (4321, true)] {
            let bytes = writing(token, large);
            // A small one of a very high token is as long as a large one; histories are not that long.
            if token < 100_000 {
                assert_eq!(token_of(&bytes).unwrap(), token);
                assert_eq!(is_small(bytes.len() as u64), !large);
            }
        }
        assert!(writing(12, false).len() > writing(11, false).len(), "a later one covers an earlier one");
    }

    #[test]
    fn a_torn_or_mixed_content_is_noticed() {
        for large in [false, true] {
            let (one, two) = (writing(1, large), writing(2, large));
            for cut in [10, one.len() / 3, one.len() / 2, one.len() - 2] {
                assert!(token_of(&one[..cut]).is_err(), "the head of one");
                assert!(
                    token_of(&[&one[..cut], &two[cut..]].concat()).is_err(),
                    "the head of one, the tail of another"
                );
            }
            assert!(token_of(&[one.as_slice(), b" "].concat()).is_err(), "something behind it");
            let mut zeroed = one.clone();
            zeroed[150..200].fill(0);
            assert!(token_of(&zeroed).is_err(), "a hole");
        }
        assert!(token_of(b"").is_err());
    }
}
