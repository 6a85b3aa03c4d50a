//! Doing what the planner says: proposals go out, steps on the disk are gathered and applied as one batch.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use quics_kit::telemetry::journey::{self, Stage};
use quics_reconcile::{Aspect, NodeId, Row, Seen, Step, Subject, Value, beside, parked_entry, parked_name};
use quics_types::{EntryId, Name, Place};

use super::Engine;
use super::content::{AGAIN, content_id};
use crate::folder::{Kind, Op, Outcome, RelPath, Source, Spot, Stat};

/// Subjects that are planned in one step.
const SUBJECTS_PER_STEP: usize = 8192;
/// Subjects that could not be done now, before a step gives up looking for ones that can.
const DEFERRED_PER_STEP: usize = 256;
/// Proposals for which there was no room, before a step gives up: what comes next waits for the same verdicts.
const CROWDED_PER_STEP: usize = 8;
/// Bytes that are written in one batch.
const BATCH_BYTES: usize = 16 << 20;
/// After a look at what was not as expected, the plan is made anew.
const LOOK: Duration = Duration::from_millis(5);

/// A step that is being applied, with what is needed to tell the trees.
enum Doing {
    Create {
        row: Row,
        parent: NodeId,
    },
    Replace {
        row: Row,
        node: NodeId,
    },
    Remove {
        id: EntryId,
        node: NodeId,
    },
    Move {
        row: Row,
        node: NodeId,
        parent: NodeId,
    },
    SetAttributes {
        row: Row,
        node: NodeId,
    },
    Park {
        id: EntryId,
        node: NodeId,
        name: Name,
    },
    Drop {
        node: NodeId,
    },
    Aside {
        node: NodeId,
        parent: NodeId,
        name: Name,
    },
    /// A directory with something in it that lost to another kind: aside, and the entry is made anew.
    AsideAndForget {
        id: EntryId,
        node: NodeId,
        parent: NodeId,
        name: Name,
    },
}

/// The steps of one batch.
#[derive(Default)]
struct Batch {
    ops: Vec<Op>,
    doing: Vec<(Subject, Doing)>,
    nodes: HashSet<NodeId>,
    targets: HashSet<Spot>,
    /// Fetched files that a step of this batch takes.
    incoming: HashSet<Name>,
    bytes: usize,
    deferred: Vec<Subject>,
    /// How many of them are proposals for which there was no room.
    crowded: usize,
}

impl Batch {
    /// Whether a step may touch this node and these spots in this batch: no other one does.
    fn claims(&mut self, node: Option<NodeId>, target: Option<&Spot>) -> bool {
        if node.is_some_and(|node| self.nodes.contains(&node)) || target.is_some_and(|it| self.targets.contains(it)) {
            return false;
        }
        self.nodes.extend(node);
        self.targets.extend(target.cloned());
        true
    }

    /// Whether a step may take these bytes: a fetched file can be taken once.
    fn may_take(&mut self, source: &Source) -> bool {
        match source {
            Source::Incoming(name) => self.incoming.insert(name.clone()),
            Source::Inline(_) => true,
        }
    }

    fn push(&mut self, subject: Subject, op: Op, doing: Doing) {
        if let Some(Source::Inline(bytes)) = op.source() {
            self.bytes += bytes.len();
        }
        self.ops.push(op);
        self.doing.push((subject, doing));
    }
}

impl Engine {
    /// Plans and does a bounded amount of work.
    pub(super) fn act(&mut self) {
        let mut batch = Batch::default();
        for _ in 0..SUBJECTS_PER_STEP {
            let full = batch.ops.len() >= self.config.batch || batch.bytes >= BATCH_BYTES;
            if full || batch.deferred.len() >= DEFERRED_PER_STEP || batch.crowded >= CROWDED_PER_STEP {
                break;
            }
            let Some(subject) = self.trees.next_subject() else {
                if self.let_fetch() {
                    continue;
                }
                break;
            };
            if self.busy.contains(&subject) || self.resting.contains(&subject) || self.out_of_sight(subject) {
                continue; // it is looked at again when that is over
            }
            if let Subject::Entry(id) = subject
                && self.trees.node_of(id).is_some()
            {
                self.look.gone_since.remove(&id);
            }
            if let Some(step) = self.trees.plan(subject) {
                self.begin(subject, step, &mut batch);
            }
        }
        for subject in std::mem::take(&mut batch.deferred) {
            self.trees.put_back(subject);
        }
        self.apply(batch);
    }

