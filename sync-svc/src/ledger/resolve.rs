//! Answers to conflicts: all that are given at once in one commit, or none.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_chunks::Position;
use quics_meta::{Batch, Receipt};
use quics_reconcile::{Choice, Unanswered, answer};
use quics_types::{DeviceId, Digest, EntryId, Mtime, ResolutionId, RootId, Settings};

use super::content::{Content, Lacking};
use super::write::{By, Turn, Write};
use super::{Ledger, Told};
use crate::db::answers::{Answered, Chosen, Resolution, ResolutionEntry, Settled};
use crate::db::keys;
use crate::db::records::{self, Cause, ConflictEntry, Entry};
use crate::{Error, WallTime};

/// About the bytes that the outcomes of one call may take; behind, answers are not looked at.
const OUTCOME_BYTES: usize = 2 << 20;

/// Answers that are given at once.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// The root.
    pub root: RootId,
    /// Drawn by whoever answers; the same one again is the same answer.
    pub id: ResolutionId,
    /// Who answers; [`DeviceId::SERVER`] for the server itself.
    pub device: DeviceId,
    /// One for each of some entries.
    pub answers: Vec<Answering>,
}

/// An answer to the conflict of one entry.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The entry.
    pub entry: EntryId,
    /// The conflict's revision that the person saw.
    pub revision: u64,
    /// What was chosen; `Err`: it wishes for this name, which can be none.
    pub choice: Result<Choice, Bytes>,
    /// The content of a merged file.
    pub inline: Option<Bytes>,
}

/// What the ledger has to be told of people.
pub trait People {
    /// Whether the one who answers may do so for a conflict with candidates of these devices.
    ///
    /// # Errors
    /// [`Error::Denied`].
    fn may_answer(&self, settings: &Settings, whose: &[DeviceId]) -> Result<(), Error>;

    /// What people call a device.
    fn device_name(&self, device: DeviceId) -> Option<String>;
}

/// What becomes of answers.
#[derive(Debug)]
pub enum Resolved {
    /// All of them hold, now or since before.
    Done(Done),
    /// Something stands in the way of some. Nothing was stored.
    Not(Vec<(EntryId, Outcome)>),
    /// A merged content is there, but not durable up to this position. Flush the chunk store, then answer again.
    Unflushed(Position),
}

/// Answers that hold.
#[derive(Debug)]
pub struct Done {
    /// They may be told when this has resolved; `None`: at once.
    pub receipt: Option<Receipt>,
    /// One for each answer, in their order.
    pub outcomes: Vec<(EntryId, Outcome)>,
    /// The last commit.
    pub seq: u64,
    /// Whether the root has new commits, of which its watchers want to know.
    pub changed: bool,
}

