//! Keeping the trees: what changed in a step goes to the metadata store as one batch, after the disk has it.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message as _;
use quics_meta::{Batch, MetaStore, Receipt};
use quics_reconcile::{CandidateRole, Conflict, Row, Trees};
use quics_types::{Cursor, EntryId};

use super::record::{self, Agreed};
use super::{Action, Config, Engine, Error, Link};

/// A batch on its way to the disk.
#[derive(Debug)]
pub(super) struct Pending {
    receipt: Receipt,
    cursor: Option<Cursor>,
    recorded: u64,
    /// It holds the meta record as of a resume.
    resumed: bool,
}

/// What has to be stored next to the trees' own changes.
#[derive(Debug, Default)]
pub(super) struct Persist {
    /// Cursor, incarnation or recorded verdicts changed.
    pub(super) meta: bool,
    acknowledged: Option<Cursor>,
}

/// What was stored.
pub(super) struct Loaded {
    pub(super) trees: Trees,
    pub(super) agreed: HashMap<EntryId, Agreed>,
    /// Entries that have records of what was settled, or of a revert.
    pub(super) settled: HashSet<EntryId>,
    pub(super) cursor: Option<Cursor>,
    pub(super) incarnation: u64,
    pub(super) recorded: (u64, u64),
}

/// Reads everything that is stored of a root.
pub(super) fn load(config: &Config, store: &dyn MetaStore) -> Result<Loaded, Error> {
    let mut trees = Trees::new(config.device);
    let mut agreed = HashMap::new();
    let (mut nameless, mut with_settled) = (Vec::new(), HashSet::new());
    let mut conflicts: BTreeMap<EntryId, Conflict> = BTreeMap::new();
    let meta = match store.get(&record::key(config.root, b'm', &[]))? {
        Some(value) => record::Meta::decode(value).map_err(|_| Error::Record { what: "meta record" })?,
        None => record::Meta::default(),
    };
    if meta.format > record::FORMAT {
        return Err(Error::Record { what: "meta record of a newer version" });
    }
    each(config, store, b'r', |key, value| {
        let broken = || Error::Record { what: "row" };
        let row = quics_proto::common::v1::Row::decode(value).map_err(|_| broken())?;
        trees.set_remote(Row::try_from(row).map_err(|_| broken())?);
        let _ = key;
        Ok(())
    })?;
    each(config, store, b'b', |key, value| {
        let id = entry(key)?;
        let synced = record::Synced::decode(value).map_err(|_| Error::Record { what: "synced row" })?;
        if let Some(stat) = synced.agreed() {
            agreed.insert(id, stat);
        }
        if synced.nameless {
            nameless.push((id, synced))
        } else {
            trees.set_base(id, synced.to_base()?)
        }
        Ok(())
    })?;
    for (id, synced) in nameless {
        trees.set_nameless_base(id, synced.to_base()?);
    }
    each(config, store, b'c', |_, value| {
        let (id, one) = record::to_conflict(&value)?;
        let conflict = conflicts.entry(id).or_default();
        conflict.revision = conflict.revision.max(one.revision);
        conflict.candidates.extend(one.candidates);
        Ok(())
    })?;
    for (id, conflict) in conflicts {
        trees.set_conflict(id, Some(conflict));
    }
    each(config, store, b's', |key, value| {
        let role = if key.get(34) == Some(&1) { CandidateRole::New } else { CandidateRole::Own };
        with_settled.insert(entry(key)?);
        trees.set_settled(entry(key)?, role, Some(record::to_settled(&value)?));
        Ok(())
    })?;
    each(config, store, b'v', |key, _| {
        with_settled.insert(entry(key)?);
        trees.set_revert(entry(key)?, true);
        Ok(())
    })?;
    trees.take_changed();
    Ok(Loaded {
        trees,
        agreed,
        settled: with_settled,
        cursor: meta.cursor.map(Into::into),
        incarnation: meta.incarnation,
        recorded: (meta.recorded_incarnation, meta.recorded_seq),
    })
}

