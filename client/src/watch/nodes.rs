//! The watched directories: where each is, by the kernel's number for it.

use std::collections::{BTreeMap, HashMap};

use quics_types::Name;

use crate::folder::RelPath;

type Place = (i32, Box<[u8]>);

/// Knows each directory by its parent and name, so that moving one of any size is one change.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    top: Option<i32>,
    places: HashMap<i32, Place>,
    children: BTreeMap<Place, i32>,
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.places.len() + usize::from(self.top.is_some())
    }

    pub(super) fn set_top(&mut self, wd: i32) {
        self.top = Some(wd);
    }

    pub(super) fn is_top(&self, wd: i32) -> bool {
        self.top == Some(wd)
    }

    /// A directory is at this place now, whether it is new or was elsewhere.
    pub(super) fn place(&mut self, wd: i32, parent: i32, name: &[u8]) {
        let place: Place = (parent, name.into());
        if let Some(before) = self.places.insert(wd, place.clone())
            && self.children.get(&before) == Some(&wd)
        {
            self.children.remove(&before);
        }
        self.children.insert(place, wd);
    }

    /// The directory at this place.
    pub(super) fn child(&self, parent: i32, name: &[u8]) -> Option<i32> {
        self.children.get(&(parent, name.into())).copied()
    }

    /// Forgets a directory.
    pub(super) fn remove(&mut self, wd: i32) {
        if let Some(place) = self.places.remove(&wd)
            && self.children.get(&place) == Some(&wd)
        {
            self.children.remove(&place);
        }
    }

    /// Forgets a directory and all below; returns them.
    pub(super) fn remove_tree(&mut self, wd: i32) -> Vec<i32> {
        let mut gone = vec![wd];
        let mut at = 0;
        while let Some(parent) = gone.get(at).copied() {
            let below = self.children.range((parent, Box::default())..).take_while(|((of, _), _)| *of == parent);
            gone.extend(below.map(|(_, wd)| *wd));
            at += 1;
        }
        gone.iter().for_each(|wd| self.remove(*wd));
        gone
    }

    /// The path of a directory; `None` for one that is not (any more) in the folder.
    pub(super) fn path(&self, wd: i32) -> Option<RelPath> {
        let mut names = Vec::new();
        let mut at = wd;
        while Some(at) != self.top {
            let (parent, name) = self.places.get(&at)?;
            names.push(name);
            // A move into itself cannot be; a table that says so is given up on.
            if names.len() > quics_types::limits::DEPTH * 2 {
                return None;
            }
            at = *parent;
        }
        names.iter().rev().try_fold(RelPath::root(), |path, name| join(&path, name))
    }
}

/// The path of a member; `None` for a name that cannot be synced.
pub(super) fn join(dir: &RelPath, name: &[u8]) -> Option<RelPath> {
    Some(dir.join(&Name::new(name.to_vec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_directory_takes_everything_below_along() {
        let mut nodes = Nodes::default();
        nodes.set_top(1);
        nodes.place(2, 1, b"a");
        nodes.place(3, 2, b"b");
        nodes.place(4, 1, b"c");
        assert_eq!(nodes.path(3).unwrap().as_bytes(), b"a/b");
        nodes.place(2, 4, b"moved");
        assert_eq!(nodes.path(3).unwrap().as_bytes(), b"c/moved/b");
        assert_eq!((nodes.child(1, b"a"), nodes.child(4, b"moved")), (None, Some(2)));
        assert_eq!(nodes.remove_tree(2), [2, 3]);
        assert_eq!((nodes.path(3), nodes.len()), (None, 2));
        assert_eq!(nodes.path(1), Some(RelPath::root()));
    }

    #[test]
    fn a_place_that_was_taken_over_is_not_lost_with_its_former_holder() {
        let mut nodes = Nodes::default();
        nodes.set_top(1);
        nodes.place(2, 1, b"a");
        nodes.place(3, 1, b"a");
        nodes.remove(2);
        assert_eq!(nodes.child(1, b"a"), Some(3));
    }
}
