//! The folder seam over a simulated disk.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quics_client::folder::{Folder, Identity, Kind, Listing, Member, Op, Outcome, RelPath, Spot, Stat};
use quics_types::{Mtime, Name};

use crate::disk::Tree;

/// One device's disk.
#[derive(Debug, Clone)]
pub(crate) struct SimFolder(pub(crate) Arc<Mutex<Tree>>);

impl SimFolder {
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder for SimFolder {
    fn list(&mut self, dir: &RelPath) -> io::Result<Listing> {
        let tree = self.tree();
        let dir = tree.find(dir)?;
        let member = |(name, inode): (&String, &u64)| Member {
            name: Name::new(name.clone()).unwrap(),
            stat: Ok(tree.stat(*inode)),
        };
        Ok(Listing { members: tree.members(dir).iter().map(member).collect(), unusable: Vec::new() })
    }

    fn stat(&mut self, at: &Spot) -> io::Result<Option<Stat>> {
        let tree = self.tree();
        match tree.at(at) {
            Ok((_, _, inode)) => Ok(inode.map(|inode| tree.stat(inode))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_small(&mut self, at: &Spot) -> io::Result<Option<(Bytes, Stat)>> {
        let tree = self.tree();
        let Ok((_, _, Some(inode))) = tree.at(at) else { return Ok(None) };
        let it = &tree.inodes[&inode];
        if it.kind != Kind::File || it.big {
            return Ok(None);
        }
        Ok(Some((Bytes::from(it.token.clone()), tree.stat(inode))))
    }

    fn read_link(&mut self, at: &Spot) -> io::Result<Bytes> {
        let tree = self.tree();
        match tree.at(at)? {
            (_, _, Some(inode)) if tree.inodes[&inode].kind == Kind::Link => {
                Ok(Bytes::from(tree.inodes[&inode].token.clone()))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut tree = self.tree();
        let mut outcomes = Vec::new();
        for op in ops {
            if let Some(left) = &mut tree.dies_after {
                if *left == 0 {
                    tree.died = true;
                    outcomes.push(Outcome::Failed(io::Error::other("the process is dead")));
                    continue;
                }
                *left -= 1;
            }
            tree.applied += 1;
            let outcome = match tree.apply(op) {
                Ok(Some(stat)) => Outcome::Done(stat),
                Ok(None) => Outcome::Differs,
                Err(error) => Outcome::Failed(error),
            };
            tree.log.push(format!("{op:?} {outcome:?}"));
            outcomes.push(outcome);
        }
        outcomes
    }

    fn make_durable(&mut self, _spots: &[Spot]) -> io::Result<()> {
        Ok(())
    }

    fn now(&mut self) -> Mtime {
        self.tree().now()
    }

    fn check_identity(&mut self) -> io::Result<Identity> {
        Ok(Identity::Same)
    }
}
