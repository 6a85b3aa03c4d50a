//! `quics resolve`

use std::io::IsTerminal as _;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use quics_proto::agent::v1::{
    ConflictAnswer, ConflictOutcome, ListResolutionsRequest, ResolveConflictsRequest, UndoResolutionRequest,
};

use super::failure::{DONE, FAILED, USAGE};
use super::sides::{Conflict, Take, told};
use super::{Context, Failure, conflicts, context, output, rescan};
use crate::agent::conflicts::label;
use crate::api;
use crate::text;

mod merging;
mod show;
mod walk;
mod whole;

/// Answers that go to the server at once.
const AT_ONCE: usize = 1024;

/// Choose between the sides of conflicts, or take a choice back
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("which").args(["path", "glob", "group"])),
    after_help = "\
Without --take, on a terminal, it goes through the open conflicts and asks. A choice is a new version like any other: it
reaches every device, and what it did not keep stays on the server.

SIDE is one of
  server    what the server has, and everybody else sees
  mine      what this device has
  newest    the side that was modified last
  both      the server's, and every other beside it under a second name (shown by `quics conflicts --json`)
  merged    texts whose changes do not touch each other; or --file, or what --tool makes
  NAME      what the device of that name has, also USER/NAME

Examples:
  quics resolve
  quics resolve ~/Documents/plan.odt --take mine
  quics resolve ~/Documents/plan.odt --take both --name plan-2.odt
  quics resolve ~/Documents/plan.odt --take mine --revision 1042
  quics resolve --glob '*.lock' --take newest --dry-run
  quics resolve ~/notes.txt --take merged --tool 'meld $SERVER $MERGED $MINE'
  quics resolve --undo"
)]
pub(super) struct Resolve {
    /// A file in conflict, or a directory: everything below it
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Only what matches, as a line of .quicsignore would, in all synced folders
    #[arg(long, value_name = "PATTERN")]
    glob: Option<String>,
    /// Only the conflicts of a group that `quics conflicts` shows
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// The side to take
    #[arg(long, value_name = "SIDE")]
    take: Option<String>,
    /// Only the conflict that `quics conflicts --json` showed with this revision, and only while it is as it was then
    #[arg(long, value_name = "N", requires = "path", requires = "take")]
    revision: Option<u64>,
    /// With --take both: the second version's name
    #[arg(long, value_name = "NAME")]
    name: Option<PathBuf>,
    /// With --take merged: the merged file, made by you
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A merge tool: gets the files $SERVER, $BASE and $MINE, and writes $MERGED
    #[arg(long, value_name = "CMD", env = "QUICS_MERGE_TOOL", hide_env = true)]
    tool: Option<String>,
    /// Only say what would be done
    #[arg(long, requires = "take")]
    dry_run: bool,
    /// Take a choice back: the one with this id, or your newest
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["which", "take"])]
    undo: Option<String>,
    /// List what was chosen, the newest first
    #[arg(long, conflicts_with_all = ["which", "take", "undo"])]
    history: bool,
}

