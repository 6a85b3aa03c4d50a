//! Logical time, epochs and cursors, the modification times that files carry, and moments.

use std::time::{SystemTime, UNIX_EPOCH};

/// An entry's logical time: from 1, plus 1 for each accepted change, given by sync-svc. 0 is "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogicalTime(pub u64);

impl LogicalTime {
    /// Before any change.
    pub const NEVER: LogicalTime = LogicalTime(0);

    /// The time of the next accepted change.
    pub const fn next(self) -> Self {
        // At one change every nanosecond, 2^64 takes 584 years.
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for LogicalTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One life of a server's data: every start of a service opens a random one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A root's commit number, with the epoch in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The epoch in which the number was given.
    pub epoch: Epoch,
    /// The commit number, from 1, without gaps; 0 is before the first commit.
    pub seq: u64,
}

/// When a file's content was last modified, by the clock of the device that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since 1970-01-01 UTC; may be negative.
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999 999 999.
    pub nanos: u32,
}

/// A moment by a server's clock: microseconds since 1970-01-01 UTC.
///
/// It is shown to people and decides when a lease is over. No change is ever ordered or judged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The moment of a clock's time; one before 1970 is 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// Microseconds from `earlier` to this moment; 0 if the clock went back.
    pub fn micros_since(self, earlier: WallTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<WallTime> for Mtime {
    fn from(time: WallTime) -> Self {
        // 2^64 microseconds are 1.8 · 10^13 seconds, and the rest is below a second.
        Mtime { seconds: (time.0 / 1_000_000) as i64, nanos: (time.0 % 1_000_000) as u32 * 1000 }
    }
}
