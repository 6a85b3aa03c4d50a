//! The rules themselves, as data and as functions from a workspace to what breaks them.

use std::fmt;

use crate::{source, workspace::Workspace};

/// One thing that breaks a rule.
#[derive(Debug)]
pub(crate) struct Breach {
    place: String,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)
    }
}

fn breach(place: impl Into<String>, what: impl Into<String>) -> Breach {
    Breach { place: place.into(), what: what.into() }
}

/// Each package's directory, its name, and which packages of ours it may depend on.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("crates/types", "quics-types", &[]),
    ("crates/reconcile", "quics-reconcile", &["quics-types"]),
    ("crates/quic", "quics-quic", &["quics-types"]),
    ("crates/meta", "quics-meta", &["quics-types"]),
    ("crates/chunks", "quics-chunks", &["quics-types"]),
    ("crates/records", "quics-records", &["quics-types", "quics-reconcile", "quics-meta"]),
    ("proto", "quics-proto", &["quics-types", "quics-reconcile"]),
    ("crates/reader", "quics-reader", &["quics-types", "quics-chunks", "quics-proto"]),
    ("crates/kit", "quics-kit", &["quics-types", "quics-quic", "quics-meta", "quics-chunks", "quics-proto"]),
    ("registry-svc", "registry-svc", BELOW_A_PROCESS),
    ("sync-svc", "sync-svc", BELOW_A_KEEPER),
    ("history-svc", "history-svc", BELOW_A_KEEPER),
    ("share-svc", "share-svc", BELOW_A_KEEPER),
    ("client", "quics", BELOW_A_PROCESS),
    ("compose", "quics-stack", EVERYTHING),
];

/// What a service and the client may know: no other service, and the client none.
const BELOW_A_PROCESS: &[&str] = &[
    "quics-types",
    "quics-reconcile",
    "quics-quic",
    "quics-meta",
    "quics-chunks",
    "quics-reader",
    "quics-proto",
    "quics-kit",
];

/// What a service may know that keeps records of what is in roots.
const BELOW_A_KEEPER: &[&str] = &[
    "quics-types",
    "quics-reconcile",
    "quics-quic",
    "quics-meta",
    "quics-chunks",
    "quics-records",
    "quics-reader",
    "quics-proto",
    "quics-kit",
];

/// What the package that puts all together may know.
const EVERYTHING: &[&str] = &[
    "quics-types",
    "quics-reconcile",
    "quics-quic",
    "quics-meta",
    "quics-chunks",
    "quics-records",
    "quics-reader",
    "quics-proto",
    "quics-kit",
    "registry-svc",
    "sync-svc",
    "history-svc",
    "share-svc",
    "quics",
];

/// Only tests may climb: the agent is simulated against sync-svc's real logic.
const DEV_EDGES: &[(&str, &str)] = &[("client", "sync-svc"), ("crates/quic", "quics-proto")];

/// Technologies and the one package that may know each.
const TECHNOLOGIES: &[(&str, &str)] = &[
    ("sled", "crates/meta"),
    ("quinn", "crates/quic"),
    ("h3", "crates/quic"),
    ("h3-quinn", "crates/quic"),
    ("notify", "client"),
];

/// Benchmarks measure against the bare transport.
const DEV_TECHNOLOGIES: &[(&str, &str)] = &[("compose", "quinn")];

const SERVICES: &[&str] = &["registry-svc", "sync-svc", "history-svc", "share-svc"];

/// What comes in through seams: clock, randomness and files. A generator that was handed in is no randomness of the
/// outside; the sources that need no seed are.
const OUTSIDE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "rand::rng",
    "rand::random",
    "OsRng",
    "from_os_rng",
    "getrandom",
    "std::fs",
    "tokio::fs",
];

/// Where the outside world may be named, which of it, and why there. A place is a file, or a directory with `/`.
pub(crate) const SEAMS: &[(&str, &[&str], &str)] = &[
    ("compose/", OUTSIDE, "runs real processes on real files; nothing of it is simulated"),
    ("crates/kit/src/clock.rs", &["SystemTime::now"], "the clock itself"),
    ("crates/kit/src/random.rs", &["getrandom"], "the source of randomness itself"),
    ("crates/kit/src/data.rs", &["std::fs"], "the directory of a process and its small files"),
    ("crates/kit/src/lock.rs", &["std::fs"], "the lock of a process on its directory"),
    ("crates/kit/src/telemetry/", &["Instant::now"], "measures durations for people"),
    ("crates/kit/src/telemetry.rs", &["std::fs"], "opens the log file"),
    ("crates/kit/src/enrol/", &["rand::rng"], "spreads renewals; no decision hangs on it"),
    ("crates/kit/src/service/join.rs", &["rand::rng"], "spreads attempts to reach registry-svc"),
    ("crates/kit/src/members.rs", &["Instant::now"], "tokio's clock, which tests stop: a limit for waiting"),
    ("crates/kit/src/members/follow.rs", &["Instant::now", "rand::rng"], "the same, and the spread of its attempts"),
    ("history-svc/src/relay.rs", &["Instant::now", "rand::rng"], "tokio's clock, and the spread of attempts to follow"),
    (
        "share-svc/src/public.rs",
        &["Instant::now"],
        "tokio's clock: when an answer leaves that must not tell by its time",
    ),
    ("sync-svc/src/reclaim/round.rs", &["Instant::now"], "tokio's clock: pauses as long as it has worked"),
    ("crates/meta/src/disk/real.rs", &["std::fs", "getrandom"], "the disk of the journal; sim.rs is the other"),
    ("crates/chunks/src/segments/disk.rs", &["std::fs", "getrandom"], "the disk of the segments; sim.rs is the other"),
    (
        "crates/quic/src/",
        &["Instant::now", "SystemTime::now", "rand::rng", "rand::random"],
        "the network, replaced whole",
    ),
    ("client/src/folder/", &["std::fs", "SystemTime::now"], "the user's files; the simulation has a folder of its own"),
    ("client/src/transfer/", &["std::fs"], "reads and writes of contents round the stepped engine"),
    ("client/src/watch/work.rs", &["Instant::now"], "the watcher's pauses; what it sees is only a hint"),
    ("client/src/home.rs", &["std::fs"], "the agent's own directory, opened before anything is stepped"),
    ("client/src/home/links.rs", &["std::fs"], "what opens the links that were made here, in the same directory"),
    ("client/src/cli/share/ready.rs", &["std::fs"], "looks whether the disk is newer than what the server has"),
    ("client/src/cli/files.rs", &["std::fs"], "copies of contents where a person wants them, and for their tools"),
    ("client/src/agent/", &["Instant::now", "rand::rng", "std::fs"], "the threads round the stepped engine"),
];