impl Resolve {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        if let Some(id) = &self.undo {
            return undo(&mut agent, id).await;
        }
        if self.history {
            return history(&mut agent).await;
        }
        let chosen = self.chosen(&mut agent).await?;
        let Some(take) = &self.take else {
            let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            if !terminal {
                conflicts::print(&chosen)?;
                return Err(Failure {
                    code: USAGE,
                    text: "there is no terminal to ask at: say which side with --take".to_owned(),
                });
            }
            return walk::Walk::new(context, agent, self.tool.clone()).run(chosen).await;
        };
        if chosen.is_empty() {
            output::line("There are no open conflicts.")?;
            return Ok(DONE);
        }
        // A `FromStr` that takes everything.
        let take: Take = take.parse().unwrap_or(Take::Server);
        self.take(context, &mut agent, &chosen, &take).await
    }

    /// The conflicts that are meant.
    async fn chosen(&self, agent: &mut api::Client) -> Result<Vec<Conflict>, Failure> {
        let mut found = conflicts::list(agent, self.path.clone()).await?;
        if let Some(pattern) = &self.glob {
            let rules = rules(pattern)?;
            let any = !found.is_empty();
            found.retain(|conflict| {
                let path = std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
                    conflict.relative(),
                ));
                rules.matched_path_or_any_parents(path, false).is_ignore()
            });
            if any && found.is_empty() {
                return Err(Failure::new(format!(
                    "no open conflict matches \"{}\": `quics conflicts` shows them",
                    text::line(pattern)
                )));
            }
        }
        if let Some(group) = &self.group {
            found.retain(|conflict| conflict.listed.group_id == *group);
            if found.is_empty() {
                return Err(Failure::new(format!(
                    "no open conflict is in the group \"{}\": `quics conflicts` shows them",
                    text::line(group)
                )));
            }
        }
        if let (true, Some(path)) = (found.is_empty(), self.path.clone())
            && (!context::place(&path)?.is_dir() || conflicts::was_about_a_unit(agent, path.clone()).await?)
        {
            // Says that there is none, or who answered it.
            found.push(conflicts::find(agent, path).await?);
        }
        if let Some(revision) = self.revision {
            found.retain(|conflict| conflict.state.revision == revision);
            if found.is_empty() {
                return Err(Failure::new(format!(
                    "no conflict has the revision {revision} any more: `quics conflicts --json` shows how it stands"
                )));
            }
        }
        Ok(found)
    }

    async fn take(
        &self,
        context: &Context,
        agent: &mut api::Client,
        chosen: &[Conflict],
        take: &Take,
    ) -> Result<u8, Failure> {
        let name = self.name.as_deref().map(context::bytes);
        for (option, given, fits) in
            [("--name", name.is_some(), *take == Take::Both), ("--file", self.file.is_some(), *take == Take::Merged)]
        {
            if given && !fits {
                let wanted = if option == "--name" { "both" } else { "merged" };
                return Err(Failure::usage(format!("{option} goes with --take {wanted}")));
            }
            if given && chosen.len() > 1 {
                return Err(Failure::usage(format!("{option} is for one conflict: give its path")));
            }
        }
        // Files that were merged here live until the answers are given.
        let mut benches = Vec::new();
        let mut answers = Vec::with_capacity(chosen.len());
        for conflict in chosen {
            let answer = match take {
                Take::Both => conflict.keep_both(name.as_ref()),
                Take::Merged => match &self.file {
                    Some(file) => {
                        let merged = context::place(file)?;
                        let given = merging::given(agent, conflict, &merged).await?;
                        given.map(|()| conflict.keep_merged(context::bytes(&merged)))
                    }
                    None => match merging::merge(context, agent, conflict, self.tool.as_deref()).await? {
                        Ok((bench, merged)) => {
                            benches.push(bench);
                            Ok(conflict.keep_merged(context::bytes(&merged)))
                        }
                        Err(reason) => Err(reason),
                    },
                },
                side => conflict.keep(side),
            };
            answers.push(answer.map_err(|reason| Failure::new(format!("{}: {reason}", conflict.path())))?);
        }
        let mut done = true;
        for (conflicts, answers) in calls(chosen, answers) {
            let outcome = send(agent, &conflicts, answers.clone(), self.dry_run).await?;
            done &= outcome.done;
            report(&conflicts, &answers, &outcome, self.dry_run)?;
        }
        Ok(if done { DONE } else { FAILED })
    }
}

/// What came of answers that were sent at once.
pub(super) struct Sent {
    pub(super) done: bool,
    pub(super) id: Bytes,
    pub(super) outcomes: Vec<ConflictOutcome>,
}

/// Sends answers of one root.
pub(super) async fn send(
    agent: &mut api::Client,
    conflicts: &[&Conflict],
    answers: Vec<ConflictAnswer>,
    dry_run: bool,
) -> Result<Sent, Failure> {
    let root_id = conflicts.first().map(|conflict| conflict.listed.root_id.clone()).unwrap_or_default();
    let response = agent.resolve_conflicts(ResolveConflictsRequest { root_id, answers, dry_run }).await?.into_inner();
    Ok(Sent { done: response.done, id: response.resolution_id, outcomes: response.outcomes })
}

/// Says what was done, or what stands in the way.
pub(super) fn report(
    conflicts: &[&Conflict],
    answers: &[ConflictAnswer],
    sent: &Sent,
    dry_run: bool,
) -> Result<(), Failure> {
    if !sent.done {
        let problems = conflicts.iter().zip(&sent.outcomes).filter(|(_, outcome)| !outcome.problem.is_empty());
        for (conflict, outcome) in problems {
            eprintln!("quics: {}: {}", conflict.path(), outcome.problem);
        }
        if !dry_run && conflicts.len() > 1 {
            eprintln!(
                "quics: none of these {} was answered: they are answered together or not at all",
                conflicts.len()
            );
        }
        return Ok(());
    }
    for (conflict, answer) in conflicts.iter().zip(answers) {
        let would = if dry_run { " (not done: --dry-run)" } else { "" };
        output::line(format_args!("{}: {}{would}", conflict.path(), told(conflict, answer)))?;
    }
    if !dry_run {
        let id = output::hex(sent.id.get(..4).unwrap_or_default());
        output::line(format_args!("Taken back with `quics resolve --undo {id}`."))?;
    }
    Ok(())
}

/// Puts answers together that go to the server at once: of one root, and no more than it takes.
fn calls(chosen: &[Conflict], answers: Vec<ConflictAnswer>) -> Vec<(Vec<&Conflict>, Vec<ConflictAnswer>)> {
    let mut calls: Vec<(Vec<&Conflict>, Vec<ConflictAnswer>)> = Vec::new();
    for (conflict, answer) in chosen.iter().zip(answers) {
        let root = |other: &&Conflict| other.listed.root_id == conflict.listed.root_id;
        match calls.iter_mut().rev().find(|(conflicts, _)| conflicts.first().is_some_and(root)) {
            Some((conflicts, answers)) if conflicts.len() < AT_ONCE => {
                conflicts.push(conflict);
                answers.push(answer);
            }
            _ => calls.push((vec![conflict], vec![answer])),
        }
    }
    calls
}

