//! The order of the steps.

use std::collections::{HashMap, VecDeque};

use data_encoding::HEXLOWER;
use quics_types::Name;

use super::{Item, Stays, Step, Until, Wait};

/// What the name begins with under which an entry is aside.
const ASIDE: &str = ".quics-restore-";

/// Lets those stay that need one that stays, and orders the others.
pub(super) fn order(items: &mut [Item], waits: &[Vec<Wait>]) -> Vec<Step> {
    let mut waiters: Vec<Vec<Wait>> = vec![Vec::new(); items.len()];
    for (number, waits) in waits.iter().enumerate() {
        for (other, until) in waits {
            waiters[*other].push((number, *until));
        }
    }
    stay(items, &waiters);
    let mut sorter = Sorter::new(items, waits, &waiters);
    sorter.sort();
    sorter.steps
}

/// An item that stays as it is makes others stay.
fn stay(items: &mut [Item], waiters: &[Vec<Wait>]) {
    let mut staying: Vec<usize> = (0..items.len()).filter(|number| items[*number].stays.is_some()).collect();
    while let Some(number) = staying.pop() {
        for (waiter, until) in &waiters[number] {
            let why = match until {
                Until::Made => Stays::NoParent,
                Until::Left if items[*waiter].then.is_none() => Stays::NotEmpty,
                Until::Left => Stays::Taken,
                // Its own way is free; whether it may go it is for sync-svc to say.
                Until::Come => continue,
            };
            if items[*waiter].stays.is_none() {
                items[*waiter].stays = Some(why);
                staying.push(*waiter);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Aside,
    Done,
}

struct Sorter<'a> {
    items: &'a [Item],
    waits: &'a [Vec<Wait>],
    waiters: &'a [Vec<Wait>],
    /// For how many others each item still waits.
    open: Vec<usize>,
    state: Vec<State>,
    ready: VecDeque<usize>,
    steps: Vec<Step>,
}

impl<'a> Sorter<'a> {
    fn new(items: &'a [Item], waits: &'a [Vec<Wait>], waiters: &'a [Vec<Wait>]) -> Self {
        let state: Vec<State> =
            items.iter().map(|item| if item.stays.is_some() { State::Done } else { State::Waiting }).collect();
        let open: Vec<usize> = waits
            .iter()
            .map(|waits| waits.iter().filter(|(other, _)| state[*other] == State::Waiting).count())
            .collect();
        let ready = (0..items.len()).filter(|number| state[*number] == State::Waiting && open[*number] == 0).collect();
        Self { items, waits, waiters, open, state, ready, steps: Vec::new() }
    }

    fn sort(&mut self) {
        // Everything before this one is done.
        let mut first = 0;
        loop {
            while let Some(number) = self.ready.pop_front() {
                self.steps.push(Step::Become(number, self.state[number] == State::Aside));
                let before = std::mem::replace(&mut self.state[number], State::Done);
                self.release(number, |until| before == State::Waiting || until == Until::Made);
            }
            while first < self.items.len() && self.state[first] == State::Done {
                first += 1;
            }
            if first == self.items.len() {
                return;
            }
            let Some(number) = self.in_the_way(first) else { return };
            self.steps.push(Step::Aside(number, name(&self.items[number])));
            self.state[number] = State::Aside;
            self.release(number, |until| until != Until::Made);
        }
    }

    /// Those who waited for an item in this way do so no longer.
    fn release(&mut self, number: usize, which: impl Fn(Until) -> bool) {
        for (waiter, until) in &self.waiters[number] {
            if which(*until) {
                self.open[*waiter] -= 1;
                if self.open[*waiter] == 0 && self.state[*waiter] != State::Done {
                    self.ready.push_back(*waiter);
                }
            }
        }
    }

    /// Finds a circle, and in it an item that can go aside so that another one need not wait for it any more. There is one
    /// (see [`super`]); `None` would leave those in the circle as they are.
    fn in_the_way(&self, start: usize) -> Option<usize> {
        let mut path: Vec<Wait> = vec![(start, Until::Made)];
        let mut at = HashMap::from([(start, 0)]);
        loop {
            let (number, _) = *path.last()?;
            let next = self.waits[number].iter().find(|(other, until)| match self.state[*other] {
                State::Done => false,
                State::Aside => *until == Until::Made,
                State::Waiting => true,
            });
            let (other, until) = *next?;
            let Some(begin) = at.get(&other).copied() else {
                at.insert(other, path.len());
                path.push((other, until));
                continue;
            };
            let mut circle = path.split_off(begin);
            // Who closes the circle is waited for by its last one.
            circle[0].1 = until;
            let can = |(number, until): &&Wait| {
                *until != Until::Made && self.items[*number].is_lasting() && self.state[*number] == State::Waiting
            };
            return circle.iter().find(can).map(|(number, _)| *number);
        }
    }
}

/// The name under which an item is aside: its own, and not one that it has, or had, itself.
fn name(item: &Item) -> Name {
    let plain = format!("{ASIDE}{}", HEXLOWER.encode(item.id.as_bytes()));
    let has = |name: &str| {
        [&item.now, &item.then].into_iter().flatten().any(|node| *node.place.name.as_bytes() == *name.as_bytes())
    };
    let names = [plain.clone(), format!("{plain}-2"), format!("{plain}-3")];
    let free = names.into_iter().find(|name| !has(name)).unwrap_or(plain);
    Name::new(free).expect("letters, digits, dots and dashes are a name")
}
