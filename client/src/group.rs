//! Groups: conflicts of one offline period below one directory are one question.
//!
//! Two conflicts belong to one period when the newest candidate of each is the same device's, and those came within a
//! minute of each other, or of others in between. Within a period there is one group for each directory at the top of
//! the root, and one for what lies at the top itself; each is named by the deepest directory that holds all of it.

use std::collections::BTreeMap;

use quics_types::{DeviceId, Mtime, RootId};

/// Candidates that follow each other within so many seconds belong to one period.
const PERIOD: i64 = 60;

/// A conflict, as far as its group depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its root.
    pub root: RootId,
    /// Its path below the root.
    pub path: Vec<u8>,
    /// The device of its newest candidate, and when the server accepted that.
    pub newest: (DeviceId, Mtime),
}

/// The group that a conflict belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Short, and the same as long as any of the group is open.
    pub id: String,
    /// The deepest directory below the root that holds all of it; empty for the root itself.
    pub directory: Vec<u8>,
}

/// The device of the newest candidates, and the directory at the top.
type Key<'a> = (RootId, DeviceId, &'a [u8]);

/// Puts conflicts into groups; gives one for each member, in their order.
pub fn groups(members: &[Member]) -> Vec<Group> {
    let mut by_time: Vec<usize> = (0..members.len()).collect();
    by_time.sort_by_key(|index| (members[*index].root, members[*index].newest, *index));
    // The periods of each device below each top directory, oldest first.
    let mut all: BTreeMap<Key<'_>, Vec<Vec<usize>>> = BTreeMap::new();
    let mut last: Option<(RootId, DeviceId, i64)> = None;
    let mut period = 0;
    let mut period_of: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    for index in by_time {
        let member = &members[index];
        let (device, at) = member.newest;
        let goes_on = last.is_some_and(|(root, by, before)| {
            (root, by) == (member.root, device) && at.seconds.saturating_sub(before) <= PERIOD
        });
        period += usize::from(!goes_on);
        last = Some((member.root, device, at.seconds));
        let key = (member.root, device, top(&member.path));
        let list = all.entry(key).or_default();
        if period_of.insert(key, period) == Some(period)
            && let Some(open) = list.last_mut()
        {
            open.push(index);
        } else {
            list.push(vec![index]);
        }
    }
    let mut groups = vec![Group { id: String::new(), directory: Vec::new() }; members.len()];
    for ((root, device, top), periods) in all {
        let id = short(root, device, top);
        for (number, indices) in periods.into_iter().enumerate() {
            let id = if number == 0 { id.clone() } else { format!("{id}-{}", number + 1) };
            let directory = common(indices.iter().map(|index| members[*index].path.as_slice()));
            for index in indices {
                groups[index] = Group { id: id.clone(), directory: directory.clone() };
            }
        }
    }
    groups
}

/// The first directory of a path; empty for what lies at the top.
fn top(path: &[u8]) -> &[u8] {
    path.iter().position(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

/// Six hexadecimal digits.
fn short(root: RootId, device: DeviceId, top: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(root.as_bytes()).update(device.as_bytes()).update(top);
    data_encoding::HEXLOWER.encode(&hasher.finalize().as_bytes()[..3])
}

/// The deepest directory that holds all of these paths.
fn common<'a>(mut paths: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let directory = |path: &'a [u8]| {
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        parts.pop();
        parts
    };
    let first = paths.next().map(directory).unwrap_or_default();
    let shared = paths.map(directory).fold(first, |shared, other| {
        let same = shared.iter().zip(&other).take_while(|(one, two)| one == two).count();
        shared[..same].to_vec()
    });
    shared.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(device: u8, seconds: i64, path: &str) -> Member {
        let newest = (DeviceId::from_bytes([device; 16]), Mtime { seconds, nanos: 0 });
        Member { root: RootId::from_bytes([9; 16]), path: path.as_bytes().to_vec(), newest }
    }

    fn shown(members: &[Member]) -> Vec<(String, String)> {
        let groups = groups(members).into_iter();
        groups.map(|group| (group.id, String::from_utf8(group.directory).unwrap())).collect()
    }

    #[test]
    fn what_came_together_below_one_directory_is_one_group_named_by_what_holds_it() {
        let groups = shown(&[
            member(1, 100, "photos/2024/may/a.jpg"),
            member(1, 150, "photos/2024/june/b.jpg"),
            member(1, 205, "photos/2024/june/c.jpg"),
            member(1, 206, "letters/x"),
            member(1, 207, "note"),
        ]);
        assert!(groups[..3].iter().all(|(id, name)| *id == groups[0].0 && name == "photos/2024"), "{groups:?}");
        assert_eq!((groups[3].1.as_str(), groups[4].1.as_str()), ("letters", ""));
        assert!(groups[3].0 != groups[0].0 && groups[4].0 != groups[3].0);
    }

    #[test]
    fn another_device_or_a_later_time_is_another_group() {
        let groups = shown(&[
            member(1, 100, "d/a"),
            member(2, 100, "d/b"),
            member(1, 161, "d/c"),
            member(1, 300, "e/x"),
            member(1, 330, "d/d"),
        ]);
        assert_eq!(groups[2].0, format!("{}-2", groups[0].0));
        assert_eq!(groups[4].0, format!("{}-3", groups[0].0), "a period of its own, though another directory began it");
        assert_ne!(groups[1].0, groups[0].0);
    }

    #[test]
    fn a_group_keeps_its_id_while_its_members_are_answered_one_by_one() {
        let all = [member(1, 100, "d/a"), member(1, 110, "d/b"), member(1, 120, "d/c")];
        let ids: Vec<String> = (0..3).map(|from| shown(&all[from..])[0].0.clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn nothing_and_one_are_groups_too() {
        assert!(groups(&[]).is_empty());
        assert_eq!(shown(&[member(1, 1, "a/b/c")])[0].1, "a/b");
    }
}
