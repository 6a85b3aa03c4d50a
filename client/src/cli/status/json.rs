//! The status as JSON.

use quics_proto::agent::v1::{Connection, RootState, RootStatus, Status as AgentStatus};
use serde::Serialize;

use super::state;
use crate::cli::{output, roots};

#[derive(Serialize)]
pub(super) struct StatusJson {
    program: String,
    device_id: String,
    device: String,
    user: String,
    server: String,
    connection: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    trouble: String,
    paused: bool,
    process_id: u32,
    roots: Vec<RootJson>,
}

#[derive(Serialize)]
pub(super) struct RootJson {
    id: String,
    name: String,
    #[serde(flatten)]
    path: output::PathJson,
    state: &'static str,
    role: &'static str,
    entries: u64,
    outgoing: u64,
    outgoing_bytes: u64,
    incoming: u64,
    incoming_bytes: u64,
    conflicts: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    hold: String,
    problem_count: u64,
    problems: Vec<ProblemJson>,
    progress: ProgressJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<CursorJson>,
}

#[derive(Serialize)]
pub(super) struct ProblemJson {
    #[serde(flatten)]
    path: output::PathJson,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct ProgressJson {
    scanned_entries: u64,
    hashed_bytes: u64,
    hash_total_bytes: u64,
    sent_bytes: u64,
    send_total_bytes: u64,
    received_bytes: u64,
    receive_total_bytes: u64,
}

/// News of a conflict, between the statuses.
#[derive(Serialize)]
pub(super) struct NewsJson {
    pub(super) prompt: PromptJson,
}

#[derive(Serialize)]
pub(super) struct PromptJson {
    #[serde(flatten)]
    pub(super) path: output::PathJson,
    pub(super) asked: bool,
    pub(super) text: String,
}

#[derive(Serialize)]
pub(super) struct CursorJson {
    epoch: String,
    seq: u64,
}

pub(super) fn read(status: &AgentStatus) -> StatusJson {
    StatusJson {
        program: status.program.clone(),
        device_id: output::hex(&status.device_id),
        device: status.device_name.clone(),
        user: status.user_name.clone(),
        server: status.server.clone(),
        connection: connection(status.connection()),
        trouble: status.trouble.clone(),
        paused: status.paused,
        process_id: status.process_id,
        roots: status.roots.iter().map(read_root).collect(),
    }
}

fn read_root(root: &RootStatus) -> RootJson {
    let progress = root.progress.unwrap_or_default();
    let problems = root
        .problems
        .iter()
        .map(|problem| ProblemJson { path: output::PathJson::new(&problem.path), reason: problem.reason.clone() });
    RootJson {
        id: output::hex(&root.root_id),
        name: root.name.clone(),
        path: output::PathJson::new(&root.path),
        state: match root.state() {
            RootState::InSync => "in_sync",
            other => state(other),
        },
        role: roots::role(root.role()),
        entries: root.entries,
        outgoing: root.outgoing,
        outgoing_bytes: root.outgoing_bytes,
        incoming: root.incoming,
        incoming_bytes: root.incoming_bytes,
        conflicts: root.open_conflicts,
        hold: root.hold.clone(),
        problem_count: root.problem_count,
        problems: problems.collect(),
        progress: ProgressJson {
            scanned_entries: progress.scanned_entries,
            hashed_bytes: progress.hashed_bytes,
            hash_total_bytes: progress.hash_total_bytes,
            sent_bytes: progress.sent_bytes,
            send_total_bytes: progress.send_total_bytes,
            received_bytes: progress.received_bytes,
            receive_total_bytes: progress.receive_total_bytes,
        },
        cursor: root.cursor.map(|cursor| CursorJson { epoch: format!("{:016x}", cursor.epoch), seq: cursor.seq }),
    }
}

fn connection(connection: Connection) -> &'static str {
    match connection {
        Connection::Unspecified => "unknown",
        Connection::Offline => "offline",
        Connection::Quic => "quic",
        Connection::Tcp => "tcp",
        Connection::Revoked => "revoked",
    }
}
