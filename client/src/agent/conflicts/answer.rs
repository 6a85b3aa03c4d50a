//! Answers of the user on their way to sync-svc, which gives the last word on each.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::agent::v1::conflict_answer::Choice;
use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::answer::Choice as Said;
use quics_proto::sync::v1::answer_outcome::Outcome;
use quics_types::{Digest, EntryId, Name, limits};
use tokio::task::spawn_blocking;

use super::{Error, content, news};
use crate::account::call;
use crate::agent::{Core, Root};
use crate::engine::IngestFailure;
use crate::folder::Body;
use crate::transfer::{self, Failure};

/// Answers that one call may hold.
const ANSWERS: usize = 1024;

impl Core {
    /// Answers conflicts of a root, all of them or none.
    ///
    /// # Errors
    /// [`Error`] says what is in the way of them all; what is in the way of one is told as its outcome.
    pub(crate) async fn resolve(
        &self,
        root: &Arc<Root>,
        request: api::ResolveConflictsRequest,
    ) -> Result<api::ResolveConflictsResponse, Error> {
        Error::of_standing(self)?;
        if request.answers.is_empty() || request.answers.len() > ANSWERS {
            return Err(Error::Request("one call answers 1 to 1024 conflicts"));
        }
        if request.dry_run {
            return self.try_out(root, &request.answers).await;
        }
        let outcomes = self.problems(root, &request.answers).await;
        if outcomes.iter().any(|outcome| !outcome.problem.is_empty()) {
            return Ok(api::ResolveConflictsResponse { resolution_id: Bytes::new(), done: false, outcomes });
        }
        let mut answers = Vec::with_capacity(request.answers.len());
        for answer in request.answers {
            let choice = match answer.choice.ok_or(Error::Request("an answer without a choice"))? {
                Choice::Server(keep) => Said::KeepServer(keep),
                Choice::Candidate(key) => Said::KeepCandidate(key),
                Choice::Both(both) => Said::KeepBoth(both),
                Choice::Merged(file) => {
                    let at = PathBuf::from(std::ffi::OsStr::from_bytes(&file.path));
                    Said::KeepMerged(self.bring(root, at).await?)
                }
            };
            answers.push(sync::Answer { entry_id: answer.entry_id, revision: answer.revision, choice: Some(choice) });
        }
        self.answer(root, answers).await
    }

