//! `quics-stack status`.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use console::style;
use quics_kit::names::Service;
use quics_proto::sync::v1::{GetStatisticsRequest, admin_service_client::AdminServiceClient};
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    data::{Data, ServiceRecord},
    harness::process,
};

/// How long a service has to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Shows what runs from `data`: exit code 0 if all of it serves, 1 if something does not.
///
/// # Errors
/// When nothing runs there.
pub(crate) async fn status(data: &Data, json: bool) -> Result<ExitCode> {
    let record = data.running()?;
    let mut all = true;
    let mut rows = Vec::new();
    for service in &record.services {
        let serving = process::runs(service.pid) && serves(service).await;
        all &= serving;
        rows.push((service, serving, process::memory(service.pid).map(|memory| memory.now).ok()));
    }
    let behind = behind(&record.services).await;
    let fingerprint = data.fingerprint()?.map(|it| it.to_string());
    if json {
        let services: Vec<_> = rows
            .iter()
            .map(|(service, serves, memory)| {
                let mut told = serde_json::json!({
                    "name": service.name, "serves": serves, "process": service.pid, "address": service.address,
                    "operations": service.ops, "restarts": service.restarts, "memory_bytes": memory,
                });
                if is(service, Service::History) {
                    told["changes_behind"] = behind.into();
                }
                told
            })
            .collect();
        let told = serde_json::json!({
            "process": record.pid, "port_base": record.port_base, "data": data.root().display().to_string(),
            "serves": all, "services": services, "fingerprint": fingerprint,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        println!(
            "{:<9} {:<12} {:<22} {:<22} {:>8} {:>9} {:>8}",
            "", "", "devices", "operations", "process", "restarts", "memory"
        );
        for (service, serves, memory) in rows {
            let word = format!("{:<12}", if serves { "serves" } else { "not serving" });
            let word = if serves { style(word).green() } else { style(word).red() };
            let memory = memory.map_or_else(String::new, |bytes| format!("{} MiB", bytes >> 20));
            let ServiceRecord { name, address, ops, pid, restarts, .. } = service;
            let behind = match behind.filter(|_| is(service, Service::History)) {
                None | Some(0) => String::new(),
                Some(1) => "  1 change behind".to_owned(),
                Some(behind) => format!("  {behind} changes behind"),
            };
            println!("{name:<9} {word} {address:<22} {ops:<22} {pid:>8} {restarts:>9} {memory:>8}{behind}");
        }
        if let Some(fingerprint) = fingerprint {
            println!("fingerprint {fingerprint}");
        }
        println!("data        {} (process {})", data.root().display(), record.pid);
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is(record: &ServiceRecord, service: Service) -> bool {
    record.name == service.as_str()
}

/// How many changes sync-svc keeps for history-svc, which has not taken them yet; `None` where it cannot be asked.
async fn behind(services: &[ServiceRecord]) -> Option<u64> {
    let sync = services.iter().find(|record| is(record, Service::Sync))?;
    let ask = async {
        let endpoint = Endpoint::from_shared(format!("http://{}", sync.ops)).ok()?;
        let mut client = AdminServiceClient::new(endpoint.connect().await.ok()?);
        Some(client.get_statistics(GetStatisticsRequest {}).await.ok()?.into_inner().outbox_records)
    };
    timeout(ANSWER, ask).await.ok().flatten()
}

/// Whether a service says of itself that it serves.
async fn serves(service: &ServiceRecord) -> bool {
    let ask = async {
        let endpoint = Endpoint::from_shared(format!("http://{}", service.ops)).ok()?;
        let mut client = HealthClient::new(endpoint.connect().await.ok()?);
        let answer = client.check(HealthCheckRequest::default()).await.ok()?;
        Some(answer.into_inner().status() == ServingStatus::Serving)
    };
    matches!(timeout(ANSWER, ask).await, Ok(Some(true)))
}