    fn begin(&mut self, subject: Subject, step: Step, batch: &mut Batch) {
        match step {
            Step::Propose { proposal, node } => {
                if !self.propose(subject, *proposal, node) {
                    batch.deferred.push(subject);
                    batch.crowded += 1;
                }
            }
            Step::Hash { node } => self.hash(node),
            Step::Forget(id) => self.forget(id),
            Step::Adopt(id, aspect) => self.adopt(id, aspect),
            step => {
                let begun = match step {
                    Step::Create(id) => self.begin_create(subject, id, batch),
                    Step::Replace(id) => self.begin_replace(subject, id, batch),
                    Step::Remove(id) => self.begin_remove(subject, id, batch),
                    Step::Move(id) => self.begin_move(subject, id, batch),
                    Step::SetAttributes(id) => self.begin_attributes(subject, id, batch),
                    Step::Park(id) => self.begin_park(subject, id, batch),
                    Step::Drop(node) => self.begin_drop(subject, node, batch),
                    Step::Aside(node) => self.begin_aside(subject, node, batch),
                    Step::Propose { .. } | Step::Hash { .. } | Step::Forget(_) | Step::Adopt(..) => Some(()),
                };
                if begun.is_none() && !self.busy.contains(&subject) {
                    batch.deferred.push(subject);
                }
            }
        }
    }

    fn place_spot(&self, place: &Place) -> Option<(NodeId, Spot)> {
        let parent = self.trees.node_of(place.parent)?;
        Some((parent, Spot { dir: self.path_of(parent)?, name: place.name.clone() }))
    }

    /// The path that an entry has here, or would have.
    pub(super) fn remote_path(&self, id: EntryId) -> Option<RelPath> {
        let (_, spot) = self.place_spot(&self.trees.remote(id)?.place)?;
        Some(spot.path())
    }

    /// The node of an entry with its spot and what the disk showed of it. A content that was read too soon after its
    /// last change is read once more before anything takes its place; `None` when it is not what it was, or too large
    /// to be read at once.
    fn certain(&mut self, id: EntryId) -> Option<(NodeId, Spot, Stat)> {
        let node = self.trees.node_of(id)?;
        let (spot, stat) = (self.spot_of(node)?, *self.stats.get(&node)?);
        let content = match self.trees.node(node)?.value.as_ref().and_then(Value::content) {
            Some((content, _)) if self.racy.contains(&node) => content,
            _ => return Some((node, spot, stat)),
        };
        if stat.size <= quics_types::limits::INLINE_BYTES as u64
            && let Ok(Some((bytes, now))) = self.folder.read_small(&spot)
            && now.same_content(&stat)
            && content_id(&bytes) == Some(content)
        {
            return Some((node, spot, stat));
        }
        if self.age(&stat) > 40_000_000 {
            self.update(node, stat, None);
        }
        self.rest(Subject::Entry(id), Duration::from_millis(10));
        None
    }

    fn begin_create(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        let row = self.trees.remote(id)?.clone();
        let (parent, at) = self.place_spot(&row.place)?;
        let op = match &row.value {
            Value::Directory => Op::MakeDir { at: at.clone(), mode: row.mode },
            Value::Link { target } => Op::MakeLink { at: at.clone(), target: target.clone() },
            Value::File { content, size } => {
                let Some(source) = self.source_of(id, *content, *size) else { return Some(()) };
                batch.may_take(&source).then_some(())?;
                Op::MakeFile { at: at.clone(), source, mode: row.mode, mtime: row.mtime }
            }
            Value::Unit { content, size } => {
                let Some(source) = self.source_of(id, *content, *size) else { return Some(()) };
                batch.may_take(&source).then_some(())?;
                Op::MakeUnit { at: at.clone(), source, mode: row.mode }
            }
        };
        batch.claims(None, Some(&at)).then_some(())?;
        batch.push(subject, op, Doing::Create { row, parent });
        Some(())
    }

