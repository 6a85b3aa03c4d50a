//! The brake: a device that destroys an unusual share of a root is stopped, and an owner decides.
//!
//! ```text
//! accepted changes ─> counted by device ─> too many: a brake in the same commit, told by the feed
//! braked: what would change an entry is kept as a row, content included, and answered `held`
//! released:   the device proposes it again, and it is judged like any change
//! taken back: the device proposes it again, is told so, and undoes it; history keeps it as what lost
//! ```
//!
//! A brake is gone when it was decided on and nothing is held any more. Counting is in memory: a restart begins anew, and so
//! does a device that was released, after a while.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use quics_chunks::{ChunkSource as _, ManifestReader};
use quics_meta::Receipt;
use quics_reconcile::brake::{self, Burst, Harm};
use quics_reconcile::{
    Candidate, CandidateRole, CandidateState, Change, Judgement, Proposal, Refusal, Row, Value, Verdict,
};
use quics_records::{Reads, wide};
use quics_types::{DeviceId, EntryId, Place, ResolutionId, RootId, limits};

use super::propose::Request;
use super::write::{By, Write};
use super::{Ledger, Memo};
use crate::db::answers::{Chosen, Resolution, Settled};
use crate::db::brakes::{Brake, BrakeStage, Brakes, HeldEntry};
use crate::db::keys::{self, Kind};
use crate::db::records::{self, Cause, pieces};
use crate::{Error, WallTime};

/// Minutes for which a device that was released is not braked again.
const PARDON: u64 = 60;
const MINUTE_MICROS: u64 = 60_000_000;
/// Held changes that one step of counting looks at.
const STEP: usize = 1024;

/// What is remembered of a root for its brakes.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// As the latest state has them.
    brakes: Option<Brakes>,
    bursts: HashMap<DeviceId, Burst>,
    /// Until which minute a device is not braked.
    pardoned: HashMap<DeviceId, u64>,
}

impl Watched {
    /// Forgets what was counted too long ago.
    pub(super) fn forget(&mut self, now: WallTime) {
        let minute = minute(now);
        self.bursts.retain(|_, burst| !burst.is_over(minute));
        self.pardoned.retain(|_, until| *until > minute);
    }
}

fn minute(at: WallTime) -> u64 {
    at.micros_since(WallTime(0)) / MINUTE_MICROS
}

/// What becomes of a decision.
#[derive(Debug)]
pub enum Decided {
    /// The brakes are these when the receipt has resolved.
    Done(Receipt, Brakes),
    /// That was decided before.
    Already(Brakes),
}

/// What becomes of a judgement beside a brake.
pub(super) enum Beside {
    /// This is done.
    Not(Judgement),
    /// This is done, and deleted at once: something new that was taken back. So its device removes it, and history has it.
    Undone(Judgement),
}

/// A held change with where its entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldChange {
    /// The entry; for something new, an id that follows from its place.
    pub id: EntryId,
    /// The path, as the entry is now.
    pub path: Bytes,
    /// What is held.
    pub held: HeldEntry,
}

impl Ledger {
    /// The durable brakes of a root.
    ///
    /// # Errors
    /// Those of the store.
    pub fn brakes(&self, root: RootId) -> Result<Brakes, Error> {
        self.brakes_of(self.durable(), root)
    }

    fn brakes_of(&self, reads: Reads<'_>, root: RootId) -> Result<Brakes, Error> {
        Ok(records::get(reads, &keys::brakes(root))?.map(|kept| kept.record).unwrap_or_default())
    }

    /// The next held changes of a device, by their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub fn held(
        &self,
        root: RootId,
        device: DeviceId,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<HeldChange>, Error> {
        let (first, to) = keys::held_all(root, device);
        let from = after.map_or(first, |entry| keys::behind(&keys::held(root, device, entry)));
        let page = self.durable().range(&from, &to, limit)?;
        let change = |(key, stored): (Bytes, _)| {
            let id = keys::parse_held(&key).ok_or_else(|| Error::damaged(&key))?;
            let held = records::decode::<HeldEntry>(&key, stored)?.record;
            let path = match &held.proposal {
                Proposal::Create { place, .. } => self.path_of(root, Some(place.clone()))?,
                _ => self.path_of(root, self.entry(root, id)?.map(|entry| entry.row.place))?,
            };
            Ok(HeldChange { id, path, held })
        };
        page.into_iter().map(change).collect()
    }

