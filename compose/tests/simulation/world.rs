//! One seed: users who do what users do, devices whose real engines sync it, a network that loses what it carries,
//! processes that die, and people who answer. At the end everything is quiet and the oracle looks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use quics_client::engine::{Action, Config, Engine, Event, Everything, Ingested, Ticket};
use quics_client::folder::Kind;
use quics_meta::Memory;
use quics_reconcile::{Choice, Value};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Name, RootId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::disk::{SimFolder, TOP, Tree, content_of};
use crate::server::Side;

pub(crate) const ROOT: RootId = RootId::from_bytes([7; 16]);
/// What is asked of a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) devices: usize,
    pub(crate) steps: usize,
}

struct Device {
    id: DeviceId,
    folder: SimFolder,
    store: Arc<Memory>,
    engine: Engine,
    connected: bool,
    /// Actions on their way to the server, and events on their way back.
    out: VecDeque<Action>,
    back: VecDeque<Event>,
    subscribed: Option<usize>,
    starts: u64,
}

pub(crate) struct World<S> {
    plan: Plan,
    random: StdRng,
    server: S,
    devices: Vec<Device>,
    tokens: u64,
    all: BTreeSet<Digest>,
    /// Contents that a user replaced or removed on a device that had them.
    known: BTreeSet<Digest>,
    /// What happened, to be compared between two runs of a seed.
    pub(crate) trace: String,
    pub(crate) loud: bool,
}

macro_rules! say {
    ($world:expr, $($text:tt)*) => {{
        let _ = writeln!($world.trace, $($text)*);
        if $world.loud {
            println!($($text)*);
        }
    }};
}

fn open(id: DeviceId, folder: &SimFolder, store: &Arc<Memory>, seed: u64) -> Engine {
    let config = Config { window: 3, batch: 4, ..Config::new(ROOT, id, format!("D{}", id.as_bytes()[0])) };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8] = id.as_bytes()[0];
    Engine::open(config, Box::new(folder.clone()), Box::new(Everything), store.clone(), bytes).expect("the store opens")
}

