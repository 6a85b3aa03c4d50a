//! Counters of the service. They are exported only where telemetry is on; counting costs an addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::global;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident $name:literal),* $(,)?) => {
        /// What was counted since the start.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($(#[$doc])* pub(crate) $field: AtomicU64,)*
        }

        impl Metrics {
            /// Offers the counters to the exporter, if there is one.
            pub(crate) fn export(self: &Arc<Self>) {
                let meter = global::meter("history-svc");
                $(
                    let counted = self.clone();
                    let read = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                        observer.observe(counted.$field.load(Relaxed), &[]);
                    };
                    meter.u64_observable_counter($name).with_callback(read).build();
                )*
            }
        }
    };
}

counters! {
    /// Events that were applied.
    events "history.events",
    /// Versions that were written.
    versions "history.versions",
    /// Times that sync-svc was lost.
    lost "history.relay.lost",
    /// Restores that were begun.
    restores "history.restores",
    /// Versions whose contents were taken.
    taken "history.taken",
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
