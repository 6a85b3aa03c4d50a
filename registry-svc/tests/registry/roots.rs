//! Roots and who may see them.

use quics_proto::common::v1::Role;
use quics_proto::registry::v1 as proto;
use tonic::Code;

use crate::support::Registry;

const DOCS: [u8; 16] = [7; 16];
const NOTHING: [u8; 16] = [8; 16];

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_made_once_listed_attached_and_detached() {
    let registry = Registry::start().await;
    let mut laptop = registry.device("laptop").await;
    let mut desktop = registry.device("desktop").await;
    let root = laptop.create_root(DOCS, "docs", "").await.unwrap();
    assert!(root.attached && root.role() == Role::Owner && root.owner == "user" && !root.password_required);
    let again = laptop.create_root(DOCS, "docs", "").await.unwrap();
    assert_eq!(again, root, "repeating it finds the same one");

    let seen = desktop.roots().await;
    assert_eq!((seen.len(), seen[0].attached, seen[0].role()), (1, false, Role::Owner));
    let attached = desktop.attach(DOCS, "").await.unwrap();
    assert_eq!(
        (attached.attached, attached.attached_devices.as_slice()),
        (true, &["desktop".into(), "laptop".into()][..])
    );
    let id = bytes::Bytes::from_static(&DOCS);
    for _ in 0..2 {
        desktop.client.detach_root(proto::DetachRootRequest { root_id: id.clone() }).await.unwrap();
    }
    assert_eq!(laptop.roots().await[0].attached_devices, ["laptop"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unit_names_are_those_that_a_root_was_made_with_for_ever_and_for_everybody() {
    let registry = Registry::start().await;
    let mut laptop = registry.device("laptop").await;
    let mut desktop = registry.device("desktop").await;
    let request = |units: &[&'static str]| proto::CreateRootRequest {
        root_id: bytes::Bytes::from_static(&DOCS),
        name: "docs".into(),
        unit_names: units.iter().map(|unit| bytes::Bytes::from_static(unit.as_bytes())).collect(),
        ..Default::default()
    };
    let many: Vec<_> = (0..40).map(|number| [".a", ".b"][number % 2]).collect();
    for wrong in [
        &["a/b"][..],
        &[""],
        &[".quics"],
        &[concat!("0123456789012345678901234567890123456789", "0123456789012345678901234")],
    ] {
        assert_eq!(laptop.client.create_root(request(wrong)).await.unwrap_err().code(), Code::InvalidArgument);
    }
    for units in [&many[..], &[".other"], &[]] {
        let made = laptop.client.create_root(request(units)).await.unwrap().into_inner().root.unwrap();
        assert_eq!(made.unit_names, [".a", ".b"], "repeating it finds what the first one made");
    }
    assert_eq!(desktop.roots().await[0].unit_names, [".a", ".b"]);
    assert_eq!(desktop.attach(DOCS, "").await.unwrap().unit_names, [".a", ".b"]);
    let plain = laptop.create_root(NOTHING, "plain", "").await.unwrap();
    assert!(plain.unit_names.is_empty(), "registry-svc has no default");

    let full: Vec<_> = (0..32).map(|number| bytes::Bytes::from(format!("{number:064}"))).collect();
    let request = proto::CreateRootRequest {
        root_id: bytes::Bytes::from_static(&[9; 16]),
        name: "\u{20ac}".repeat(64),
        password: "open sesame".into(),
        unit_names: full.clone(),
        ..Default::default()
    };
    let root =
        laptop.client.create_root(request).await.expect("the longest fits into a row").into_inner().root.unwrap();
    assert_eq!(root.unit_names, full);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_visible_roots_are_unique_and_well_formed() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "laptop").await;
    mine.create_root(DOCS, "docs", "").await.unwrap();
    assert_eq!(mine.create_root([9; 16], "docs", "").await.unwrap_err().code(), Code::AlreadyExists);
    hers.create_root([9; 16], "docs", "").await.unwrap();
    for bad in ["", "a/b", "a\0"] {
        assert_eq!(mine.create_root([10; 16], bad, "").await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_cannot_tell_whether_a_root_exists() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "laptop").await;
    mine.create_root(DOCS, "docs", "secret").await.unwrap();
    let real = hers.attach(DOCS, "secret").await.unwrap_err();
    let none = hers.attach(NOTHING, "secret").await.unwrap_err();
    assert_eq!((real.code(), real.message()), (none.code(), none.message()));
    assert_eq!(real.code(), Code::PermissionDenied);
    let taken = hers.create_root(DOCS, "docs", "").await.unwrap_err();
    assert_eq!(taken.code(), Code::PermissionDenied);
    assert!(hers.roots().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_attaches_with_the_password_and_a_removed_one_not_even_with_it() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "laptop").await;
    mine.create_root(DOCS, "docs", "open sesame").await.unwrap();
    registry.set_member("docs", "ada", Role::Reader.into()).await.unwrap();
    assert_eq!(hers.roots().await[0].role(), Role::Reader);
    assert_eq!(hers.attach(DOCS, "wrong").await.unwrap_err().code(), Code::Unauthenticated);
    hers.attach(DOCS, "open sesame").await.unwrap();
    hers.attach(DOCS, "").await.expect("it is attached already");

    registry.set_member("docs", "ada", Role::Unspecified.into()).await.unwrap();
    assert_eq!(hers.attach(DOCS, "open sesame").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(mine.roots().await[0].attached_devices, ["laptop"], "its attachment ended with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_root_learn_the_names_of_each_others_devices_and_nobody_else_does() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "desktop").await;
    mine.create_root(DOCS, "docs", "").await.unwrap();
    let request = || proto::ListDevicesRequest { root_id: bytes::Bytes::from_static(&DOCS) };
    let refused = hers.client.list_devices(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    registry.set_member("docs", "ada", Role::Reader.into()).await.unwrap();
    let devices = hers.client.list_devices(request()).await.unwrap().into_inner().devices;
    let named = |name: &str| devices.iter().find(|device| device.name == name).unwrap();
    assert!(named("desktop").own && named("desktop").enrolled_at.is_some());
    let other = named("laptop");
    assert_eq!((other.user_name.as_str(), other.own), ("user", false));
    assert!(other.seen_at.is_none() && other.certificate_expires_at.is_none() && other.enrolled_at.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_grants_a_role_makes_members_but_none_of_those_who_were_removed() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    let mut hers = registry.device_of("ada", "laptop").await;
    let request = |role: Role, password: &str| proto::CreateRootRequest {
        root_id: bytes::Bytes::from_static(&DOCS),
        name: "docs".into(),
        password: password.into(),
        password_role: role.into(),
        unit_names: Vec::new(),
    };
    for wrong in [request(Role::Owner, "open sesame"), request(Role::Reader, "")] {
        assert_eq!(mine.client.create_root(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    mine.client.create_root(request(Role::Reader, "open sesame")).await.unwrap();

    let wrong = hers.attach(DOCS, "wrong").await.unwrap_err();
    let none = hers.attach(NOTHING, "wrong").await.unwrap_err();
    assert_eq!((wrong.code(), wrong.message()), (none.code(), none.message()), "they cannot be told apart");
    assert_eq!(wrong.code(), Code::PermissionDenied);
    assert!(hers.roots().await.is_empty());
    assert_eq!(hers.attach(DOCS, "open sesame").await.unwrap().role(), Role::Reader);
    assert_eq!(hers.roots().await[0].role(), Role::Reader);

    registry.set_member("docs", "ada", Role::Unspecified.into()).await.unwrap();
    assert_eq!(hers.attach(DOCS, "open sesame").await.unwrap_err().code(), Code::PermissionDenied);
    registry.set_member("docs", "ada", Role::Writer.into()).await.unwrap();
    assert_eq!(hers.attach(DOCS, "open sesame").await.unwrap().role(), Role::Writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_roots_password_is_slowed_down() {
    let registry = Registry::start().await;
    let mut laptop = registry.device("laptop").await;
    let mut desktop = registry.device("desktop").await;
    laptop.create_root(DOCS, "docs", "open sesame").await.unwrap();
    for _ in 0..4 {
        assert_eq!(desktop.attach(DOCS, "wrong").await.unwrap_err().code(), Code::Unauthenticated);
    }
    let limited = desktop.attach(DOCS, "open sesame").await.unwrap_err();
    assert_eq!(limited.code(), Code::ResourceExhausted);
    let wait = quics_kit::status::retry_after(&limited).expect("it says how long to wait");
    registry.clock.advance(wait);
    desktop.attach(DOCS, "open sesame").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_never_loses_its_last_owner() {
    let registry = Registry::start().await;
    registry.add_user("ada").await;
    let mut mine = registry.device_of("user", "laptop").await;
    mine.create_root(DOCS, "docs", "").await.unwrap();
    for role in [Role::Unspecified, Role::Reader] {
        let refused = registry.set_member("docs", "user", role.into()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    registry.set_member("docs", "ada", Role::Owner.into()).await.unwrap();
    registry.set_member("docs", "user", Role::Unspecified.into()).await.unwrap();
    assert!(mine.roots().await.is_empty());
}
