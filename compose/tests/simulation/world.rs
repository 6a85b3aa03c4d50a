//! One seed: users who do what users do, devices whose real engines sync it, a network that loses what it carries,
//! processes that die, and people who answer. At the end everything is quiet and the oracle looks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use quics_client::engine::{Action, Config, Engine, Event, Everything};
use quics_meta::Memory;
use quics_types::{DeviceId, Digest, LogicalTime, RootId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::answers::Mind;
use crate::disk::Tree;
use crate::folder::SimFolder;
use crate::oracle::Books;
use crate::people::Temper;
use crate::side::Side;

pub(crate) const ROOT: RootId = RootId::from_bytes([7; 16]);

/// What is asked of a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) devices: usize,
    pub(crate) steps: usize,
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) folder: SimFolder,
    pub(crate) store: Arc<Memory>,
    pub(crate) engine: Engine,
    pub(crate) connected: bool,
    /// Its user is on a journey: no connection for some time.
    pub(crate) away: bool,
    /// Actions on their way to the server. A proposal has with it the logical time of its entry if the device had heard
    /// everything when it made it.
    pub(crate) out: VecDeque<(Action, Option<LogicalTime>)>,
    /// Verdicts and transfers on their way back, and the feed: two streams, of which either may be late.
    pub(crate) back: VecDeque<Event>,
    pub(crate) news: VecDeque<Event>,
    /// Up to where the server told the feed.
    pub(crate) subscribed: Option<usize>,
    starts: u64,
}

pub(crate) struct World<S> {
    pub(crate) plan: Plan,
    pub(crate) random: StdRng,
    pub(crate) temper: Temper,
    pub(crate) server: S,
    pub(crate) devices: Vec<Device>,
    /// What processes that died had sent and the network still holds.
    pub(crate) late: VecDeque<(DeviceId, Action)>,
    /// Answers that people have made up their minds about, and not given yet.
    pub(crate) minds: Vec<Mind>,
    pub(crate) tokens: u64,
    /// Every content that a user wrote.
    pub(crate) all: BTreeSet<Digest>,
    /// Contents that a user replaced or removed on a device that had them.
    pub(crate) known: BTreeSet<Digest>,
    pub(crate) books: Books,
    /// What happened, to be compared between two runs of a seed.
    pub(crate) trace: String,
    pub(crate) loud: bool,
}

/// Notes what happens.
macro_rules! say {
    ($world:expr, $($text:tt)*) => {{
        use std::fmt::Write as _;
        let _ = writeln!($world.trace, $($text)*);
        if $world.loud {
            println!($($text)*);
        }
    }};
}
pub(crate) use say;

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
                let (out, back, news) = Default::default();
                let (connected, away, subscribed, starts) = (false, false, None, 0);
                Device { id, folder, store, engine, connected, away, out, back, news, subscribed, starts }
            })
            .collect();
        let mut random = StdRng::seed_from_u64(plan.seed);
        let temper = Temper::draw(&mut random);
        let (late, minds, tokens, all, known, books, trace, loud) = Default::default();
        let server = S::default();
        Self { plan, random, temper, server, devices, late, minds, tokens, all, known, books, trace, loud }
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.random.random_range(0..list.len())].clone()) }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..self.plan.steps {
            let device = self.random.random_range(0..self.devices.len());
            match self.random.random_range(0..100) {
                0..43 => self.user(device),
                43..86 => self.work(device),
                86..89 => self.crash(device),
                89..91 => self.cut(device),
                91..92 => self.server_dies(),
                92..93 => self.late_arrival(),
                93..95 => self.journey(device),
                _ => self.person(),
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

    /// The connection of a device is gone, with all that was on it.
    pub(crate) fn cut(&mut self, device: usize) {
        let it = &mut self.devices[device];
        it.out.clear();
        it.back.clear();
        it.news.clear();
        if it.connected {
            it.connected = false;
            it.subscribed = None;
            it.engine.handle(Event::Disconnected);
            say!(self, "D{} is cut off", device + 1);
        }
    }

    /// A user leaves with the device, or comes back.
    fn journey(&mut self, device: usize) {
        let away = !self.devices[device].away;
        self.devices[device].away = away;
        say!(self, "D{} {}", device + 1, if away { "leaves" } else { "comes back" });
        if away {
            self.cut(device);
        }
    }

    /// The process of a device is killed and started again; the store keeps what was synced and perhaps more.
    pub(crate) fn crash(&mut self, device: usize) {
        let keep_some = self.random.random_range(0..4);
        let sent_late = self.chance(30);
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
        if sent_late {
            self.late.extend(it.out.iter().map(|(action, _)| (it.id, action.clone())));
        }
        it.out.clear();
        it.back.clear();
        it.news.clear();
        say!(self, "D{} crashes", device + 1);
    }

    /// A device does something: the watcher, the network, the disk and the engine move on a little.
    fn work(&mut self, device: usize) {
        for _ in 0..self.random.random_range(1..12) {
            match self.random.random_range(0..100) {
                0..12 => self.watcher(device, 70),
                12..30 => self.carry(device),
                30..42 => self.deliver(device),
                42..50 => self.deliver_news(device),
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
                    if self.dies_within(device, left) {
                        return;
                    }
                }
                _ => {
                    self.connect(device);
                    self.step(device);
                }
            }
        }
    }

    /// Lets a device step, and kills it after so many operations on its disk. Returns whether it came to that.
    pub(crate) fn dies_within(&mut self, device: usize, operations: usize) -> bool {
        self.devices[device].folder.tree().dies_after = Some(operations);
        self.step(device);
        let died = self.devices[device].folder.tree().died;
        if died {
            self.crash(device);
        }
        self.devices[device].folder.tree().dies_after = None;
        died
    }

    pub(crate) fn connect(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if !it.connected && !it.away {
            it.connected = true;
            it.engine.handle(Event::Connected);
        }
    }

    pub(crate) fn step(&mut self, device: usize) {
        let it = &mut self.devices[device];
        let actions = it.engine.step();
        assert_eq!(it.engine.failure(), None, "the engine of D{} fails", device + 1);
        for done in std::mem::take(&mut self.devices[device].folder.tree().log) {
            say!(self, "D{} {done}", device + 1);
        }
        for action in actions {
            say!(self, "D{} {action:?}", device + 1);
            let it = &mut self.devices[device];
            let heard = it.subscribed == Some(self.server.len()) && it.news.is_empty();
            let about = if let Action::Propose { proposal, .. } = &action { Some(proposal.id()) } else { None };
            let time = about.filter(|_| heard).and_then(|id| self.server.row(id)).map(|row| row.time);
            if it.connected {
                it.out.push_back((action, time));
            }
        }
    }
}
