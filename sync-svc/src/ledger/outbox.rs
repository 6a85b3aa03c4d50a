//! The outbox: what happened, for those who keep history, until they have it.
//!
//! Events have numbers without gaps over all roots, drawn in the order in which their batches are submitted. As with the
//! commits of a root, rows say from which number on which epoch drew: so a position that was applied before this server was
//! put back to an older copy is told from one that its own events follow on.

use quics_meta::{Batch, Receipt};
use quics_records::{Reads, wide};
use quics_types::Epoch;

use super::Ledger;
use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Event, EventPosition, pieces};

/// How many epochs are remembered in which numbers were drawn.
const EPOCHS: usize = 1024;
/// Events that one page reads, and one step removes; with their pieces they fit a batch.
const STEP: usize = 512;

/// What is remembered of the outbox beside its rows. Held while numbers are drawn and their batch is submitted, so that they
/// are dense whatever fails.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// There is a row that says where the present epoch began to draw.
    begun: bool,
}

/// Whether the events that are still there follow on a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// They do.
    Whole,
    /// Events between are not kept any more.
    Gap,
    /// The position is not one of this server's.
    OtherChain,
}

/// Where somebody begins to follow the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Whether the events that come follow on what was applied.
    pub continuity: Continuity,
    /// The first event that comes is behind this number.
    pub after: u64,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events with their numbers, without gaps.
    pub events: Vec<(u64, Event)>,
    /// Whether there may be more at once.
    pub more: bool,
}

impl Ledger {
    /// Says where somebody goes on who has applied everything up to `position` (`None`: nothing yet).
    ///
    /// # Errors
    /// Those of the store.
    pub fn follow(&self, position: Option<EventPosition>) -> Result<Start, Error> {
        let first = self.first_event(self.durable())?;
        let applied = match position {
            None => 0,
            Some(position) if self.has_drawn(position)? => position.number,
            Some(_) => return Ok(Start { continuity: Continuity::OtherChain, after: first - 1 }),
        };
        Ok(match applied + 1 >= first {
            true => Start { continuity: Continuity::Whole, after: applied },
            false => Start { continuity: Continuity::Gap, after: first - 1 },
        })
    }

    /// Reads the next durable events behind a number. They have to be there: a gap is damage.
    ///
    /// # Errors
    /// Those of the store.
    pub fn events(&self, after: u64) -> Result<EventPage, Error> {
        let (_, to) = keys::all(b'o', None);
        let page = self.durable().range(&keys::outbox(after.saturating_add(1)), &to, STEP)?;
        let (more, mut expected) = (page.len() == STEP, after);
        let mut events = Vec::with_capacity(page.len());
        for (key, stored) in page {
            expected += 1;
            if keys::parse_outbox(&key) != Some(expected) {
                return Err(Error::damaged(&key));
            }
            events.push((expected, records::decode::<Event>(&key, stored)?.record));
        }
        Ok(EventPage { events, more })
    }

    /// The position of an event that was drawn, durable; `None` for one that was not, and where its epoch is forgotten.
    ///
    /// # Errors
    /// Those of the store.
    pub fn event_position(&self, number: u64) -> Result<Option<EventPosition>, Error> {
        if number == 0 || number >= self.next_event()? {
            return Ok(None);
        }
        let (from, to) = (keys::all(b'N', None).0, keys::behind(&keys::outbox_epoch(number)));
        let rows = self.durable().raw_range_back(&from, &to, 1)?;
        let Some((key, value)) = rows.first() else { return Ok(None) };
        let epoch = value.as_ref().try_into().map_err(|_| Error::damaged(key))?;
        Ok(Some(EventPosition { epoch: Epoch(u64::from_be_bytes(epoch)), number }))
    }

    /// Notes that everything up to a position was durably applied: it need not be kept. One that is not of this server counts
    /// for nothing (`false`), a lower one than before too.
    ///
    /// # Durability
    /// None until [`Ledger::remove_applied`]; a lost one only keeps events longer.
    ///
    /// # Errors
    /// Those of the store.
    pub fn applied_events(&self, position: EventPosition) -> Result<bool, Error> {
        let drawn = self.has_drawn(position)?;
        if drawn {
            let mut applied = self.applied.lock();
            let newer = applied.is_none_or(|before| before.number < position.number);
            if newer {
                *applied = Some(position);
            }
        }
        Ok(drawn)
    }

