//! Traces and logs, as a collector gets them.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::any_value::Value,
};
use quics_kit::names::Service;
use quics_stack::harness::Stack;
use tonic::{Request, Response, Status, transport::Server};

use crate::support::{Pair, program, until};

/// A span as it came: trace, name, the process that told of it.
type Told = (String, String, String);

/// An OTLP receiver.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Told>>>,
    metrics: Arc<Mutex<BTreeSet<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let named = resource.resource.into_iter().flat_map(|it| it.attributes);
            let process = named.filter(|it| it.key == "service.name").find_map(|it| match it.value?.value? {
                Value::StringValue(name) => Some(name),
                _ => None,
            });
            let process = process.unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let trace = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                self.spans.lock().unwrap().push((trace, span.name, process.clone()));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.metrics.lock().unwrap().extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until its runtime is dropped.
    fn start(&self, runtime: &tokio::runtime::Runtime) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (traces, metrics) = (TraceServiceServer::new(self.clone()), MetricsServiceServer::new(self.clone()));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            Server::builder().add_service(traces).add_service(metrics).serve_with_incoming(incoming).await
        });
        format!("http://{address}")
    }

    /// The trace that has all of these spans, each told by the process of that name.
    fn trace_of(&self, wanted: &[(&str, &str)]) -> Option<String> {
        let spans = self.spans.lock().unwrap();
        let has = |trace: &str, (name, process): &(&str, &str)| {
            spans.iter().any(|span| span.0 == trace && span.1 == *name && span.2 == *process)
        };
        spans.iter().map(|span| &span.0).find(|trace| wanted.iter().all(|it| has(trace, it))).cloned()
    }
}

#[test]
fn one_trace_follows_a_change_from_one_device_through_the_server_to_the_other_and_the_logs_name_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let collector = Collector::default();
    let endpoint = collector.start(&runtime);
    let program = program()
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .with("QUICS_LOG", "debug");
    let pair = Pair::on_stack(Stack::start(&program).unwrap(), |_| {});
    fs::write(pair.at("letter"), "Dear").unwrap();
    pair.settle();
    let stages = [("change.sent", "quics"), ("change.committed", "sync-svc"), ("change.applied", "quics")];
    until("one trace to have all stages", || collector.trace_of(&stages).is_some());
    let trace = collector.trace_of(&stages).unwrap();
    let logged = |log: &Path, stage: &str| {
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().any(|line| line.contains(&format!("trace_id={trace}")) && line.contains(stage))
    };
    let sync = pair.stack.data().log(Service::Sync);
    until("the logs to name the trace", || {
        logged(pair.left.log(), "change.sent")
            && logged(&sync, "change.committed")
            && logged(pair.right.log(), "change.applied")
    });
    // Calls are spans as well, and there are metrics.
    until("calls and metrics to arrive", || {
        collector.trace_of(&[("quics.registry.v1.RegistryService/Watch", "registry-svc")]).is_some()
            && collector.metrics.lock().unwrap().contains("rpc.server.duration")
    });
    let log = fs::read_to_string(sync).unwrap();
    assert!(!log.contains('\u{1b}'), "a log file has no colours");
}
