//! One proposal, one verdict.

use bytes::Bytes;
use quics_chunks::Position;
use quics_meta::{Batch, Receipt};
use quics_reconcile::{Proposal, Refusal, Value, Verdict, judge};
use quics_records::wide;
use quics_types::{Cursor, DeviceId, Digest, Mtime, RootId};

use super::brake::Beside;
use super::content::{Content, Lacking};
use super::write::By;
use super::{DeviceMemo, Ledger, MAX_UNRECORDED, Memo};
use crate::db::keys;
use crate::db::records::{self, Cause, Entry, VerdictEntry};
use crate::{Error, WallTime};

/// Recorded verdicts are removed when so many have come together …
const REMOVE_AFTER: u64 = 32;
/// … at most so many a commit.
const REMOVE_AT_ONCE: usize = 128;

/// A proposal with what came with it. That the device may write is the caller's to know.
#[derive(Debug, Clone)]
pub struct Request {
    /// The root.
    pub root: RootId,
    /// Who proposes.
    pub device: DeviceId,
    /// The incarnation of its agent.
    pub incarnation: u64,
    /// The proposal's number in that incarnation, from 1.
    pub seq: u64,
    /// Up to this number the device has recorded its verdicts.
    pub recorded: u64,
    /// What is proposed.
    pub proposal: Proposal,
    /// The content of the file that it brings.
    pub inline: Option<Bytes>,
}

/// What becomes of a proposal.
#[derive(Debug)]
pub enum Answer {
    /// It was judged, now or before.
    Judged(Box<Judged>),
    /// It came from an older incarnation.
    Fenced,
    /// Its content is not all there. Nothing was stored.
    Missing(Vec<Digest>),
    /// Its content is there, but not durable up to this position. Flush the chunk store, then propose it again.
    Unflushed(Position),
}

/// A verdict and when it may be told.
#[derive(Debug)]
pub struct Judged {
    /// The verdict may be told when this has resolved; `None`: at once.
    pub receipt: Option<Receipt>,
    /// The verdict.
    pub entry: VerdictEntry,
    /// Whether the root has a new commit, of which its watchers want to know.
    pub changed: bool,
}

impl Ledger {
    /// Says whether [`Ledger::propose`] may have to read the pages of a large content, which is not for a runtime's thread.
    pub fn is_slow(&self, request: &Request) -> bool {
        request.inline.is_none() && request.proposal.value().and_then(Value::content).is_some_and(|(_, size)| size > 0)
    }

    /// Judges a proposal and queues everything that it changes as one commit.
    ///
    /// The same proposal (root, device, incarnation, seq) gets the same verdict again, as long as the device has not
    /// recorded it.
    ///
    /// # Durability
    /// When the receipt has resolved; the verdict may not be told before. A content in the chunk store is durable already,
    /// or the answer is [`Answer::Unflushed`].
    ///
    /// # Errors
    /// [`Error::ResumeFirst`], [`Error::TooManyUnrecorded`], [`Error::Inline`], [`Error::Protocol`]: the proposal is at
    /// fault. [`Error::is_busy`]: to be tried again when the store has room. Otherwise those of the stores.
    pub fn propose(&self, request: &Request, now: WallTime) -> Result<Answer, Error> {
        if request.seq == 0 {
            return Err(Error::Protocol("proposals are numbered from 1"));
        }
        if request.seq.saturating_sub(request.recorded) > MAX_UNRECORDED {
            return Err(Error::TooManyUnrecorded);
        }
        if self.is_slow(request) {
            // The walk is done outside of the root's lock; whether it is needed at all is looked up first.
            if let Some(answer) = self.known(request)? {
                return Ok(answer);
            }
        }
        let _asking = self.contents.asking();
        let content = match self.content(request.root, request.proposal.value(), request.inline.as_ref())? {
            Ok(content) => content,
            Err(Lacking::Missing(digests)) => return Ok(Answer::Missing(digests)),
            Err(Lacking::Unflushed(position)) => return Ok(Answer::Unflushed(position)),
            Err(Lacking::Malformed) => return Ok(Answer::Judged(Box::new(self.malformed(request)))),
        };
        let memo = self.memo(request.root);
        let mut memo = memo.lock();
        if let Some(answer) = self.known(request)? {
            return Ok(answer);
        }
        self.judge(&mut memo, request, content, now).map(|judged| Answer::Judged(Box::new(judged)))
    }

    /// The answer that a proposal has already, if any: fenced, or its stored verdict. Nothing is judged.
    ///
    /// # Errors
    /// [`Error::ResumeFirst`]; those of the store.
    pub fn recall(&self, request: &Request) -> Result<Option<Answer>, Error> {
        let memo = self.memo(request.root);
        let _one_at_a_time = memo.lock();
        self.known(request)
    }

    fn known(&self, request: &Request) -> Result<Option<Answer>, Error> {
        let newest = records::get::<u64>(self.latest(), &keys::device(request.root, request.device))?;
        match newest.map_or(0, |kept| kept.record).cmp(&request.incarnation) {
            std::cmp::Ordering::Greater => return Ok(Some(Answer::Fenced)),
            std::cmp::Ordering::Less => return Err(Error::ResumeFirst),
            std::cmp::Ordering::Equal => {}
        }
        let key = keys::verdict(request.root, request.device, request.incarnation, request.seq);
        let Some(kept) = records::get::<VerdictEntry>(self.latest(), &key)? else { return Ok(None) };
        // One that is still queued may not be told yet: an empty batch is durable after it.
        let durable = self.durable().raw(&key)?.is_some();
        let receipt = if durable { None } else { Some(self.meta.submit(Batch::new())?) };
        Ok(Some(Answer::Judged(Box::new(Judged { receipt, entry: kept.record, changed: false }))))
    }

