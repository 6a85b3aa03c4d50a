//! Getting in.

use std::time::Duration;

use quics_kit::enrol::{self, Error, FirstContact, Right};
use quics_kit::identity::{Identity, Key, pending_key};
use quics_kit::secret::Secret;
use quics_kit::ticket::{Fingerprint, Ticket};
use quics_proto::registry::v1 as proto;

use crate::support::{Device, Registry, by_password, by_ticket, same_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_lets_one_device_in() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let temp = tempfile::tempdir().unwrap();
    let enrolled = by_ticket(&ticket, pending_key(temp.path()).unwrap(), "laptop").await.unwrap();
    enrolled.identity.store(temp.path()).unwrap();
    assert_eq!(enrolled.device.as_ref().unwrap().2, "user");
    assert_eq!(enrolled.services.registry, format!(":{}", registry.ready.address.port()));

    let mut device = Device::new(&registry, enrolled);
    let devices = device.list_devices().await.unwrap();
    assert_eq!(devices.len(), 1);
    assert!(devices[0].own && devices[0].name == "laptop" && !devices[0].revoked);
    assert_eq!(devices[0].device_id, &device.id.as_bytes()[..]);
    assert_eq!(Identity::load(temp.path()).unwrap().unwrap().subject(), device.identity.subject());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_ticket_lets_nobody_else_in_but_answers_the_same_key_again() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let key = Key::generate().unwrap();
    let first = by_ticket(&ticket, same_key(&key), "laptop").await.unwrap();
    let again = by_ticket(&ticket, key, "laptop").await.unwrap();
    assert_eq!(again.device, first.device, "the same device");
    let refused = by_ticket(&ticket, Key::generate().unwrap(), "thief").await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    let mut device = Device::new(&registry, again);
    assert_eq!(device.list_devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_or_invented_ticket_is_refused_in_the_same_words() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    registry.clock.advance(Duration::from_secs(600));
    let expired = by_ticket(&ticket, Key::generate().unwrap(), "late").await.unwrap_err();
    let invented = Ticket { secret: Secret::draw(), ..ticket };
    let invented = by_ticket(&invented, Key::generate().unwrap(), "liar").await.unwrap_err();
    assert!(matches!(expired, Error::Refused(_)), "{expired}");
    assert_eq!(expired.to_string(), invented.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_is_noticed_before_the_ticket_is_sent() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let wrong = Ticket { fingerprint: Fingerprint::from_bytes([9; 32]), ..ticket.clone() };
    let refused = by_ticket(&wrong, Key::generate().unwrap(), "laptop").await.unwrap_err();
    match refused {
        Error::Fingerprint { expected, found, .. } => {
            assert_eq!((expected, found), (wrong.fingerprint, ticket.fingerprint));
        }
        other => panic!("{other}"),
    }
    // Nothing reached the server: the ticket still works.
    by_ticket(&ticket, Key::generate().unwrap(), "laptop").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_somebody_elses_is_passed_over() {
    let elsewhere = Registry::start().await;
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let addresses = vec![elsewhere.ready.address.to_string(), registry.ready.address.to_string()];
    let enrolled = by_ticket(&Ticket { addresses, ..ticket }, Key::generate().unwrap(), "laptop").await.unwrap();
    assert_eq!(enrolled.address, registry.ready.address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let first = FirstContact { addresses: vec!["127.0.0.1:1".to_owned()], fingerprint: ticket.fingerprint };
    let right = Right::Ticket(ticket.secret);
    let refused = enrol::enrol(&first, Key::generate().unwrap(), "laptop", &right).await.unwrap_err();
    assert!(matches!(&refused, Error::Unreachable { .. }) && refused.to_string().contains("127.0.0.1:1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_joins_once_it_is_set_and_guessing_is_slowed_down() {
    let registry = Registry::start().await;
    let ca = enrol::fingerprint(&registry.ready.address.to_string()).await.unwrap();
    assert_eq!(ca, registry.ticket("").await.fingerprint, "the one that a person compares");

    let off = by_password(&registry, ca, "user", "").await.unwrap_err();
    assert!(matches!(off, Error::Refused(_)), "{off}");
    let set = proto::SetUserPasswordRequest { user: "user".to_owned(), password: "correct horse".to_owned() };
    registry.admin().await.set_user_password(registry.authorized(set)).await.unwrap();
    let enrolled = by_password(&registry, ca, "User", "correct horse").await.unwrap();
    assert_eq!(enrolled.device.unwrap().2, "user");

    for _ in 0..4 {
        let wrong = by_password(&registry, ca, "user", "wrong").await.unwrap_err();
        assert!(matches!(wrong, Error::Refused(_)), "{wrong}");
    }
    let limited = by_password(&registry, ca, "user", "correct horse").await.unwrap_err();
    let Error::Limited { wait } = limited else { panic!("{limited}") };
    assert_eq!(wait, Duration::from_secs(1));
    registry.clock.advance(wait);
    by_password(&registry, ca, "user", "correct horse").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_refused_as_a_wrong_password_is() {
    let registry = Registry::start().await;
    let ca = registry.ticket("").await.fingerprint;
    let unknown = by_password(&registry, ca, "nobody", "x").await.unwrap_err();
    let wrong = by_password(&registry, ca, "user", "x").await.unwrap_err();
    assert_eq!(unknown.to_string(), wrong.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_with_one_name_get_numbers_and_users_do_not_see_each_others() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut first = registry.device_of("user", "laptop").await;
    registry.device_of("user", "laptop").await;
    let mut other = registry.device_of("ada", "laptop").await;
    let names: Vec<_> = first.list_devices().await.unwrap().into_iter().map(|device| device.name).collect();
    assert_eq!(names, ["laptop", "laptop 2"]);
    assert_eq!(other.list_devices().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_invites_another_one_of_its_user() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut device = registry.device_of("ada", "laptop").await;
    let ticket = device.client.create_ticket(proto::CreateTicketRequest {}).await.unwrap().into_inner();
    let invited = by_ticket(&ticket.ticket.parse().unwrap(), Key::generate().unwrap(), "phone").await.unwrap();
    assert_eq!(invited.device.unwrap().2, "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_cost_no_ticket() {
    let registry = Registry::start().await;
    let ticket = registry.ticket("").await;
    let pinned = ticket.fingerprint;
    let tls = quics_quic::Tls::pinned(move |ca| Fingerprint::of(ca) == pinned);
    let mut client = super::support::Client::new(registry.channel(&tls));
    let request = |csr: Vec<u8>, name: &str, right| proto::EnrolRequest {
        version: None,
        certificate_request: csr.into(),
        name: name.to_owned(),
        right,
    };
    let right = || Some(proto::enrol_request::Right::Ticket(bytes::Bytes::copy_from_slice(ticket.secret.expose())));
    let good = || Key::generate().unwrap().request().unwrap();
    let mut forged = good();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [
        request(forged, "laptop", right()),
        request(Vec::new(), "laptop", right()),
        request(vec![0; 5000], "laptop", right()),
        request(good(), "", right()),
        request(good(), "new\nline", right()),
        request(good(), &"x".repeat(65), right()),
        request(good(), "laptop", None),
    ] {
        let refused = client.enrol(bad).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
    client.enrol(request(good(), "laptop", right())).await.unwrap();
}
