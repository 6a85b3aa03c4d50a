//! Starting, stopping, administering, and what the log holds.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quics_kit::clock::{Clock, ManualClock};
use quics_kit::identity::Key;
use quics_proto::registry::v1 as proto;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::support::{Registry, by_password, by_ticket};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut device = registry.device_of("ada", "laptop").await;
    device.create_root([7; 16], "docs", "open sesame").await.unwrap();
    let (before_devices, before_roots) = (device.list_devices().await.unwrap(), device.roots().await);
    let ticket = registry.ticket("ada").await;
    let service_secret = registry.service_ticket().secret;

    let registry = registry.restart().await;
    let mut again = crate::support::Client::new(registry.channel(&device.identity.tls().unwrap()));
    let devices = again.list_devices(proto::ListDevicesRequest::default()).await.unwrap().into_inner().devices;
    let roots = again.list_roots(proto::ListRootsRequest {}).await.unwrap().into_inner().roots;
    assert_eq!((devices, roots), (before_devices, before_roots));
    assert!(registry.service_ticket().secret.matches(service_secret.expose()));
    // The ticket too, at the new address.
    let moved = quics_kit::ticket::Ticket { addresses: vec![registry.ready.address.to_string()], ..ticket };
    by_ticket(&moved, Key::generate().unwrap(), "phone").await.unwrap();
    let users = registry.admin().await.list_users(proto::ListUsersRequest {}).await.unwrap().into_inner().users;
    assert_eq!(users.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_directory_is_told_so() {
    let registry = Registry::start().await;
    let config = registry_svc::Config::new(quics_kit::service::Config::on_free_ports(registry.data()));
    let refused = registry_svc::run(config, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    registry.device("laptop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let registry = Registry::start().await;
    let temp = tempfile::tempdir().unwrap();
    let mut config = registry_svc::Config::new(quics_kit::service::Config::on_free_ports(temp.path()));
    config.common.port_base = registry.ready.address.port() - 1;
    let refused = registry_svc::run(config, CancellationToken::new()).await.unwrap_err();
    let port = registry.ready.address.port().to_string();
    assert!(refused.to_string().contains("cannot listen") && refused.to_string().contains(&port), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ops_port_changes_nothing_without_the_token() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let mut admin = registry.admin().await;
    let denied = |answer: Result<(), tonic::Status>| assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    denied(admin.add_user(proto::AddUserRequest { name: "eve".into() }).await.map(drop));
    denied(admin.set_user_password(proto::SetUserPasswordRequest::default()).await.map(drop));
    denied(admin.issue_ticket(proto::IssueTicketRequest::default()).await.map(drop));
    denied(admin.set_member(proto::SetMemberRequest::default()).await.map(drop));
    let revoke = proto::RevokeAnyDeviceRequest { name: "laptop".into(), ..Default::default() };
    denied(admin.revoke_any_device(revoke.clone()).await.map(drop));
    let devices = admin.list_all_devices(proto::ListAllDevicesRequest {}).await.unwrap().into_inner().devices;
    assert_eq!(devices.len(), 1);
    assert!(admin.list_all_roots(proto::ListAllRootsRequest {}).await.unwrap().into_inner().roots.is_empty());

    admin.revoke_any_device(registry.authorized(revoke.clone())).await.unwrap();
    let mut device = device;
    assert_eq!(device.list_devices().await.unwrap_err().code(), Code::Unauthenticated);
    let none_left = admin.revoke_any_device(registry.authorized(revoke)).await.unwrap_err();
    assert_eq!(none_left.code(), Code::NotFound);
    let taken = admin.add_user(registry.authorized(proto::AddUserRequest { name: "USER".into() })).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ops_port_answers_health_and_reflection() {
    let registry = Registry::start().await;
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", registry.ready.ops)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let answer = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);

    use tonic_reflection::pb::v1 as reflection;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("quics.registry.v1.AdminService"), "{answer}");
}

/// Everything of ours, and of what carries our secrets, that this test process logs, at the finest level.
fn log() -> Arc<Mutex<Vec<u8>>> {
    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(lines.clone());
        tracing_subscriber::fmt()
            .with_env_filter(
                "info,registry_svc=trace,quics_kit=trace,quics_quic=trace,quics_meta=trace,tonic=trace,rustls=trace",
            )
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .try_init()
            .expect("nobody else in this process logs");
        lines
    })
    .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_ever_logged() {
    let log = log();
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let key = Key::generate().unwrap();
    let private = data_encoding::BASE64.encode(key.to_pem().as_bytes());
    by_ticket(&ticket, key, "laptop").await.unwrap();
    by_ticket(&ticket, Key::generate().unwrap(), "thief").await.unwrap_err();
    let set = proto::SetUserPasswordRequest { user: "user".into(), password: "correct horse battery".into() };
    registry.admin().await.set_user_password(registry.authorized(set)).await.unwrap();
    by_password(&registry, ticket.fingerprint, "user", "correct horse battery").await.unwrap();
    by_password(&registry, ticket.fingerprint, "user", "incorrect zebra staple").await.unwrap_err();
    let mut device = registry.device("desktop").await;
    device.create_root([7; 16], "docs", "open sesame").await.unwrap();
    registry.service(quics_kit::names::Service::Sync).await;
    let token = std::fs::read_to_string(registry.data().join("admin.token")).unwrap();
    let service_ticket = registry.service_ticket();
    registry.stop().await;

    let written = String::from_utf8_lossy(&log.lock()).into_owned();
    assert!(written.contains("enrol.done") && written.contains("service.ready"), "the log is captured");
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let list = |bytes: &[u8]| format!("{bytes:?}");
    for (what, secret) in [
        ("the ticket", ticket.to_string()),
        ("the ticket's secret", hex(ticket.secret.expose())),
        ("the ticket's secret as a list", list(ticket.secret.expose())),
        ("the service ticket", service_ticket.to_string()),
        ("the service secret", hex(service_ticket.secret.expose())),
        ("a password", "correct horse battery".to_owned()),
        ("a wrong password", "incorrect zebra".to_owned()),
        ("a root's password", "open sesame".to_owned()),
        ("the admin token", token.trim().to_owned()),
        ("a private key", private),
        ("any private key", "PRIVATE KEY".to_owned()),
        ("a password's hash", "$argon2".to_owned()),
    ] {
        if let Some(at) = written.find(&secret) {
            let line = written[..at].rfind('\n').map_or(0, |n| n + 1);
            panic!("{what} is in the log: {}", &written[line..at]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version_is_left_alone() {
    let registry = Registry::start().await;
    let data = registry.data().to_owned();
    let clock: Arc<ManualClock> = registry.clock.clone();
    let _temp = registry.stop().await;
    let store = quics_meta::Journaled::open(data.join("meta"), quics_meta::Options::default()).unwrap();
    let mut batch = quics_meta::Batch::new();
    // Field 1, a varint: format 2.
    batch.put(&b"v"[..], &[0x08, 0x02][..]);
    quics_meta::commit(&store, batch).await.unwrap();
    drop(store);
    let config = registry_svc::Config::new(quics_kit::service::Config::on_free_ports(&data));
    let refused = registry_svc::run_at(config, clock as Arc<dyn Clock>, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("format 2"), "{refused}");
}