fn entry(key: &[u8]) -> Result<EntryId, Error> {
    key.get(18..34).and_then(|id| EntryId::from_slice(id).ok()).ok_or(Error::Record { what: "key" })
}

fn each(
    config: &Config,
    store: &dyn MetaStore,
    tag: u8,
    mut with: impl FnMut(&[u8], Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    let prefix = record::key(config.root, tag, &[]);
    let (mut start, end) = (prefix.to_vec(), record::end_of(&prefix));
    loop {
        let page = store.range(&start, &end, quics_meta::MAX_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        start = last.to_vec();
        start.push(0);
        for (key, value) in page {
            with(&key, value)?;
        }
    }
}

/// Takes everything that is stored of a root out, but for the number of its incarnation: the server remembers it, and a
/// root that is attached again goes on from there.
///
/// # Durability
/// When it returns.
///
/// # Errors
/// When the store fails.
pub fn erase(root: quics_types::RootId, store: &dyn MetaStore) -> Result<(), quics_meta::Error> {
    let start = record::of_root(root);
    let end = record::end_of(&start);
    let meta = record::key(root, b'm', &[]);
    loop {
        let page = store.latest_range(&start, &end, 1000)?;
        let mut batch = Batch::new();
        for (key, _) in page.iter().filter(|(key, _)| *key != meta) {
            batch.delete(key.clone());
        }
        if batch.is_empty() {
            break;
        }
        store.submit(batch)?.wait()?;
    }
    let Some(kept) = store.latest_get(&meta)? else { return Ok(()) };
    let mut batch = Batch::new();
    match record::Meta::decode(kept) {
        Ok(kept) => batch.put(meta, record::Meta { cursor: None, ..kept }.encode_to_vec()),
        Err(_) => batch.delete(meta),
    };
    store.submit(batch)?.wait().map(drop)
}

impl Engine {
    /// What the store has made durable may be told.
    pub(super) fn take_receipts(&mut self) -> Result<(), Error> {
        while let Some(pending) = self.receipts.front_mut() {
            let Some(result) = pending.receipt.try_poll() else { break };
            result?;
            let Some(done) = self.receipts.pop_front() else { break };
            self.flights.durable = true;
            self.resume();
            if done.resumed {
                self.recorded();
            }
            self.flights.recorded = self.flights.recorded.max(done.recorded);
            if let Some(cursor) = done.cursor.filter(|cursor| Some(*cursor) != self.persist.acknowledged)
                && self.link == Link::Up
            {
                self.persist.acknowledged = Some(cursor);
                self.actions.push(Action::Acknowledge { cursor });
            }
        }
        Ok(())
    }

    /// Stores what changed in this step.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        let changed = self.trees.take_changed();
        if changed.is_empty() && !self.persist.meta {
            return Ok(());
        }
        let accepted: Vec<_> = std::mem::take(&mut self.flights.accepted).into_iter().collect();
        if !accepted.is_empty()
            && let Err(error) = self.folder.make_durable(&accepted)
        {
            // The rows are not stored: after a crash the verdicts are asked for again.
            tracing::warn!(%error, "files that were sent cannot be made durable");
            self.flights.accepted.extend(accepted);
            for id in changed {
                self.trees.mark_changed(id);
            }
            return Ok(());
        }
        let mut batch = Batch::new();
        for id in changed {
            self.save_entry(id, &mut batch)?;
            if batch.encoded_len() > 4 << 20 || batch.len() > 20_000 {
                self.submit(std::mem::take(&mut batch), None)?;
            }
        }
        // Until the verdicts of earlier incarnations are taken, their mark stays.
        let resumed = self.flights.is_resumed();
        let incarnation = self.flights.incarnation;
        let recorded = if resumed { (incarnation, self.flights.taken()) } else { self.flights.before };
        let meta = record::Meta {
            format: record::FORMAT,
            cursor: self.cursor.map(Into::into),
            incarnation,
            recorded_incarnation: recorded.0,
            recorded_seq: recorded.1,
        };
        batch.put(record::key(self.config.root, b'm', &[]), meta.encode_to_vec());
        self.persist.meta = false;
        self.submit(batch, self.cursor)
    }

    fn submit(&mut self, batch: Batch, cursor: Option<Cursor>) -> Result<(), Error> {
        let (recorded, resumed) = (self.flights.taken(), self.link == Link::Recording);
        let mut batch = Some(batch);
        loop {
            let Some(it) = batch.take() else { return Ok(()) };
            match self.store.submit(it.clone()) {
                Ok(receipt) => {
                    self.receipts.push_back(Pending { receipt, cursor, recorded, resumed });
                    return Ok(());
                }
                Err(quics_meta::Error::Busy) => {
                    // The store's queue is full: wait for the oldest batch of this engine.
                    let Some(oldest) = self.receipts.pop_front() else { continue };
                    oldest.receipt.wait()?;
                    batch = Some(it);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn save_entry(&mut self, id: EntryId, batch: &mut Batch) -> Result<(), Error> {
        let root = self.config.root;
        let key = |tag| record::key(root, tag, &[id.as_bytes()]);
        match self.trees.remote(id) {
            Some(row) => batch.put(key(b'r'), quics_proto::common::v1::Row::from(row).encode_to_vec()),
            None => batch.delete(key(b'r')),
        };
        if let Some(base) = self.trees.base(id) {
            let node = self.trees.node_of(id);
            let agrees =
                node.and_then(|node| self.trees.node(node)).is_some_and(|it| it.value.as_ref() == Some(&base.value));
            if let (true, Some(node)) = (agrees, node)
                && let Some(stat) = self.stats.get(&node)
            {
                let (racy, content_time) = (self.racy.contains(&node), base.content_time);
                self.agreed.insert(id, Agreed { stat: *stat, racy, content_time });
            }
            if self.agreed.get(&id).is_some_and(|agreed| !agreed.tells_of(base)) {
                self.agreed.remove(&id);
            }
            let synced = record::Synced::of(base, !self.trees.is_named(id), self.agreed.get(&id));
            batch.put(key(b'b'), synced.encode_to_vec());
        } else {
            self.agreed.remove(&id);
            batch.delete(key(b'b'));
        }
        self.save_settled(id, batch);
        self.save_conflict(id, batch)
    }

    fn save_settled(&mut self, id: EntryId, batch: &mut Batch) {
        let root = self.config.root;
        let settled = [CandidateRole::Own, CandidateRole::New].map(|role| self.trees.settled(id, role));
        let reverts = self.trees.reverts(id);
        let any = reverts || settled.iter().any(Option::is_some);
        let had_any = if any { !self.settled.insert(id) } else { self.settled.remove(&id) };
        if !any && !had_any {
            return; // as nearly always: nothing is there to be removed
        }
        let key = record::key(root, b'v', &[id.as_bytes()]);
        if reverts {
            batch.put(key, Bytes::new())
        } else {
            batch.delete(key)
        };
        for (number, settled) in (0u8..).zip(settled) {
            let key = record::key(root, b's', &[id.as_bytes(), &[number]]);
            match settled {
                Some(settled) => batch.put(key, record::of_settled(settled)),
                None => batch.delete(key),
            };
        }
    }

    fn save_conflict(&mut self, id: EntryId, batch: &mut Batch) -> Result<(), Error> {
        let prefix = record::key(self.config.root, b'c', &[id.as_bytes()]);
        let now: Vec<(Bytes, Bytes)> =
            self.trees.conflict(id).map(|it| record::candidates(self.config.root, id, it)).unwrap_or_default();
        if now.is_empty() && !self.conflicted.contains(&id) {
            return Ok(());
        }
        let keys: HashSet<&Bytes> = now.iter().map(|(key, _)| key).collect();
        for (key, _) in self.store.latest_range(&prefix, &record::end_of(&prefix), quics_meta::MAX_PAGE)? {
            if !keys.contains(&key) {
                batch.delete(key);
            }
        }
        if now.is_empty() {
            self.conflicted.remove(&id)
        } else {
            self.conflicted.insert(id)
        };
        for (key, value) in now {
            batch.put(key, value);
        }
        Ok(())
    }
}
