//! Logs, traces and metrics of a process.
//!
//! Logs go to stderr or a file, as text or JSON. Traces and metrics are exported by OTLP (gRPC) only where
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set; without it no exporter, no span context and no instrument exists, and what is left
//! of a call's instrumentation is a check of one flag.

pub mod journey;
mod propagation;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use propagation::{Inject, Link, instrumented, link};

/// What other crates may log where nobody asked for more.
const QUIET: [&str; 8] = ["h2", "hyper", "tonic", "tower", "quinn", "rustls", "sled", "opentelemetry"];
/// The variable that turns exporting on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How a process logs.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// What is logged: a level, or directives as `info,quics_quic=debug`
    #[arg(long, env = "QUICS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How log lines look
    #[arg(long, env = "QUICS_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
    /// Append the log to this file instead of stderr
    #[arg(long, env = "QUICS_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Says why logging or exporting cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filter's text is wrong.
    #[error("`{filter}` is no log filter: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The log file cannot be opened.
    #[error("cannot open the log file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The exporter cannot be built.
    #[error("cannot export telemetry: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Keeps the exporters; dropped at the end of `main`, it sends what is left.
#[derive(Debug, Default)]
#[must_use = "dropping it ends exporting"]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // What the collector does not take is lost; a process that ends must not wait for it.
        if let Some(traces) = self.traces.take() {
            drop(traces.shutdown());
        }
        if let Some(metrics) = self.metrics.take() {
            drop(metrics.shutdown());
        }
    }
}

/// Begins logging, and exporting where the environment asks for it, for the whole process. `program` names the process
/// in traces and metrics.
///
/// Where something logs already (a test, a process that hosts several), only exporting is set up. It must be called in a
/// tokio runtime if exporting is asked for.
///
/// # Errors
/// [`Error::Filter`], [`Error::File`], [`Error::Exporter`].
pub fn init(options: &Options, program: &'static str) -> Result<Guard, Error> {
    let guard = if std::env::var_os(ENDPOINT).is_some_and(|value| !value.is_empty()) {
        export(program)?
    } else {
        Guard::default()
    };
    let spans = guard.traces.as_ref().map(|traces| {
        // The exporter's own calls must not make spans that it would export.
        let filter = EnvFilter::new(quiet("info", "off"));
        tracing_opentelemetry::layer().with_tracer(traces.tracer(program)).with_filter(filter)
    });
    let logs = log_layer(options)?;
    // Fails only if somebody logs already, whose log then stays in use.
    let _already = tracing_subscriber::registry().with(logs).with(spans).try_init();
    Ok(guard)
}

fn quiet(level: &str, others: &str) -> String {
    QUIET.iter().fold(level.to_owned(), |text, name| format!("{text},{name}={others}"))
}

fn log_layer(options: &Options) -> Result<Box<dyn Layer<Registry> + Send + Sync>, Error> {
    let level = if options.log.is_empty() { "info" } else { &options.log };
    // A bare level is for our own code.
    let text = if level.contains(['=', ',']) { level.to_owned() } else { quiet(level, "warn") };
    let filter =
        EnvFilter::builder().parse(&text).map_err(|source| Error::Filter { filter: options.log.clone(), source })?;
    // Colours are for eyes: a log that goes to a file or a collector has none.
    let layer = fmt::layer().with_ansi(options.log_file.is_none() && io::stderr().is_terminal());
    Ok(match (&options.log_file, options.log_format) {
        (None, Format::Text) => layer.with_writer(io::stderr).with_filter(filter).boxed(),
        (None, Format::Json) => layer.json().with_writer(io::stderr).with_filter(filter).boxed(),
        (Some(path), format) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .map_err(|source| Error::File { path: path.clone(), source })?;
            let layer = layer.with_writer(std::sync::Mutex::new(file));
            match format {
                Format::Text => layer.with_filter(filter).boxed(),
                Format::Json => layer.json().with_filter(filter).boxed(),
            }
        }
    })
}

fn export(program: &'static str) -> Result<Guard, Error> {
    let resource = Resource::builder().with_service_name(program).build();
    let spans = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let traces = SdkTracerProvider::builder().with_batch_exporter(spans).with_resource(resource.clone()).build();
    let points = opentelemetry_otlp::MetricExporter::builder().with_tonic().build()?;
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(points).with_resource(resource).build();
    opentelemetry::global::set_tracer_provider(traces.clone());
    opentelemetry::global::set_meter_provider(metrics.clone());
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    propagation::turn_on();
    Ok(Guard { traces: Some(traces), metrics: Some(metrics) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named() {
        let options = Options { log: "info,quics=loud".to_owned(), ..Options::default() };
        let refused = log_layer(&options).err().unwrap();
        assert!(refused.to_string().contains("quics=loud"), "{refused}");
    }

    #[test]
    fn the_log_file_is_private_and_holds_json_lines() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let options = Options { log_format: Format::Json, log_file: Some(path.clone()), ..Options::default() };
        let subscriber = tracing_subscriber::registry().with(log_layer(&options).unwrap());
        tracing::subscriber::with_default(subscriber, || tracing::info!(answer = 42, "test.line"));
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["fields"]["answer"], 42);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