/// Lines that a file, and a `main.rs`, may have.
const LONGEST: usize = 600;
const LONGEST_MAIN: usize = 60;

pub(crate) fn edges(workspace: &Workspace) -> Vec<Breach> {
    let mut found = Vec::new();
    let ours: Vec<&str> = EDGES.iter().map(|(_, name, _)| *name).collect();
    for (directory, _, allowed) in EDGES {
        for dependency in workspace.packages.get(*directory).into_iter().flatten() {
            let name = dependency.name.as_str();
            let allowed = allowed.contains(&name) || (dependency.dev && DEV_EDGES.contains(&(*directory, name)));
            if ours.contains(&name) && !allowed {
                found.push(breach(format!("{directory}/Cargo.toml"), format!("must not depend on {name}")));
            }
        }
    }
    found
}

pub(crate) fn technologies(workspace: &Workspace) -> Vec<Breach> {
    let mut found = Vec::new();
    for (directory, dependencies) in &workspace.packages {
        for dependency in dependencies {
            let name = dependency.name.as_str();
            let known = TECHNOLOGIES.iter().find(|(technology, _)| *technology == name);
            let excepted = dependency.dev && DEV_TECHNOLOGIES.contains(&(directory.as_str(), name));
            if let Some((_, home)) = known.filter(|(_, home)| *home != directory && !excepted) {
                found.push(breach(format!("{directory}/Cargo.toml"), format!("{name} belongs to {home} alone")));
            }
        }
    }
    found
}

pub(crate) fn statuses(workspace: &Workspace) -> Vec<Breach> {
    let mut found = Vec::new();
    for (file, text) in workspace.shipped() {
        let service = SERVICES.iter().find(|service| file.starts_with(&format!("{service}/src/")));
        let Some(service) = service else { continue };
        let home = file == format!("{service}/src/grpc.rs") || file.starts_with(&format!("{service}/src/grpc/"));
        if !home && source::paths(text).iter().any(|path| source::names(path, "tonic::Status")) {
            found.push(breach(file, format!("tonic::Status belongs to {service}/src/grpc.rs")));
        }
    }
    found
}

pub(crate) fn seams(workspace: &Workspace) -> Vec<Breach> {
    let mut found = breaks_seams(workspace);
    found.extend(unused_allowances(workspace));
    found
}

/// Names of the outside world where no allowance is.
pub(crate) fn breaks_seams(workspace: &Workspace) -> Vec<Breach> {
    let mut found = Vec::new();
    for (file, text) in workspace.shipped() {
        let paths = source::paths(text);
        for term in OUTSIDE {
            let named = paths.iter().any(|path| source::names(path, term));
            let allowed = SEAMS.iter().any(|(place, terms, _)| covers(place, file) && terms.contains(term));
            if named && !allowed {
                found.push(breach(file, format!("names {term}; it comes in through a seam")));
            }
        }
    }
    found
}

/// Allowances that no file needs: they would hide the next breach.
pub(crate) fn unused_allowances(workspace: &Workspace) -> Vec<Breach> {
    let used = |place: &str, terms: &[&str]| {
        workspace
            .shipped()
            .filter(|(file, _)| covers(place, file))
            .any(|(_, text)| source::paths(text).iter().any(|path| terms.iter().any(|term| source::names(path, term))))
    };
    SEAMS
        .iter()
        .filter(|(place, terms, _)| !used(place, terms))
        .map(|(place, _, reason)| breach(*place, format!("this allowance is not used ({reason})")))
        .collect()
}

fn covers(place: &str, file: &str) -> bool {
    file == place || (place.ends_with('/') && file.starts_with(place))
}

pub(crate) fn lengths(workspace: &Workspace) -> Vec<Breach> {
    let mut found = Vec::new();
    for (file, text) in &workspace.sources {
        let lines = text.lines().count();
        let most = if file.ends_with("/main.rs") && file.contains("/src/") { LONGEST_MAIN } else { LONGEST };
        if lines > most {
            found.push(breach(file, format!("{lines} lines, {most} are allowed: split it")));
        }
    }
    found
}
