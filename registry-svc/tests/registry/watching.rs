//! What services learn, through the view that they keep of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quics_kit::clock::{Clock, ManualClock};
use quics_kit::members::{Change, Denied, Follow, Members, Options};
use quics_kit::names::Service;
use quics_kit::telemetry;
use quics_meta::{MetaStore, Options as StoreOptions};
use quics_proto::common::v1::Role as ProtoRole;
use quics_proto::registry::v1 as proto;
use quics_types::{DeviceId, Role, RootId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Registry, until};

const DOCS: [u8; 16] = [7; 16];

struct Follower {
    members: Members,
    cut: Arc<Mutex<Vec<DeviceId>>>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), quics_kit::members::Error>>,
}

impl Follower {
    async fn start(registry: &Registry, store: Arc<dyn MetaStore>) -> Follower {
        let (identity, _) = registry.service(Service::Sync).await;
        let options = Options::new(&b"members/"[..], registry.clock.clone() as Arc<dyn Clock>);
        let members = Members::load(store, options).unwrap();
        let cut = Arc::new(Mutex::new(Vec::new()));
        let note = cut.clone();
        let follow = Follow {
            members: members.clone(),
            registry: telemetry::link(registry.channel(&identity.tls().unwrap())),
            address: ":7002".to_owned(),
            on_revoked: Box::new(move |device| note.lock().push(device)),
            on_trust: Box::new(|_| {}),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(follow.run(stop.clone()));
        Follower { members, cut, stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn store(directory: &std::path::Path) -> Arc<dyn MetaStore> {
    Arc::new(quics_meta::Journaled::open(directory, StoreOptions::in_memory_index()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_learns_everything_and_then_every_change() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    mine.create_root(DOCS, "docs", "").await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let follower = Follower::start(&registry, store(temp.path())).await;
    let root = RootId::from_bytes(DOCS);
    follower.members.ready().await;
    assert_eq!(follower.members.role(root, mine.id), Ok(Role::Owner));
    assert_eq!(follower.members.attached(root), [mine.id]);

    // News that is on the way is waited for.
    let hers = registry.device_of("ada", "phone").await;
    assert_eq!(follower.members.admit(hers.id).await.unwrap().user_name, "ada");
    assert_eq!(follower.members.role(root, hers.id), Err(Denied::NotMember));
    let mut changes = follower.members.changes();
    registry.set_member("docs", "ada", ProtoRole::Writer.into()).await.unwrap();
    assert_eq!(follower.members.role_soon(root, hers.id).await, Ok(Role::Writer));
    let change = changes.recv().await.unwrap();
    assert!(matches!(change, Change::Membership { role: Some(Role::Writer), .. }), "{change:?}");
    registry.set_member("docs", "ada", ProtoRole::Unspecified.into()).await.unwrap();
    until("the membership ended", async || follower.members.role(root, hers.id).is_err().then_some(())).await;

    // And devices learn where the service is.
    let services = mine.client.get_services(proto::GetServicesRequest {}).await.unwrap().into_inner().services;
    assert_eq!(services.unwrap().sync, ":7002");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_cut_off_by_push() {
    let registry = Registry::start().await;
    let mut stays = registry.device("desktop").await;
    let lost = registry.device("phone").await;
    let temp = tempfile::tempdir().unwrap();
    let follower = Follower::start(&registry, store(temp.path())).await;
    assert!(follower.members.admit(lost.id).await.is_ok());
    let begun = std::time::Instant::now();
    let id = bytes::Bytes::copy_from_slice(lost.id.as_bytes());
    stays.client.revoke_device(proto::RevokeDeviceRequest { device_id: id }).await.unwrap();
    until("the service cuts it off", async || (*follower.cut.lock() == [lost.id]).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "within a second");
    assert_eq!(follower.members.device(lost.id).unwrap_err(), Denied::Revoked);
    assert!(follower.members.device(stays.id).is_ok());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_outlives_the_registry_for_a_day_and_learns_what_it_missed() {
    let registry = Registry::start().await;
    let mut device = registry.device("laptop").await;
    device.create_root(DOCS, "docs", "").await.unwrap();
    let root = RootId::from_bytes(DOCS);
    let temp = tempfile::tempdir().unwrap();
    let rows = store(temp.path());
    let follower = Follower::start(&registry, rows.clone()).await;
    follower.members.ready().await;
    follower.stop().await;

    // The service starts again, registry-svc is away: what is stored serves, for a day.
    let clock = Arc::new(ManualClock::at(registry.clock.now()));
    let options = Options::new(&b"members/"[..], clock.clone() as Arc<dyn Clock>);
    let alone = Members::load(rows.clone(), options).unwrap();
    assert_eq!(alone.role(root, device.id), Ok(Role::Owner));
    clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert_eq!(alone.role(root, device.id), Ok(Role::Owner));
    clock.advance(Duration::from_secs(2));
    assert_eq!(alone.role(root, device.id), Err(Denied::Stale));

    // Revoked while nobody watched.
    let id = bytes::Bytes::copy_from_slice(device.id.as_bytes());
    device.client.revoke_device(proto::RevokeDeviceRequest { device_id: id }).await.unwrap();
    let follower = Follower::start(&registry, rows).await;
    until("the missed revocation is learnt", async || (*follower.cut.lock() == [device.id]).then_some(())).await;
    assert_eq!(follower.members.role(root, device.id), Err(Denied::Revoked));
    follower.stop().await;
}

/// When the only device was seen, in seconds since 1970; asking by a device would count as seeing it.
async fn seen_at(registry: &Registry) -> i64 {
    let devices = registry.admin().await.list_all_devices(proto::ListAllDevicesRequest {}).await.unwrap().into_inner();
    devices.devices[0].seen_at.unwrap().seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_when_a_device_was_seen_and_never_goes_back() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let (_, mut service) = registry.service(Service::Sync).await;
    let now = registry.clock.now();
    let id = bytes::Bytes::copy_from_slice(device.id.as_bytes());
    let report = |id: &bytes::Bytes, at| proto::ReportRequest {
        seen: vec![proto::Seen { device_id: id.clone(), seen_at: Some(quics_kit::clock::timestamp(at)) }],
    };
    registry.clock.advance(Duration::from_secs(1000));
    service.report(report(&id, now + Duration::from_secs(500))).await.unwrap();
    service.report(report(&id, now + Duration::from_secs(400))).await.unwrap();
    service.report(report(&bytes::Bytes::from_static(&[1; 16]), now)).await.unwrap();
    let seen = seen_at(&registry).await;
    assert_eq!(seen, quics_kit::clock::timestamp(now).seconds + 500);
    service.report(report(&id, now + Duration::from_secs(9999))).await.unwrap();
    let seen = seen_at(&registry).await;
    assert_eq!(seen, quics_kit::clock::timestamp(now).seconds + 1000, "nobody is seen in the future");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_registry_itself_counts_as_being_seen_to_the_minute() {
    let registry = Registry::start().await;
    let mut device = registry.device("laptop").await;
    let first = device.list_devices().await.unwrap()[0].seen_at.unwrap().seconds;
    registry.clock.advance(Duration::from_secs(59));
    assert_eq!(device.list_devices().await.unwrap()[0].seen_at.unwrap().seconds, first);
    registry.clock.advance(Duration::from_secs(1));
    assert_eq!(device.list_devices().await.unwrap()[0].seen_at.unwrap().seconds, first + 60);
}
