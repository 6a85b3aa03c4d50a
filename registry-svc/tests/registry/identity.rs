//! Staying in, and being put out.

use std::time::{Duration, SystemTime};

use quics_kit::enrol;
use quics_kit::identity::{Identity, Key};
use quics_kit::names::Service;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::Tls;
use tonic::Code;

use crate::support::{Client, Device, Registry, by_ticket};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A device whose certificate ended long ago by everybody's clock.
async fn expired_device(registry: &Registry) -> Device {
    let now = SystemTime::now();
    registry.clock.set(now - MONTH);
    let device = registry.device("laptop").await;
    registry.clock.set(now);
    assert!(device.identity.not_after() < now);
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_renewed_and_does_nothing_else() {
    let registry = Registry::start().await;
    let mut device = expired_device(&registry).await;
    assert_eq!(device.list_devices().await.unwrap_err().code(), Code::Unauthenticated);
    let (renewed, services) = enrol::renew(&device.channel, &device.identity).await.unwrap();
    assert!(renewed.not_after() > SystemTime::now() && renewed.subject() == device.identity.subject());
    assert!(!services.registry.is_empty());
    let mut client = RegistryServiceClient::new(registry.channel(&renewed.tls().unwrap()));
    client.list_devices(proto::ListDevicesRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_refused_everywhere_its_expired_certificate_too() {
    let registry = Registry::start().await;
    let mut expired = expired_device(&registry).await;
    let mut stays = registry.device("desktop").await;
    let mut leaves = registry.device("phone").await;
    for device in [&expired, &leaves] {
        let id = bytes::Bytes::copy_from_slice(device.id.as_bytes());
        let revoked = stays.client.revoke_device(proto::RevokeDeviceRequest { device_id: id }).await;
        revoked.unwrap();
    }
    let refused = enrol::renew(&expired.channel, &expired.identity).await.unwrap_err();
    assert!(matches!(refused, enrol::Error::Revoked), "{refused}");
    let refused = enrol::renew(&leaves.channel, &leaves.identity).await.unwrap_err();
    assert!(matches!(refused, enrol::Error::Revoked), "{refused}");
    assert_eq!(leaves.list_devices().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(expired.list_devices().await.unwrap_err().code(), Code::Unauthenticated);
    let shown = stays.list_devices().await.unwrap();
    assert_eq!(shown.iter().filter(|device| device.revoked).count(), 2);

    // Its key lets nobody in again, with a fresh ticket neither.
    let ticket = registry.ticket("").await;
    let key = Key::from_pem(leaves.identity.key().to_pem().as_bytes()).unwrap();
    let refused = by_ticket(&ticket, key, "phone").await.unwrap_err();
    assert!(matches!(refused, enrol::Error::Refused(_)), "{refused}");
    by_ticket(&ticket, Key::generate().unwrap(), "phone").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_leaves_and_is_answered() {
    let registry = Registry::start().await;
    let mut device = registry.device("laptop").await;
    let id = bytes::Bytes::copy_from_slice(device.id.as_bytes());
    device.client.revoke_device(proto::RevokeDeviceRequest { device_id: id }).await.unwrap();
    assert_eq!(device.list_devices().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_others_cannot_be_revoked() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "laptop").await;
    let id = bytes::Bytes::copy_from_slice(hers.id.as_bytes());
    let refused = mine.client.revoke_device(proto::RevokeDeviceRequest { device_id: id }).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    hers.list_devices().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_takes_over_and_the_former_one_ends_with_its_first_use() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let new_key = Key::generate().unwrap();
    let request = proto::RenewRequest { certificate_request: new_key.request().unwrap().into() };
    let mut by_old = device.client.clone();
    let first = by_old.renew(request.clone()).await.unwrap().into_inner();
    // The answer was lost: the former key asks again.
    by_old.renew(request).await.unwrap();

    let read = |list: Vec<bytes::Bytes>| list.into_iter().map(|der| der.to_vec().into()).collect();
    let credentials = first.credentials.unwrap();
    let renewed = Identity::new(new_key, read(credentials.certificate_chain), read(credentials.trust)).unwrap();
    let channel = registry.channel(&renewed.tls().unwrap());
    enrol::renew(&channel, &renewed).await.unwrap();

    let refused = enrol::renew(&device.channel, &device.identity).await.unwrap_err();
    assert!(matches!(refused, enrol::Error::Failed(ref status) if status.code() == Code::Unauthenticated), "{refused}");
    let mut former = device.client.clone();
    assert_eq!(
        former.list_devices(proto::ListDevicesRequest::default()).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}

/// Calls everything but Enrol; gives the codes.
async fn call_everything(mut client: Client) -> Vec<(&'static str, Code)> {
    let id = bytes::Bytes::from_static(&[1; 16]);
    let csr = Key::generate().unwrap().request().unwrap().into();
    let root = proto::CreateRootRequest { root_id: id.clone(), name: "x".into(), ..Default::default() };
    let attach = proto::AttachRootRequest { root_id: id.clone(), password: String::new() };
    let code = |answer: Result<(), tonic::Status>| answer.map_or_else(|status| status.code(), |()| Code::Ok);
    vec![
        ("renew", code(client.renew(proto::RenewRequest { certificate_request: csr }).await.map(drop))),
        ("create_ticket", code(client.create_ticket(proto::CreateTicketRequest {}).await.map(drop))),
        ("get_services", code(client.get_services(proto::GetServicesRequest {}).await.map(drop))),
        ("list_devices", code(client.list_devices(proto::ListDevicesRequest::default()).await.map(drop))),
        ("revoke", code(client.revoke_device(proto::RevokeDeviceRequest { device_id: id.clone() }).await.map(drop))),
        ("create_root", code(client.create_root(root).await.map(drop))),
        ("list_roots", code(client.list_roots(proto::ListRootsRequest {}).await.map(drop))),
        ("attach_root", code(client.attach_root(attach).await.map(drop))),
        ("detach_root", code(client.detach_root(proto::DetachRootRequest { root_id: id }).await.map(drop))),
        ("watch", code(client.watch(proto::WatchRequest::default()).await.map(drop))),
        ("report", code(client.report(proto::ReportRequest::default()).await.map(drop))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_certificate_may_do_anything_but_enrol() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let tls = Tls::new(device.identity.trust().to_vec(), None).unwrap();
    for (method, code) in call_everything(Client::new(registry.channel(&tls))).await {
        assert_eq!(code, Code::Unauthenticated, "{method}");
    }
    let mut health = tonic_health_check(&registry, &tls);
    assert_eq!(health.call().await, Code::Unauthenticated, "health asks for a certificate too");
    let mut health = tonic_health_check(&registry, &device.identity.tls().unwrap());
    assert_eq!(health.call().await, Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_certificate_gets_no_connection() {
    let registry = Registry::start().await;
    let elsewhere = Registry::start().await;
    let device = registry.device("laptop").await;
    let stranger = elsewhere.device("laptop").await.identity.trusting(device.identity.trust().to_vec()).unwrap();
    for (method, code) in call_everything(Client::new(registry.channel(&stranger.tls().unwrap()))).await {
        assert_eq!(code, Code::Unavailable, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cas_are_trusted_while_one_replaces_the_other() {
    let old = Registry::start().await;
    let new = Registry::start().await;
    let device = old.device("laptop").await;
    let certificate = std::fs::read(old.data().join("ca/cert.pem")).unwrap();
    std::fs::write(new.data().join("ca/trust.pem"), certificate).unwrap();
    let new = new.restart().await;
    let joined = new.device("desktop").await;
    assert_eq!(joined.identity.trust().len(), 2);
    assert!(joined.identity.trust().contains(&device.identity.trust()[0]));
    // A certificate of the old CA is taken in the handshake; that its device is not known here is another matter.
    let known = device.identity.trusting(joined.identity.trust().to_vec()).unwrap();
    let mut client = Client::new(new.channel(&known.tls().unwrap()));
    let refused = client.list_devices(proto::ListDevicesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_and_services_cannot_do_each_others_calls() {
    let registry = Registry::start().await;
    let device = registry.device("laptop").await;
    let by_device = call_everything(device.client.clone()).await;
    let denied: Vec<_> = by_device.iter().filter(|(_, code)| *code == Code::PermissionDenied).collect();
    let names: Vec<_> = denied.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["watch", "report"], "{by_device:?}");
    let (_, service) = registry.service(Service::Sync).await;
    for (method, code) in call_everything(service).await {
        let expected = match method {
            "renew" | "get_services" | "watch" | "report" => Code::Ok,
            _ => Code::PermissionDenied,
        };
        assert_eq!(code, expected, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_enrol_by_the_service_secret_only_and_never_as_the_registry() {
    let registry = Registry::start().await;
    let (identity, _) = registry.service(Service::Sync).await;
    assert_eq!(identity.subject().to_string(), "quics:service:sync");
    let ticket = registry.service_ticket();
    let contact = registry.first_contact(&ticket);
    let wrong = enrol::Right::Service(quics_kit::secret::Secret::draw());
    let refused = enrol::enrol(&contact, Key::generate().unwrap(), "sync", &wrong).await.unwrap_err();
    assert!(matches!(refused, enrol::Error::Refused(_)), "{refused}");
    let right = enrol::Right::Service(ticket.secret);
    for name in ["registry", "root", ""] {
        let refused = enrol::enrol(&contact, Key::generate().unwrap(), name, &right).await.unwrap_err();
        assert!(matches!(refused, enrol::Error::Refused(_)), "{name}: {refused}");
    }
}

/// gRPC health on the service's own port.
struct Health(tonic_health::pb::health_client::HealthClient<quics_quic::Channel>);

fn tonic_health_check(registry: &Registry, tls: &Tls) -> Health {
    Health(tonic_health::pb::health_client::HealthClient::new(registry.channel(tls)))
}

impl Health {
    async fn call(&mut self) -> Code {
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        self.0.check(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
    }
}
