//! From what is now to what was: which entries change, and in which order.
//!
//! An item is an entry that is to be what it was. Each item waits for others, so that every single change is one that
//! sync-svc's rules allow:
//!
//! | an item that | waits for the item of | until that one |
//! |---|---|---|
//! | comes to a place below a directory that is not there now | that directory | is made |
//! | comes to a place that is taken now | who is there | has left it |
//! | is a directory now and none then, or dead | everything that is in it now | has left it |
//! | is a directory, now or then, and comes to a place | the next directory above, then, that does so too | has come there |
//!
//! By the last rule a directory is moved or made only when everything above its new place is where it was then, so it is never moved
//! below itself. Where items wait for each other in a circle, there is one among them that is moved and whose leaving another
//! one waits for (only what lives now and then can close a circle): it goes aside, to a name of its own at the top of the
//! root, and comes to its place when its turn comes.
//!
//! An entry stays as it is, with those that need it to change, where its place is another's, where the directory that it was
//! in cannot be there, and where something stays in it.

mod order;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use quics_types::{EntryId, Name, Place, limits};

/// What the planner has to know of an entry that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) directory: bool,
}

/// An entry that is another now than it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: EntryId,
    /// `None`: it is not there.
    pub(crate) now: Option<Node>,
    pub(crate) then: Option<Node>,
    /// Content, permissions or attributes are others.
    pub(crate) differs: bool,
}

/// What is and what was, of entries that are no candidates.
pub(crate) trait Tree {
    /// Why it cannot be told.
    type Error;
    /// The entry as it is; `None` if it is not there, and for the top.
    fn now(&mut self, id: EntryId) -> Result<Option<Node>, Self::Error>;
    /// The entry as it was; `None` if it was not there.
    fn then(&mut self, id: EntryId) -> Result<Option<Node>, Self::Error>;
    /// Who is at a place now.
    fn occupant(&mut self, place: &Place) -> Result<Option<EntryId>, Self::Error>;
    /// What is in a directory now.
    fn members(&mut self, directory: EntryId) -> Result<Vec<EntryId>, Self::Error>;
}

/// Why an entry stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Its place is another entry's, which stays there.
    Taken,
    /// The directory that it was in cannot be there.
    NoParent,
    /// Something stays in it.
    NotEmpty,
}

/// An entry that is to be what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: EntryId,
    pub(crate) now: Option<Node>,
    pub(crate) then: Option<Node>,
    /// Why it stays as it is instead.
    pub(crate) stays: Option<Stays>,
}

impl Item {
    /// Whether it comes to another place than it has, if it has one.
    pub(crate) fn is_placed(&self) -> bool {
        match (&self.now, &self.then) {
            (Some(now), Some(then)) => now.place != then.place,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Whether it is there now and then.
    fn is_lasting(&self) -> bool {
        self.now.is_some() && self.then.is_some()
    }
}

/// One change, of the item with this number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It goes aside, to this name at the top.
    Aside(usize, Name),
    /// It becomes what it was; after it has gone aside if `true`.
    Become(usize, bool),
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The candidates, and behind them what has to change with them.
    pub(crate) items: Vec<Item>,
    /// The changes, in their order.
    pub(crate) steps: Vec<Step>,
}

/// Plans how candidates become what they were. With `keep_new` nothing is deleted and nothing is moved.
///
/// # Errors
/// Those of the tree.
pub(crate) fn plan<T: Tree>(candidates: Vec<Candidate>, tree: &mut T, keep_new: bool) -> Result<Plan, T::Error> {
    let (items, numbers, waits) = (Vec::new(), HashMap::new(), Vec::new());
    let mut planner = Planner { tree, keep_new, items, numbers, waits, chosen: 0 };
    for candidate in candidates {
        planner.take(candidate);
    }
    planner.chosen = planner.items.len();
    let mut next = 0;
    while next < planner.items.len() {
        planner.relate(next)?;
        next += 1;
    }
    let Planner { mut items, waits, .. } = planner;
    let steps = order::order(&mut items, &waits);
    Ok(Plan { items, steps })
}

/// What an item waits for another one to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Be a directory that is there.
    Made,
    /// Leave its place.
    Left,
    /// Be at its place, or aside.
    Come,
}

/// Whom an item waits for, and until when.
type Wait = (usize, Until);

/// What is above a place.
enum Above {
    /// An item that comes to its place itself.
    Item(usize),
    /// What is to come there.
    Itself,
    /// Only what stays where it is.
    Nothing,
}

struct Planner<'a, T> {
    tree: &'a mut T,
    keep_new: bool,
    items: Vec<Item>,
    numbers: HashMap<EntryId, usize>,
    waits: Vec<Vec<Wait>>,
    /// How many of the items were candidates.
    chosen: usize,
}