    /// How many changes of a device are held, and the bytes of the contents that they bring.
    ///
    /// # Errors
    /// Those of the store.
    pub fn held_count(&self, root: RootId, device: DeviceId) -> Result<(u64, u64), Error> {
        let (mut from, to) = keys::held_all(root, device);
        let (mut count, mut bytes) = (0, 0);
        loop {
            let page = self.durable().range(&from, &to, STEP)?;
            let Some((last, _)) = page.last() else { return Ok((count, bytes)) };
            from = keys::behind(last);
            for (key, stored) in page {
                let held = records::decode::<HeldEntry>(&key, stored)?.record;
                let size = held.proposal.value().and_then(Value::content).map_or(0, |(_, size)| size);
                (count, bytes) = (count + 1, bytes + size);
            }
        }
    }

    fn path_of(&self, root: RootId, place: Option<Place>) -> Result<Bytes, Error> {
        let (mut names, mut at) = (Vec::new(), place);
        while let Some(Place { parent, name }) = at.filter(|_| names.len() <= limits::DEPTH) {
            names.push(name.to_bytes());
            at = if parent == EntryId::TOP { None } else { self.entry(root, parent)?.map(|entry| entry.row.place) };
        }
        names.reverse();
        Ok(names.join(&b'/').into())
    }

    /// Decides on the brake that is on a device since a commit, on behalf of the device `by`.
    ///
    /// # Durability
    /// When the receipt has resolved; it may not be told before.
    ///
    /// # Errors
    /// [`Error::NotFound`]: there is no such brake. [`Error::BrakeDecided`]: it was decided otherwise. Those of the store.
    pub fn decide(
        &self,
        root: RootId,
        (device, since): (DeviceId, u64),
        stage: BrakeStage,
        by: DeviceId,
        now: WallTime,
    ) -> Result<Decided, Error> {
        let memo = self.memo(root);
        let mut memo = memo.lock();
        let mut brakes = self.brakes_of(self.latest(), root)?;
        let found = brakes.brakes.iter_mut().find(|brake| brake.device == device && brake.since == since);
        let brake = found.ok_or(Error::NotFound("this brake"))?;
        if brake.stage == stage {
            return Ok(Decided::Already(brakes));
        }
        if brake.stage != BrakeStage::On {
            return Err(Error::BrakeDecided);
        }
        (brake.stage, brake.by) = (stage, by);
        let (from, to) = keys::held_all(root, device);
        if self.latest().range(&from, &to, 1)?.is_empty() {
            brakes.brakes.retain(|brake| brake.device != device);
        }
        let mut write = self.write(root, By { device: by, order: (0, 0), at: now }, Cause::Settings)?;
        write.brakes(&mut brakes)?;
        let receipt = write.submit()?;
        memo.watched.brakes = Some(brakes.clone());
        memo.watched.bursts.remove(&device);
        if stage == BrakeStage::Released {
            memo.watched.pardoned.insert(device, minute(now) + PARDON);
        }
        Ok(Decided::Done(receipt, brakes))
    }