    fn begin_replace(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        let row = self.trees.remote(id)?.clone();
        let Some((node, at, expected)) = self.certain(id) else { return Some(()) };
        if self.trees.node(node).is_some_and(|it| !it.children.is_empty()) {
            return self.begin_aside_and_forget(subject, id, node, batch);
        }
        let op = match &row.value {
            Value::Directory => Op::ReplaceWithDir { at, expected, mode: row.mode },
            Value::Link { target } => Op::ReplaceWithLink { at, expected, target: target.clone() },
            Value::File { content, size } => {
                let Some(source) = self.source_of(id, *content, *size) else { return Some(()) };
                batch.may_take(&source).then_some(())?;
                let mode = self.mode_of_replacement(node, &row);
                Op::ReplaceWithFile { at, expected, source, mode, mtime: row.mtime }
            }
            Value::Unit { content, size } => {
                let Some(source) = self.source_of(id, *content, *size) else { return Some(()) };
                batch.may_take(&source).then_some(())?;
                Op::ReplaceWithUnit { at, expected, source, mode: self.mode_of_replacement(node, &row) }
            }
        };
        batch.claims(Some(node), None).then_some(())?;
        batch.push(subject, op, Doing::Replace { row, node });
        Some(())
    }

    /// The permission bits for what takes a node's place: the server's, unless they were changed here and not there. Then
    /// they stay, and are proposed next.
    fn mode_of_replacement(&self, node: NodeId, row: &Row) -> u32 {
        let here = self.trees.base(row.id).zip(self.trees.node(node));
        let alike = |value: &Option<Value>| value.as_ref().is_some_and(|value| value.is_like(&row.value));
        let here = here.filter(|(_, it)| alike(&it.value));
        let changed =
            here.filter(|(base, it)| it.mode != base.seen_mode && row.attributes_time <= base.attributes_time);
        changed.map_or(row.mode, |(_, it)| it.mode)
    }

    fn begin_remove(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        let Some((node, at, expected)) = self.certain(id) else { return Some(()) };
        batch.claims(Some(node), None).then_some(())?;
        batch.push(subject, Op::Remove { at, expected }, Doing::Remove { id, node });
        Some(())
    }

    fn begin_move(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        let row = self.trees.remote(id)?.clone();
        let node = self.trees.node_of(id)?;
        let (from, expected) = (self.spot_of(node)?, *self.stats.get(&node)?);
        let (parent, to) = self.place_spot(&row.place)?;
        batch.claims(Some(node), Some(&to)).then_some(())?;
        batch.push(subject, Op::Move { from, expected, to }, Doing::Move { row, node, parent });
        Some(())
    }

    fn begin_attributes(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        let row = self.trees.remote(id)?.clone();
        let node = self.trees.node_of(id)?;
        let (at, expected) = (self.spot_of(node)?, *self.stats.get(&node)?);
        let same = self.trees.node(node)?.value.as_ref() == Some(&row.value);
        let mtime = (same && matches!(row.value, Value::File { .. })).then_some(row.mtime);
        batch.claims(Some(node), None).then_some(())?;
        let op = Op::SetAttributes { at, expected, mode: row.mode, mtime };
        batch.push(subject, op, Doing::SetAttributes { row, node });
        Some(())
    }

    fn begin_park(&mut self, subject: Subject, id: EntryId, batch: &mut Batch) -> Option<()> {
        if self.busy.contains(&Subject::Entry(id)) {
            self.trees.wait(subject);
            return Some(());
        }
        let node = self.trees.node_of(id)?;
        let (from, expected) = (self.spot_of(node)?, *self.stats.get(&node)?);
        let name = parked_name(id, expected.kind == Kind::Unit);
        let to = Spot { dir: RelPath::stage(), name: name.clone() };
        batch.claims(Some(node), Some(&to)).then_some(())?;
        batch.push(subject, Op::Move { from, expected, to }, Doing::Park { id, node, name });
        Some(())
    }

    fn begin_drop(&mut self, subject: Subject, node: NodeId, batch: &mut Batch) -> Option<()> {
        let (at, expected) = (self.spot_of(node)?, *self.stats.get(&node)?);
        batch.claims(Some(node), None).then_some(())?;
        batch.push(subject, Op::Remove { at, expected }, Doing::Drop { node });
        Some(())
    }

    fn begin_aside(&mut self, subject: Subject, node: NodeId, batch: &mut Batch) -> Option<()> {
        let (op, parent, name) = self.aside(node, batch)?;
        batch.push(subject, op, Doing::Aside { node, parent, name });
        Some(())
    }