impl<T: Tree> Planner<'_, T> {
    /// Makes a candidate an item, if it is to change.
    fn take(&mut self, candidate: Candidate) {
        let Candidate { id, now, mut then, differs } = candidate;
        if self.keep_new
            && let Some(now) = &now
        {
            match &mut then {
                Some(then) => then.place = now.place.clone(),
                None => return,
            }
        }
        let item = Item { id, now, then, stays: None };
        if item.is_placed() || (item.now.is_some() && (item.then.is_none() || differs)) {
            self.add(item);
        }
    }

    fn add(&mut self, item: Item) -> usize {
        let number = self.items.len();
        self.numbers.insert(item.id, number);
        self.items.push(item);
        self.waits.push(Vec::new());
        number
    }

    /// Finds out whom an item waits for. That may bring further items.
    fn relate(&mut self, number: usize) -> Result<(), T::Error> {
        let item = self.items[number].clone();
        let stays = match &item.then {
            Some(then) => self.relate_living(number, &item, then)?,
            None => None,
        };
        let was_directory = item.now.as_ref().is_some_and(|now| now.directory);
        let ends = was_directory && item.then.as_ref().is_none_or(|then| !then.directory);
        let stays = match stays {
            None if ends => self.relate_members(number, &item)?,
            stays => stays,
        };
        self.items[number].stays = stays;
        Ok(())
    }

    fn relate_living(&mut self, number: usize, item: &Item, then: &Node) -> Result<Option<Stays>, T::Error> {
        if !item.is_placed() {
            return Ok(None);
        }
        if !self.has_parent(number, then)? {
            return Ok(Some(Stays::NoParent));
        }
        if then.directory || item.now.as_ref().is_some_and(|now| now.directory) {
            match self.next_above(item.id, then)? {
                Above::Item(above) => self.waits[number].push((above, Until::Come)),
                Above::Itself => return Ok(Some(Stays::NoParent)),
                Above::Nothing => {}
            }
        }
        let Some(other) = self.tree.occupant(&then.place)?.filter(|other| *other != item.id) else { return Ok(None) };
        let leaving = match self.numbers.get(&other) {
            Some(leaving) => *leaving,
            // What was nowhere then may go; who was elsewhere is no concern of this restore.
            None if !self.keep_new && self.tree.then(other)?.is_none() => {
                let now = self.tree.now(other)?;
                self.add(Item { id: other, now, then: None, stays: None })
            }
            None => return Ok(Some(Stays::Taken)),
        };
        if self.items[leaving].then.as_ref().is_some_and(|to| to.place == then.place) {
            return Ok(Some(Stays::Taken));
        }
        self.waits[number].push((leaving, Until::Left));
        Ok(None)
    }

    /// Whether the directory that an item comes to can be there; it waits for it if it is not there now.
    fn has_parent(&mut self, number: usize, then: &Node) -> Result<bool, T::Error> {
        let id = then.place.parent;
        if id == EntryId::TOP {
            return Ok(true);
        }
        let parent = match self.numbers.get(&id) {
            Some(parent) => *parent,
            None => {
                let now = self.tree.now(id)?;
                if now.as_ref().is_some_and(|now| now.directory) {
                    return Ok(true);
                }
                let mut was = self.tree.then(id)?;
                if self.keep_new
                    && let (Some(now), Some(was)) = (&now, &mut was)
                {
                    was.place = now.place.clone();
                }
                self.add(Item { id, now, then: was, stays: None })
            }
        };
        let item = &self.items[parent];
        if !item.then.as_ref().is_some_and(|then| then.directory) {
            return Ok(false);
        }
        if !item.now.as_ref().is_some_and(|now| now.directory) {
            self.waits[number].push((parent, Until::Made));
        }
        Ok(true)
    }

    /// What is next above a place in the end and comes to its place itself.
    fn next_above(&mut self, id: EntryId, then: &Node) -> Result<Above, T::Error> {
        let mut above = then.place.parent;
        for _ in 0..limits::DEPTH {
            if above == id {
                return Ok(Above::Itself);
            }
            let now = match self.numbers.get(&above) {
                Some(number) if self.items[*number].is_placed() => return Ok(Above::Item(*number)),
                Some(number) => self.items[*number].now.clone(),
                None => self.tree.now(above)?,
            };
            // The top has nothing above it.
            let Some(now) = now else { break };
            above = now.place.parent;
        }
        Ok(Above::Nothing)
    }

    /// Everything that is in a directory now has to leave it.
    fn relate_members(&mut self, number: usize, item: &Item) -> Result<Option<Stays>, T::Error> {
        for id in self.tree.members(item.id)? {
            let member = match self.numbers.get(&id) {
                Some(member) => *member,
                None if self.keep_new || self.tree.then(id)?.is_some() => return Ok(Some(Stays::NotEmpty)),
                // Only what goes because its place is needed takes others with it.
                None if self.is_chosen(number) => return Ok(Some(Stays::NotEmpty)),
                None => {
                    let now = self.tree.now(id)?;
                    self.add(Item { id, now, then: None, stays: None })
                }
            };
            if self.items[member].then.as_ref().is_some_and(|then| then.place.parent == item.id) {
                return Ok(Some(Stays::NotEmpty));
            }
            self.waits[number].push((member, Until::Left));
        }
        Ok(None)
    }

    /// Whether an item was a candidate.
    fn is_chosen(&self, number: usize) -> bool {
        number < self.chosen
    }
}