    /// Sets how much of a root a device may destroy in a short time, in percent; 0: as usual, above 100: all.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_brake(&self, root: RootId, share: u32, by: DeviceId, now: WallTime) -> Result<(Receipt, Brakes), Error> {
        let memo = self.memo(root);
        let mut memo = memo.lock();
        let mut brakes = Brakes { share, ..self.brakes_of(self.latest(), root)? };
        let mut write = self.write(root, By { device: by, order: (0, 0), at: now }, Cause::Settings)?;
        write.brakes(&mut brakes)?;
        let receipt = write.submit()?;
        memo.watched.brakes = Some(brakes.clone());
        Ok((receipt, brakes))
    }

    /// What a root remembers for its brakes, with the brakes read.
    fn watched<'a>(&self, root: RootId, memo: &'a mut Memo) -> Result<(&'a mut Watched, Brakes), Error> {
        let brakes = match &memo.watched.brakes {
            Some(brakes) => brakes.clone(),
            None => self.brakes_of(self.latest(), root)?,
        };
        memo.watched.brakes = Some(brakes.clone());
        Ok((&mut memo.watched, brakes))
    }

    /// What a judgement becomes where a brake is, or was, on the device.
    pub(super) fn beside_brake(
        &self,
        write: &mut Write<'_>,
        memo: &mut Memo,
        request: &Request,
        judgement: Judgement,
        now: WallTime,
    ) -> Result<Beside, Error> {
        let Request { root, device, ref proposal, .. } = *request;
        let (watched, mut brakes) = self.watched(root, memo)?;
        let Some(brake) = brakes.on(device).cloned() else { return Ok(Beside::Not(judgement)) };
        let key = keys::held(root, device, proposal.held_id());
        let kept = records::get::<HeldEntry>(self.latest(), &key)?;
        if brake.stage == BrakeStage::On && judgement.row.is_some() && is_held(proposal) {
            let seq = write.seq();
            let held =
                HeldEntry { proposal: proposal.clone(), order: (request.incarnation, request.seq), at: now, seq };
            records::put(&mut write.batch, key, &held, pieces(&kept));
            return Ok(Beside::Not(Judgement { verdict: Verdict::Held { seq }, row: None, conflict: None }));
        }
        let Some(kept) = kept else { return Ok(Beside::Not(judgement)) };
        let refused = matches!(judgement.verdict, Verdict::Refused(_));
        if brake.stage == BrakeStage::On && refused {
            return Ok(Beside::Not(judgement));
        }
        wide::delete(&mut write.batch, key.clone(), kept.pieces);
        let (from, to) = keys::held_all(root, device);
        let last = self.latest().range(&from, &to, 2)?.iter().all(|(other, _)| *other == key);
        if last && brake.stage != BrakeStage::On {
            brakes.brakes.retain(|other| other.device != device);
            write.brakes(&mut brakes)?;
            watched.brakes = Some(brakes);
        }
        if brake.stage != BrakeStage::TakenBack || !is_same(&kept.record.proposal, proposal) {
            return Ok(Beside::Not(judgement));
        }
        if matches!(proposal, Proposal::Create { .. }) {
            return Ok(Beside::Undone(judgement));
        }
        write.lost(device, &kept.record, &brake)?;
        let verdict = Verdict::Refused(Refusal::TakenBack);
        Ok(Beside::Not(Judgement { verdict, row: None, conflict: None }))
    }

    /// Counts a change that is accepted, and brakes its device if it is one too many.
    pub(super) fn count(
        &self,
        write: &mut Write<'_>,
        memo: &mut Memo,
        request: &Request,
        (before, after): (Option<&Row>, &Row),
        now: WallTime,
    ) -> Result<(), Error> {
        let Request { root, device, .. } = *request;
        let Some(harm) = self.harm(memo, request, before, after)? else { return Ok(()) };
        let (watched, mut brakes) = self.watched(root, memo)?;
        let minute = minute(now);
        let share = if brakes.share == 0 { brake::SHARE } else { brakes.share };
        let exempt = watched.pardoned.get(&device).is_some_and(|until| *until > minute);
        if exempt || share > 100 || brakes.on(device).is_some_and(|brake| brake.stage == BrakeStage::On) {
            return Ok(());
        }
        let burst = watched.bursts.entry(device).or_default();
        let live = write.state.live;
        let Some(tripped) = burst.note((after.id, after.place.parent), harm, write.seq(), minute, live, share) else {
            return Ok(());
        };
        watched.bursts.remove(&device);
        tracing::warn!(%root, %device, changed = tripped.changed, of = tripped.of, "device.braked");
        brakes.brakes.retain(|brake| brake.device != device);
        brakes.brakes.push(Brake {
            device,
            since: tripped.since,
            at: now,
            changed: tripped.changed,
            of: tripped.of,
            stage: BrakeStage::On,
            by: device,
        });
        write.brakes(&mut brakes)?;
        watched.brakes = Some(brakes);
        Ok(())
    }

    /// What a change does; contents are looked into only where it may matter.
    fn harm(&self, memo: &Memo, request: &Request, before: Option<&Row>, after: &Row) -> Result<Option<Harm>, Error> {
        let harm = brake::harm(before, after);
        let curious = memo.watched.bursts.get(&request.device).is_some_and(Burst::is_curious);
        let live = before.filter(|before| !before.dead);
        let is_file = !after.dead && matches!(after.value, Value::File { .. });
        let changed = live.is_none_or(|before| before.value != after.value);
        if !curious || !is_file || !changed || harm == Some(Harm::Destroyed) {
            return Ok(harm);
        }
        let is = self.sample(request.root, &after.value, request.inline.as_ref())?;
        Ok(match live {
            None => brake::is_noise(&is).then_some(Harm::Noise),
            Some(before) => {
                let was = self.sample(request.root, &before.value, None)?;
                if brake::is_scrambled(&was, &is) { Some(Harm::Destroyed) } else { harm }
            }
        })
    }

    /// How a file begins; nothing where that cannot be read, which is found elsewhere.
    fn sample(&self, root: RootId, value: &Value, inline: Option<&Bytes>) -> Result<Bytes, Error> {
        let cut = |bytes: Bytes| bytes.slice(..bytes.len().min(brake::SAMPLE));
        let Value::File { content, size } = value else { return Ok(Bytes::new()) };
        if let Some(bytes) = inline {
            return Ok(cut(bytes.clone()));
        }
        if *size <= limits::INLINE_BYTES as u64 {
            return match self.contents.read_small(root, *content, *size) {
                Ok(bytes) => Ok(bytes.map(cut).unwrap_or_default()),
                Err(Error::Chunks(_)) => Ok(Bytes::new()),
                Err(error) => Err(error),
            };
        }
        let source = self.contents.of(root);
        let first = ManifestReader::open(&source, *content).ok().and_then(|mut reader| reader.next()?.ok());
        let bytes = first.and_then(|first| source.chunk(first.digest).ok()).flatten();
        Ok(bytes.map(cut).unwrap_or_default())
    }

    /// Forgets what was counted of devices that have been quiet for long.
    pub fn forget_bursts(&self, now: WallTime) {
        let roots: Vec<_> = self.roots.lock().values().cloned().collect();
        roots.iter().for_each(|memo| memo.lock().watched.forget(now));
    }
}

