//! Contents on their way: read from the disk to be named, cached to be proposed or applied, fetched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use quics_reconcile::{NodeId, Subject, Value};
use quics_types::{Digest, EntryId, Name, limits};

use super::{Action, Engine, FetchFailure, IngestFailure, Ingested, Ticket};
use crate::folder::{Kind, Source, Spot, Stat};

/// Files that are ingested at once.
const INGESTS: usize = 4;
/// Contents that are fetched at once.
const FETCHES: usize = 8;
/// Bytes of small contents that came with the feed and wait to be applied; what is more is fetched when it is needed.
const INLINE_CACHE: usize = 48 << 20;
/// Bytes of small contents that were read and wait to be proposed.
const READ_CACHE: usize = 16 << 20;
/// An emptied file waits so long for its writer.
const EMPTIED: i64 = 1_000_000_000;
/// A unit is read when nothing in it has changed for so long: what changes together is one change.
const UNIT_QUIET: Duration = Duration::from_millis(300);
/// After so long something that failed is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// What a ticket is for.
#[derive(Debug)]
enum Work {
    Ingest { node: NodeId, subject: Subject, stat: Stat },
    Fetch { content: Digest, size: u64, wanted_by: EntryId },
}

/// Contents on their way.
#[derive(Debug, Default)]
pub(super) struct Contents {
    next_ticket: u64,
    work: BTreeMap<Ticket, Work>,
    ingesting: usize,
    fetching: usize,
    /// Nodes that wait for an ingest.
    to_ingest: BTreeSet<NodeId>,
    /// Entries that wait for a fetch.
    to_fetch: BTreeSet<EntryId>,
    /// Small contents from the feed, by content id.
    inline: HashMap<Digest, Bytes>,
    inline_bytes: usize,
    /// Small contents that were read, by node, with the content id.
    read: HashMap<NodeId, (Digest, Bytes)>,
    read_bytes: usize,
    /// Complete files in the incoming directory, by content id.
    incoming: HashMap<Digest, Name>,
}

impl Contents {
    fn ticket(&mut self, work: Work) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.work.insert(ticket, work);
        ticket
    }

    /// Keeps a small content that came with the feed, if there is room.
    pub(super) fn keep_inline(&mut self, content: Digest, bytes: Bytes) {
        if self.inline_bytes + bytes.len() <= INLINE_CACHE && !self.inline.contains_key(&content) {
            self.inline_bytes += bytes.len();
            self.inline.insert(content, bytes);
        }
    }

    /// A content was applied, or is not wanted any more.
    pub(super) fn used(&mut self, content: &Digest) {
        if let Some(bytes) = self.inline.remove(content) {
            self.inline_bytes -= bytes.len();
        }
        self.incoming.remove(content);
    }

    /// A fetched file may be gone.
    pub(super) fn not_incoming(&mut self, content: &Digest) {
        self.incoming.remove(content);
    }

    fn keep_read(&mut self, node: NodeId, content: Digest, bytes: Bytes) {
        self.forget_node(node);
        if self.read_bytes + bytes.len() <= READ_CACHE {
            self.read_bytes += bytes.len();
            self.read.insert(node, (content, bytes));
        }
    }

    /// A node is gone, or its bytes were sent.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        if let Some((_, bytes)) = self.read.remove(&node) {
            self.read_bytes -= bytes.len();
        }
    }

    /// The bytes of a node, if they were read lately and are this content.
    pub(super) fn read_of(&self, node: NodeId, content: &Digest) -> Option<Bytes> {
        self.read.get(&node).filter(|(read, _)| read == content).map(|(_, bytes)| bytes.clone())
    }

    /// Bytes of files that are being fetched.
    pub(super) fn fetching_bytes(&self) -> u64 {
        let size = |work: &Work| if let Work::Fetch { size, .. } = work { *size } else { 0 };
        self.work.values().map(size).sum()
    }

    /// Bytes of files that are being ingested.
    pub(super) fn ingesting_bytes(&self) -> u64 {
        let size = |work: &Work| if let Work::Ingest { stat, .. } = work { stat.size } else { 0 };
        self.work.values().map(size).sum()
    }

    /// Whether nothing is on its way.
    pub(super) fn idle(&self) -> bool {
        self.work.is_empty() && self.to_ingest.is_empty() && self.to_fetch.is_empty()
    }
}