impl<S: Side> World<S> {
    pub(crate) fn new(plan: Plan) -> Self {
        let devices = (0..plan.devices)
            .map(|number| {
                let id = DeviceId::from_bytes([u8::try_from(number).unwrap() + 1; 16]);
                let folder = SimFolder(Arc::new(Mutex::new(Tree::new())));
                let store = Arc::new(Memory::new(1));
                let engine = open(id, &folder, &store, plan.seed);
                let (out, back) = (VecDeque::new(), VecDeque::new());
                Device { id, folder, store, engine, connected: false, out, back, subscribed: None, starts: 0 }
            })
            .collect();
        Self {
            plan,
            random: StdRng::seed_from_u64(plan.seed),
            server: S::default(),
            devices,
            tokens: 0,
            all: BTreeSet::new(),
            known: BTreeSet::new(),
            trace: String::new(),
            loud: false,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..self.plan.steps {
            let device = self.random.random_range(0..self.devices.len());
            match self.random.random_range(0..100) {
                0..45 => self.user(device),
                45..90 => self.work(device),
                90..93 => self.crash(device),
                93..95 => self.cut(device),
                95..96 => self.server_dies(),
                _ => self.answer_one(),
            }
        }
        self.settle();
        self.check();
    }

    /// The server starts anew; every connection is gone.
    fn server_dies(&mut self) {
        if self.server.crash() {
            say!(self, "the server dies");
            for device in 0..self.devices.len() {
                self.cut(device);
            }
        }
    }

    // ---- users

    fn token(&mut self) -> (String, bool) {
        self.tokens += 1;
        let (token, big) = (format!("c{}", self.tokens), self.chance(15));
        self.all.insert(content_of(&token, big));
        (token, big)
    }

    fn now_known(&mut self, device: usize, inode: u64) {
        let tree = self.devices[device].folder.tree();
        let mut below: Vec<u64> = tree.walk_from(inode).into_iter().map(|(_, _, inode)| inode).collect();
        below.push(inode);
        let files = below.iter().map(|inode| &tree.inodes[inode]).filter(|it| it.kind == Kind::File);
        self.known.extend(files.map(|it| it.content()));
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.random.random_range(0..list.len())].clone()) }
    }

    fn user(&mut self, device: usize) {
        let folder = self.devices[device].folder.clone();
        let everything = folder.tree().walk();
        let mut dirs = vec![TOP];
        dirs.extend(
            everything.iter().map(|it| it.2).filter(|inode| folder.tree().inodes[inode].kind == Kind::Directory),
        );
        let dir = self.pick(&dirs).unwrap_or(TOP);
        let name = ["a", "b", "c"][self.random.random_range(0..3)];
        let there = folder.tree().members(dir).get(name).copied();
        let kind = |inode: u64| folder.tree().inodes[&inode].kind;
        let who = device + 1;
        match self.random.random_range(0..100) {
            0..30 => {
                if there.is_some_and(|inode| kind(inode) == Kind::Directory) {
                    return;
                }
                let (token, big) = self.token();
                say!(self, "D{who} writes {dir}/{name} {token}");
                let in_place = self.chance(50);
                if let Some(inode) = there {
                    self.now_known(device, inode);
                }
                let mut tree = folder.tree();
                match there.filter(|inode| in_place && tree.inodes[inode].kind == Kind::File) {
                    Some(inode) => {
                        let now = tree.now();
                        let it = tree.inodes.get_mut(&inode).unwrap();
                        (it.token, it.big, it.mtime, it.ctime) = (token, big, now, now);
                        tree.touch(dir, name);
                    }
                    None => {
                        let inode = tree.add(Kind::File, &token, big, 0o644);
                        tree.link(dir, name, inode);
                    }
                }
            }
            30..42 if there.is_none() => {
                say!(self, "D{who} mkdir {dir}/{name}");
                let mut tree = folder.tree();
                let inode = tree.add(Kind::Directory, "", false, 0o755);
                tree.link(dir, name, inode);
            }
            42..45 if there.is_none() => {
                say!(self, "D{who} symlink {dir}/{name}");
                let target = format!("t{}", self.tokens);
                let mut tree = folder.tree();
                let inode = tree.add(Kind::Link, &target, false, 0o777);
                tree.link(dir, name, inode);
            }
            45..60 => {
                let Some((dir, name, inode)) = self.pick(&everything) else { return };
                say!(self, "D{who} rm -r {dir}/{name}");
                self.now_known(device, inode);
                let mut tree = folder.tree();
                for (dir, name, _) in tree.walk_from(inode).into_iter().rev() {
                    tree.unlink(dir, &name);
                }
                tree.unlink(dir, &name);
            }
            60..88 => {
                let Some((from, old, inode)) = self.pick(&everything) else { return };
                if folder.tree().inside(dir, inode) || (dir, name) == (from, old.as_str()) {
                    return;
                }
                let over_dir = there.is_some_and(|there| kind(there) == Kind::Directory);
                if over_dir || (there.is_some() && kind(inode) == Kind::Directory) {
                    return;
                }
                say!(self, "D{who} mv {from}/{old} {dir}/{name}");
                if let Some(there) = there {
                    self.now_known(device, there);
                }
                let mut tree = folder.tree();
                tree.unlink(from, &old);
                tree.link(dir, name, inode);
            }
            88..94 => {
                let Some((other_dir, other, inode)) = self.pick(&everything) else { return };
                let Some(there) = there.filter(|there| *there != inode) else { return };
                if folder.tree().inside(dir, inode) || folder.tree().inside(other_dir, there) {
                    return;
                }
                say!(self, "D{who} swap {dir}/{name} {other_dir}/{other}");
                let mut tree = folder.tree();
                tree.link(other_dir, &other, there);
                tree.link(dir, name, inode);
            }
            _ => {
                let Some((dir, name, inode)) = self.pick(&everything) else { return };
                let mode = [0o644, 0o600, 0o755][self.random.random_range(0..3)];
                say!(self, "D{who} chmod {dir}/{name} {mode:o}");
                let mut tree = folder.tree();
                if tree.inodes[&inode].kind == Kind::Link {
                    return;
                }
                let now = tree.now();
                let it = tree.inodes.get_mut(&inode).unwrap();
                (it.mode, it.ctime) = (mode, now);
                tree.touch(dir, &name);
            }
        }
    }

    fn answer_one(&mut self) {
        let open = self.server.open();
        let Some((id, conflict)) = self.pick(&open) else { return };
        let keys: Vec<_> = conflict.candidates.keys().copied().collect();
        let choice = match self.random.random_range(0..3) {
            0 => Choice::Server,
            1 => Choice::Both { names: BTreeMap::new() },
            _ => self.pick(&keys).map_or(Choice::Server, Choice::Candidate),
        };
        let answered = self.server.resolve(id, conflict.revision, &choice);
        say!(self, "answer {id} {choice:?}: {answered:?}");
    }

    // ---- devices

    /// The connection of a device is gone, with all that was on it.
    fn cut(&mut self, device: usize) {
        let it = &mut self.devices[device];
        it.out.clear();
        it.back.clear();
        if it.connected {
            it.connected = false;
            it.subscribed = None;
            it.engine.handle(Event::Disconnected);
            say!(self, "D{} is cut off", device + 1);
        }
    }

    fn crash(&mut self, device: usize) {
        let keep_some = self.random.random_range(0..4);
        let it = &mut self.devices[device];
        let keep = it.store.queued().min(keep_some);
        it.starts += 1;
        it.store = Arc::new(it.store.crash(keep, it.starts + 1).expect("the store survives"));
        {
            let mut tree = it.folder.tree();
            (tree.died, tree.dies_after) = (false, None);
            tree.incoming.clear();
            tree.touched.clear();
        }
        let seed = self.plan.seed ^ (it.starts << 32);
        it.engine = open(it.id, &it.folder, &it.store, seed);
        it.connected = false;
        it.subscribed = None;
        it.out.clear();
        it.back.clear();
        say!(self, "D{} crashes", device + 1);
    }

    /// A device does something: the watcher, the network, the disk and the engine move on a little.
    fn work(&mut self, device: usize) {
        for _ in 0..self.random.random_range(1..12) {
            match self.random.random_range(0..100) {
                0..12 => self.watcher(device, 70),
                12..30 => self.carry(device),
                30..50 => self.deliver(device),
                50..62 => self.tell(device),
                62..70 => {
                    let count = self.random.random_range(1..3);
                    self.devices[device].store.sync_some(count).expect("the store syncs");
                }
                70..74 => self.devices[device].folder.tree().clock += 150_000_000,
                74..76 => self.devices[device].engine.handle(Event::Overflow),
                76..79 => self.user(device),
                79..82 => {
                    let left = self.random.random_range(0..3);
                    self.devices[device].folder.tree().dies_after = Some(left);
                    self.step(device);
                    if self.devices[device].folder.tree().died {
                        return self.crash(device);
                    }
                    self.devices[device].folder.tree().dies_after = None;
                }
                _ => {
                    self.connect(device);
                    self.step(device);
                }
            }
        }
    }

    fn connect(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if !it.connected {
            it.connected = true;
            it.engine.handle(Event::Connected);
        }
    }

    fn step(&mut self, device: usize) {
        let it = &mut self.devices[device];
        let actions = it.engine.step();
        assert_eq!(it.engine.failure(), None, "the engine of D{} fails", device + 1);
        for done in std::mem::take(&mut self.devices[device].folder.tree().log) {
            say!(self, "D{} {done}", device + 1);
        }
        for action in actions {
            say!(self, "D{} {action:?}", device + 1);
            let it = &mut self.devices[device];
            if it.connected {
                it.out.push_back(action);
            }
        }
    }

    /// The watcher tells of what changed, or misses it.
    fn watcher(&mut self, device: usize, percent: u32) {
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
    fn carry(&mut self, device: usize) {
        let Some(action) = self.devices[device].out.pop_front() else { return };
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
            Action::Propose { incarnation, seq, recorded, proposal, inline } => {
                let verdict = self.server.propose(id, (incarnation, seq), recorded, &proposal, inline);
                say!(self, "   -> {verdict:?}");
                let event = match verdict {
                    Some(it) => Event::Verdict { incarnation, seq, proposal: None, verdict: Box::new(it) },
                    None => Event::Fenced,
                };
                self.devices[device].back.push_back(event);
            }
            Action::Subscribe { cursor } => {
                if self.server.knows(cursor) {
                    self.devices[device].subscribed = Some(usize::try_from(cursor.seq).unwrap());
                } else {
                    self.devices[device].back.push_back(Event::CursorUnknown);
                }
            }
            Action::Snapshot => {
                let to = self.server.len();
                let cursor = Cursor { epoch: self.server.epoch(), seq: to as u64 };
                let records = self.server.feed(0, to);
                self.devices[device].back.push_back(Event::Snapshot { records, finish: Some(cursor) });
            }
            Action::Ingest { ticket, expected, .. } => {
                let tree = self.devices[device].folder.tree();
                let staged = tree.walk_from(crate::disk::STAGE);
                let found = tree.walk().into_iter().chain(staged).map(|it| it.2).find(|inode| *inode == expected.inode);
                let result = match found.map(|inode| (tree.stat(inode), tree.inodes[&inode].clone())) {
                    Some((stat, it)) if stat.same_content(&expected) => {
                        Ok(Ingested { content: it.content(), size: it.size(), stat })
                    }
                    _ => Err(quics_client::engine::IngestFailure::Changed),
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

    fn deliver(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if let Some(event) = it.back.pop_front() {
            it.engine.handle(event);
        }
    }

    /// The server tells the feed on, to a random point or to the end.
    fn tell(&mut self, device: usize) {
        let Some(from) = self.devices[device].subscribed else { return };
        let end = self.server.len();
        let to = if self.chance(70) { end } else { self.random.random_range(from..=end) };
        let records = self.server.feed(from, to);
        let cursor = Cursor { epoch: self.server.epoch(), seq: to as u64 };
        let (digest, count) = self.server.level();
        let it = &mut self.devices[device];
        it.subscribed = Some(to);
        if !records.is_empty() {
            it.back.push_back(Event::Changes { records, cursor });
        }
        if to == end {
            it.back.push_back(Event::Level { cursor, digest, count });
        }
    }

    // ---- the end

    /// Lets one device come to rest. Returns whether it did anything.
    fn quiet(&mut self, device: usize) -> bool {
        let before = (self.server.len(), self.devices[device].folder.tree().applied);
        self.connect(device);
        self.devices[device].folder.tree().touched.clear();
        self.devices[device].engine.handle(Event::Overflow);
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 3000, "D{} does not come to rest: {:?}", device + 1, self.devices[device].engine.status());
            let at = (self.server.len(), self.devices[device].folder.tree().applied);
            self.step(device);
            let mut moved = false;
            while !self.devices[device].out.is_empty() {
                self.carry(device);
                moved = true;
            }
            self.devices[device].store.sync().expect("the store syncs");
            if self.devices[device].subscribed.is_some() {
                self.tell(device);
            }
            while !self.devices[device].back.is_empty() {
                self.deliver(device);
            }
            self.devices[device].folder.tree().clock += 60_000_000;
            let now = (self.server.len(), self.devices[device].folder.tree().applied);
            idle = if now == at && !moved { idle + 1 } else { 0 };
            if idle > 12 && self.devices[device].engine.status().in_sync {
                break;
            }
            // A problem that is tried again from time to time is at rest, too.
            if idle > 300 {
                let status = self.devices[device].engine.status();
                say!(self, "D{} rests: {status:?}", device + 1);
                break;
            }
        }
        before != (self.server.len(), self.devices[device].folder.tree().applied)
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let mut did = false;
            for device in 0..self.devices.len() {
                did |= self.quiet(device);
            }
            if did {
                continue;
            }
            if self.server.open().is_empty() || !self.server.can_answer() {
                return;
            }
            while !self.server.open().is_empty() {
                self.answer_one();
            }
        }
        panic!("no rest");
    }

    fn view(&self, device: usize) -> BTreeMap<String, (Kind, Digest, u32)> {
        let tree = self.devices[device].folder.tree();
        let path = |dir: u64, name: &str| format!("{}/{name}", tree.path(dir).unwrap());
        let seen = |inode: u64| {
            let it = &tree.inodes[&inode];
            (it.kind, it.content(), if it.kind == Kind::Link { 0o777 } else { it.mode })
        };
        tree.walk().into_iter().map(|(dir, name, inode)| (path(dir, &name), seen(inode))).collect()
    }

    fn wanted(&self) -> BTreeMap<String, (Kind, Digest, u32)> {
        let rows: BTreeMap<EntryId, quics_reconcile::Row> =
            self.server.rows().into_iter().map(|row| (row.id, row)).collect();
        let mut wanted = BTreeMap::new();
        for row in rows.values().filter(|row| !row.dead) {
            let (mut parts, mut at) = (vec![row.place.name.to_string()], row.place.parent);
            while at != EntryId::TOP {
                let above = &rows[&at];
                assert!(above.is_live_directory(), "a live entry below a dead directory: {row:?}");
                assert!(parts.len() < 100, "an entry is its own ancestor");
                parts.push(above.place.name.to_string());
                at = above.place.parent;
            }
            parts.push(String::new());
            parts.reverse();
            // The top's members have paths that begin with a slash, as in a view.
            let path = if parts.len() == 2 { format!("/{}", parts[1]) } else { parts[1..].join("/") };
            let seen = match &row.value {
                Value::Directory => (Kind::Directory, content_of("", false), row.mode),
                Value::File { content, .. } => (Kind::File, *content, row.mode),
                Value::Link { target } => (Kind::Link, content_of(std::str::from_utf8(target).unwrap(), false), 0o777),
            };
            assert!(wanted.insert(path, seen).is_none(), "two entries of one name");
        }
        wanted
    }

    fn check(&mut self) {
        let wanted = self.wanted();
        let agreed = self.server.open().is_empty();
        for device in (0..self.devices.len()).filter(|_| agreed) {
            let view = self.view(device);
            assert_eq!(view, wanted, "D{} is not what the server has", device + 1);
            let tree = self.devices[device].folder.tree();
            assert!(tree.members(crate::disk::STAGE).is_empty(), "something was left on the stage");
        }
        let mut times = BTreeMap::new();
        for row in self.server.versions() {
            let last = times.insert(row.id, row.time.0).unwrap_or(0);
            assert_eq!(row.time.0, last + 1, "a gap in the logical times of {:?}", row.id);
        }
        // Where a person has to answer first, what waits behind the question is still on its device's disk.
        let waiting: BTreeSet<Digest> = (0..self.devices.len())
            .filter(|_| !agreed)
            .flat_map(|device| self.view(device).into_values().map(|it| it.1))
            .collect();
        let there = |it: &&Digest| self.known.contains(it) || self.server.sets().0.contains(it) || waiting.contains(it);
        let lost: Vec<_> = self.all.iter().filter(|it| !there(it)).collect();
        assert!(lost.is_empty(), "lost contents: {lost:?}");
        let mut live: BTreeSet<Digest> = wanted.values().map(|it| it.1).collect();
        live.extend(self.server.candidates());
        live.extend(waiting);
        let gone: Vec<_> = self
            .server
            .sets()
            .1
            .iter()
            .filter(|it| !self.known.contains(it) && !self.server.sets().2.contains(it) && !live.contains(it))
            .collect();
        assert!(gone.is_empty(), "contents that nobody took away are gone: {gone:?}");
    }
}
