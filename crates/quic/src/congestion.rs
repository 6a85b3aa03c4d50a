//! Congestion control: Cubic, and a way to close connections that it holds back.
//!
//! quinn-proto 0.11.19 subjects the packet with CONNECTION_CLOSE to congestion control and pacing while stream data or
//! resets wait to be sent, and handles no acknowledgements after a close. A connection that is closed with a full window
//! therefore never says so, and its peer waits for the idle timeout. [`close`] opens the window first.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::VarInt;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

/// Closes a connection, so that the peer hears of it now.
pub(crate) fn close(connection: &quinn::Connection, code: VarInt, reason: &[u8]) {
    if let Ok(gated) = connection.congestion_state().into_any().downcast::<Gated>() {
        gated.open.store(true, Ordering::Relaxed);
    }
    connection.close(code, reason);
}

/// Builds the controller of each new path.
#[derive(Debug, Default)]
pub(crate) struct Factory {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Gated { inner: self.cubic.clone().build(now, mtu), open: Arc::default() })
    }
}

/// A controller whose window can be thrown open.
struct Gated {
    inner: Box<dyn Controller>,
    open: Arc<AtomicBool>,
}

impl Controller for Gated {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet: u64) {
        self.inner.on_sent(now, bytes, last_packet);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        self.inner.on_congestion_event(now, sent, persistent, lost);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.inner.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        // Windows beyond 32 bits are not paced either.
        if self.open.load(Ordering::Relaxed) { u64::MAX } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Gated { inner: self.inner.clone_box(), open: self.open.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