impl Engine {
    /// Finds out what a node's content is: at once if it is small, by an ingest otherwise.
    pub(super) fn hash(&mut self, node: NodeId) {
        let (Some(spot), Some(stat)) = (self.spot_of(node), self.stats.get(&node).copied()) else { return };
        match stat.kind {
            Kind::Directory | Kind::Other => self.wait_for_change(node),
            Kind::Link => self.hash_link(node, &spot, stat),
            Kind::File if stat.size == 0 && self.age(&stat) < EMPTIED && self.had_content(node) => {
                // Truncated just now: its writer is about to write.
                self.postpone_node(node, Duration::from_millis(200));
            }
            Kind::File if stat.size <= limits::INLINE_BYTES as u64 => self.hash_small(node, &spot),
            Kind::Unit if self.age(&stat) < UNIT_QUIET.as_nanos() as i64 => self.postpone_node(node, UNIT_QUIET),
            Kind::File | Kind::Unit => self.start_ingest(node, spot, stat),
        }
    }

    fn had_content(&self, node: NodeId) -> bool {
        let entry = self.trees.node(node).and_then(|it| it.entry);
        let value = entry.and_then(|entry| self.trees.agreed_value(entry));
        matches!(value, Some(Value::File { size, .. }) if *size > 0)
    }

    /// The node cannot be synced as it is; it is looked at again when it changes.
    fn wait_for_change(&mut self, node: NodeId) {
        let subject = self.subject_of(node);
        self.unfit.insert(node);
        self.trees.wait(subject);
    }

    pub(super) fn subject_of(&self, node: NodeId) -> Subject {
        self.trees.node(node).and_then(|it| it.entry).map_or(Subject::Node(node), Subject::Entry)
    }

    pub(super) fn postpone_node(&mut self, node: NodeId, wait: Duration) {
        let subject = self.subject_of(node);
        self.postpone(subject, wait);
    }

    fn hash_link(&mut self, node: NodeId, spot: &Spot, stat: Stat) {
        match self.folder.read_link(spot) {
            Ok(target) if (1..=limits::LINK_TARGET_BYTES).contains(&target.len()) => {
                self.hashed(node, stat, Value::Link { target });
            }
            Ok(_) => {
                self.problem(&spot.path(), "is a link whose target is too long to be synced".to_owned());
                self.wait_for_change(node);
            }
            Err(_) => self.look_again(spot),
        }
    }

    fn hash_small(&mut self, node: NodeId, spot: &Spot) {
        match self.folder.read_small(spot) {
            Ok(Some((bytes, stat))) => {
                let Some(content) = content_id(&bytes) else { return self.look_again(spot) };
                let size = bytes.len() as u64;
                self.contents.keep_read(node, content, bytes);
                self.hashed(node, stat, Value::File { content, size });
            }
            Ok(None) => self.look_again(spot),
            Err(error) => self.unreadable(node, spot, error.to_string()),
        }
    }

    fn unreadable(&mut self, node: NodeId, spot: &Spot, reason: String) {
        self.problem(&spot.path(), format!("cannot be read: {reason}"));
        self.postpone_node(node, AGAIN);
    }

    /// A node's content is known now.
    fn hashed(&mut self, node: NodeId, stat: Stat, value: Value) {
        let now = self.folder.now();
        if let Some(spot) = self.spot_of(node) {
            self.problems.remove(&spot.path());
        }
        self.update(node, stat, Some(value));
        if stat.racy(now) {
            self.racy.insert(node)
        } else {
            self.racy.remove(&node)
        };
        self.trees.bind();
    }

    fn start_ingest(&mut self, node: NodeId, at: Spot, stat: Stat) {
        let subject = self.subject_of(node);
        if self.contents.ingesting >= INGESTS {
            self.contents.to_ingest.insert(node);
            return;
        }
        let running =
            self.contents.work.values().any(|work| matches!(work, Work::Ingest { node: it, .. } if *it == node));
        if running {
            return;
        }
        self.contents.ingesting += 1;
        let ticket = self.contents.ticket(Work::Ingest { node, subject, stat });
        self.busy.insert(subject);
        self.actions.push(Action::Ingest { ticket, at, expected: stat });
    }

    /// An ingest is through.
    pub(super) fn ingested(&mut self, ticket: Ticket, result: Result<Ingested, IngestFailure>) {
        let Some(Work::Ingest { node, subject, stat }) = self.contents.work.remove(&ticket) else { return };
        self.contents.ingesting -= 1;
        self.busy.remove(&subject);
        self.trees.put_back(subject);
        let subject = self.subject_of(node); // it may be bound otherwise by now
        self.trees.put_back(subject);
        if let Some(next) = self.contents.to_ingest.pop_first() {
            let next = self.subject_of(next);
            self.trees.put_back(next);
        }
        let Some(spot) = self.spot_of(node) else { return };
        match result {
            Ok(done) if self.stats.get(&node).is_some_and(|now| now.same_content(&stat)) => {
                let Ingested { content, size, stat } = done;
                let value = match stat.kind {
                    Kind::Unit => Value::Unit { content, size },
                    _ => Value::File { content, size },
                };
                self.hashed(node, stat, value);
            }
            Ok(_) | Err(IngestFailure::Changed) => self.look_again(&spot),
            Err(IngestFailure::Offline) => self.postpone_node(node, Duration::from_millis(500)),
            Err(IngestFailure::Unreadable(reason)) => self.unreadable(node, &spot, reason),
            Err(IngestFailure::Refused(reason)) => {
                self.problem(&spot.path(), format!("the server refuses it: {reason}"));
                self.postpone_node(node, AGAIN);
            }
        }
    }