    fn begin_aside_and_forget(&mut self, subject: Subject, id: EntryId, node: NodeId, batch: &mut Batch) -> Option<()> {
        if self.trees.node(node)?.parent == NodeId::STAGE {
            self.forget(id);
            return Some(());
        }
        let (op, parent, name) = self.aside(node, batch)?;
        batch.push(subject, op, Doing::AsideAndForget { id, node, parent, name });
        Some(())
    }

    /// The move that gives a node a free name in its directory.
    fn aside(&mut self, node: NodeId, batch: &mut Batch) -> Option<(Op, NodeId, Name)> {
        let (from, expected) = (self.spot_of(node)?, *self.stats.get(&node)?);
        let mut parent = self.trees.node(node)?.parent;
        let mut like = from.name.clone();
        if parent == NodeId::STAGE {
            parent = NodeId::TOP;
            if let Some(row) = parked_entry(&like).and_then(|id| self.trees.remote(id)) {
                like = row.place.name.clone();
            }
        }
        let name = self.free_name(parent, &like)?;
        let to = Spot { dir: self.path_of(parent)?, name: name.clone() };
        batch.claims(Some(node), Some(&to)).then_some(())?;
        Some((Op::Move { from, expected, to }, parent, name))
    }

    /// A name that nothing has in a directory, here or on the server.
    fn free_name(&self, parent: NodeId, name: &Name) -> Option<Name> {
        let entry = self.trees.node(parent)?.entry;
        let tag = format!("kept from {}", self.config.device_name);
        for number in 1..1000 {
            let candidate = beside(name, &tag, number);
            let there = entry.map(|parent| Place { parent, name: candidate.clone() });
            let remote = there.is_some_and(|place| self.trees.remote_at(&place).is_some());
            if self.trees.child(parent, &candidate).is_none() && !remote {
                return Some(candidate);
            }
        }
        None
    }

    fn forget(&mut self, id: EntryId) {
        // What is staged is nobody's any more: back in sight first, under a free name.
        if let Some(node) = self.trees.node_of(id)
            && self.trees.node(node).is_some_and(|it| it.parent == NodeId::STAGE)
        {
            self.bring_back(id, node);
            return;
        }
        self.trees.forgotten(id);
    }

    fn bring_back(&mut self, id: EntryId, node: NodeId) {
        let name = self.trees.base(id).map(|base| base.place.name.clone());
        let Some(name) = name.and_then(|name| self.free_name(NodeId::TOP, &name)) else { return };
        let (Some(from), Some(expected)) = (self.spot_of(node), self.stats.get(&node).copied()) else { return };
        let to = Spot { dir: RelPath::root(), name: name.clone() };
        match self.folder.apply(&[Op::Move { from: from.clone(), expected, to }]).pop() {
            Some(Outcome::Done(stat)) => {
                self.trees.relocate(node, NodeId::TOP, name);
                self.refresh(node, stat);
                self.trees.forgotten(id);
            }
            _ => {
                self.look_again(&from);
                self.rest(Subject::Entry(id), AGAIN);
            }
        }
    }

    fn adopt(&mut self, id: EntryId, aspect: Aspect) {
        let stat = self.trees.node_of(id).and_then(|node| self.stats.get(&node));
        let seen = stat.map(seen_of);
        self.trees.adopted(id, aspect, seen);
    }

    /// Removes a node that an entry left behind, if it is still as it was seen.
    pub(super) fn drop_node(&mut self, node: NodeId) {
        let mut batch = Batch::default();
        if self.begin_drop(Subject::Node(node), node, &mut batch).is_some() {
            self.apply(batch);
        }
    }

    /// Keeps a subject from being planned for a while.
    pub(super) fn rest(&mut self, subject: Subject, wait: Duration) {
        self.resting.insert(subject);
        self.postpone(subject, wait);
    }

    fn apply(&mut self, batch: Batch) {
        if batch.ops.is_empty() {
            return;
        }
        let outcomes = self.folder.apply(&batch.ops);
        for ((op, (subject, doing)), outcome) in batch.ops.iter().zip(batch.doing).zip(outcomes) {
            match outcome {
                Outcome::Done(stat) => self.done(doing, stat),
                Outcome::Differs => self.not_done(op, subject, &doing, None),
                Outcome::Failed(error) => self.not_done(op, subject, &doing, Some(error)),
            }
        }
    }

