//! What goes between the devices and the server, and what is late or lost.

use quics_client::engine::{Action, Event, IngestFailure, Ingested, Ticket};
use quics_types::{Cursor, DeviceId, Digest, LogicalTime, Name};
use rand::Rng as _;

use crate::disk::{STAGE, content_of};
use crate::side::Side;
use crate::world::{World, say};

impl<S: Side> World<S> {
    /// The watcher tells of what changed, or misses it.
    pub(crate) fn watcher(&mut self, device: usize, percent: u32) {
        let touched = std::mem::take(&mut self.devices[device].folder.tree().touched);
        let mut told = Vec::new();
        for path in touched {
            if self.chance(percent) {
                let names = path.split(|byte| *byte == b'/').map(|part| Name::new(part.to_vec()).unwrap());
                told.push(names.fold(quics_client::folder::RelPath::root(), |path, name| path.join(&name)));
            }
        }
        if !told.is_empty() {
            self.devices[device].engine.handle(Event::Touched(told));
        }
    }

    /// Carries one action to the server and puts what comes of it on the way back.
    pub(crate) fn carry(&mut self, device: usize) {
        let Some((action, heard)) = self.devices[device].out.pop_front() else { return };
        let id = self.devices[device].id;
        match action {
            Action::Resume { incarnation } => {
                let Some(told) = self.server.resume(id, incarnation) else {
                    return self.devices[device].back.push_back(Event::Fenced);
                };
                let it = &mut self.devices[device];
                for ((incarnation, seq), proposal, verdict) in told {
                    let (proposal, verdict) = (Some(Box::new(proposal)), Box::new(verdict));
                    it.back.push_back(Event::Verdict { incarnation, seq, proposal, verdict });
                }
                it.back.push_back(Event::Resumed { incarnation });
            }
            Action::Propose { .. } => {
                let event = self.propose(id, action, heard);
                self.devices[device].back.push_back(event);
            }
            Action::Subscribe { cursor } => {
                if self.server.knows(cursor) {
                    self.devices[device].subscribed = Some(usize::try_from(cursor.seq).unwrap());
                } else {
                    self.devices[device].news.push_back(Event::CursorUnknown);
                }
            }
            Action::Snapshot => {
                let to = self.server.len();
                let cursor = Cursor { epoch: self.server.epoch(), seq: to as u64 };
                let records = self.server.feed(0, to);
                self.devices[device].news.push_back(Event::Snapshot { records, finish: Some(cursor) });
            }
            Action::Ingest { ticket, expected, .. } => {
                let tree = self.devices[device].folder.tree();
                let staged = tree.walk_from(STAGE);
                let found = tree.walk().into_iter().chain(staged).map(|it| it.2).find(|inode| *inode == expected.inode);
                let result = match found.map(|inode| (tree.stat(inode), tree.inodes[&inode].clone())) {
                    Some((stat, it)) if stat.same_content(&expected) => {
                        Ok(Ingested { content: it.content(), size: it.size(), stat })
                    }
                    _ => Err(IngestFailure::Changed),
                };
                let found = found.map(|inode| tree.inodes[&inode].clone());
                drop(tree);
                if let (Ok(_), Some(it)) = (&result, found) {
                    self.server.ingest(&it.token, it.big);
                }
                self.devices[device].back.push_back(Event::Ingested { ticket, result });
            }
            Action::Fetch { ticket, content, .. } => self.fetch(device, ticket, content),
            Action::Cancel { .. } | Action::Acknowledge { .. } => {}
        }
    }

    /// A proposal reaches the server; what it says, and what the books say of it.
    fn propose(&mut self, device: DeviceId, action: Action, heard: Option<LogicalTime>) -> Event {
        let Action::Propose { incarnation, seq, recorded, proposal, inline } = action else { return Event::Tick };
        let before = self.server.row(proposal.id());
        let verdict = self.server.propose(device, (incarnation, seq), recorded, &proposal, inline);
        say!(self, "   -> {verdict:?}");
        let Some(verdict) = verdict else { return Event::Fenced };
        let after = self.server.row(proposal.id());
        if let Some(row) = before.as_ref().filter(|row| heard == Some(row.time)) {
            self.books.check_question(device, &proposal, &verdict, row);
        }
        self.books.judged(&proposal, &verdict, before.as_ref(), after.as_ref());
        Event::Verdict { incarnation, seq, proposal: None, verdict: Box::new(verdict) }
    }

    /// What a process sent before it was killed reaches the server now; nobody hears of what comes of it.
    pub(crate) fn late_arrival(&mut self) {
        let Some((device, action)) = self.late.pop_front() else { return };
        say!(self, "late: {device} {action:?}");
        match action {
            Action::Resume { incarnation } => drop(self.server.resume(device, incarnation)),
            Action::Propose { .. } => drop(self.propose(device, action, None)),
            _ => {}
        }
    }

    fn fetch(&mut self, device: usize, ticket: Ticket, content: Digest) {
        let token = (1..=self.tokens).map(|number| format!("c{number}")).find_map(|token| {
            let big = [true, false].into_iter().find(|big| content_of(&token, *big) == content)?;
            Some((token, big))
        });
        let name = Name::new(content.to_string()).unwrap();
        let it = &mut self.devices[device];
        it.folder.tree().incoming.insert(name.to_string(), token.expect("a content was written once"));
        it.back.push_back(Event::Fetched { ticket, result: Ok(name) });
    }

    pub(crate) fn deliver(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if let Some(event) = it.back.pop_front() {
            it.engine.handle(event);
        }
    }

    pub(crate) fn deliver_news(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if let Some(event) = it.news.pop_front() {
            it.engine.handle(event);
        }
    }

    /// The server tells the feed on, to a random point or to the end.
    pub(crate) fn tell(&mut self, device: usize) {
        let Some(from) = self.devices[device].subscribed else { return };
        let end = self.server.len();
        let to = if self.chance(70) { end } else { self.random.random_range(from..=end) };
        let records = self.server.feed(from, to);
        let cursor = Cursor { epoch: self.server.epoch(), seq: to as u64 };
        let (digest, count) = self.server.level();
        let it = &mut self.devices[device];
        it.subscribed = Some(to);
        if !records.is_empty() {
            it.news.push_back(Event::Changes { records, cursor });
        }
        if to == end {
            it.news.push_back(Event::Level { cursor, digest, count });
        }
    }
}
