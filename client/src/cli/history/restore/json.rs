//! A restore for programs.

use bytes::Bytes;
use quics_proto::common::v1::{Value, value::Kind};
use quics_proto::history::v1::{RestoreChange, RestoreKind, RestoreSummary};
use serde::Serialize;

use super::Restored;
use crate::cli::output;

/// One change that a restore would make.
#[derive(Serialize)]
pub(super) struct ChangeJson {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<StateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<StateJson>,
    late: bool,
    /// Why its content is not kept any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<String>,
}

/// What something is before or after it.
#[derive(Serialize)]
struct StateJson {
    #[serde(flatten)]
    path: output::PathJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl StateJson {
    fn new(path: &Bytes, value: Option<&Value>) -> Option<Self> {
        let (kind, size) = match value.and_then(|value| value.kind.as_ref()) {
            None => (None, None),
            Some(Kind::Directory(_)) => (Some("directory"), None),
            Some(Kind::File(file)) => (Some("file"), Some(file.size)),
            Some(Kind::Unit(unit)) => (Some("unit"), Some(unit.size)),
            Some(Kind::Link(_)) => (Some("link"), None),
        };
        (!path.is_empty()).then(|| Self { path: output::PathJson::new(path), kind, size })
    }
}

impl ChangeJson {
    pub(super) fn new(change: &RestoreChange) -> Self {
        Self {
            change: match change.kind() {
                RestoreKind::Unspecified => "unknown",
                RestoreKind::Create => "create",
                RestoreKind::Change => "change",
                RestoreKind::Move => "move",
                RestoreKind::Delete => "delete",
                RestoreKind::Lost => "lost",
                RestoreKind::Stays => "stays",
            },
            now: StateJson::new(&change.path_now, change.now.as_ref()),
            then: StateJson::new(&change.path_then, change.then.as_ref()),
            late: change.late,
            removed: change.removed.as_ref().map(|removed| removed.why.clone()),
        }
    }
}

/// All that it would change, and what came of it.
#[derive(Serialize)]
pub(super) struct DoneJson {
    id: Option<String>,
    created: u64,
    changed: u64,
    moved: u64,
    deleted: u64,
    unchanged: u64,
    stays: u64,
    lost: u64,
    late: u64,
    bytes: u64,
    done: bool,
    made: u64,
    left_out: Vec<output::PathJson>,
}

impl DoneJson {
    pub(super) fn new(summary: &RestoreSummary, restored: Option<&Restored>) -> Self {
        let RestoreSummary { created, changed, moved, deleted, unchanged, stays, lost, late, bytes, .. } = *summary;
        Self {
            id: restored.map(|restored| output::hex(&restored.id)),
            created,
            changed,
            moved,
            deleted,
            unchanged,
            stays,
            lost,
            late,
            bytes,
            done: restored.is_some_and(|restored| restored.state.finished),
            made: restored.map_or(0, |restored| restored.state.made),
            left_out: restored.map(Restored::left_out_json).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use quics_proto::common::v1::File;

    use super::*;

    #[test]
    fn a_change_says_what_was_and_what_comes_with_kinds_and_sizes() {
        let file = |size| Some(Value { kind: Some(Kind::File(File { size, ..Default::default() })) });
        let change = RestoreChange {
            kind: RestoreKind::Change as i32,
            path_now: "a".into(),
            path_then: "b".into(),
            now: file(7),
            then: file(9),
            ..Default::default()
        };
        let told = serde_json::to_string(&ChangeJson::new(&change)).unwrap();
        let (now, then) = (r#"{"path":"a","kind":"file","size":7}"#, r#"{"path":"b","kind":"file","size":9}"#);
        assert_eq!(told, format!(r#"{{"change":"change","now":{now},"then":{then},"late":false}}"#));
    }

    #[test]
    fn what_stays_is_counted() {
        let summary = RestoreSummary { stays: 3, lost: 1, ..Default::default() };
        let told = serde_json::to_value(DoneJson::new(&summary, None)).unwrap();
        assert_eq!((&told["stays"], &told["lost"], &told["done"]), (&3.into(), &1.into(), &false.into()));
    }
}