    fn done(&mut self, doing: Doing, stat: Stat) {
        let seen = seen_of(&stat);
        let applied = match &doing {
            Doing::Create { row, .. }
            | Doing::Replace { row, .. }
            | Doing::Move { row, .. }
            | Doing::SetAttributes { row, .. } => Some((row.id, row.time)),
            Doing::Remove { id, .. } => self.trees.remote(*id).map(|row| (row.id, row.time)),
            _ => None,
        };
        if let Some((id, time)) = applied {
            journey::reached(Stage::Applied, self.config.root, id, time, None);
        }
        match doing {
            Doing::Create { row, parent } => {
                let node = self.appear(parent, row.place.name.clone(), stat, Some(row.value.clone()));
                self.written(node, &row, &stat);
                self.trees.created(&row, node, seen);
            }
            Doing::Replace { row, node } => {
                let mode_before = self.trees.node(node).map_or(seen.mode, |it| it.mode);
                self.update(node, stat, Some(row.value.clone()));
                self.written(node, &row, &stat);
                self.trees.replaced(&row, mode_before, seen);
            }
            Doing::Remove { id, node } => {
                self.vanished(node);
                self.trees.removed(id);
                self.agreed.remove(&id);
            }
            Doing::Move { row, node, parent } => {
                self.trees.relocate(node, parent, row.place.name.clone());
                self.refresh(node, stat);
                self.trees.moved(&row, seen);
            }
            Doing::SetAttributes { row, node } => {
                let value = self.trees.node(node).and_then(|it| it.value.clone());
                self.update(node, stat, value);
                self.trees.attributes_set(&row, seen);
            }
            Doing::Park { id, node, name } => {
                self.trees.relocate(node, NodeId::STAGE, name);
                self.refresh(node, stat);
                self.trees.mark(id);
            }
            Doing::Drop { node } => {
                self.vanished(node);
                self.trees.bind();
            }
            Doing::Aside { node, parent, name } => {
                self.trees.relocate(node, parent, name);
                self.refresh(node, stat);
                self.trees.bind();
            }
            Doing::AsideAndForget { id, node, parent, name } => {
                self.trees.relocate(node, parent, name);
                self.refresh(node, stat);
                self.trees.forgotten(id);
            }
        }
    }

    /// Takes in the stat of a node that was moved; what changed at the same moment is not missed.
    fn refresh(&mut self, node: NodeId, stat: Stat) {
        let same = self.stats.get(&node).is_some_and(|old| old.same_content(&stat));
        let value = self.trees.node(node).and_then(|it| it.value.clone());
        let value = value.filter(|value| same || value.is_directory());
        self.update(node, stat, value);
    }

    /// A file was written here: its content is known without reading it.
    fn written(&mut self, node: NodeId, row: &Row, stat: &Stat) {
        if let Some((content, _)) = row.value.content() {
            self.contents.used(&content);
            // A later write leaves another mtime, unless this one is as young as the write could be.
            let young = Stat { ctime: stat.mtime, ..*stat }.racy(self.folder.now());
            if young {
                self.racy.insert(node)
            } else {
                self.racy.remove(&node)
            };
        }
    }

    fn not_done(&mut self, op: &Op, subject: Subject, doing: &Doing, error: Option<io::Error>) {
        let spots: Vec<&Spot> = op.spots().into_iter().flatten().collect();
        for spot in &spots {
            self.look_again(spot);
        }
        if let Doing::Create { row, .. } | Doing::Replace { row, .. } = doing
            && let Some((content, _)) = row.value.content()
        {
            self.contents.not_incoming(&content); // it is taken from where it was fetched, or fetched again
        }
        let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        match error {
            Some(error) if !gone(&error) => {
                if let Some(spot) = spots.first() {
                    self.problem(&spot.path(), format!("cannot be written here: {error}"));
                }
                self.rest(subject, AGAIN);
            }
            Some(_) => self.rest(subject, LOOK),
            None if matches!(doing, Doing::Remove { .. })
                && matches!(op, Op::Remove { expected, .. } if expected.kind == Kind::Directory) =>
            {
                if let Some(spot) = spots.first() {
                    let why = "was deleted elsewhere and stays here because of what is in it and not synced";
                    self.problem(&spot.path(), why.to_owned());
                }
                self.rest(subject, Duration::from_millis(500));
            }
            None => self.rest(subject, LOOK),
        }
    }
}

fn seen_of(stat: &Stat) -> Seen {
    let mode = if stat.kind == Kind::Link { 0o777 } else { stat.mode };
    Seen { inode: stat.inode, mode, mtime: stat.mtime }
}
