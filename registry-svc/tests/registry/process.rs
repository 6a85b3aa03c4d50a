//! registry-svc as a process of its own: killed, stopped, started twice.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use quics_kit::data;
use quics_kit::identity::Key;
use quics_kit::service::Ready;
use quics_kit::ticket::Ticket;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::admin_service_client::AdminServiceClient;
use tokio::process::{Child, Command};
use tonic::Request;

use crate::support::{by_ticket, until};

struct Process {
    child: Child,
    ready: Ready,
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-svc"));
    command.arg("--data").arg(data).args(["--port-base", "0"]);
    command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").kill_on_drop(true).stderr(Stdio::null());
    command
}

async fn start(data: &Path, command: &mut Command) -> Process {
    let child = command.spawn().unwrap();
    let pid = child.id().unwrap();
    let mine = async || Ready::read(data).unwrap().filter(|ready| ready.pid == pid);
    Process { ready: until("the process is ready", mine).await, child }
}

async fn ticket(data: &Path, ready: &Ready) -> Ticket {
    let token = data::read_small(&data.join("admin.token"), 256).unwrap().unwrap();
    let mut request = Request::new(proto::IssueTicketRequest::default());
    let bearer = format!("Bearer {}", String::from_utf8(token).unwrap().trim());
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", ready.ops)).unwrap();
    let mut admin = AdminServiceClient::new(endpoint.connect().await.unwrap());
    admin.issue_ticket(request).await.unwrap().into_inner().ticket.parse().unwrap()
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("registry");
    let mut first = start(&data, &mut command(&data)).await;
    let unused = ticket(&data, &first.ready).await;
    let used = ticket(&data, &first.ready).await;
    let enrolled = by_ticket(&used, Key::generate().unwrap(), "laptop").await.unwrap();
    first.child.kill().await.unwrap();

    let mut second = start(&data, &mut command(&data)).await;
    assert_ne!(second.ready.pid, first.ready.pid);
    let address = second.ready.address.to_string();
    let here = |ticket: Ticket| Ticket { addresses: vec![address.clone()], ..ticket };
    by_ticket(&here(used), Key::generate().unwrap(), "thief").await.unwrap_err();
    by_ticket(&here(unused), Key::generate().unwrap(), "desktop").await.unwrap();
    let tls = enrolled.identity.tls().unwrap();
    let name = quics_kit::names::Service::Registry.server_name();
    let channel = quics_quic::Channel::new(quics_quic::ChannelConfig::new(address, name, tls));
    let mut client = crate::support::Client::new(channel);
    let devices = client.list_devices(proto::ListDevicesRequest::default()).await.unwrap().into_inner().devices;
    assert_eq!(devices.len(), 2);

    terminate(&second.child);
    assert!(second.child.wait().await.unwrap().success());
    assert!(Ready::read(&data).unwrap().is_none(), "a clean end takes ready.json away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_ends_with_one_clear_sentence() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("registry");
    let first = start(&data, &mut command(&data)).await;
    let refused = command(&data).stderr(Stdio::piped()).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&format!("in use by another process (pid {})", first.ready.pid)), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(Ready::read(&data).unwrap(), Some(first.ready), "the first one is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_delays_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("registry");
    let mut exporting = command(&data);
    exporting.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let mut process = start(&data, &mut exporting).await;
    let used = ticket(&data, &process.ready).await;
    by_ticket(&used, Key::generate().unwrap(), "laptop").await.unwrap();
    terminate(&process.child);
    let ended = tokio::time::timeout(Duration::from_secs(8), process.child.wait()).await;
    assert!(ended.expect("it ends soon").unwrap().success());
}
