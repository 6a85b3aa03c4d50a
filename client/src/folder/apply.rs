//! Applies a batch of operations without losing what it did not expect.
//!
//! ```text
//! stage all -> sync once -> for each: look, rename (exchange, or no-replace), look at what was displaced
//!                                      -> as expected: keep it displaced for a while; else: put it back, Differs
//!           -> sync each touched directory once
//! ```
//!
//! A crash at any point leaves the old file or the new one under its name. What was displaced lies under a name that
//! says what it has to be (see `token`), so that the next start can tell it from staged bytes.

mod replace;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use quics_types::Mtime;
use rustix::{
    fs::{self, AtFlags, CWD, Gid, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    Kind, Op, Outcome, RelPath, Spot, Stat, beneath, displaced, fault,
    stage::{self, Staged},
    touched::Touched,
    tree::{Tree, same},
    unit,
};

/// Up to so many staged files are synced one by one; more of them with one `syncfs`.
const SYNC_EACH_UP_TO: usize = 8;

/// Applies the operations; see [`Folder::apply`](super::Folder::apply).
pub(super) fn apply(tree: &Tree, ops: &[Op], now: Mtime) -> Vec<Outcome> {
    let makes_unit = |op: &Op| matches!(op, Op::MakeUnit { .. } | Op::ReplaceWithUnit { .. });
    let few = ops.len() <= SYNC_EACH_UP_TO && !ops.iter().any(makes_unit);
    let mut staged = stage::all(tree, ops, few);
    fault::at("staged");
    if let Err(error) = sync_staged(tree, &staged, few) {
        for staged in staged.into_iter().flatten().flatten() {
            stage::discard(tree, &staged.name);
        }
        // After a failed sync nobody knows what is on the disk: nothing staged is used again.
        return ops.iter().map(|_| Outcome::Failed(same(&error))).collect();
    }
    fault::at("staged files are durable");
    let mut batch = Batch { tree, now, touched: Touched::new(tree), late_modes: Vec::new(), groups: HashMap::new() };
    let mut outcomes = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        let outcome = match staged[index].take().transpose() {
            Ok(staged) => batch.run(index, op, staged),
            Err(error) => Err(error),
        };
        outcomes.push(match outcome {
            Ok(Some(stat)) => Outcome::Done(stat),
            Ok(None) => Outcome::Differs,
            Err(error) if beneath::is_gone(&error) => Outcome::Differs,
            Err(error) => Outcome::Failed(error),
        });
        if batch.touched.is_full() {
            batch.settle(&mut outcomes);
        }
    }
    batch.finish_modes(&mut outcomes);
    batch.settle(&mut outcomes);
    outcomes
}

/// Makes all staged bytes durable.
fn sync_staged(tree: &Tree, staged: &[Option<io::Result<Staged>>], few: bool) -> io::Result<()> {
    let mut all = staged.iter().flatten().flatten().peekable();
    if all.peek().is_none() {
        return Ok(());
    }
    if !few {
        return Ok(fs::syncfs(&tree.stage)?);
    }
    all.filter_map(|staged| staged.file.as_ref()).try_for_each(File::sync_all)
}

/// Whether something is what was expected: of a directory kind and inode count, otherwise what [`Stat::same_content`]
/// compares.
fn fits(expected: &Stat, found: &Stat) -> bool {
    match expected.kind {
        Kind::Directory => (found.kind, found.inode) == (Kind::Directory, expected.inode),
        _ => found.same_content(expected),
    }
}

