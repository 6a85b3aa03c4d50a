//! Proposals under way, and their verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quics_kit::telemetry::journey::{self, Stage};
use quics_reconcile::{NodeId, Proposal, Refusal, Seen, Step, Subject, Value, Verdict};
use quics_types::{EntryId, Mtime, Role, limits};
use rand::{Rng as _, RngCore};

use super::content::{AGAIN, content_id};
use super::{Action, Engine, Link};
use crate::folder::{Spot, Stat};

/// Bytes of small contents that may be under way at once.
const WINDOW_BYTES: usize = 8 << 20;
/// A name that vanished waits so long for its return before its delete is proposed.
const RETURN: Duration = Duration::from_millis(120);

/// A proposal under way.
#[derive(Debug)]
struct Flight {
    proposal: Proposal,
    inline: Option<Bytes>,
    subject: Subject,
    node: Option<NodeId>,
    stat: Option<Stat>,
}

impl Flight {
    /// What is not looked at as long as there is no verdict.
    fn subjects(&self) -> impl Iterator<Item = Subject> + use<> {
        let made = if let Proposal::Create { id, .. } = &self.proposal { Some(Subject::Entry(*id)) } else { None };
        [Some(self.subject), made].into_iter().flatten()
    }
}

/// The proposals under way.
#[derive(Debug)]
pub(super) struct Flights {
    pub(super) incarnation: u64,
    /// Of the incarnation before: its verdicts up to this seq are in the store.
    pub(super) before: (u64, u64),
    /// This incarnation is in the store: it may be told to the server.
    pub(super) durable: bool,
    resumed: bool,
    next_seq: u64,
    flights: BTreeMap<u64, Flight>,
    bytes: usize,
    /// Verdicts up to here are durably recorded.
    pub(super) recorded: u64,
    /// The user's own files that were accepted, to be made durable before their rows are stored.
    pub(super) accepted: BTreeSet<Spot>,
}

fn time_of(stamp: Mtime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(u64::try_from(stamp.seconds).ok()?, stamp.nanos))
}

/// The incarnation after `before`: higher, by the clock where that is further, so that a store that was lost does not
/// begin below what the server has seen; and another one in each copy of a store. So of two agents with one identity (a
/// home that was copied) the lower one is fenced, and never takes the other's verdicts for its own.
pub(super) fn incarnation_after(before: u64, now: Mtime, random: &mut impl RngCore) -> u64 {
    let next = ((before >> 32) + 1).max(u64::try_from(now.seconds).unwrap_or(0));
    (next.min(u64::from(u32::MAX)) << 32) | u64::from(random.next_u32())
}

