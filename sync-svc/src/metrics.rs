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
            /// Open conflicts of all roots, as they were counted last.
            pub(crate) open_conflicts: AtomicU64,
        }

        impl Metrics {
            /// Offers the counters to the exporter, if there is one.
            pub(crate) fn export(self: &Arc<Self>) {
                let meter = global::meter("sync-svc");
                $(
                    let counted = self.clone();
                    let read = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                        observer.observe(counted.$field.load(Relaxed), &[]);
                    };
                    meter.u64_observable_counter($name).with_callback(read).build();
                )*
                let counted = self.clone();
                let read = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                    observer.observe(counted.open_conflicts.load(Relaxed), &[]);
                };
                meter.u64_observable_gauge("sync.conflicts.open").with_callback(read).build();
            }
        }
    };
}

counters! {
    /// Proposals that were judged, replayed ones included.
    proposals "sync.proposals",
    /// Commits that changed a root.
    commits "sync.commits",
    /// Verdicts that made or raised a conflict.
    conflicts "sync.conflicts",
    /// Proposals that were refused.
    refused "sync.refused",
    /// Proposals whose content was missing.
    missing "sync.missing",
    /// Chunks that came in.
    chunks_in "sync.chunks.received",
    /// Their bytes as they travel.
    bytes_in "sync.chunks.received.bytes",
    /// Chunks that went out.
    chunks_out "sync.chunks.sent",
    /// Their bytes as they travel.
    bytes_out "sync.chunks.sent.bytes",
    /// Chunks that were found damaged.
    damaged "sync.chunks.damaged",
    /// Conflicts that were answered.
    resolved "sync.conflicts.resolved",
    /// Resolutions that were taken back.
    undone "sync.conflicts.undone",
    /// Prompts that went out.
    prompts "sync.prompts.sent",
    /// Records of the feed that went out.
    changes "sync.changes.sent",
    /// Chunks that were taken away because nothing needed them.
    reclaimed_chunks "sync.reclaimed.chunks",
    /// Bytes of disk that this has returned.
    reclaimed_bytes "sync.reclaimed.bytes",
    /// Events that went out to those who keep history.
    events "sync.events.sent",
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
