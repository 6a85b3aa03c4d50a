//! One trace follows a call from process to process: W3C trace context in gRPC metadata.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{KeyValue, global};
use quics_quic::Channel;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Status};
use tower::{Layer, Service};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Set once exporting has begun; unset, nothing here does anything.
static DURATIONS: OnceLock<Histogram<f64>> = OnceLock::new();

/// Whether anything is exported.
pub(super) fn is_on() -> bool {
    DURATIONS.get().is_some()
}

pub(super) fn turn_on() {
    let meter = global::meter("quics");
    let histogram =
        meter.f64_histogram("rpc.server.duration").with_unit("s").with_description("until the response begins");
    // A second call finds the instrument of the first.
    drop(DURATIONS.set(histogram.build()));
}

/// A channel whose calls carry the trace that they are made in.
pub type Link = InterceptedService<Channel, Inject>;

/// Makes a channel's calls carry the trace that they are made in.
pub fn link(channel: Channel) -> Link {
    InterceptedService::new(channel, Inject)
}

/// Writes the current trace context into a call's metadata.
#[derive(Debug, Clone, Copy)]
pub struct Inject;

impl Interceptor for Inject {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if is_on() {
            let context = tracing::Span::current().context();
            let mut metadata = Metadata(request.metadata_mut());
            global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut metadata));
        }
        Ok(request)
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        // Both come from the propagator; one that cannot be metadata is left out.
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

struct Headers<'a>(&'a HeaderMap<HeaderValue>);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Gives each call of `routes` a span that continues the caller's trace, and measures it (`rpc.server.duration`).
pub fn instrumented(routes: Routes) -> Routes {
    Routes::from(routes.into_axum_router().layer(Instrumented))
}

#[derive(Debug, Clone, Copy)]
struct Instrumented;

impl<S> Layer<S> for Instrumented {
    type Service = Spanned<S>;
    fn layer(&self, inner: S) -> Spanned<S> {
        Spanned { inner }
    }
}

#[derive(Debug, Clone)]
struct Spanned<S> {
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Spanned<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Some(durations) = DURATIONS.get() else { return Box::pin(self.inner.call(request)) };
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let span = tracing::info_span!(
            "rpc",
            otel.name = method.as_str(),
            otel.kind = "server",
            trace_id = tracing::field::Empty
        );
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(request.headers())));
        // Fails only for a span that nobody records.
        let _unrecorded = span.set_parent(parent);
        // What is logged in the span shows it.
        span.record("trace_id", tracing::field::display(span.context().span().span_context().trace_id()));
        let begun = Instant::now();
        let calling = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let answer = calling.await;
            durations.record(begun.elapsed().as_secs_f64(), &[KeyValue::new("rpc.method", method)]);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{TraceId, TracerProvider as _};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn trace() -> TraceId {
        tracing::Span::current().context().span().span_context().trace_id()
    }

    #[tokio::test]
    async fn a_call_continues_its_callers_trace_and_the_log_shows_it() {
        turn_on();
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let logs = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Sink(sink.clone()));
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(spans.and_then(logs));
        let _guard = tracing::subscriber::set_default(subscriber);

        let (metadata, sent) = tracing::info_span!("client").in_scope(|| {
            let request = Inject.call(Request::new(())).unwrap();
            (request.metadata().clone(), trace())
        });
        assert_ne!(sent, TraceId::INVALID);
        let mut service = Instrumented.layer(tower::service_fn(|_: http::Request<()>| async {
            tracing::info!("served");
            Ok::<_, Infallible>(http::Response::new(trace()))
        }));
        let mut request = http::Request::new(());
        *request.headers_mut() = metadata.into_headers();
        assert_eq!(service.call(request).await.unwrap().into_body(), sent);
        let log = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let line = log.lines().find(|line| line.contains("served")).unwrap();
        assert!(line.contains(&format!("trace_id={sent}")), "{line}");
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