impl Flights {
    pub(super) fn new(incarnation: u64, before: (u64, u64)) -> Self {
        Self {
            incarnation,
            before,
            durable: false,
            resumed: false,
            next_seq: 1,
            flights: BTreeMap::new(),
            bytes: 0,
            recorded: 0,
            accepted: BTreeSet::new(),
        }
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub(super) fn full(&self, window: usize) -> bool {
        self.flights.len() >= window || self.bytes >= WINDOW_BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// All verdicts up to this seq have been taken.
    pub(super) fn taken(&self) -> u64 {
        self.flights.keys().next().copied().unwrap_or(self.next_seq) - 1
    }
}

impl Engine {
    pub(super) fn connected(&mut self) {
        self.link = Link::Connected;
        self.subscribed = false;
        self.level = false;
        self.resume();
    }

    /// Begins this incarnation at the server, once it is in the store.
    pub(super) fn resume(&mut self) {
        if self.link == Link::Connected && self.flights.durable {
            self.link = Link::Resuming;
            self.actions.push(Action::Resume { incarnation: self.flights.incarnation });
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.link = Link::Down;
        self.subscribed = false;
        self.level = false;
        self.drop_transfers();
    }

    /// All verdicts of earlier incarnations were given. They have to be in the store before anything is proposed: the
    /// server forgets them with the first proposal.
    pub(super) fn resumed(&mut self, incarnation: u64) {
        if incarnation == self.flights.incarnation && self.link == Link::Resuming {
            self.link = Link::Recording;
            self.flights.resumed = true;
            self.persist.meta = true;
        }
    }

    /// What the resume told is in the store.
    pub(super) fn recorded(&mut self) {
        if self.link != Link::Recording {
            return;
        }
        self.link = Link::Up;
        let seqs: Vec<u64> = self.flights.flights.keys().copied().collect();
        for seq in seqs {
            self.send(seq);
        }
        self.subscribe();
    }

    /// Proposes a change. `false`: not now, the subject is to be put back.
    pub(super) fn propose(&mut self, subject: Subject, mut proposal: Proposal, node: Option<NodeId>) -> bool {
        if self.link != Link::Up || self.flights.full(self.config.window) {
            return false;
        }
        if self.config.role == Role::Reader {
            self.reader_problem(subject);
            self.trees.wait(subject);
            return true;
        }
        if let Proposal::Delete { id, .. } = proposal {
            if self.returns_perhaps(id) {
                self.postpone(subject, RETURN);
                return true;
            }
            if !self.hold.lets_delete(&self.trees) || !self.check_folder() {
                self.trees.wait(subject);
                return true;
            }
        }
        if let Proposal::Create { id, .. } = &mut proposal {
            *id = self.draw_id();
        }
        let inline = match (proposal.value(), node) {
            (Some(Value::File { content, size }), Some(node)) if *size <= limits::INLINE_BYTES as u64 => {
                let content = *content;
                let read = self.contents.read_of(node, &content);
                self.contents.forget_node(node);
                read
            }
            _ => None,
        };
        let stat = node.and_then(|node| self.stats.get(&node).copied());
        let seq = self.flights.next_seq;
        self.flights.next_seq += 1;
        self.flights.bytes += inline.as_ref().map_or(0, Bytes::len);
        let flight = Flight { proposal, inline, subject, node, stat };
        // What the feed tells of an entry that is being made waits for the verdict.
        self.busy.extend(flight.subjects());
        self.flights.flights.insert(seq, flight);
        self.send(seq);
        true
    }

    fn reader_problem(&mut self, subject: Subject) {
        let node = match subject {
            Subject::Node(node) => Some(node),
            Subject::Entry(id) => self.trees.node_of(id),
        };
        if let Some(path) = node.and_then(|node| self.path_of(node)) {
            self.problem(&path, "was changed here, and you may only read this root".to_owned());
        }
    }

    /// Whether an entry is gone for so short a time that its name may come back (editors that save by delete and
    /// create).
    fn returns_perhaps(&mut self, id: EntryId) -> bool {
        let now = self.folder.now();
        let since = *self.look.gone_since.entry(id).or_insert(now);
        now < super::after(since, RETURN)
    }

    fn draw_id(&mut self) -> EntryId {
        EntryId::from_bytes(self.random.random())
    }

    fn send(&mut self, seq: u64) {
        let Some(flight) = self.flights.flights.get(&seq) else { return };
        self.actions.push(Action::Propose {
            incarnation: self.flights.incarnation,
            seq,
            recorded: self.flights.recorded,
            proposal: flight.proposal.clone(),
            inline: flight.inline.clone(),
        });
    }

    pub(super) fn verdict(&mut self, incarnation: u64, seq: u64, proposal: Option<Proposal>, verdict: Verdict) {
        if incarnation != self.flights.incarnation {
            // What an earlier incarnation was told and did not record.
            // What is held was told to it, and is told anew as long as it is.
            if let Some(proposal) = proposal
                && (matches!(verdict, Verdict::Held { .. })
                    || !(incarnation == self.flights.before.0 && seq <= self.flights.before.1))
            {
                self.take((incarnation, seq), &proposal, &verdict, None, None);
            }
            return;
        }
        if let Verdict::Missing(_) = verdict {
            self.missing(seq);
            return;
        }
        let Some(flight) = self.flights.flights.remove(&seq) else { return };
        self.flights.bytes -= flight.inline.as_ref().map_or(0, Bytes::len);
        self.landed(&flight);
        self.persist.meta = true;
        let node = flight.node.filter(|node| self.trees.node(*node).is_some());
        self.take((incarnation, seq), &flight.proposal, &verdict, node, flight.stat);
        if let Verdict::Accepted(accepted) = &verdict {
            // From the moment at which the file was changed, as far as the file system tells.
            let since = flight.stat.and_then(|stat| time_of(stat.ctime));
            journey::reached(Stage::Sent, self.config.root, accepted.row.id, accepted.row.time, since);
        }
        match &verdict {
            Verdict::Accepted(_) | Verdict::Current(_) => {
                if let (Some(node), Some(_)) = (node, flight.proposal.value())
                    && let Some(spot) = self.spot_of(node)
                {
                    self.problems.remove(&spot.path());
                    self.flights.accepted.insert(spot);
                }
            }
            Verdict::Refused(why) => self.refused(flight.subject, *why),
            _ => {}
        }
    }

    /// What waited for a verdict is looked at again.
    fn landed(&mut self, flight: &Flight) {
        for subject in flight.subjects() {
            self.busy.remove(&subject);
            self.trees.put_back(subject);
        }
    }

    fn take(
        &mut self,
        order: (u64, u64),
        proposal: &Proposal,
        verdict: &Verdict,
        node: Option<NodeId>,
        stat: Option<Stat>,
    ) {
        let seen = stat.map(|stat| Seen { inode: stat.inode, mode: stat.mode, mtime: stat.mtime });
        if let Some(Step::Drop(node)) = self.trees.take(order, proposal, verdict, node, seen) {
            self.drop_node(node);
        }
        self.persist.meta = true;
    }

    fn refused(&mut self, subject: Subject, why: Refusal) {
        use Refusal::{Crowded, Locked, Malformed, NoSpace, Quota, ReadOnly, TooDeep};
        let waits = matches!(why, NoSpace | Quota | ReadOnly | TooDeep | Malformed | Locked | Crowded);
        if waits {
            let node = match subject {
                Subject::Node(node) => Some(node),
                Subject::Entry(id) => self.trees.node_of(id),
            };
            if let Some(path) = node.and_then(|node| self.path_of(node)) {
                self.problem(&path, format!("the server refuses it: {why}"));
            }
        }
        // Otherwise what made the server refuse is on its way with the feed.
        self.rest(subject, if waits { AGAIN } else { Duration::from_millis(50) });
    }

    /// The server lacks contents of a proposal: they are read once more and sent again.
    fn missing(&mut self, seq: u64) {
        let Some(flight) = self.flights.flights.get(&seq) else { return };
        let (node, value) = (flight.node, flight.proposal.value().cloned());
        if flight.inline.is_none()
            && let (Some(node), Some(Value::File { content, size })) = (node, value)
            && size <= limits::INLINE_BYTES as u64
            && let Some(spot) = self.spot_of(node)
            && let Ok(Some((bytes, _))) = self.folder.read_small(&spot)
            && content_id(&bytes) == Some(content)
        {
            self.flights.bytes += bytes.len();
            if let Some(flight) = self.flights.flights.get_mut(&seq) {
                flight.inline = Some(bytes);
            }
            self.send(seq);
            return;
        }
        // It has to be read anew, from the beginning; the server has stored no verdict for this seq.
        let Some(flight) = self.flights.flights.remove(&seq) else { return };
        self.flights.bytes -= flight.inline.as_ref().map_or(0, Bytes::len);
        self.landed(&flight);
        if let Some(node) = node
            && let Some(stat) = self.stats.get(&node).copied()
        {
            self.update(node, stat, None);
            if let Some(spot) = self.spot_of(node) {
                self.look_again(&spot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn copies_of_a_store_go_on_in_incarnations_of_their_own_and_all_of_them_are_newer() {
        let now = |seconds| Mtime { seconds, nanos: 0 };
        let next = |before, seed| incarnation_after(before, now(5), &mut StdRng::from_seed([seed; 32]));
        for before in [0, 1, 7 << 32, (7 << 32) | 0xffff_ffff] {
            assert!(next(before, 1) > before && next(before, 2) > before);
            assert_ne!(next(before, 1), next(before, 2));
        }
        let lost = incarnation_after(0, now(1_800_000_000), &mut StdRng::from_seed([1; 32]));
        assert_eq!(lost >> 32, 1_800_000_000, "a store that was lost goes on by the clock");
    }
}
