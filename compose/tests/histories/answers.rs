//! What people answer to conflicts, through the commands that they would type.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use rand::Rng as _;
use serde_json::Value;

use crate::content::{self, Token};
use crate::oracle::Answer;
use crate::world::{UNREACHABLE, World, say};

/// A conflict as a person sees it listed.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    path: String,
    revision: String,
    /// The devices that have candidates.
    devices: Vec<String>,
    /// The writings among its sides.
    pub(crate) sides: BTreeSet<Token>,
}

impl Seen {
    fn read(listed: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text in {listed}"));
        let candidates = listed["candidates"].as_array().context("a conflict has candidates")?;
        let size = |side: &Value| side["size"].as_u64();
        let sizes = candidates.iter().chain([&listed["server"]]).filter_map(size);
        let sides = sizes.map(|size| content::token_by_size(size).with_context(|| format!("a side of {size} bytes")));
        Ok(Self {
            path: text(&listed["path"])?,
            revision: listed["revision"].to_string(),
            devices: candidates.iter().map(|it| text(&it["device"])).collect::<Result<_>>()?,
            sides: sides.collect::<Result<_>>()?,
        })
    }
}

impl World<'_> {
    /// The conflicts that a device lists.
    pub(crate) fn listed(&self, device: usize) -> Result<Vec<Seen>> {
        const SOME: i32 = 3;
        let output = self.device(device).run(["conflicts", "--json"])?;
        ensure!(matches!(output.status.code(), Some(0 | SOME)), "conflicts are not listed: {output:?}");
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        listed.iter().map(Seen::read).collect()
    }

    /// Somebody answers a conflict, if there is one.
    pub(crate) fn answer_one(&mut self) -> Result<()> {
        let Some((device, seen)) = self.somebody_looks()? else { return Ok(()) };
        self.answer(device, &seen).map(drop)
    }

    fn somebody_looks(&mut self) -> Result<Option<(usize, Seen)>> {
        let Some(device) = self.running() else { return Ok(None) };
        let listed = self.listed(device)?;
        Ok(self.pick(&listed).map(|seen| (device, seen)))
    }

    /// Answers a conflict as it was seen; says whether that held.
    pub(crate) fn answer(&mut self, device: usize, seen: &Seen) -> Result<bool> {
        let (take, merged) = self.choice(device, seen)?;
        let output = self.device(device).run(command(seen, &take))?;
        self.note(device, seen, &take, merged, &output)
    }

    /// What a person wants, as arguments; and the writing that they made of the sides, if they did.
    fn choice(&mut self, device: usize, seen: &Seen) -> Result<(Vec<String>, Option<Token>)> {
        let take = match self.random.random_range(0..100) {
            0..25 => "server".to_owned(),
            25..45 => "mine".to_owned(),
            45..70 => self.pick(&seen.devices).unwrap_or_default(),
            70..90 => "both".to_owned(),
            _ => "merged".to_owned(),
        };
        if take != "merged" {
            return Ok((vec![take], None));
        }
        let mut writing = self.fresh(device, seen.path.as_ref(), false);
        writing.over = seen.sides.iter().copied().collect();
        let at = self.lane.stack.dir(&format!("{}/merged", self.name))?.join(writing.token.to_string());
        fs::write(&at, writing.bytes())?;
        let token = writing.token;
        self.books.wrote(writing);
        let at = at.to_str().context("a path of this test is text")?.to_owned();
        Ok((vec![take, "--file".to_owned(), at], Some(token)))
    }

    /// Notes what came of an answer.
    fn note(
        &mut self,
        device: usize,
        seen: &Seen,
        take: &[String],
        merged: Option<Token>,
        output: &Output,
    ) -> Result<bool> {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        say!(self, "d{} answers {seen:?} with {take:?}: {} {}", device + 1, said.trim(), why.trim());
        let mut answer = Answer { id: None, sides: seen.sides.clone(), merged, undone: false };
        match output.status.code() {
            Some(0) => {
                let id = said.split("--undo ").nth(1).and_then(|rest| rest.split('`').next());
                answer.id =
                    Some(id.with_context(|| format!("an answer says how it is taken back: {said}"))?.to_owned());
                self.books.answered(answer);
                return Ok(true);
            }
            // The server could not be reached, at least not to its answer: it may have arrived.
            Some(UNREACHABLE) => {
                self.books.answered(answer);
                self.books.took(merged);
            }
            _ => {
                ensure!(why.starts_with("quics: ") && !why.contains("panicked"), "an answer failed: {output:?}");
                self.books.took(merged);
            }
        }
        Ok(false)
    }

    /// Two people answer the same conflict, as they both see it, at once.
    pub(crate) fn answer_twice(&mut self) -> Result<()> {
        let Some((one, seen)) = self.somebody_looks()? else { return Ok(()) };
        let Some(other) = self.running() else { return Ok(()) };
        let of_other = self.listed(other)?.into_iter().find(|it| it.revision == seen.revision);
        let Some(of_other) = of_other else { return Ok(()) };
        let (take_one, merged_one) = self.choice(one, &seen)?;
        let (take_other, merged_other) = self.choice(other, &of_other)?;
        let (first, second) = thread::scope(|scope| {
            let (first, second) = (self.device(one), self.device(other));
            let asked = scope.spawn(|| first.run(command(&seen, &take_one)));
            let second = second.run(command(&of_other, &take_other));
            asked.join().map(|first| (first, second))
        })
        .map_err(|_| anyhow::anyhow!("a thread that asked has panicked"))?;
        say!(self, "two answer at once:");
        let first = self.note(one, &seen, &take_one, merged_one, &first?)?;
        let second = self.note(other, &of_other, &take_other, merged_other, &second?)?;
        ensure!(!(first && second), "of two answers at once both held");
        Ok(())
    }

    /// Somebody takes an answer back.
    pub(crate) fn take_one_back(&mut self) -> Result<()> {
        let ids: Vec<String> = self.books.standing().map(|(id, _)| id.to_owned()).collect();
        let (Some(id), Some(device)) = (self.pick(&ids), self.running()) else { return Ok(()) };
        self.take_back(device, &id).map(drop)
    }

    /// Takes an answer back; says whether its conflict is open again.
    pub(crate) fn take_back(&mut self, device: usize, id: &str) -> Result<bool> {
        let output = self.ask(device, &["resolve", "--undo", id])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        say!(self, "d{} takes {id} back: {} {}", device + 1, said.trim(), why.trim());
        let open = said.contains("is open again");
        if open {
            self.books.undone(id);
        } else if output.status.code() == Some(UNREACHABLE) {
            self.books.perhaps_undone(id);
        }
        Ok(open)
    }

    /// Somebody reads a side of a conflict, which is whole and what it was listed as.
    pub(crate) fn fetch_a_side(&mut self) -> Result<()> {
        let Some((device, seen)) = self.somebody_looks()? else { return Ok(()) };
        let from = self.pick(&["server", "mine", "base"]).unwrap_or_default().to_owned();
        let from = if self.chance(50) { self.pick(&seen.devices).unwrap_or(from) } else { from };
        // It may be over or deleted by now.
        if let Some(token) = self.fetch(device, &seen, &from)? {
            say!(self, "d{} reads {from} of {}: {token}", device + 1, seen.path);
        }
        Ok(())
    }

    /// Reads a side of a conflict; `None` where it cannot be read, which is said in a sentence.
    pub(crate) fn fetch(&mut self, device: usize, seen: &Seen, from: &str) -> Result<Option<Token>> {
        let at: PathBuf = self.lane.stack.dir(&format!("{}/fetched", self.name))?.join("side");
        let to = at.to_str().context("a path of this test is text")?;
        let output = self.ask(device, &["conflicts", "get", &seen.path, "--from", from, "-o", to])?;
        if !output.status.success() {
            ensure!(!at.exists(), "a side that could not be read has left a file");
            return Ok(None);
        }
        let token = match content::token_of(&fs::read(&at)?) {
            Ok(token) => token,
            Err(error) => bail!("{from} of {seen:?} is torn: {error}"),
        };
        fs::remove_file(&at)?;
        Ok(Some(token))
    }
}

fn command(seen: &Seen, take: &[String]) -> Vec<String> {
    let fixed = ["resolve", &seen.path, "--revision", &seen.revision, "--take"];
    fixed.into_iter().map(str::to_owned).chain(take.iter().cloned()).collect()
}