/// What becomes of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, or would have held; the entry's row after it comes first, then rows that it made or brought back.
    Resolved(Vec<Entry>),
    /// The conflict has gone on.
    Stale(Box<ConflictEntry>),
    /// It is over; by whom, if by an answer.
    Closed(Option<Box<Resolution>>),
    /// The candidate that was named is not there, or cannot be kept apart.
    CandidateGone(Box<ConflictEntry>),
    /// A name that is taken or cannot be.
    BadName {
        /// It.
        name: Bytes,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Content that is not there.
    Missing(Vec<Digest>),
    /// The choice cannot be.
    NotPossible(&'static str),
    /// It was not looked at.
    Unread,
}

impl Outcome {
    fn is_resolved(&self) -> bool {
        matches!(self, Outcome::Resolved(_))
    }

    fn size(&self) -> usize {
        match self {
            Outcome::Resolved(rows) => rows.iter().map(Told::row_size).sum(),
            Outcome::Stale(entry) | Outcome::CandidateGone(entry) => Told::conflict_size(entry),
            Outcome::Closed(resolution) => resolution.iter().map(|it| Told::resolution_size(it)).sum(),
            Outcome::Missing(digests) => digests.len() * 34,
            Outcome::BadName { .. } | Outcome::NotPossible(_) | Outcome::Unread => 512,
        }
    }
}

impl Ledger {
    /// Answers conflicts, each against the state that the ones before it made, and queues everything as one commit.
    ///
    /// The same resolution again gets the same outcomes, as long as it is kept ([`super::RESOLUTIONS`]).
    ///
    /// # Durability
    /// When the receipt has resolved; no outcome may be told before. A merged content in the chunk store is durable already,
    /// or the result is [`Resolved::Unflushed`].
    ///
    /// # Errors
    /// [`Error::Denied`] by `people`; [`Error::Inline`], [`Error::Protocol`]: the request is at fault.
    /// [`Error::is_busy`]: to be tried again when the store has room. Otherwise those of the stores.
    pub fn resolve(&self, request: &Resolve, people: &dyn People, now: WallTime) -> Result<Resolved, Error> {
        if let Some(done) = self.resolved(request)? {
            return Ok(Resolved::Done(done));
        }
        let _asking = self.contents.asking();
        // The pages of large contents are read outside of the root's lock.
        let mut contents = BTreeMap::new();
        for answering in &request.answers {
            let Ok(Choice::Merged { value, .. }) = &answering.choice else { continue };
            match self.content(request.root, Some(value), answering.inline.as_ref())? {
                Ok(content) => drop(contents.insert(answering.entry, Ok(content))),
                Err(Lacking::Missing(digests)) => drop(contents.insert(answering.entry, Err(digests))),
                Err(Lacking::Unflushed(position)) => return Ok(Resolved::Unflushed(position)),
                Err(Lacking::Malformed) => return Err(Error::Protocol("a merged content is not of its size")),
            }
        }
        let memo = self.memo(request.root);
        let _one_at_a_time = memo.lock();
        if let Some(done) = self.resolved(request)? {
            return Ok(Resolved::Done(done));
        }
        let by = By { device: request.device, order: (0, 0), at: now };
        let mut write = self.write(request.root, by, Cause::Answer)?;
        let settings = self.settings_of(self.latest(), request.root)?;
        let (mut outcomes, mut size) = (Vec::with_capacity(request.answers.len()), 0);
        for answering in &request.answers {
            let outcome = match size > OUTCOME_BYTES {
                true => Outcome::Unread,
                false => {
                    let content = contents.remove(&answering.entry);
                    Resolving { write: &mut write, request, settings: &settings, people, now }
                        .one(answering, content)?
                }
            };
            size += outcome.size();
            outcomes.push((answering.entry, outcome));
        }
        if !outcomes.iter().all(|(_, outcome)| outcome.is_resolved()) {
            return Ok(Resolved::Not(outcomes));
        }
        let seq = write.seq();
        let whole = ResolutionEntry {
            device: request.device,
            resolved_at: now,
            seq,
            entries: request.answers.iter().map(|answering| answering.entry).collect(),
            undoes: None,
            changed: Vec::new(),
            undone_by: None,
        };
        write.keep_resolution(request.id, &whole)?;
        let receipt = Some(write.submit()?);
        Ok(Resolved::Done(Done { receipt, outcomes, seq, changed: true }))
    }

    /// The outcomes of a resolution that was given before.
    fn resolved(&self, request: &Resolve) -> Result<Option<Done>, Error> {
        let Some(whole) = self.resolution(request.root, request.id, request.device)? else { return Ok(None) };
        let mut outcomes = Vec::with_capacity(whole.entries.len());
        for entry in whole.entries {
            let key = keys::answered(request.root, request.id, entry);
            let kept = records::get::<Answered>(self.latest(), &key)?.ok_or_else(|| Error::damaged(&key))?;
            outcomes.push((entry, Outcome::Resolved(rows_of(&kept.record))));
        }
        let receipt = self.told_when_durable(request.root, request.id)?;
        Ok(Some(Done { receipt, outcomes, seq: whole.seq, changed: false }))
    }

    /// A resolution that was given before, durable or not.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is another's.
    pub(super) fn resolution(
        &self,
        root: RootId,
        id: ResolutionId,
        device: DeviceId,
    ) -> Result<Option<ResolutionEntry>, Error> {
        match records::get::<ResolutionEntry>(self.latest(), &keys::resolution(root, id))? {
            Some(kept) if kept.record.device != device => Err(Error::Protocol("a resolution of that id is another's")),
            kept => Ok(kept.map(|kept| kept.record)),
        }
    }

    /// What to wait for before a resolution may be told: one that is still queued is durable before an empty batch is.
    pub(super) fn told_when_durable(&self, root: RootId, id: ResolutionId) -> Result<Option<Receipt>, Error> {
        let durable = self.durable().raw(&keys::resolution(root, id))?.is_some();
        Ok(if durable { None } else { Some(self.meta.submit(Batch::new())?) })
    }
}

/// The rows of an outcome: the entry's own first.
fn rows_of(answered: &Answered) -> Vec<Entry> {
    let mut rows: Vec<Entry> = answered.rows.iter().map(|(_, after)| after.clone()).collect();
    rows.rotate_right(1);
    rows
}

/// One of the answers while it is given.
struct Resolving<'a, 'b> {
    write: &'a mut Write<'b>,
    request: &'a Resolve,
    settings: &'a Settings,
    people: &'a dyn People,
    now: WallTime,
}

impl Resolving<'_, '_> {
    fn one(&mut self, answering: &Answering, content: Option<Result<Content, Vec<Digest>>>) -> Result<Outcome, Error> {
        let id = answering.entry;
        let Some(entry) = self.write.conflict_entry(id)?.map(|kept| kept.record) else {
            return Ok(Outcome::Closed(None));
        };
        if !entry.is_open() {
            return Ok(Outcome::Closed(entry.told().cloned().map(Box::new)));
        }
        let whose: Vec<_> = entry.conflict.candidates.keys().map(|(device, _)| *device).collect();
        self.people.may_answer(self.settings, &whose)?;
        if entry.conflict.revision != answering.revision {
            return Ok(Outcome::Stale(Box::new(entry)));
        }
        let choice = match &answering.choice {
            Ok(choice) => choice,
            Err(name) => {
                return Ok(Outcome::BadName { name: name.clone(), reason: "a file cannot have this name" });
            }
        };
        let content = match content.unwrap_or(Ok(Content::Nothing)) {
            Ok(content) => content,
            Err(digests) => return Ok(Outcome::Missing(digests)),
        };
        let tag = |device: Option<DeviceId>| match device.and_then(|device| self.people.device_name(device)) {
            Some(name) => format!("from {name}"),
            None => "kept".to_owned(),
        };
        let mut fresh = Fresh { request: self.request, entry: id, drawn: 0 };
        let answered = answer(&*self.write, id, answering.revision, choice, tag, || fresh.draw())?;
        let answered = match answered {
            Ok(answered) => answered,
            Err(Unanswered::NoCandidate(_)) => return Ok(Outcome::CandidateGone(Box::new(entry))),
            Err(Unanswered::NameTaken(name)) => {
                return Ok(Outcome::BadName { name: name.to_bytes(), reason: "it is taken" });
            }
            Err(Unanswered::NotEmpty) => return Ok(Outcome::NotPossible("the directory has entries in it")),
            Err(Unanswered::Closed | Unanswered::Stale { .. }) => return Ok(Outcome::Stale(Box::new(entry))),
            Err(_) => return Ok(Outcome::NotPossible("this choice cannot be made here")),
        };
        self.commit(id, entry, choice, answered, content).map(Outcome::Resolved)
    }

    /// Writes down what an answer changes.
    fn commit(
        &mut self,
        id: EntryId,
        entry: ConflictEntry,
        choice: &Choice,
        answered: quics_reconcile::Answer,
        content: Content,
    ) -> Result<Vec<Entry>, Error> {
        // The entry's own row comes last, in one change with the end of its conflict: nobody is told one without the other.
        let (own, others): (Vec<_>, Vec<_>) = answered.rows.into_iter().partition(|row| row.id == id);
        let mut rows = Vec::new();
        let created = others.iter().filter(|row| row.time.0 == 1).map(|row| row.id).collect();
        for row in others {
            self.write.next(row.mtime);
            rows.push(self.write.change_row(row)?);
        }
        self.write.next(own.first().map_or(Mtime::default(), |row| row.mtime));
        match own.into_iter().next() {
            Some(row) => rows.push(self.write.change_row(row)?),
            None => {
                let there = self.write.entry(id)?.ok_or_else(|| Error::damaged(id.as_bytes()))?.record;
                rows.push((Some(there.row.clone()), there));
            }
        }
        let chosen = match choice {
            Choice::Server => Chosen::Server,
            Choice::Candidate(key) => Chosen::Candidate(*key),
            Choice::Both { .. } => Chosen::Both,
            Choice::Merged { .. } => Chosen::Merged,
        };
        let accepted = entry.accepted;
        let settled = answered.settled.candidates.into_iter().map(|(key, candidate)| {
            let accepted_at = accepted.get(&key).copied().unwrap_or(self.now);
            (key, Settled { candidate, accepted_at })
        });
        let settled = settled.collect();
        let (device, resolved_at) = (self.request.device, self.now);
        let resolution = Resolution { id: self.request.id, device, resolved_at, chosen, settled, created };
        let turn = Turn { resolution: resolution.clone(), accepted: BTreeMap::new() };
        let revision = self.write.conflict(id, None, Some(turn))?;
        self.write.bring(content);
        let answered = Answered { rows, resolution, kept: Vec::new(), revision };
        records::put(&mut self.write.batch, keys::answered(self.request.root, self.request.id, id), &answered, 0);
        Ok(rows_of(&answered))
    }
}

/// Ids for the entries that an answer makes. They follow from the resolution's, which is random: the same answer makes the
/// same entries.
struct Fresh<'a> {
    request: &'a Resolve,
    entry: EntryId,
    drawn: u64,
}

impl Fresh<'_> {
    fn draw(&mut self) -> EntryId {
        self.drawn += 1;
        let (id, entry) = (self.request.id.as_bytes(), self.entry.as_bytes());
        let digest = Digest::of(&[&id[..], entry, &self.drawn.to_be_bytes()].concat());
        let mut fresh = [0; EntryId::LEN];
        fresh.copy_from_slice(&digest.as_bytes()[..EntryId::LEN]);
        EntryId::from_bytes(fresh)
    }
}