    /// Removes events that were applied, a bounded number, and notes how far they were; `None` if there are none.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove_applied(&self) -> Result<Option<Receipt>, Error> {
        let applied = self.applied.lock();
        let Some(position) = *applied else { return Ok(None) };
        // The lock is held: whoever removes next sees what this one has queued.
        let first = self.first_event(self.latest())?;
        let (from, to) = (keys::outbox(first), keys::behind(&keys::outbox(position.number)));
        let page = self.latest().range(&from, &to, STEP)?;
        let Some((last, stored)) = page.last() else { return Ok(None) };
        let number = keys::parse_outbox(last).ok_or_else(|| Error::damaged(last))?;
        let epoch = records::decode::<Event>(last, stored.clone())?.record.cursor.epoch;
        let mut batch = Batch::new();
        for (key, stored) in page {
            wide::delete(&mut batch, key, stored.pieces);
        }
        let before = records::get::<EventPosition>(self.latest(), keys::APPLIED)?;
        let removed = EventPosition { epoch, number };
        records::put(&mut batch, bytes::Bytes::from_static(keys::APPLIED), &removed, pieces(&before));
        Ok(Some(self.meta.submit(batch)?))
    }

    /// The position up to which events were durably removed, because somebody has applied them; `None` if nobody ever has.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn removed_events(&self) -> Result<Option<EventPosition>, Error> {
        Ok(records::get::<EventPosition>(self.durable(), keys::APPLIED)?.map(|kept| kept.record))
    }

    /// Whether this server drew this position.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn has_told(&self, position: EventPosition) -> Result<bool, Error> {
        self.has_drawn(position)
    }

    /// Puts events into a batch, each under its number, and queues it.
    pub(super) fn submit_with(&self, mut batch: Batch, events: &[Event]) -> Result<Receipt, Error> {
        let mut outbox = self.outbox.lock();
        let next = records::get::<u64>(self.latest(), keys::OUTBOX_NEXT)?;
        let first = next.as_ref().map_or(1, |kept| kept.record);
        if !outbox.begun {
            batch.put(keys::outbox_epoch(first), self.epoch.0.to_be_bytes().to_vec());
            let (from, to) = keys::all(b'N', None);
            let known = self.latest().raw_range(&from, &to, EPOCHS)?;
            if known.len() >= EPOCHS
                && let Some((oldest, _)) = known.first()
            {
                batch.delete(oldest.clone());
            }
        }
        let mut number = first;
        for event in events {
            records::put(&mut batch, keys::outbox(number), event, 0);
            number += 1;
        }
        records::put(&mut batch, bytes::Bytes::from_static(keys::OUTBOX_NEXT), &number, pieces(&next));
        let receipt = self.meta.submit(batch)?;
        outbox.begun = true;
        Ok(receipt)
    }

    /// How many outbox records wait to be taken.
    ///
    /// # Errors
    /// Those of the store.
    pub fn outbox_records(&self) -> Result<u64, Error> {
        Ok(self.next_event()?.saturating_sub(self.first_event(self.durable())?))
    }

    /// The number of the first event that is kept, or of the next one. It is not searched for: the store is slow where many
    /// rows were removed.
    fn first_event(&self, reads: Reads<'_>) -> Result<u64, Error> {
        Ok(records::get::<EventPosition>(reads, keys::APPLIED)?.map_or(0, |kept| kept.record.number) + 1)
    }

    /// The number that the next durable event will have.
    fn next_event(&self) -> Result<u64, Error> {
        Ok(records::get::<u64>(self.durable(), keys::OUTBOX_NEXT)?.map_or(1, |kept| kept.record))
    }

    /// Whether this server drew this position, and no other server in its place.
    fn has_drawn(&self, position: EventPosition) -> Result<bool, Error> {
        if self.event_position(position.number)? == Some(position) {
            return Ok(true);
        }
        // Its epoch may be forgotten since.
        let applied = records::get::<EventPosition>(self.durable(), keys::APPLIED)?;
        Ok(applied.is_some_and(|kept| kept.record == position))
    }
}
