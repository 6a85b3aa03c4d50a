//! Chunks that the server lost to damage: what a local file has of them is sent.
//!
//! The server says which chunks it wants back when a device subscribes and whenever it finds another one damaged. No
//! index says which file has which chunk (damage is rare, an index would be paid for with every change), so the folder
//! is read until all of them are found. What was looked for in vain is not looked for again before the agent starts
//! anew: a file that gets such a chunk later brings it by itself when it is sent.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use quics_types::Digest;

use super::contents::Line;
use crate::folder::{Kind, RelPath, Spot, Stat, Tree};
use crate::transfer::{RestoreFailure, Server, Transfer};
use crate::watch::Skip;

/// Digests that are remembered in each of the two sets.
const REMEMBERED: usize = 1 << 18;

/// What one root's folder is searched for.
#[derive(Debug, Default)]
pub(super) struct Healer {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// To be looked for.
    wanted: HashSet<Digest>,
    /// Looked for and not found here.
    absent: HashSet<Digest>,
    running: bool,
}

impl Healer {
    /// Takes what the server wants. `true`: the caller has to search, as nobody does.
    pub(super) fn want(&self, digests: Vec<Digest>) -> bool {
        let state = &mut *self.state.lock();
        if state.absent.len() >= REMEMBERED {
            state.absent.clear();
        }
        let room = REMEMBERED.saturating_sub(state.wanted.len());
        let State { wanted, absent, .. } = state;
        wanted.extend(digests.into_iter().filter(|digest| !absent.contains(digest)).take(room));
        !state.wanted.is_empty() && !std::mem::replace(&mut state.running, true)
    }

    /// Searches until nothing is wanted that may be here.
    pub(super) async fn run(&self, transfer: &Transfer<Server<Line>>, tree: &Arc<Tree>, skip: &Skip) {
        loop {
            let wanted = {
                let state = &mut *self.state.lock();
                if state.wanted.is_empty() {
                    state.running = false;
                    return;
                }
                state.wanted.clone()
            };
            let asked = wanted.len();
            match search(transfer, tree, skip, wanted).await {
                Ok((sent, absent)) => {
                    tracing::info!(asked, sent = sent.len(), "server.lost_chunks");
                    let state = &mut *self.state.lock();
                    state.wanted.retain(|digest| !sent.contains(digest) && !absent.contains(digest));
                    state.absent.extend(absent);
                }
                Err(error) => {
                    // With the next session the server asks again.
                    tracing::warn!(asked, %error, "server.lost_chunks");
                    let state = &mut *self.state.lock();
                    state.wanted.clear();
                    state.running = false;
                    return;
                }
            }
        }
    }
}

/// Reads the folder, file by file, until all is found; what was sent and what is not here.
async fn search(
    transfer: &Transfer<Server<Line>>,
    tree: &Arc<Tree>,
    skip: &Skip,
    mut wanted: HashSet<Digest>,
) -> Result<(HashSet<Digest>, HashSet<Digest>), RestoreFailure> {
    let mut sent = HashSet::new();
    let mut dirs = vec![RelPath::root()];
    while let Some(dir) = dirs.pop() {
        let (files, below) = match list(tree, skip, dir.clone()).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%dir, %error, "heal.directory_unreadable");
                continue;
            }
        };
        dirs.extend(below);
        for (at, stat) in files {
            match transfer.restore(&at, &stat, &wanted).await {
                Ok(found) => {
                    wanted.retain(|digest| !found.contains(digest));
                    sent.extend(found);
                }
                Err(RestoreFailure::File(error)) => {
                    tracing::debug!(path = %at.path(), %error, "heal.file_unreadable");
                }
                Err(failed) => return Err(failed),
            }
            if wanted.is_empty() {
                return Ok((sent, wanted));
            }
        }
    }
    Ok((sent, wanted))
}

/// The files and the directories of a directory that are synced.
async fn list(tree: &Arc<Tree>, skip: &Skip, dir: RelPath) -> io::Result<(Vec<(Spot, Stat)>, Vec<RelPath>)> {
    let (tree, skip) = (tree.clone(), skip.clone());
    let listing = move || {
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        for member in tree.list(&dir)?.members {
            let Ok(stat) = member.stat else { continue };
            let at = Spot { dir: dir.clone(), name: member.name };
            match stat.kind {
                Kind::File if stat.size > 0 && !skip(&at.path(), false) => files.push((at, stat)),
                Kind::Unit if !skip(&at.path(), true) => files.push((at, stat)),
                Kind::Directory if !skip(&at.path(), true) => dirs.push(at.path()),
                _ => {}
            }
        }
        Ok((files, dirs))
    };
    tokio::task::spawn_blocking(listing).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_search_runs_at_a_time_and_what_is_not_here_is_not_looked_for_again() {
        let healer = Healer::default();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        assert!(!healer.want(Vec::new()), "nothing is wanted");
        assert!(healer.want(vec![one]));
        assert!(!healer.want(vec![two]), "the search that runs takes it up");
        healer.state.lock().absent.insert(one);
        *healer.state.lock() = State { absent: [one].into(), ..State::default() };
        assert!(!healer.want(vec![one]));
        assert!(healer.want(vec![one, two]));
        assert_eq!(healer.state.lock().wanted, [two].into());
    }
}
