//! The walk through open conflicts, at a terminal.
//!
//! Each question shows what it is about as it is then, and is answered by a letter, or by a side's number or name. What
//! has changed while the person thought is shown anew and asked again.

use std::io::{BufRead as _, Write as _};

use bytes::Bytes;
use console::style;
use quics_proto::agent::v1::ConflictAnswer;
use quics_proto::sync::v1::answer_outcome::Outcome;

use super::merging::{self, Texts};
use super::show::{self, Shown};
use super::{grouped, report, send};
use crate::api;
use crate::cli::failure::{DONE, WAITING};
use crate::cli::files::Workbench;
use crate::cli::sides::{Conflict, Take};
use crate::cli::{Context, Failure, conflicts, context, output};
use crate::merge::Merged;
use crate::text;

/// Paths of a group that are listed.
const LISTED: usize = 10;

/// What a question ended with.
enum Next {
    Go,
    Quit,
}

/// A walk through conflicts.
pub(super) struct Walk<'a> {
    context: &'a Context,
    agent: api::Client,
    tool: Option<String>,
    skipped: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(context: &'a Context, agent: api::Client, tool: Option<String>) -> Self {
        Self { context, agent, tool: tool.filter(|tool| !tool.trim().is_empty()), skipped: 0 }
    }

    /// Asks about each of these conflicts.
    pub(super) async fn run(mut self, all: Vec<Conflict>) -> Result<u8, Failure> {
        if all.is_empty() {
            output::line("There are no open conflicts.")?;
            return Ok(DONE);
        }
        let groups: Vec<Vec<Conflict>> =
            grouped(&all).into_iter().map(|group| group.into_iter().cloned().collect()).collect();
        let count = groups.len();
        for (index, group) in groups.into_iter().enumerate() {
            let place = format!("{}/{count}", index + 1);
            let next = match <[Conflict; 1]>::try_from(group) {
                Ok([only]) => self.one(only, &place).await?,
                Err(group) => self.group(group, &place).await?,
            };
            if let Next::Quit = next {
                return Ok(WAITING);
            }
        }
        Ok(if self.skipped > 0 { WAITING } else { DONE })
    }

    /// Asks about a group.
    async fn group(&mut self, group: Vec<Conflict>, place: &str) -> Result<Next, Failure> {
        let directory = text::bytes(&group[0].listed.group_path).to_string();
        let count = text::count(group.len() as u64, "conflict");
        output::line(format_args!("\n[{place}] {}", style(format!("{count} below {directory}")).bold()))?;
        for conflict in group.iter().take(LISTED) {
            let sides: Vec<_> = conflict.sides.iter().map(|side| format!("{}: {}", side.name(), side.what())).collect();
            output::line(format_args!("  {}  {}", text::bytes(conflict.relative()), style(sides.join(" · ")).dim()))?;
        }
        if group.len() > LISTED {
            output::line(format_args!("  … and {} more", group.len() - LISTED))?;
        }
        let mine = group.iter().all(|conflict| conflict.side(&Take::Mine).is_ok());
        let both = group.iter().all(|conflict| !conflict.seconds().is_empty());
        let mut choices = vec![("s", "keep the server's, of all")];
        choices.extend(mine.then_some(("m", "keep mine, of all")));
        choices.extend(both.then_some(("b", "keep both, of all")));
        choices.extend([("n", "keep the newest of each"), ("o", "one by one"), ("k", "skip"), ("q", "quit")]);
        loop {
            let take = match self.ask(&choices)?.as_str() {
                "s" => Take::Server,
                "m" if mine => Take::Mine,
                "b" if both => Take::Both,
                "n" => Take::Newest,
                "o" => return self.each(group, place).await,
                "k" => {
                    self.skipped += group.len() as u64;
                    return Ok(Next::Go);
                }
                "q" => return Ok(Next::Quit),
                other => {
                    // A device's name, where it has a side in all of them.
                    let take = Take::Device(other.to_owned());
                    if let Some(Err(reason)) = group.iter().map(|conflict| conflict.side(&take)).find(Result::is_err) {
                        output::line(format_args!("  {reason}"))?;
                        continue;
                    }
                    take
                }
            };
            let answer = |conflict: &Conflict| match take {
                Take::Both => conflict.keep_both(None),
                _ => conflict.keep(&take),
            };
            let answers: Result<Vec<ConflictAnswer>, String> = group.iter().map(answer).collect();
            match answers {
                Err(reason) => output::line(format_args!("  {reason}"))?,
                Ok(answers) => {
                    let mut done = true;
                    for (conflicts, answers) in super::calls(&group, answers) {
                        let sent = send(&mut self.agent, &conflicts, answers.clone(), false).await?;
                        report(&conflicts, &answers, &sent, false)?;
                        done &= sent.done;
                    }
                    // What stood in the way of some is asked about one by one.
                    return if done { Ok(Next::Go) } else { self.each(group, place).await };
                }
            }
        }
    }

    async fn each(&mut self, group: Vec<Conflict>, place: &str) -> Result<Next, Failure> {
        let count = group.len();
        for (index, conflict) in group.into_iter().enumerate() {
            // It may have changed, or be over, while others were asked about.
            let Some(conflict) = self.again(&conflict).await? else { continue };
            if let Next::Quit = self.one(conflict, &format!("{place}, {}/{count}", index + 1)).await? {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    /// Asks about one conflict until it is answered, over, or left.
    async fn one(&mut self, mut conflict: Conflict, place: &str) -> Result<Next, Failure> {
        loop {
            let since = output::when(conflict.listed.since);
            output::line(format_args!("\n[{place}] {}  (since {since})", style(conflict.path()).bold()))?;
            show::sides(&mut self.agent, &conflict).await?;
            let shown = show::difference(&mut self.agent, &conflict, show::LINES).await?;
            if !conflict.listed.may_answer {
                output::line("  You may not answer it; others will.")?;
                self.skipped += 1;
                return Ok(Next::Go);
            }
            let (answer, _bench) = match self.choose(&conflict, &shown).await? {
                Chosen::Answer(answer, bench) => (answer, bench),
                Chosen::Skip => {
                    self.skipped += 1;
                    return Ok(Next::Go);
                }
                Chosen::Quit => return Ok(Next::Quit),
            };
            let sent = send(&mut self.agent, &[&conflict], vec![answer.clone()], false).await?;
            report(&[&conflict], &[answer], &sent, false)?;
            let over = sent.outcomes.first().and_then(|it| it.outcome.as_ref()?.outcome.as_ref());
            if sent.done || matches!(over, Some(Outcome::Closed(_))) {
                return Ok(Next::Go);
            }
            match self.again(&conflict).await? {
                Some(now) => conflict = now,
                None => return Ok(Next::Go),
            }
        }
    }

    /// The conflict as it is now; `None` when it is over.
    async fn again(&mut self, before: &Conflict) -> Result<Option<Conflict>, Failure> {
        let all = conflicts::list(&mut self.agent, None).await?;
        Ok(all
            .into_iter()
            .find(|now| now.state.entry_id == before.state.entry_id && now.listed.root_id == before.listed.root_id))
    }

    async fn choose(&mut self, conflict: &Conflict, shown: &Shown) -> Result<Chosen, Failure> {
        let texts = shown.texts.as_ref();
        let clean = texts.map(Texts::merge);
        let seconds: Vec<String> = conflict
            .seconds()
            .iter()
            .map(|(side, name)| format!("{} as \"{}\"", side.name(), text::bytes(name)))
            .collect();
        let both = format!("keep both, {}", seconds.join(", "));
        let mine = conflict.side(&Take::Mine).is_ok();
        let mut choices = vec![("s", "keep the server's")];
        choices.extend(mine.then_some(("m", "keep mine")));
        choices.push(("2…", "keep that side, by number or name"));
        if !seconds.is_empty() {
            choices.push(("b", both.as_str()));
        }
        match &clean {
            Some(Merged::Clean(_)) => choices.push(("g", "merge: the changes do not touch each other")),
            Some(Merged::Marked { .. }) => choices.push(("g", "merge in your editor: the changes touch each other")),
            None => {}
        }
        choices.extend(texts.map(|_| ("e", "edit the merge")));
        let tool = self.tool.clone().filter(|_| merging::partner(conflict).is_ok());
        choices.extend(tool.is_some().then_some(("t", "open in your merge tool")));
        choices.extend(shown.any.then_some(("d", "show all that differs")));
        choices.extend([("k", "skip"), ("q", "quit")]);
        loop {
            let typed = self.ask(&choices)?;
            let answer = match (typed.as_str(), texts) {
                ("q", _) => return Ok(Chosen::Quit),
                ("k", _) => return Ok(Chosen::Skip),
                ("s", _) => conflict.keep(&Take::Server).map(|answer| (answer, None)),
                ("m", _) if mine => conflict.keep(&Take::Mine).map(|answer| (answer, None)),
                ("b", _) if !seconds.is_empty() => self.both(conflict)?.map(|answer| (answer, None)),
                ("d", _) if shown.any => {
                    show::difference(&mut self.agent, conflict, usize::MAX).await?;
                    continue;
                }
                ("g", Some(_)) if matches!(clean, Some(Merged::Clean(_))) => {
                    let made = merging::merge(self.context, &mut self.agent, conflict, None).await?;
                    made.map(|(bench, at)| (conflict.keep_merged(context::bytes(&at)), Some(bench)))
                }
                ("g" | "e", Some(texts)) => {
                    let made = merging::with_editor(self.context, conflict, texts)?;
                    made.map(|(bench, at)| (conflict.keep_merged(context::bytes(&at)), Some(bench)))
                }
                ("t", _) if tool.is_some() => {
                    let made = merging::merge(self.context, &mut self.agent, conflict, tool.as_deref()).await?;
                    made.map(|(bench, at)| (conflict.keep_merged(context::bytes(&at)), Some(bench)))
                }
                (other, _) => numbered(conflict, other).map(|answer| (answer, None)),
            };
            match answer {
                Ok((answer, bench)) => return Ok(Chosen::Answer(answer, bench)),
                Err(reason) => output::line(format_args!("  {reason}"))?,
            }
        }
    }

    /// Both, the second under the name that was shown or under one that the person types.
    fn both(&mut self, conflict: &Conflict) -> Result<Result<ConflictAnswer, String>, Failure> {
        if conflict.seconds().len() > 1 {
            return Ok(conflict.keep_both(None));
        }
        let typed = self.line("  Another name for the second (Enter: the one that is shown): ")?.unwrap_or_default();
        let name = Some(typed.trim()).filter(|typed| !typed.is_empty()).map(|typed| Bytes::from(typed.to_owned()));
        Ok(conflict.keep_both(name.as_ref()))
    }

    /// Asks until something is typed. Who closes the terminal quits.
    fn ask(&mut self, choices: &[(&str, &str)]) -> Result<String, Failure> {
        let shown: Vec<String> = choices.iter().map(|(key, what)| format!("[{}] {what}", style(key).bold())).collect();
        output::line(format_args!("  {}", shown.join("\n  ")))?;
        loop {
            match self.line("> ")? {
                None => return Ok("q".to_owned()),
                Some(typed) if typed.trim().is_empty() => {}
                Some(typed) => return Ok(typed.trim().to_owned()),
            }
        }
    }

    /// A line that the person types; `None` at the end of all.
    fn line(&mut self, prompt: &str) -> Result<Option<String>, Failure> {
        let mut out = std::io::stdout().lock();
        write!(out, "{prompt}")?;
        out.flush()?;
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let read = read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
        Ok((read > 0).then_some(line))
    }
}

enum Chosen {
    /// An answer, with the copies that it names, which live until it is given.
    Answer(ConflictAnswer, Option<Workbench>),
    Skip,
    Quit,
}

/// A side by its number or name.
fn numbered(conflict: &Conflict, typed: &str) -> Result<ConflictAnswer, String> {
    match typed.parse::<usize>() {
        Ok(1) => conflict.keep(&Take::Server),
        Ok(number) => {
            let side = number.checked_sub(1).and_then(|index| conflict.sides.get(index));
            Ok(conflict.keep_side(side.ok_or_else(|| "there is no such side".to_owned())?))
        }
        Err(_) => conflict.keep(&Take::Device(typed.to_owned())),
    }
}
