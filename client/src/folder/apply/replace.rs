//! Puts something in the place of a file, link or empty directory: exchange, look at what came out, and put it back if
//! it is not what was expected.

use std::{fs::File, io, os::fd::OwnedFd};

use quics_types::Mtime;
use rustix::{
    fs::{self, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{Batch, fits, writable};
use crate::folder::{
    Kind, RelPath, Spot, Stat, attributes, beneath, displaced, fault, listing,
    stage::{self, Staged},
    token,
    tree::Tree,
};

/// How often a file is put back while somebody else works on the same name, before it is kept among the displaced.
const PUT_BACK_ROUNDS: usize = 8;

impl Batch<'_> {
    /// Replaces what is as expected by what is staged. A file that takes the place of a file keeps its attributes as
    /// far as [`attributes::carry_over`] goes; `attributes` are the permission bits and modification time to set.
    pub(super) fn replace(
        &mut self,
        op: usize,
        at: &Spot,
        expected: &Stat,
        mut staged: Staged,
        attributes: Option<(u32, Mtime)>,
    ) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        // A file keeps what of its permission bits the new one gets: those of the plan, or somebody has changed them since.
        let fits = |stat: &Stat| fits(expected, stat) && stat.mode == expected.mode;
        let current = match self.look_for(expected.kind, &dir, at.name.as_bytes())? {
            Some(stat) if fits(&stat) && stat.kind != Kind::Other => stat,
            _ => return Ok(None),
        };
        if current.kind == Kind::Directory && !self.is_empty(&at.path())? {
            return Ok(None);
        }
        if let Some((mode, mtime)) = attributes
            && current.kind == Kind::File
            && staged.carried != Some((current.inode, current.mode))
            && !self.carry_over(&dir, at, &mut staged, mode, mtime)?
        {
            return Ok(None);
        }
        let ours = token::ours(&staged.stat);
        let swap = token::Staged::Swap { number: staged.number, ours, expected: token::Expected::of(expected) }.print();
        fs::renameat_with(&self.tree.stage, &*staged.name, &self.tree.stage, &*swap, RenameFlags::NOREPLACE)?;
        fault::at("about to exchange");
        let exchange = || exchange(self.tree, &swap, &dir, at);
        if let Err(error) = writable(&mut self.late_modes, &[&dir], exchange) {
            stage::give_back(self.tree, &staged.origin, &swap)?;
            return Err(error.into());
        }
        self.touched.touch(&at.dir, &dir, op);
        fault::at("exchanged");
        if expected.kind.is_a_directory() {
            self.touched.forget_paths();
        }
        let found = self.look_for(expected.kind, &self.tree.stage, swap.as_bytes())?;
        let done = match found {
            Some(found) if !fits(&found) => false,
            // Removing a directory succeeds only if it is empty still.
            Some(Stat { kind: Kind::Directory, .. }) => stage::remove(self.tree, &swap).is_ok(),
            Some(_) => {
                // The new file is in its place. If this fails the old one stays in `stage/`, to be found at the next start.
                if let Err(error) = displaced::keep(self.tree, &swap, at, Some(expected), self.now) {
                    tracing::warn!(name = swap, %error, "a displaced file stays staged");
                }
                true
            }
            None => false,
        };
        if done {
            return Ok(Some(self.shown(&dir, at, &staged)?));
        }
        if let Err(error) = self.put_back(&swap, &dir, at, &staged) {
            // Whatever is under this name now is somebody's until it is looked at.
            displaced::keep(self.tree, &swap, at, None, self.now)?;
            return Err(error);
        }
        Ok(None)
    }

    fn is_empty(&mut self, dir: &RelPath) -> io::Result<bool> {
        let handle = self.touched.dir(dir)?;
        let handle = beneath::open_dir(&*handle, &RelPath::root())?;
        let listing = listing::list(handle, self.tree.dev, false)?;
        Ok(listing.members.is_empty() && listing.unusable.is_empty())
    }

    /// Gives the staged file the attributes of the one that it replaces, when that was not possible earlier. `false`
    /// when the file is not there any more.
    fn carry_over(&self, dir: &OwnedFd, at: &Spot, staged: &mut Staged, mode: u32, mtime: Mtime) -> io::Result<bool> {
        let Some((old, _)) = beneath::handle(dir, &at.name, self.tree.dev)? else { return Ok(false) };
        let file = match staged.file.take() {
            Some(file) => file,
            None => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                File::from(fs::openat(&self.tree.stage, &*staged.name, flags, Mode::empty())?)
            }
        };
        if !attributes::carry_over(&old, &file, mode)? {
            staged.origin = stage::Origin::Made;
        }
        stage::set_mtime(&file, mtime)?;
        file.sync_all()?;
        staged.stat = beneath::look_at(&file, self.tree.dev)?;
        Ok(true)
    }

    /// What was displaced is not what was expected: it goes back to its place, and our file comes out again. Whatever
    /// is left over that is not our file, untouched, is somebody's and kept.
    fn put_back(&self, swap: &str, dir: &OwnedFd, at: &Spot, staged: &Staged) -> io::Result<()> {
        let ours = |stat: &Stat| match staged.stat.kind {
            // Whether something was put into it shows when it is removed.
            Kind::Directory => stat.inode == staged.stat.inode,
            _ => stat.same_content(&staged.stat),
        };
        for _ in 0..PUT_BACK_ROUNDS {
            match exchange(self.tree, swap, dir, at) {
                Ok(()) => {}
                // Our file was removed from the name meanwhile.
                Err(Errno::NOENT) => {
                    let flags = RenameFlags::NOREPLACE;
                    match fs::renameat_with(&self.tree.stage, swap, dir, at.name.as_bytes(), flags) {
                        Ok(()) => return Ok(()),
                        Err(Errno::EXIST) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
            match self.look_for(staged.stat.kind, &self.tree.stage, swap.as_bytes())? {
                Some(stat) if ours(&stat) && stage::give_back(self.tree, &staged.origin, swap).is_ok() => {
                    return Ok(());
                }
                // An edit of our file: it was seen by somebody, and is kept. The name has what it had before.
                Some(stat) if stat.inode == staged.stat.inode => break,
                // Something newer was put in the place of our file: the next round puts it back.
                Some(_) => {}
                None => return Ok(()),
            }
        }
        displaced::keep(self.tree, swap, at, None, self.now)
    }
}

fn exchange(tree: &Tree, staged: &str, dir: &OwnedFd, at: &Spot) -> rustix::io::Result<()> {
    fs::renameat_with(&tree.stage, staged, dir, at.name.as_bytes(), RenameFlags::EXCHANGE)
}
