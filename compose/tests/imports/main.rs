//! Holds the house together: which crate may know which, where a technology may be named, where time, randomness and
//! files may come in, and how long a file may get.
//!
//! The check reads `Cargo.toml` files and sources; it does not compile anything. Every rule is shown a sample that
//! breaks it, so that the check itself is known to work.

mod rules;
mod source;
mod workspace;

use std::path::Path;

use rules::Breach;
use workspace::Workspace;

fn workspace() -> Workspace {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    Workspace::read(root).expect("the workspace can be read")
}

fn assert_none(breaches: &[Breach]) {
    let told: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn crates_depend_only_downwards() {
    assert_none(&rules::edges(&workspace()));
}

#[test]
fn a_technology_is_known_to_one_crate_only() {
    assert_none(&rules::technologies(&workspace()));
}

#[test]
fn a_service_names_status_in_its_grpc_file_only() {
    assert_none(&rules::statuses(&workspace()));
}

#[test]
fn clock_randomness_and_files_come_in_through_seams_only() {
    assert_none(&rules::seams(&workspace()));
}

#[test]
fn files_are_short_enough_to_be_read() {
    assert_none(&rules::lengths(&workspace()));
}

#[test]
fn every_rule_finds_a_breach_in_a_bad_workspace() {
    let bad = Workspace::of(
        &[
            ("crates/types", "[dependencies]\nquics-meta.workspace = true\n"),
            ("client", "[dependencies]\nsync-svc = { path = \"../sync-svc\" }\nsled = \"1\"\n"),
            ("sync-svc", "[build-dependencies]\nquinn.workspace = true\n"),
            ("registry-svc", "[target.'cfg(unix)'.dependencies]\nnotify = \"8\"\n"),
        ],
        &[
            ("sync-svc/src/service.rs", "use tonic::{Request, Status};\n".to_owned()),
            ("sync-svc/src/grpc.rs", "use tonic::Status;\n".to_owned()),
            ("sync-svc/src/accept.rs", "fn f() { let t = std::time::Instant::now(); }\n".to_owned()),
            ("crates/reconcile/src/plan.rs", "use std::{fs, io};\nfn f() { rand::random() }\n".to_owned()),
            ("crates/quic/src/long.rs", "\n".repeat(601)),
            ("sync-svc/src/main.rs", "\n".repeat(61)),
            ("sync-svc/src/lib.rs", "\n".repeat(600)),
        ],
    );
    let count = |breaches: Vec<Breach>| breaches.len();
    assert_eq!(count(rules::edges(&bad)), 2);
    assert_eq!(count(rules::technologies(&bad)), 3);
    assert_eq!(count(rules::statuses(&bad)), 1);
    assert_eq!(count(rules::breaks_seams(&bad)), 3);
    assert_eq!(count(rules::lengths(&bad)), 2);
}

#[test]
fn an_allowance_that_nobody_uses_is_told() {
    let empty = Workspace::of(&[], &[]);
    assert_eq!(rules::unused_allowances(&empty).len(), rules::SEAMS.len());
}
