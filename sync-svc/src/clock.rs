//! Moments by the server's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use quics_types::Mtime;

/// A moment by the server's clock: microseconds since 1970-01-01 UTC.
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
