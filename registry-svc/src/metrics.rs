//! What is counted. Without an exporter the instruments do nothing.

use std::sync::LazyLock;

use opentelemetry::metrics::{Counter, UpDownCounter};
use opentelemetry::{KeyValue, global};
use tonic::Code;

static CALLS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("registry-svc").u64_counter("registry.calls").with_description("calls by method and status").build()
});

static WATCHERS: LazyLock<UpDownCounter<i64>> = LazyLock::new(|| {
    global::meter("registry-svc")
        .i64_up_down_counter("registry.watchers")
        .with_description("open Watch streams")
        .build()
});

/// Counts a call and how it ended.
pub(crate) fn call(method: &'static str, code: Code) {
    CALLS.add(1, &[KeyValue::new("method", method), KeyValue::new("code", format!("{code:?}"))]);
}

/// Counts the services that watch.
pub(crate) fn watchers(change: i64) {
    WATCHERS.add(change, &[]);
}
