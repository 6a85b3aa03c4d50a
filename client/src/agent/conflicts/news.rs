//! News of conflicts, and why answers do not hold, in sentences.

use quics_proto::agent::v1 as api;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::answer_outcome::Outcome;

use super::Names;
use crate::text::{bytes, line};

/// Who answered what, when: "right kept the server's version, 2025-04-01 12:30".
pub(super) fn answered(resolution: &sync::Resolution, names: &Names) -> String {
    let who = names.label(&resolution.device_id);
    let what = match resolution.choice() {
        sync::ResolutionChoice::Server => "kept the server's version".to_owned(),
        sync::ResolutionChoice::Candidate => match &resolution.chosen {
            Some(chosen) if chosen.device_id == resolution.device_id => "kept its own version".to_owned(),
            Some(chosen) => format!("kept the version of {}", names.label(&chosen.device_id)),
            None => "kept another version".to_owned(),
        },
        sync::ResolutionChoice::Both => "kept both".to_owned(),
        sync::ResolutionChoice::Merged => "merged them".to_owned(),
        sync::ResolutionChoice::Undo => "took an answer back".to_owned(),
        sync::ResolutionChoice::Unspecified => "answered it".to_owned(),
    };
    format!("{who} {what}, {}", when(resolution.resolved_at))
}

/// A moment by this computer's clock and time zone.
fn when(time: Option<prost_types::Timestamp>) -> String {
    let at = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    at.map_or_else(
        || "at an unknown time".to_owned(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// What stands in the way of an answer; empty where nothing does.
pub(super) fn problem(outcome: &sync::AnswerOutcome, names: &Names) -> String {
    match &outcome.outcome {
        Some(Outcome::Resolved(_)) => String::new(),
        Some(Outcome::Stale(_)) => "it has changed since you saw it: look at it again".to_owned(),
        Some(Outcome::Closed(closed)) => match &closed.resolution {
            Some(resolution) => format!("it is over: {}", answered(resolution, names)),
            None => "it is over: the other side was taken back".to_owned(),
        },
        Some(Outcome::CandidateGone(_)) => {
            "the version that you chose is not there any more: look at it again".to_owned()
        }
        Some(Outcome::BadName(bad)) => {
            format!(
                "the name \"{}\" cannot be used ({}): give another with --name",
                bytes(&bad.name),
                line(&bad.reason)
            )
        }
        Some(Outcome::Missing(_)) => "the server has not got all of the merged content: try again".to_owned(),
        Some(Outcome::NotPossible(not)) => format!("that cannot be: {}", line(&not.reason)),
        None => "the server does not say why".to_owned(),
    }
}

/// What a prompt says, in one sentence.
pub(super) fn sentence(listed: &api::ListedConflict, news: sync::PromptNews, names: &Names) -> String {
    let path = bytes(&listed.path).to_string();
    let state = listed.conflict.clone().unwrap_or_default();
    let mut sides: Vec<String> = state.candidates.iter().map(|it| names.label(&it.device_id)).collect();
    sides.extend(listed.author.as_ref().map(super::label));
    sides.sort();
    sides.dedup();
    let sides = match sides.as_slice() {
        [] => "several devices".to_owned(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    };
    let choose = if listed.may_answer { ": choose with `quics resolve`" } else { "" };
    let resolution = || {
        let told = state.resolution.as_ref().map(|resolution| answered(resolution, names));
        told.unwrap_or_else(|| "it was answered".to_owned())
    };
    match news {
        sync::PromptNews::Resolved => format!("{path} is settled: {}", resolution()),
        sync::PromptNews::Reopened => format!("{path} is open again: {}", resolution()),
        sync::PromptNews::Withdrawn if state.candidates.is_empty() => {
            format!("{path} is settled by itself: the other side was taken back")
        }
        sync::PromptNews::Withdrawn => format!("{path}: one side was taken back, others are open{choose}"),
        sync::PromptNews::NewVersion => format!("{path} is in conflict and has a new version on the server{choose}"),
        sync::PromptNews::Reminder => format!("{path} still waits for a choice between {sides}{choose}"),
        sync::PromptNews::Open | sync::PromptNews::NewCandidate | sync::PromptNews::Unspecified => {
            format!("{path} was changed by {sides} without knowing of each other{choose}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(outcome: Outcome) -> sync::AnswerOutcome {
        sync::AnswerOutcome { entry_id: vec![1; 16].into(), outcome: Some(outcome) }
    }

    #[test]
    fn an_answer_that_came_too_late_says_who_chose_what_and_when() {
        let chosen =
            sync::CandidateKey { device_id: vec![7; 16].into(), role: sync::CandidateRole::Own as i32, number: 0 };
        let resolution = sync::Resolution {
            device_id: vec![8; 16].into(),
            resolved_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            choice: sync::ResolutionChoice::Candidate as i32,
            chosen: Some(chosen),
            ..Default::default()
        };
        let closed = outcome(Outcome::Closed(sync::Closed { resolution: Some(resolution) }));
        let told = problem(&closed, &Names::default());
        assert!(told.contains("device 08080808 kept the version of device 07070707, 2023-11-1"), "{told}");
    }

    #[test]
    fn a_name_that_the_server_sends_back_drives_no_terminal() {
        let bad = sync::BadName { name: (&b"a\x1b[2J"[..]).into(), reason: "taken\u{7}".to_owned() };
        let told = problem(&outcome(Outcome::BadName(bad)), &Names::default());
        assert!(!told.chars().any(char::is_control) && told.contains("--name"), "{told}");
    }

    #[test]
    fn what_holds_is_no_problem() {
        assert_eq!(problem(&outcome(Outcome::Resolved(sync::Resolved::default())), &Names::default()), "");
    }
}