    /// Sends answers whose contents the server has, or that carry them.
    ///
    /// # Errors
    /// As [`Core::resolve`].
    pub(super) async fn answer(
        &self,
        root: &Arc<Root>,
        answers: Vec<sync::Answer>,
    ) -> Result<api::ResolveConflictsResponse, Error> {
        let id: [u8; 16] = quics_kit::random::bytes();
        let request = sync::ResolveRequest {
            root_id: Bytes::copy_from_slice(root.id.as_bytes()),
            resolution_id: Bytes::copy_from_slice(&id),
            answers,
            lease_id: Bytes::copy_from_slice(root.entry.lock().lease.as_bytes()),
        };
        let mut client = self.sync_client();
        let answered = match client.resolve(call(request.clone())).await {
            // It may have arrived: the same id makes the second one harmless.
            Err(status) if matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown) => {
                client.resolve(call(request)).await
            }
            answered => answered,
        };
        let response = match answered {
            Ok(response) => response.into_inner(),
            Err(status) => return Err(Error::of_answer(self, root, &status).await),
        };
        let told = response.outcomes.iter().filter_map(|outcome| match &outcome.outcome {
            Some(Outcome::Closed(closed)) => closed.resolution.as_ref(),
            _ => None,
        });
        let devices = told.flat_map(|it| [Some(&it.device_id), it.chosen.as_ref().map(|key| &key.device_id)]);
        let devices: Vec<Bytes> = devices.flatten().cloned().collect();
        let names = self.names(root.id, &devices).await;
        let outcomes = response.outcomes.into_iter().map(|outcome| api::ConflictOutcome {
            entry_id: outcome.entry_id.clone(),
            problem: news::problem(&outcome, &names),
            outcome: Some(outcome),
        });
        tracing::info!(root = %root.id, done = response.done, answers = outcomes.len(), "conflicts.answered");
        Ok(api::ResolveConflictsResponse {
            resolution_id: Bytes::copy_from_slice(&id),
            done: response.done,
            outcomes: outcomes.collect(),
        })
    }

    /// What can be told before anything is brought to the server, or that it cannot see to.
    async fn problems(&self, root: &Arc<Root>, answers: &[api::ConflictAnswer]) -> Vec<api::ConflictOutcome> {
        let remakes = |answer: &api::ConflictAnswer| matches!(answer.choice, Some(Choice::Both(_) | Choice::Merged(_)));
        if !answers.iter().any(remakes) {
            return Vec::new();
        }
        let listed = self.conflicts(root).await;
        let problem = |answer: &api::ConflictAnswer| {
            let found = listed.iter().find(|it| is_about(it, answer));
            let problem = own_name(answer).or_else(|| unit_problem(root, found?, answer)).unwrap_or_default();
            api::ConflictOutcome { entry_id: answer.entry_id.clone(), problem, outcome: None }
        };
        answers.iter().map(problem).collect()
    }

    /// Says what would stand in the way of answers, as far as this device knows.
    async fn try_out(
        &self,
        root: &Arc<Root>,
        answers: &[api::ConflictAnswer],
    ) -> Result<api::ResolveConflictsResponse, Error> {
        let listed = self.conflicts(root).await;
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            let problem = match listed.iter().find(|it| is_about(it, answer)) {
                None => "it is over".to_owned(),
                Some(found) if !found.may_answer => "you may not answer it".to_owned(),
                Some(found) => self.doubt(root, found, answer).await?,
            };
            outcomes.push(api::ConflictOutcome { entry_id: answer.entry_id.clone(), problem, outcome: None });
        }
        let done = outcomes.iter().all(|outcome| outcome.problem.is_empty());
        Ok(api::ResolveConflictsResponse { resolution_id: Bytes::new(), done, outcomes })
    }

    async fn doubt(
        &self,
        root: &Arc<Root>,
        found: &api::ListedConflict,
        answer: &api::ConflictAnswer,
    ) -> Result<String, Error> {
        let state = found.conflict.clone().unwrap_or_default();
        let there = |key: &sync::CandidateKey| {
            state
                .candidates
                .iter()
                .any(|it| it.device_id == key.device_id && (it.role, it.number) == (key.role, key.number))
        };
        let gone = || "the version that you chose is not there".to_owned();
        if state.revision != answer.revision {
            return Ok("it has changed since you saw it".to_owned());
        }
        if let Some(problem) = own_name(answer).or_else(|| unit_problem(root, found, answer)) {
            return Ok(problem);
        }
        Ok(match &answer.choice {
            None => return Err(Error::Request("an answer without a choice")),
            Some(Choice::Server(_)) => String::new(),
            Some(Choice::Candidate(key)) => {
                if there(key) {
                    String::new()
                } else {
                    gone()
                }
            }
            Some(Choice::Merged(file)) => {
                let at = PathBuf::from(std::ffi::OsStr::from_bytes(&file.path));
                open(at).await?;
                String::new()
            }
            Some(Choice::Both(both)) => {
                let dead = found.row.as_ref().is_some_and(|row| row.tombstone);
                for named in &both.candidates {
                    if !named.candidate.as_ref().is_some_and(there) {
                        return Ok(gone());
                    }
                    if let Some(problem) = name_problem(root, found, &named.name, dead).await {
                        return Ok(problem);
                    }
                }
                String::new()
            }
        })
    }

    /// Reads a file that a person made of the sides, and brings it to the server where it is large.
    async fn bring(&self, root: &Arc<Root>, at: PathBuf) -> Result<sync::KeepMerged, Error> {
        let (file, size, modified_at) = open(at.clone()).await?;
        let unusable = |reason: String| Error::Merged { at: at.clone(), reason };
        if size > limits::INLINE_BYTES as u64 {
            let content = transfer::send(&self.remote(root), &Arc::default(), Body::File(file), size).await;
            let content = content.map_err(|failure| match failure {
                IngestFailure::Changed => unusable("it was written to meanwhile".to_owned()),
                IngestFailure::Unreadable(reason) => unusable(reason),
                IngestFailure::Offline => Error::Content(Failure::Offline("the connection broke off".to_owned())),
                IngestFailure::Refused(reason) => Error::Content(Failure::Refused(reason)),
            })?;
            return Ok(merged(content, size, modified_at, None));
        }
        let mut bytes = Vec::new();
        let read =
            spawn_blocking(move || file.take(limits::INLINE_BYTES as u64 + 1).read_to_end(&mut bytes).map(|_| bytes));
        let bytes = read.await.map_err(std::io::Error::other).and_then(|read| read);
        let bytes = Bytes::from(bytes.map_err(|error| unusable(error.to_string()))?);
        inline(bytes, modified_at).ok_or_else(|| unusable("it was written to meanwhile".to_owned()))
    }
}

/// A merged content that is small enough to go with the answer; `None` if it is not.
pub(super) fn inline(bytes: Bytes, modified_at: Option<prost_types::Timestamp>) -> Option<sync::KeepMerged> {
    if bytes.len() > limits::INLINE_BYTES {
        return None;
    }
    let (content, _, _) = quics_chunks::inline_content(&bytes).ok()?;
    Some(merged(content, bytes.len() as u64, modified_at, Some(bytes)))
}