    /// Where the bytes of a file that is to be written here come from. `None`: they are being fetched, and the entry
    /// is looked at again when they are here.
    pub(super) fn source_of(&mut self, id: EntryId, content: Digest, size: u64) -> Option<Source> {
        if size == 0 {
            return Some(Source::Inline(Bytes::new()));
        }
        if let Some(bytes) = self.contents.inline.get(&content) {
            return Some(Source::Inline(bytes.clone()));
        }
        if let Some(name) = self.contents.incoming.get(&content) {
            return Some(Source::Incoming(name.clone()));
        }
        if self.contents.fetching >= FETCHES {
            self.contents.to_fetch.insert(id);
            return None;
        }
        let like = self.trees.node_of(id).and_then(|node| {
            let spot = self.spot_of(node)?;
            let (content, _) = self.trees.node(node)?.value.as_ref()?.content()?;
            Some((spot, content))
        });
        self.contents.fetching += 1;
        let ticket = self.contents.ticket(Work::Fetch { content, size, wanted_by: id });
        self.busy.insert(Subject::Entry(id));
        self.actions.push(Action::Fetch { ticket, content, size, like });
        None
    }

    /// Lets entries that wait for a fetch be planned, as many as there is room for; false if there are none.
    pub(super) fn let_fetch(&mut self) -> bool {
        let room = FETCHES.saturating_sub(self.contents.fetching);
        let next: Vec<EntryId> = (0..room).map_while(|_| self.contents.to_fetch.pop_first()).collect();
        for id in &next {
            self.trees.put_back(Subject::Entry(*id));
        }
        !next.is_empty()
    }

    /// A fetch is through.
    pub(super) fn fetched(&mut self, ticket: Ticket, result: Result<Name, FetchFailure>) {
        let Some(Work::Fetch { content, wanted_by, .. }) = self.contents.work.remove(&ticket) else { return };
        self.contents.fetching -= 1;
        let subject = Subject::Entry(wanted_by);
        self.busy.remove(&subject);
        let wait = match result {
            Ok(name) => {
                self.contents.incoming.insert(content, name);
                self.trees.mark(wanted_by);
                return;
            }
            Err(FetchFailure::Offline) => Duration::from_millis(500),
            Err(FetchFailure::Absent) => {
                self.fetch_problem(wanted_by, "the server has not got all of its content".to_owned());
                AGAIN
            }
            Err(FetchFailure::Unwritable(reason)) => {
                self.fetch_problem(wanted_by, format!("cannot be written here: {reason}"));
                AGAIN
            }
        };
        self.postpone(subject, wait);
    }

    fn fetch_problem(&mut self, id: EntryId, reason: String) {
        if let Some(path) = self.remote_path(id) {
            self.problem(&path, reason);
        }
    }

    /// The streams are gone: what was on its way begins anew when they are back.
    pub(super) fn drop_transfers(&mut self) {
        for (ticket, work) in std::mem::take(&mut self.contents.work) {
            self.actions.push(Action::Cancel { ticket });
            let subject = match work {
                Work::Ingest { node, subject, .. } => {
                    let now = self.subject_of(node);
                    self.trees.put_back(now);
                    subject
                }
                Work::Fetch { wanted_by, .. } => Subject::Entry(wanted_by),
            };
            self.busy.remove(&subject);
            self.trees.put_back(subject);
        }
        (self.contents.ingesting, self.contents.fetching) = (0, 0);
        for id in std::mem::take(&mut self.contents.to_fetch) {
            self.trees.put_back(Subject::Entry(id));
        }
        for node in std::mem::take(&mut self.contents.to_ingest) {
            let subject = self.subject_of(node);
            self.trees.put_back(subject);
        }
    }
}

/// The content id of a small file; `None` when it is not small.
pub(super) fn content_id(bytes: &[u8]) -> Option<Digest> {
    quics_chunks::inline_content(bytes).ok().map(|(content, _, _)| content)
}
