//! Names in the private directory that say what lies under them, so that a restart after a crash can tell the user's
//! own bytes from staged ones.
//!
//! - `new-N`: staged, never shown: may be removed.
//! - `swap-N.OURS.BORN.INODE.BORN.SIZE.SECONDS.NANOS`: about to change places with what the rest describes. If its inode
//!   and birth are the first ones it is staged; otherwise it is what was displaced.
//! - `N.AT.INODE.BORN.SIZE.SECONDS.NANOS` in `displaced/`: a file that was displaced AT (seconds since 1970), as expected.
//! - `N.AT.changed` in `displaced/`: a file that was displaced and is not what was expected: kept until asked for.
//!
//! Numbers are decimal.

use crate::folder::{Mtime, Stat};

/// What a displaced file has to be to be what the plan saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    inode: u64,
    born: i64,
    size: u64,
    mtime: Mtime,
}

/// What a staged thing is known by: inode and birth.
pub(super) type Ours = (u64, i64);

pub(super) fn ours(stat: &Stat) -> Ours {
    (stat.inode, stat.born)
}

impl Expected {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { inode: stat.inode, born: stat.born, size: stat.size, mtime: stat.mtime }
    }

    pub(super) fn matches(&self, stat: &Stat) -> bool {
        *self == Self::of(stat)
    }

    fn print(&self) -> String {
        let Self { inode, born, size, mtime } = self;
        format!("{inode}.{born}.{size}.{}.{}", mtime.seconds, mtime.nanos)
    }

    fn parse(parts: &[&str]) -> Option<Self> {
        let [inode, born, size, seconds, nanos] = parts else { return None };
        let mtime = Mtime { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok()? };
        Some(Self { inode: inode.parse().ok()?, born: born.parse().ok()?, size: size.parse().ok()?, mtime })
    }
}

/// A name in `stage/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staged {
    New(u64),
    Swap { number: u64, ours: Ours, expected: Expected },
}

impl Staged {
    pub(super) fn print(&self) -> String {
        match self {
            Staged::New(number) => format!("new-{number}"),
            Staged::Swap { number, ours: (inode, born), expected } => {
                format!("swap-{number}.{inode}.{born}.{}", expected.print())
            }
        }
    }

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some(number) = name.strip_prefix("new-") {
            return Some(Staged::New(number.parse().ok()?));
        }
        let parts: Vec<&str> = name.strip_prefix("swap-")?.split('.').collect();
        let [number, inode, born, rest @ ..] = &parts[..] else { return None };
        let ours = (inode.parse().ok()?, born.parse().ok()?);
        Some(Staged::Swap { number: number.parse().ok()?, ours, expected: Expected::parse(rest)? })
    }
}

/// A name in `displaced/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Displaced {
    pub(super) number: u64,
    /// Seconds since 1970.
    pub(super) at: i64,
    /// `None`: it was something else already when it was displaced.
    pub(super) expected: Option<Expected>,
}

impl Displaced {
    pub(super) fn print(&self) -> String {
        let rest = self.expected.map_or_else(|| "changed".to_owned(), |expected| expected.print());
        format!("{}.{}.{rest}", self.number, self.at)
    }

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let parts: Vec<&str> = std::str::from_utf8(name).ok()?.split('.').collect();
        let [number, at, rest @ ..] = &parts[..] else { return None };
        let expected = match rest {
            ["changed"] => None,
            rest => Some(Expected::parse(rest)?),
        };
        Some(Self { number: number.parse().ok()?, at: at.parse().ok()?, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fixed_and_read_back() {
        let expected = Expected { inode: 12, born: -8, size: 4096, mtime: Mtime { seconds: -5, nanos: 7 } };
        let swap = Staged::Swap { number: 3, ours: (99, 77), expected };
        assert_eq!(swap.print(), "swap-3.99.77.12.-8.4096.-5.7");
        assert_eq!(Staged::New(8).print(), "new-8");
        for staged in [swap, Staged::New(8)] {
            assert_eq!(Staged::parse(staged.print().as_bytes()), Some(staged));
        }
        let kept = Displaced { number: 4, at: 1000, expected: Some(expected) };
        assert_eq!(kept.print(), "4.1000.12.-8.4096.-5.7");
        let changed = Displaced { expected: None, ..kept };
        assert_eq!(changed.print(), "4.1000.changed");
        for displaced in [kept, changed] {
            assert_eq!(Displaced::parse(displaced.print().as_bytes()), Some(displaced));
        }
        for bad in ["", "new-", "new-x", "swap-1.2.3", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Staged::parse(bad.as_bytes()), None, "{bad}");
            assert_eq!(Displaced::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
