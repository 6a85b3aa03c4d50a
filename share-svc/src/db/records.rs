//! The records that are stored.

use bytes::Bytes;
use quics_records::{Code, Damaged, choices, fields};
use quics_types::{DeviceId, Digest, EntryId, LogicalTime, Mtime, WallTime};

/// A link. What opens it is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// The hash of its token.
    pub(crate) token: Digest,
    pub(crate) entry: EntryId,
    /// Where that was when the link was made.
    pub(crate) path: Bytes,
    pub(crate) kind: Kind,
    pub(crate) shows: Shows,
    pub(crate) label: String,
    pub(crate) created: WallTime,
    pub(crate) device: DeviceId,
    /// What people called the device then, and its user.
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) expires: Option<WallTime>,
    pub(crate) limit: Option<u32>,
    pub(crate) password: Option<Password>,
    /// How often the password was set or taken away.
    pub(crate) password_revision: u32,
    /// Not everything that it shows is written down, or checked, yet.
    pub(crate) making: bool,
    pub(crate) revoked: Option<Revoked>,
}

/// What a link's entry was when the link was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Unit,
}

/// What a link shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shows {
    /// What the entry is at any time.
    Live,
    /// What a file or a unit was.
    Frozen(Frozen),
    /// What was in a folder, in rows of its own.
    Tree(Tree),
}

/// A file or a unit as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Its logical time, and which side of a conflict it was; 0 for what was accepted.
    pub(crate) time: LogicalTime,
    pub(crate) side: u32,
    pub(crate) content: Digest,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) changed: Mtime,
}

/// A folder as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The root's commit.
    pub(crate) seq: u64,
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) size: u64,
    pub(crate) changed: Mtime,
}

/// A password as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Password {
    /// Its argon2id hash in PHC form.
    pub(crate) hash: String,
}

/// That a link was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revoked {
    pub(crate) at: WallTime,
    pub(crate) device_name: String,
    pub(crate) user_name: String,
}

choices!(Kind { File, Folder, Unit });
fields!(Link {
    token,
    entry,
    path,
    kind,
    shows,
    label,
    created,
    device,
    device_name,
    user_name,
    expires,
    limit,
    password,
    password_revision,
    making,
    revoked,
});
fields!(Frozen { time, side, content, size, mode, changed });
fields!(Tree { seq, files, size, changed });
fields!(Password { hash });
fields!(Revoked { at, device_name, user_name });

impl Code for Shows {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Shows::Live => out.push(0),
            Shows::Frozen(frozen) => {
                out.push(1);
                frozen.write(out);
            }
            Shows::Tree(tree) => {
                out.push(2);
                tree.write(out);
            }
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Shows::Live,
            1 => Shows::Frozen(Code::read(from)?),
            2 => Shows::Tree(Code::read(from)?),
            _ => return Err(Damaged),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quics_records::testing::golden;

    use super::*;

    pub(crate) fn link() -> Link {
        Link {
            token: Digest::from_bytes([1; 32]),
            entry: EntryId::from_bytes([2; 16]),
            path: Bytes::from_static(b"d/a"),
            kind: Kind::File,
            shows: Shows::Frozen(Frozen {
                time: LogicalTime(3),
                side: 0,
                content: Digest::from_bytes([4; 32]),
                size: 300,
                mode: 0o644,
                changed: Mtime { seconds: 1_700_000_000, nanos: 5 },
            }),
            label: "for Eve".to_owned(),
            created: WallTime(7),
            device: DeviceId::from_bytes([6; 16]),
            device_name: "desk".to_owned(),
            user_name: "ada".to_owned(),
            expires: Some(WallTime(9)),
            limit: Some(2),
            password: Some(Password { hash: "$argon2id$".to_owned() }),
            password_revision: 1,
            making: false,
            revoked: Some(Revoked { at: WallTime(8), device_name: "lap".to_owned(), user_name: "bob".to_owned() }),
        }
    }

    #[test]
    fn the_format_of_a_link_is_fixed() {
        golden(link(), GOLDEN_LINK);
        let live = Link { shows: Shows::Live, kind: Kind::Folder, ..link() };
        assert_eq!(Link::read(&mut encoded(&live)), Ok(live));
        let tree = Tree { seq: 300, files: 2, size: 1 << 40, changed: Mtime { seconds: -1, nanos: 1 } };
        let tree = Link { shows: Shows::Tree(tree), kind: Kind::Folder, ..link() };
        assert_eq!(Link::read(&mut encoded(&tree)), Ok(tree));
    }

    fn encoded(link: &Link) -> Bytes {
        let mut out = Vec::new();
        link.write(&mut out);
        out.into()
    }

    const GOLDEN_LINK: &str = "010101010101010101010101010101010101010101010101010101010101010101020202020202020202020202020202\
        0203642f61000103000404040404040404040404040404040404040404040404040404040404040404ac02a40380c49fd50c0507\
        666f72204576650706060606060606060606060606060606046465736b0361646101090102010a246172676f6e3269642401000108036c617003626f62";
}