/// Whether a brake holds a change: directories that are new, and permission bits, pass.
fn is_held(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Create { value, .. } => !value.is_directory(),
        Proposal::Delete { .. } => true,
        Proposal::Change(change) => change.content.is_some() || change.place.is_some(),
        Proposal::Withdraw { .. } => false,
    }
}

/// Whether a proposal wants again what was held, in any aspect.
fn is_same(held: &Proposal, again: &Proposal) -> bool {
    match (held, again) {
        (Proposal::Delete { .. }, Proposal::Delete { .. }) => true,
        (Proposal::Create { value, .. }, Proposal::Create { value: again, .. }) => value == again,
        (Proposal::Change(held), Proposal::Change(again)) => {
            let value = |change: &Change| change.content.as_ref().map(|content| content.value.clone());
            let place = |change: &Change| change.place.as_ref().map(|place| place.place.clone());
            let (content, moved) = (value(held), place(held));
            (content.is_some() && content == value(again)) || (moved.is_some() && moved == place(again))
        }
        _ => false,
    }
}

impl Write<'_> {
    /// Sets the root's brakes.
    pub(super) fn brakes(&mut self, brakes: &mut Brakes) -> Result<(), Error> {
        let key = keys::brakes(self.root);
        let seq = self.numbered();
        let old = records::get::<Brakes>(self.ledger.latest(), &key)?;
        if let Some(old) = &old {
            self.batch.delete(keys::feed(self.root, old.record.seq, Kind::Brakes));
        }
        brakes.seq = seq;
        self.batch.put(keys::feed(self.root, seq, Kind::Brakes), EntryId::TOP.as_bytes().to_vec());
        records::put(&mut self.batch, key, brakes, pieces(&old));
        Ok(())
    }

    /// Tells history of a held change that was taken back: it lost to what the entry is, and nobody was asked.
    fn lost(&mut self, device: DeviceId, held: &HeldEntry, brake: &Brake) -> Result<(), Error> {
        let Some(value) = held.proposal.value().cloned() else { return Ok(()) };
        let id = held.proposal.id();
        let (mtime, mode) = match &held.proposal {
            Proposal::Change(Change { content: Some(content), attributes, .. }) => {
                (content.mtime, attributes.as_ref().map_or(0, |attributes| attributes.mode))
            }
            _ => Default::default(),
        };
        let base = held.proposal.base().cloned();
        let candidate = Candidate { order: held.order, state: CandidateState::Value(value), mtime, mode, base };
        let settled = Settled { candidate, accepted_at: held.at };
        let resolution = Resolution {
            // One for everything that a brake held.
            id: ResolutionId::from_bytes(*brake.device.as_bytes()),
            device: brake.by,
            resolved_at: held.at,
            chosen: Chosen::Server,
            settled: BTreeMap::from([((device, CandidateRole::Own), settled)]),
            created: Vec::new(),
        };
        self.told_of(id, resolution)?;
        self.caused_by(Cause::Brake);
        Ok(())
    }
}
