//! Another service in the kit's frame: it waits for registry-svc, joins, serves, renews and stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use quics_kit::clock::{Clock, ManualClock, SystemClock};
use quics_kit::enrol::Renewal;
use quics_kit::identity::Identity;
use quics_kit::names::Service;
use quics_kit::service::{Config, Error, Host, Ready};
use quics_quic::{Channel, ChannelConfig, ClientAuth};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Registry, until};

fn config(data: PathBuf, join: PathBuf) -> Config {
    let mut config = Config::on_free_ports(data);
    config.join = Some(join);
    config
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let host = Host::open(Service::Sync, config, Arc::new(SystemClock))?;
    let joined = host.join(&shutdown).await?;
    let server = host.bind(&joined.tls, ClientAuth::Required)?;
    host.serve(server, Routes::default(), Routes::default(), shutdown).await
}

async fn ready(data: &Path) -> Ready {
    until("the service is ready", async || Ready::read(data).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_the_registry_joins_and_serves() {
    let temp = tempfile::tempdir().unwrap();
    let (registry_data, data) = (temp.path().join("registry"), temp.path().join("sync"));
    let shutdown = CancellationToken::new();
    // Started first: there is no ticket yet, and nobody to ask.
    let running = tokio::spawn(serve(config(data.clone(), registry_data.join("service.ticket")), shutdown.clone()));
    until("it waits with a key of its own", async || data.join("identity").exists().then_some(())).await;
    let clock = Arc::new(ManualClock::at(SystemTime::now()));
    let registry = Registry::start_in(&registry_data, clock).await;
    let here = ready(&data).await;

    let device = registry.device("laptop").await;
    let tls = device.identity.tls().unwrap();
    let channel = ChannelConfig::new(here.address.to_string(), Service::Sync.server_name(), tls.clone());
    HealthClient::new(Channel::new(channel)).check(HealthCheckRequest::default()).await.unwrap();
    // A service cannot be taken for another one.
    let wrong = ChannelConfig::new(here.address.to_string(), Service::History.server_name(), tls);
    HealthClient::new(Channel::new(wrong)).check(HealthCheckRequest::default()).await.unwrap_err();

    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert!(Ready::read(&data).unwrap().is_none(), "it says that it is gone");

    // It comes back by its stored identity, without registry-svc.
    registry.stop().await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(serve(config(data.clone(), registry_data.join("service.ticket")), shutdown.clone()));
    ready(&data).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_installation_is_refused_by_name() {
    let one = Registry::start().await;
    let other = Registry::start().await;
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("sync");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(serve(config(data.clone(), one.data().join("service.ticket")), shutdown.clone()));
    ready(&data).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let refused = serve(config(data, other.data().join("service.ticket")), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, Error::OtherInstallation { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_ticket_says_what_it_needs() {
    let temp = tempfile::tempdir().unwrap();
    let refused = serve(Config::on_free_ports(temp.path()), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, Error::NoTicket) && refused.to_string().contains("--join"), "{refused}");
    let file = temp.path().join("ticket");
    std::fs::write(&file, "no ticket").unwrap();
    let refused = serve(config(temp.path().join("data"), file), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, Error::Ticket { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_ends_the_service_and_is_named() {
    let registry = Registry::start().await;
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path().join("sync"), registry.data().join("service.ticket"));
    let host = Host::open(Service::Sync, config, Arc::new(SystemClock)).unwrap();
    let shutdown = CancellationToken::new();
    let joined = host.join(&shutdown).await.unwrap();
    let server = host.bind(&joined.tls, ClientAuth::Required).unwrap();
    host.spawn("the disk", async { Err(std::io::Error::other("it broke")) });
    let ended = host.serve(server, Routes::default(), Routes::default(), shutdown).await.unwrap_err();
    assert_eq!(ended.to_string(), "the disk: it broke");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_when_they_are_due_and_used_at_once() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let temp = tempfile::tempdir().unwrap();
    device.identity.store(temp.path()).unwrap();
    let first_end = device.identity.not_after();
    // Five of its seven days are over, by the device's clock and the registry's.
    let later = Arc::new(ManualClock::at(registry.clock.now()));
    later.advance(std::time::Duration::from_secs(5 * 24 * 3600));
    registry.clock.advance(std::time::Duration::from_secs(60));
    let told = Arc::new(Mutex::new(None));
    let note = told.clone();
    let tls = device.identity.tls().unwrap();
    let renewal = Renewal {
        directory: temp.path().to_owned(),
        tls: tls.clone(),
        channel: registry.channel(&tls),
        clock: later as Arc<dyn Clock>,
        on_renewed: Box::new(move |identity| *note.lock() = Some(identity.not_after())),
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(renewal.run(device.identity, shutdown.clone()));
    let end = until("it is renewed", async || *told.lock()).await;
    assert!(end > first_end);
    assert_eq!(Identity::load(temp.path()).unwrap().unwrap().not_after(), end, "stored before it is told");
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