pub(super) fn merged(
    content: Digest,
    size: u64,
    modified_at: Option<prost_types::Timestamp>,
    inline_content: Option<Bytes>,
) -> sync::KeepMerged {
    let file = common::File { content_id: Bytes::copy_from_slice(content.as_bytes()), size };
    let value = Some(common::Value { kind: Some(common::value::Kind::File(file)) });
    sync::KeepMerged { value, modified_at, inline_content }
}

/// Opens the file of a merged content.
async fn open(at: PathBuf) -> Result<(File, u64, Option<prost_types::Timestamp>), Error> {
    let asked = at.clone();
    let opened = spawn_blocking(move || {
        let (file, size) = content::open(&asked)?;
        let stat = rustix::fs::fstat(&file)?;
        let modified =
            prost_types::Timestamp { seconds: stat.st_mtime, nanos: i32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        Ok::<_, std::io::Error>((file, size, Some(modified)))
    });
    let opened = opened.await.map_err(std::io::Error::other).and_then(|opened| opened);
    opened.map_err(|error| Error::Merged { at, reason: error.to_string() })
}

fn is_about(listed: &api::ListedConflict, answer: &api::ConflictAnswer) -> bool {
    listed.conflict.as_ref().is_some_and(|conflict| conflict.entry_id == answer.entry_id)
}

/// Why an answer is none whatever it is about: nothing in a root is called as every device's own directory is.
fn own_name(answer: &api::ConflictAnswer) -> Option<String> {
    let Some(Choice::Both(both)) = &answer.choice else { return None };
    let own = both.candidates.iter().any(|it| it.name == Name::OWN.as_bytes());
    own.then(|| format!("the name \"{}\" is every device's own: give another with --name", Name::OWN))
}

/// Why an answer is none for a directory that is one thing with everything in it: nothing can be made of its parts, and
/// under another kind of name it would not stay one.
fn unit_problem(root: &Root, found: &api::ListedConflict, answer: &api::ConflictAnswer) -> Option<String> {
    let server = found.row.iter().filter_map(|row| row.value.as_ref());
    let candidates = found.conflict.iter().flat_map(|it| &it.candidates).filter_map(|it| it.value.as_ref());
    if !server.chain(candidates).any(|value| matches!(value.kind, Some(common::value::Kind::Unit(_)))) {
        return None;
    }
    let unit = crate::text::bytes(found.row.as_ref().and_then(|row| row.place.as_ref()).map_or(&[][..], |it| &it.name));
    match &answer.choice {
        Some(Choice::Merged(_)) => {
            Some(format!("\"{unit}\" is one thing with everything in it and cannot be merged: keep one side, or both"))
        }
        Some(Choice::Both(both)) => {
            let units = root.entry.lock().units.clone();
            let named = |name: &Bytes| Name::new(name.clone()).is_ok_and(|name| units.is_unit(&name));
            let wrong = both.candidates.iter().find(|it| !named(&it.name))?;
            let wrong = crate::text::bytes(&wrong.name);
            Some(format!(
                "under the name \"{wrong}\" it would not stay one thing with everything in it: call it \"{unit} (…)\", or keep \
                 one side and fetch the other with `quics conflicts get`"
            ))
        }
        _ => None,
    }
}

/// Why a second version cannot have a name, as far as this device knows.
async fn name_problem(root: &Root, found: &api::ListedConflict, name: &Bytes, dead: bool) -> Option<String> {
    let shown = crate::text::bytes(name);
    let Ok(name) = Name::new(name.clone()) else {
        return Some(format!("the name \"{shown}\" cannot be used: give another with --name"));
    };
    let place = found.row.as_ref()?.place.as_ref()?;
    let parent = EntryId::from_slice(&place.parent_id).ok()?;
    if dead && place.name == name.as_bytes() {
        return None;
    }
    let place = quics_types::Place { parent, name };
    let taken = root.ask(move |engine| engine.taken(&place)).await?;
    taken.then(|| format!("the name \"{shown}\" exists already: give another with --name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_under_the_name_of_a_devices_own_directory() {
        let both = |names: &[&'static str]| {
            let named = |name: &&'static str| sync::NamedCandidate { name: (*name).into(), ..Default::default() };
            let choice = Choice::Both(sync::KeepBoth { candidates: names.iter().map(named).collect() });
            api::ConflictAnswer { choice: Some(choice), ..Default::default() }
        };
        assert!(own_name(&both(&["a", ".quics"])).unwrap().contains("every device's own"));
        assert_eq!(own_name(&both(&["a", ".quicsignore"])), None);
        assert_eq!(own_name(&api::ConflictAnswer::default()), None);
    }
}