/// Does something in directories. Where one is closed to its owner, who this is, it is opened until the end of the
/// batch; what its bits are then is kept in `late_modes`.
fn writable(
    late_modes: &mut Vec<(Option<usize>, Rc<OwnedFd>, u32)>,
    dirs: &[&Rc<OwnedFd>],
    mut work: impl FnMut() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    match work() {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let mut opened = false;
    for dir in dirs {
        let mode = fs::fstat(dir)?.st_mode;
        if mode & 0o300 != 0o300 && fs::fchmod(dir, Mode::from_raw_mode(mode & 0o7777 | 0o700)).is_ok() {
            late_modes.push((None, (*dir).clone(), mode & 0o777));
            opened = true;
        }
    }
    if opened { work() } else { Err(Errno::ACCESS) }
}

/// Sets a directory's permission bits; that it hands its group down stays.
fn set_dir_mode(dir: &OwnedFd, mode: u32) -> io::Result<()> {
    let special = fs::fstat(dir)?.st_mode & 0o7000;
    match fs::fchmod(dir, Mode::from_raw_mode(mode & 0o777 | special)) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

struct Batch<'a> {
    tree: &'a Tree,
    now: Mtime,
    touched: Touched<'a>,
    /// Directories that stay writable until everything in them is done: the operation that made them, handle, final
    /// bits.
    late_modes: Vec<(Option<usize>, Rc<OwnedFd>, u32)>,
    /// The group that files in a directory get, where it hands its own down.
    groups: HashMap<RelPath, Option<Gid>>,
}

impl Batch<'_> {
    /// Does one operation; `None` when what is there is not as expected.
    fn run(&mut self, op: usize, what: &Op, staged: Option<Staged>) -> io::Result<Option<Stat>> {
        let spots = what.spots();
        let allowed = spots.into_iter().flatten().all(Tree::allowed);
        let origin = staged.as_ref().map(|staged| (staged.name.clone(), staged.origin.clone()));
        let result = match (allowed, what, staged) {
            (false, ..) => Err(io::Error::new(io::ErrorKind::InvalidInput, "this name is reserved")),
            (_, Op::MakeDir { at, mode }, _) => self.make_dir(op, at, *mode),
            (_, Op::MakeFile { at, .. } | Op::MakeUnit { at, .. }, Some(staged)) => self.show(op, at, staged),
            (_, Op::MakeLink { at, target }, _) => self.make_link(op, at, target),
            (_, Op::ReplaceWithFile { at, expected, mode, mtime, .. }, Some(staged)) => {
                self.replace(op, at, expected, staged, Some((*mode, *mtime)))
            }
            (
                _,
                Op::ReplaceWithLink { at, expected, .. }
                | Op::ReplaceWithDir { at, expected, .. }
                | Op::ReplaceWithUnit { at, expected, .. },
                Some(staged),
            ) => self.replace(op, at, expected, staged, None),
            (_, Op::Remove { at, expected }, _) if expected.kind == Kind::Directory => {
                self.remove_dir(op, at, expected)
            }
            (_, Op::Remove { at, expected }, _) => self.remove(op, at, expected),
            (_, Op::Move { from, expected, to }, _) => self.rename(op, from, expected, to),
            (_, Op::SetAttributes { at, expected, mode, mtime }, _) => self.attributes(op, at, expected, *mode, *mtime),
            (..) => Err(io::Error::other("nothing was staged")),
        };
        match (origin, &result) {
            (Some((_, origin)), Ok(Some(_))) => stage::used_up(self.tree, &origin),
            (Some((name, origin)), _) => match stage::give_back(self.tree, &origin, &name) {
                // It goes by another name already, or was put back.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => tracing::warn!(name, %error, "a staged file stays behind"),
            },
            (None, _) => {}
        }
        result
    }

    fn look(&self, dir: &OwnedFd, at: &Spot) -> io::Result<Option<Stat>> {
        beneath::look(dir, at.name.as_bytes(), self.tree.dev)
    }

    /// Looks at what should be of this kind: through a directory that should be a unit.
    fn look_for(&self, kind: Kind, dir: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
        let look = if kind == Kind::Unit { unit::look } else { beneath::look };
        look(dir, name, self.tree.dev)
    }

    fn make_dir(&mut self, op: usize, at: &Spot, mode: u32) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        let make = || fs::mkdirat(&dir, at.name.as_bytes(), Mode::from_raw_mode(0o700));
        match writable(&mut self.late_modes, &[&dir], make) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.touched.touch(&at.dir, &dir, op);
        let made = self.touched.dir(&at.path())?;
        if mode & 0o700 == 0o700 {
            set_dir_mode(&made, mode)?;
        } else {
            self.late_modes.push((Some(op), made.clone(), mode));
        }
        self.touched.touch(&at.path(), &made, op);
        Ok(Some(beneath::look_at(&made, self.tree.dev)?))
    }

    /// Shows a staged file or unit where nothing is.
    fn show(&mut self, op: usize, at: &Spot, staged: Staged) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        if let Some(group) = self.group(&at.dir, &dir)? {
            // Where it may not be, the file keeps this process's group.
            _ = fs::chownat(&self.tree.stage, &*staged.name, None, Some(group), AtFlags::SYMLINK_NOFOLLOW);
        }
        let flags = RenameFlags::NOREPLACE;
        let show = || fs::renameat_with(&self.tree.stage, &*staged.name, &dir, at.name.as_bytes(), flags);
        match writable(&mut self.late_modes, &[&dir], show) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.touched.touch(&at.dir, &dir, op);
        fault::at("made");
        Ok(Some(self.shown(&dir, at, &staged)?))
    }

    /// The group that a file made in a directory gets, if the directory hands its own down.
    fn group(&mut self, path: &RelPath, dir: &OwnedFd) -> io::Result<Option<Gid>> {
        if let Some(group) = self.groups.get(path) {
            return Ok(*group);
        }
        let found = fs::fstat(dir)?;
        let group = (found.st_mode & 0o2000 != 0).then(|| Gid::from_raw(found.st_gid));
        self.groups.insert(path.clone(), group);
        Ok(group)
    }

    /// The stat of the staged file where it lies now. If somebody was quicker to change it, the stat as it was staged:
    /// what is reported is always a stat of the bytes that this operation brought.
    fn shown(&self, dir: &OwnedFd, at: &Spot, staged: &Staged) -> io::Result<Stat> {
        let now = self.look_for(staged.stat.kind, dir, at.name.as_bytes())?;
        Ok(now.filter(|now| fits(&staged.stat, now)).unwrap_or(staged.stat))
    }

    fn make_link(&mut self, op: usize, at: &Spot, target: &[u8]) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        match writable(&mut self.late_modes, &[&dir], || fs::symlinkat(target, &dir, at.name.as_bytes())) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.touched.touch(&at.dir, &dir, op);
        self.look(&dir, at)
    }

    fn remove(&mut self, op: usize, at: &Spot, expected: &Stat) -> io::Result<Option<Stat>> {
        if expected.kind == Kind::Other {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this kind is not synced"));
        }
        let dir = self.touched.dir(&at.dir)?;
        match self.look_for(expected.kind, &dir, at.name.as_bytes())? {
            Some(stat) if stat.same_content(expected) => {}
            _ => return Ok(None),
        }
        let kept = displaced::name_for(self.tree, expected, at, self.now);
        fault::at("about to remove");
        let flags = RenameFlags::NOREPLACE;
        let take = || fs::renameat_with(&dir, at.name.as_bytes(), &self.tree.displaced, &*kept, flags);
        writable(&mut self.late_modes, &[&dir], take)?;
        self.touched.touch(&at.dir, &dir, op);
        fault::at("removed");
        if expected.kind == Kind::Unit {
            self.touched.forget_paths();
        }
        match self.look_for(expected.kind, &self.tree.displaced, kept.as_bytes())? {
            Some(stat) if stat.same_content(expected) => return Ok(Some(stat)),
            _ => {}
        }
        match fs::renameat_with(&self.tree.displaced, &*kept, &dir, at.name.as_bytes(), flags) {
            Ok(()) => {}
            // Its name is taken again: it is kept, and will be reported.
            Err(Errno::EXIST) => displaced::mark_changed(self.tree, &kept)?,
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    fn remove_dir(&mut self, op: usize, at: &Spot, expected: &Stat) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        let stat = match self.look(&dir, at)? {
            Some(stat) if (stat.kind, stat.inode) == (Kind::Directory, expected.inode) => stat,
            _ => return Ok(None),
        };
        let remove = || fs::unlinkat(&dir, at.name.as_bytes(), AtFlags::REMOVEDIR);
        match writable(&mut self.late_modes, &[&dir], remove) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.touched.forget_paths();
        self.touched.touch(&at.dir, &dir, op);
        Ok(Some(stat))
    }

    fn rename(&mut self, op: usize, from: &Spot, expected: &Stat, to: &Spot) -> io::Result<Option<Stat>> {
        let (source, target) = (self.touched.dir(&from.dir)?, self.touched.dir(&to.dir)?);
        match self.look_for(expected.kind, &source, from.name.as_bytes())? {
            Some(stat) if fits(expected, &stat) => {}
            _ => return Ok(None),
        }
        fault::at("about to move");
        let flags = RenameFlags::NOREPLACE;
        let rename = || fs::renameat_with(&source, from.name.as_bytes(), &target, to.name.as_bytes(), flags);
        match writable(&mut self.late_modes, &[&source, &target], rename) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if expected.kind.is_a_directory() {
            self.touched.forget_paths();
        }
        self.touched.touch(&from.dir, &source, op);
        self.touched.touch(&to.dir, &target, op);
        match self.look_for(expected.kind, &target, to.name.as_bytes())? {
            Some(stat) if fits(expected, &stat) => return Ok(Some(stat)),
            _ => {}
        }
        match fs::renameat_with(&target, to.name.as_bytes(), &source, from.name.as_bytes(), flags) {
            // If its old name is taken meanwhile it stays under the new one, where the next scan finds it.
            Ok(()) | Err(Errno::EXIST | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn attributes(
        &mut self,
        op: usize,
        at: &Spot,
        expected: &Stat,
        mode: u32,
        mtime: Option<Mtime>,
    ) -> io::Result<Option<Stat>> {
        let dir = self.touched.dir(&at.dir)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = fs::openat(&dir, at.name.as_bytes(), flags, Mode::empty())?;
        let (tree, name) = (self.tree, at.name.as_bytes());
        let look = || match expected.kind {
            Kind::Unit => unit::look(&dir, name, tree.dev)?.ok_or_else(|| io::ErrorKind::NotFound.into()),
            _ => beneath::look_at(&handle, tree.dev),
        };
        let found = look()?;
        if expected.kind == Kind::Other || !fits(expected, &found) {
            return Ok(None);
        }
        if found.kind == Kind::Link {
            // A link has no permission bits of its own.
            if let Some(mtime) = mtime {
                fs::utimensat(&dir, at.name.as_bytes(), &stage::times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            self.touched.touch_file(None, op);
            return self.look(&dir, at);
        }
        let path = beneath::magic_path(&handle);
        let special = fs::fstat(&handle)?.st_mode & 0o7000;
        let special = if found.kind.is_a_directory() { special } else { 0 };
        match fs::chmodat(CWD, &*path, Mode::from_raw_mode(mode & 0o777 | special), AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) if !self.tree.abilities.modes => {}
            other => other?,
        }
        if let Some(mtime) = mtime {
            fs::utimensat(CWD, &*path, &stage::times(mtime), AtFlags::empty())?;
        }
        let readable = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = fs::openat(CWD, &*path, readable, Mode::empty()).ok().map(File::from);
        self.touched.touch_file(file, op);
        let stat = look()?;
        let unchanged = (stat.inode, stat.size) == (found.inode, found.size)
            && (mtime.is_some_and(|mtime| stat.mtime == mtime) || stat.mtime == found.mtime || mtime.is_some());
        // A write that came in between must not be hidden under the stat that is reported.
        Ok(Some(if unchanged || found.kind == Kind::Directory { stat } else { Stat { mode: stat.mode, ..found } }))
    }

    /// Sets the bits of directories that had to stay writable until now.
    fn finish_modes(&mut self, outcomes: &mut [Outcome]) {
        // Backwards: of one that was opened more than once the first bits are the right ones.
        for (op, dir, mode) in std::mem::take(&mut self.late_modes).into_iter().rev() {
            let set = set_dir_mode(&dir, mode).and_then(|()| beneath::look_at(&dir, self.tree.dev));
            let Some(op) = op else {
                // It was somebody's before: where it cannot be closed again the next scan tells of it.
                if let Err(error) = set {
                    tracing::warn!(%error, "a directory stays open to its owner");
                }
                continue;
            };
            match (set, dir.try_clone()) {
                (Ok(stat), handle) => {
                    outcomes[op] = Outcome::Done(stat);
                    self.touched.touch_file(handle.ok().map(File::from), op);
                }
                (Err(error), _) => outcomes[op] = Outcome::Failed(error),
            }
        }
    }

    /// Syncs what was touched. What could not be made durable is not reported as done.
    fn settle(&mut self, outcomes: &mut [Outcome]) {
        fault::at("about to sync directories");
        let (waiting, result) = self.touched.sync();
        if let Err(error) = result {
            for op in waiting {
                outcomes[op] = Outcome::Failed(same(&error));
            }
        }
    }
}
