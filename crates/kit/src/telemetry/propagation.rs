//! One trace follows a call from process to process: W3C trace context in gRPC metadata.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::{Extractor, Injector};
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
        if DURATIONS.get().is_some() {
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
        let span = tracing::info_span!("rpc", otel.name = method.as_str(), otel.kind = "server");
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(request.headers())));
        // Fails only for a span that nobody records.
        let _unrecorded = span.set_parent(parent);
        let begun = Instant::now();
        let calling = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let answer = calling.await;
            durations.record(begun.elapsed().as_secs_f64(), &[KeyValue::new("rpc.method", method)]);
            answer
        })
    }
}
