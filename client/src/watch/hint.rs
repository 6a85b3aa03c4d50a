//! What an event of `notify` says, cut down to what matters. This runs on `notify`'s thread and never blocks.

use std::{os::unix::ffi::OsStrExt, path::Path};

use notify::{
    ErrorKind, Event, EventKind,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode},
};

use crate::folder::RelPath;

/// The private directory, of this folder or of another one inside it.
const PRIVATE: &[u8] = quics_types::Name::OWN.as_bytes();

/// What the watcher's thread is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Something happened to a member of the folder.
    Change(What, RelPath),
    /// The folder itself was moved or removed.
    Top,
    /// Events were lost.
    Lost,
    /// A directory could not be watched for want of watches.
    Limited,
    /// Nothing; there is a flag to be looked at.
    Wake,
}

/// What happened to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A file was closed after writing, or removed.
    File,
    /// A file was written to.
    Written,
    /// Something that is no directory was made.
    Made,
    /// Something came to this path, or a directory came or went.
    Came,
    /// Something left this path for another one, which is named next if it is watched too.
    Left,
    /// Anything else, its attributes for example.
    Other,
}

/// Tells what there is to tell of an event in the folder at `top`.
pub(super) fn read(event: notify::Result<Event>, top: &Path, mut tell: impl FnMut(Hint)) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let limited = matches!(error.kind, ErrorKind::MaxFilesWatch);
            tracing::debug!(%error, "watch.event_failed");
            return tell(if limited { Hint::Limited } else { Hint::Lost });
        }
    };
    // The most frequent by far, first of all: whatever reads the folder makes these, our own scan too.
    if matches!(
        event.kind,
        EventKind::Access(AccessKind::Open(_) | AccessKind::Read | AccessKind::Close(AccessMode::Read))
    ) {
        return;
    }
    if event.need_rescan() {
        return tell(Hint::Lost);
    }
    let Some(what) = what(&event) else { return };
    for path in &event.paths {
        // What is not in the folder was not asked for.
        let Ok(path) = path.strip_prefix(top) else { continue };
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            if matches!(what, What::Left | What::Came) {
                tell(Hint::Top);
            }
        } else if !bytes.split(|byte| *byte == b'/').any(|name| name == PRIVATE) {
            tell(Hint::Change(what, RelPath::from_checked(bytes)));
        }
    }
}

fn what(event: &Event) -> Option<What> {
    Some(match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(RemoveKind::File) => What::File,
        EventKind::Modify(ModifyKind::Data(_)) => What::Written,
        EventKind::Create(CreateKind::File) => What::Made,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => What::Came,
        // Of the one that the directory's own watch makes no second path follows.
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) if event.tracker().is_some() => What::Left,
        // Both paths were named one by one.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if event.tracker().is_some() => return None,
        EventKind::Modify(ModifyKind::Name(_)) => What::Came,
        _ => What::Other,
    })
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag, MetadataKind};

    use super::*;

    fn told(event: notify::Result<Event>) -> Vec<Hint> {
        let mut all = Vec::new();
        read(event, Path::new("/top"), |hint| all.push(hint));
        all
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[test]
    fn what_only_looks_is_dropped() {
        for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read), AccessKind::Read] {
            assert_eq!(told(Ok(event(EventKind::Access(kind), "/top/a"))), []);
        }
        assert_eq!(told(Ok(event(CLOSED, "/top/a"))), [Hint::Change(What::File, RelPath::from_checked(b"a"))]);
    }

    #[test]
    fn the_private_directory_and_what_is_outside_is_dropped() {
        for path in ["/top/.quics", "/top/.quics/stage/x", "/top/a/.quics/x", "/topmost/a"] {
            assert_eq!(told(Ok(event(CLOSED, path))), [], "{path}");
        }
        assert_eq!(told(Ok(event(CLOSED, "/top/.quicsignore"))).len(), 1);
    }

    #[test]
    fn only_a_move_or_removal_of_the_folder_itself_matters() {
        let metadata = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert_eq!(told(Ok(event(metadata, "/top"))), []);
        let moved = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        assert_eq!(told(Ok(event(moved, "/top"))), [Hint::Top]);
        assert_eq!(told(Ok(event(EventKind::Remove(RemoveKind::Folder), "/top"))), [Hint::Top]);
    }

    #[test]
    fn a_move_names_each_path_once() {
        let moved = |mode, path: &str| event(EventKind::Modify(ModifyKind::Name(mode)), path).set_tracker(1);
        let both = moved(RenameMode::Both, "/top/a").add_path("/top/b".into());
        let events = [moved(RenameMode::From, "/top/a"), moved(RenameMode::To, "/top/b"), both];
        let all: Vec<Hint> = events.into_iter().flat_map(|event| told(Ok(event))).collect();
        let path = RelPath::from_checked;
        assert_eq!(all, [Hint::Change(What::Left, path(b"a")), Hint::Change(What::Came, path(b"b"))]);
    }

    #[test]
    fn lost_events_and_missing_watches_are_told_apart() {
        assert_eq!(told(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))), [Hint::Lost]);
        assert_eq!(told(Err(notify::Error::new(ErrorKind::MaxFilesWatch))), [Hint::Limited]);
        assert_eq!(told(Err(notify::Error::generic("torn"))), [Hint::Lost]);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(told(Ok(event(written, "/top/a"))), [Hint::Change(What::Written, RelPath::from_checked(b"a"))]);
    }
}