    /// A verdict that is not stored: it is the same whenever it is asked.
    fn malformed(&self, request: &Request) -> Judged {
        let entry = VerdictEntry {
            recorded: request.recorded,
            proposal: request.proposal.clone(),
            verdict: Verdict::Refused(Refusal::Malformed),
            cursor: Cursor { epoch: self.epoch, seq: 0 },
            author: None,
        };
        Judged { receipt: None, entry, changed: false }
    }

    fn judge(&self, memo: &mut Memo, request: &Request, content: Content, now: WallTime) -> Result<Judged, Error> {
        let Request { root, device, incarnation, seq, recorded, ref proposal, .. } = *request;
        let by = By { device, order: (incarnation, seq), at: now };
        let mut write = self.write(root, by, Cause::Proposal)?;
        let judgement = judge(&write, device, by.order, proposal)?;
        write.next(device_time(proposal));
        let (judgement, undone) = match self.beside_brake(&mut write, memo, request, judgement, now)? {
            Beside::Not(judgement) => (judgement, false),
            Beside::Undone(judgement) => (judgement, true),
        };
        let mut verdict = judgement.verdict;
        let written = judgement.row.is_some();
        if let Some(row) = judgement.row {
            let (before, after) = write.change_row(row)?;
            if undone {
                write.next(Mtime::default());
                write.row(after.row.deleted())?;
            } else {
                self.count(&mut write, memo, request, (before.as_ref(), &after.row), now)?;
            }
        }
        if let Some((id, conflict)) = judgement.conflict {
            let revision = write.conflict(id, conflict, None)?;
            if let Verdict::Conflict { revision: told, .. } = &mut verdict {
                *told = revision;
            }
        }
        let author = match &verdict {
            Verdict::Accepted(_) if written => Some((device, now)),
            Verdict::Accepted(accepted) => self.author(root, accepted.row.id)?,
            Verdict::Current(row) => self.author(root, row.id)?,
            _ => None,
        };
        let needed = matches!(verdict, Verdict::Accepted(_) | Verdict::Conflict { .. } | Verdict::Held { .. });
        if needed {
            write.bring(content);
        }
        let changed = write.has_changes();
        let cursor = Cursor { epoch: self.epoch, seq: write.seq() };
        let entry = VerdictEntry { recorded, proposal: proposal.clone(), verdict, cursor, author };
        records::put(&mut write.batch, keys::verdict(root, device, incarnation, seq), &entry, 0);
        let device_memo = self.forget(&mut write.batch, memo, request)?;
        let receipt = write.submit()?;
        memo.devices.insert(device, device_memo);
        Ok(Judged { receipt: Some(receipt), entry, changed })
    }

    fn author(&self, root: RootId, id: quics_types::EntryId) -> Result<Option<(DeviceId, WallTime)>, Error> {
        let kept = records::get::<Entry>(self.latest(), &keys::entry(root, id))?;
        Ok(kept.map(|kept| (kept.record.device, kept.record.accepted_at)))
    }

    /// Removes verdicts that the device has recorded, a bounded number; says what to remember once that is submitted.
    fn forget(&self, batch: &mut Batch, memo: &Memo, request: &Request) -> Result<DeviceMemo, Error> {
        let Request { root, device, incarnation, recorded, .. } = *request;
        let mut known = memo.devices.get(&device).copied().unwrap_or_default();
        if known.incarnation != incarnation {
            known = DeviceMemo { incarnation, removed: 0, older_gone: false };
        }
        if !known.older_gone {
            // A device that proposes has taken the verdicts of its older incarnations.
            let (from, to) = (keys::verdict(root, device, 0, 0), keys::verdict(root, device, incarnation, 0));
            known.older_gone = self.remove_verdicts(batch, &from, &to)?.is_none();
        }
        if recorded >= known.removed.saturating_add(REMOVE_AFTER) {
            let from = keys::verdict(root, device, incarnation, known.removed);
            let to = keys::verdict(root, device, incarnation, recorded.saturating_add(1));
            let last = self.remove_verdicts(batch, &from, &to)?;
            known.removed = last.unwrap_or(recorded);
        }
        Ok(known)
    }

    /// Removes verdicts in a range; names the seq of the last one if there may be more.
    fn remove_verdicts(&self, batch: &mut Batch, from: &[u8], to: &[u8]) -> Result<Option<u64>, Error> {
        let page = self.latest().range(from, to, REMOVE_AT_ONCE)?;
        let last = page.last().and_then(|(key, _)| keys::parse_verdict(key)).map(|(_, seq)| seq);
        let more = page.len() == REMOVE_AT_ONCE;
        for (key, stored) in page {
            wide::delete(batch, key, stored.pieces);
        }
        Ok(last.filter(|_| more))
    }
}

/// The device's own time of a change; a delete and a withdrawal have none.
fn device_time(proposal: &Proposal) -> Mtime {
    match proposal {
        Proposal::Create { mtime, .. } => *mtime,
        Proposal::Change(change) => {
            let content = change.content.as_ref().map(|content| content.mtime);
            content.or(change.attributes.as_ref().map(|attributes| attributes.mtime)).unwrap_or_default()
        }
        Proposal::Delete { .. } | Proposal::Withdraw { .. } => Mtime::default(),
    }
}
