//! One trace follows a change from the device where it was made, through the services, to every device that applies it.
//!
//! No message carries anything for it. Whoever handles a change knows its root, its entry and the entry's logical time,
//! and the trace's id is derived from these: the first 16 bytes of a BLAKE3 hash, the next 8 name the span that stands
//! above all others. So the streams, which outlive thousands of changes, need no trace of their own for each.

use std::time::SystemTime;

use opentelemetry::trace::{Span, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use quics_types::{EntryId, LogicalTime, RootId};

use super::propagation::is_on;
use crate::clock::{Clock, SystemClock};

/// Separates these hashes from all others (BLAKE3, key derivation mode).
const CONTEXT: &str = "quics 2026 trace of a change";

/// A stage of a change's way, which is a span of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// A device has brought it to the server and was told that it is accepted.
    Sent,
    /// sync-svc has made it durable.
    Committed,
    /// Another device has it in its folder.
    Applied,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Sent => "change.sent",
            Stage::Committed => "change.committed",
            Stage::Applied => "change.applied",
        }
    }
}

/// The time at which a stage begins, for [`reached`]; `None` where nothing is exported, which costs nothing.
pub fn begin() -> Option<SystemTime> {
    is_on().then(|| SystemClock.now())
}

/// Tells that a change has passed a stage that began at `since`, where exporting is on. The log (level debug) has the
/// trace's id with it.
pub fn reached(stage: Stage, root: RootId, entry: EntryId, time: LogicalTime, since: Option<SystemTime>) {
    if !is_on() {
        return;
    }
    let now = SystemClock.now();
    let (trace, above) = ids(root, entry, time);
    let above = SpanContext::new(trace, above, TraceFlags::SAMPLED, true, TraceState::default());
    let tracer = global::tracer("quics");
    let attributes = [
        KeyValue::new("quics.root", root.to_string()),
        KeyValue::new("quics.entry", entry.to_string()),
        KeyValue::new("quics.time", i64::try_from(time.0).unwrap_or(i64::MAX)),
    ];
    let mut span = tracer
        .span_builder(stage.name())
        .with_start_time(since.filter(|since| *since <= now).unwrap_or(now))
        .with_attributes(attributes)
        .start_with_context(&tracer, &Context::new().with_remote_span_context(above));
    span.end_with_timestamp(now);
    tracing::debug!(stage = stage.name(), %root, %entry, time = time.0, trace_id = %trace, "change.reached");
}

/// The trace of a change, and the span above all of its spans.
fn ids(root: RootId, entry: EntryId, time: LogicalTime) -> (TraceId, SpanId) {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(root.as_bytes()).update(entry.as_bytes()).update(&time.0.to_be_bytes());
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    let hash = hasher.finalize();
    trace.copy_from_slice(&hash.as_bytes()[..16]);
    span.copy_from_slice(&hash.as_bytes()[16..24]);
    (TraceId::from_bytes(trace), SpanId::from_bytes(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices and servers of all versions have to derive the same ids; they must never change.
    #[test]
    fn all_who_handle_a_change_derive_the_same_trace_and_other_changes_have_others() {
        let (root, entry) = (RootId::from_bytes([1; 16]), EntryId::from_bytes([2; 16]));
        let (trace, span) = ids(root, entry, LogicalTime(3));
        assert_eq!(
            (trace.to_string().as_str(), span.to_string().as_str()),
            ("ac164ae384db618b4b7b46411592e052", "90c4b2616e2f0fa6")
        );
        assert_ne!(trace, ids(root, entry, LogicalTime(4)).0);
        assert_ne!(trace, ids(root, EntryId::from_bytes([3; 16]), LogicalTime(3)).0);
    }
}