/// Conflicts by their groups, in the order in which the groups begin.
pub(super) fn grouped(conflicts: &[Conflict]) -> Vec<Vec<&Conflict>> {
    let mut groups: Vec<Vec<&Conflict>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for conflict in conflicts {
        let key = (&conflict.listed.root_id, &conflict.listed.group_id);
        let index = *known.entry(key).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.push(conflict),
            None => groups.push(vec![conflict]),
        }
    }
    groups
}

fn rules(pattern: &str) -> Result<Gitignore, Failure> {
    let wrong = |error: ignore::Error| Failure::usage(format!("this pattern cannot be used: {error}"));
    let mut builder = GitignoreBuilder::new("");
    builder.add_line(None, pattern).map_err(wrong)?;
    let rules = builder.build().map_err(wrong)?;
    if rules.num_ignores() == 0 {
        return Err(Failure::usage("this pattern cannot be used: it says nothing, or what not to take"));
    }
    Ok(rules)
}

async fn undo(agent: &mut api::Client, id: &str) -> Result<u8, Failure> {
    let undone = agent.undo_resolution(UndoResolutionRequest { resolution: id.to_owned() }).await?.into_inner();
    for path in &undone.reopened {
        output::line(format_args!("{} is open again.", text::bytes(path)))?;
    }
    for path in &undone.changed {
        eprintln!("quics: {} was changed since and stays as it is", text::bytes(path));
    }
    Ok(if undone.reopened.is_empty() && !undone.changed.is_empty() { FAILED } else { DONE })
}

async fn history(agent: &mut api::Client) -> Result<u8, Failure> {
    let request = ListResolutionsRequest { path: rescan::optional(None)? };
    let mut listed = agent.list_resolutions(request).await?.into_inner().resolutions;
    let at = |it: &quics_proto::agent::v1::ListedResolution| {
        it.resolution.as_ref().and_then(|it| it.resolved_at).map(|at| (at.seconds, at.nanos))
    };
    listed.sort_by_key(|it| std::cmp::Reverse(at(it)));
    let row = |it: &quics_proto::agent::v1::ListedResolution| {
        let resolution = it.resolution.clone().unwrap_or_default();
        let what = match it.paths.as_slice() {
            [] => text::count(resolution.entry_ids.len() as u64, "conflict"),
            [only] => text::bytes(only).to_string(),
            [first, rest @ ..] => format!("{} and {} more", text::bytes(first), rest.len()),
        };
        vec![
            output::hex(resolution.resolution_id.get(..4).unwrap_or_default()),
            output::when(resolution.resolved_at),
            it.author.as_ref().map_or_else(|| "the server".to_owned(), label),
            if resolution.undone { "taken back".to_owned() } else { String::new() },
            what,
        ]
    };
    output::table(&["ID", "WHEN", "BY", "", "WHAT"], &listed.iter().map(row).collect::<Vec<_>>())?;
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sides::tests::conflict;

    fn conflicts(groups: &[(u8, &str)]) -> Vec<Conflict> {
        let make = |(root, group): &(u8, &str)| {
            let mut made = conflict(false);
            (made.listed.root_id, made.listed.group_id) = (vec![*root; 16].into(), (*group).to_owned());
            made
        };
        groups.iter().map(make).collect()
    }

    #[test]
    fn answers_go_together_by_root_and_as_many_as_the_server_takes() {
        let mut all = conflicts(&[(1, "a"), (2, "a"), (1, "b")]);
        all.extend(conflicts(&[(1, "c")]).into_iter().cycle().take(AT_ONCE));
        let answers = vec![ConflictAnswer::default(); all.len()];
        let sizes: Vec<usize> = calls(&all, answers).iter().map(|(conflicts, _)| conflicts.len()).collect();
        assert_eq!(sizes, [AT_ONCE, 1, 2]);
    }

    #[test]
    fn a_group_is_of_one_root() {
        let all = conflicts(&[(1, "a"), (2, "a"), (1, "b"), (1, "a")]);
        let sizes: Vec<usize> = grouped(&all).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn patterns_are_those_of_ignore_files() {
        let matches = |pattern: &str, path: &str| {
            rules(pattern).unwrap().matched_path_or_any_parents(std::path::Path::new(path), false).is_ignore()
        };
        assert!(matches("*.lock", "a/b/Cargo.lock") && matches("/a/", "a/b") && !matches("/b", "a/b"));
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_wrong_use() {
        for wrong in ["", "  ", "# a", "!a", "a{b", "[z-a]"] {
            let failure = rules(wrong).map(|_| wrong).unwrap_err();
            assert_eq!(failure.code, USAGE, "{wrong:?}");
            assert!(failure.text.starts_with("this pattern cannot be used: "), "{}", failure.text);
        }
    }
}
