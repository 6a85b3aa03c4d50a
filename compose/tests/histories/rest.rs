//! Coming to rest: faults and people have stopped, what is open is answered, and then everything is looked at.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use anyhow::{Context as _, Result, bail, ensure};
use quics_stack::harness::{output, tree, wait};

use crate::content::Token;
use crate::folder::{self, Folder};
use crate::people::may_be;
use crate::world::{PATIENCE, World, detach, patiently, say};

impl World<'_> {
    /// Waits until a device has everything that was there, conflicts apart.
    pub(crate) fn settles(&self, device: usize) -> Result<()> {
        const WAITING: i32 = 3;
        let ended = output(self.device(device).command(["status", "--wait"]), PATIENCE)?;
        let said = String::from_utf8_lossy(&ended.stderr);
        let conflicts = ended.status.code() == Some(WAITING) && said.contains("open conflict");
        ensure!(ended.status.success() || conflicts, "d{} cannot get in sync: {said}", device + 1);
        Ok(())
    }

    /// Waits until all devices have the same, and nothing is open; answers what is.
    pub(crate) fn rest(&mut self) -> Result<()> {
        wait::until("everything to be at rest", PATIENCE, || match self.round() {
            Ok(None) => Ok(Ok(())),
            Ok(Some(why)) => Err(why),
            Err(error) => Ok(Err(error)),
        })?
    }

    /// Lets all devices get in sync once, and answers what is open. Says why all was not at rest before.
    fn round(&mut self) -> Result<Option<String>> {
        for device in 0..self.folders.len() {
            self.settles(device)?;
        }
        let mut open = false;
        for device in 0..self.folders.len() {
            for seen in self.listed(device)? {
                open = true;
                self.answer(device, &seen)?;
            }
        }
        Ok(if open { Some("there were conflicts".to_owned()) } else { self.agree().err().map(|why| why.to_string()) })
    }

    fn agree(&self) -> Result<()> {
        let [first, others @ ..] = self.folders.as_slice() else { bail!("no devices") };
        others.iter().try_for_each(|other| tree::compare_trees(&first.top, &other.top))
    }

    /// What must hold at rest: nothing lost, doubled or torn, and nothing left over.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.late_edits_come_back()?;
        for folder in &self.folders {
            let aside = folder.aside();
            self.books.took(aside);
        }
        let tree = folder::read(&self.folders[0].top);
        let faults: Vec<String> = self.books.judge(&tree, may_be).iter().map(ToString::to_string).collect();
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        for Folder { top, .. } in &self.folders {
            let staged = folder::staged(top);
            ensure!(staged.is_empty(), "{staged:?} is left on the stage of {}", top.display());
        }
        self.agree()
    }

    /// What was written into a file that the agent was just displacing comes back under a name of its own, within a
    /// minute or two; that is waited for only where it happened.
    fn late_edits_come_back(&mut self) -> Result<()> {
        let late = |world: &Self| {
            let tree = folder::read(&world.folders[0].top);
            let displaced: Vec<Token> =
                world.folders.iter().flat_map(|folder| folder::displaced(&folder.top)).collect();
            displaced.into_iter().filter(|token| world.books.is_missing(*token, &tree)).collect::<Vec<_>>()
        };
        let found = late(self);
        if !found.is_empty() {
            say!(self, "{found:?} were written late");
            wait::until_true("late edits to come back", PATIENCE, || late(self).is_empty())?;
            self.rest()?;
        }
        Ok(())
    }

    /// The newest answer that can be taken back is: its sides are there again, and can be read.
    pub(crate) fn check_what_answers_keep(&mut self) -> Result<()> {
        let standing: Vec<(String, BTreeSet<Token>)> =
            self.books.standing().rev().map(|(id, answer)| (id.to_owned(), answer.sides.clone())).collect();
        for (id, sides) in standing {
            if !self.take_back(0, &id)? {
                continue;
            }
            self.settles(0)?;
            let listed = self.listed(0)?;
            let again: BTreeSet<Token> = listed.iter().flat_map(|seen| seen.sides.iter().copied()).collect();
            let in_tree: BTreeSet<Token> = folder::read(&self.folders[0].top).files.into_values().flatten().collect();
            let gone: Vec<_> = sides.iter().filter(|it| !again.contains(it) && !in_tree.contains(it)).collect();
            ensure!(gone.is_empty(), "{gone:?} did not come back with {id}, which had {sides:?}: {listed:?}");
            for seen in &listed {
                let server = self.fetch(0, seen, "server")?;
                ensure!(server.is_none_or(|token| seen.sides.contains(&token)), "{server:?} is no side of {seen:?}");
            }
            break;
        }
        self.rest()?;
        self.check()
    }

    /// The server's own state is what a device gets that attaches the root anew.
    pub(crate) fn check_a_newcomer(&mut self) -> Result<()> {
        let last = self.folders.len() - 1;
        let old = self.folders[last].top.clone();
        detach(self.device(last), &old)?;
        let new = old.with_file_name("anew");
        patiently(self.device(last), &[OsStr::new("clone"), OsStr::new(&self.name), new.as_os_str()])?;
        self.folders[last].top = new;
        say!(self, "d{} begins anew", last + 1);
        self.settles(last)?;
        self.agree().context("what the server has is not what the devices had")
    }
}
