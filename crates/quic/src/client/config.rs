//! How a channel reaches its server.

use std::time::Duration;

use crate::{Tls, Tuning};

/// Configures a [`Channel`](crate::Channel).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// The server's `host:port`; a name is resolved at each connect and every address is tried.
    pub address: String,
    /// The name (or IP address) that the server's certificate must be for.
    pub server_name: String,
    /// This side's certificate and the CAs that are trusted.
    pub tls: Tls,
    /// Which transports are used; [`Fallback::Auto`] by default.
    pub fallback: Fallback,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Windows, timers and datagram size.
    pub tuning: Tuning,
    /// Whether calls wait out the pause between failed connects, instead of failing at once with UNAVAILABLE;
    /// `false` by default. The call's deadline bounds the wait.
    pub wait_for_ready: bool,
}

impl ChannelConfig {
    /// Configures a channel with the defaults of every other field.
    pub fn new(address: impl Into<String>, server_name: impl Into<String>, tls: Tls) -> Self {
        ChannelConfig {
            address: address.into(),
            server_name: server_name.into(),
            tls,
            fallback: Fallback::Auto,
            timeouts: Timeouts::default(),
            tuning: Tuning::default(),
            wait_for_ready: false,
        }
    }
}

/// Says which transports a channel uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// QUIC, and TCP where that does not get through; from TCP back to QUIC as soon as it works again.
    #[default]
    Auto,
    /// QUIC only.
    QuicOnly,
    /// TCP only.
    TcpOnly,
}

/// Says how long a channel waits for what.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a connection over all addresses, handshake included: 5 s.
    pub connect: Duration,
    /// For an address before the next is tried beside it: 250 ms.
    pub stagger: Duration,
    /// For QUIC before TCP is tried beside it: 500 ms.
    pub fallback: Duration,
    /// Between attempts to get from TCP back to QUIC: 30 s, jittered.
    pub probe: Duration,
    /// After the first failed connect: 100 ms, jittered; doubled after each further one.
    pub backoff: Duration,
    /// The longest pause between connects: 10 s, jittered.
    pub backoff_max: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            stagger: Duration::from_millis(250),
            fallback: Duration::from_millis(500),
            probe: Duration::from_secs(30),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// The pause after `failures` failed connects in a row: between half and all of the doubled base.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        jitter(doubled.min(self.backoff_max))
    }
}

/// A time between half of `full` and all of it, so that many clients do not come back at one moment.
pub(crate) fn jitter(full: Duration) -> Duration {
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_maximum_and_stay_there() {
        let timeouts = Timeouts::default();
        for failures in 1..200 {
            let full = (timeouts.backoff * 2_u32.pow((failures - 1).min(10))).min(timeouts.backoff_max);
            let pause = timeouts.pause(failures);
            assert!(pause >= full / 2 && pause <= full, "{failures}: {pause:?}");
        }
    }
}
