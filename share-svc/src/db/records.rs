//! The records that are stored.

use bytes::Bytes;
use quics_reconcile::Value;
use quics_records::{Code, Damaged, choices, fields};
use quics_types::{DeviceId, Digest, EntryId, LogicalTime, Mtime, RootId, WallTime};

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

/// Something in a pinned folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) value: Value,
    pub(crate) mode: u32,
    pub(crate) changed: Mtime,
}

/// How often a link was used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Downloads: with a limit, those that were begun; without, those that came from the first byte on.
    pub(crate) downloads: u64,
    pub(crate) bytes: u64,
    pub(crate) last: Option<WallTime>,
    /// Lines that were ever written into its log.
    pub(crate) lines: u64,
}

/// A download that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) root: RootId,
    pub(crate) link: Bytes,
    pub(crate) until: WallTime,
    /// Whether it is of an archive.
    pub(crate) archive: bool,
    /// Of what in the link's folder; empty for what the link shows.
    pub(crate) path: Bytes,
}

/// A line of a link's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Download {
    pub(crate) at: WallTime,
    /// Of a folder: what in it; empty for all of it.
    pub(crate) path: Bytes,
    pub(crate) bytes: u64,
    pub(crate) end: DownloadEnd,
    /// From where; empty unless the root says that it is kept.
    pub(crate) address: String,
}

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownloadEnd {
    Begun,
    Whole,
    Left,
    Revoked,
    Failed,
    Slow,
}

/// What may be shared, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) revision: u64,
    pub(crate) sharers: Sharers,
    /// Seconds that a link lasts at most.
    pub(crate) longest: Option<u64>,
    pub(crate) password_required: bool,
    pub(crate) keep_addresses: bool,
    /// What people call who set it.
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) at: Option<WallTime>,
}

/// Who may make links; the later ones are stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Sharers {
    /// Every member.
    #[default]
    Readers,
    /// Who may write.
    Writers,
    Owners,
    Nobody,
}

/// Checksums of a content's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) blake3: Digest,
    pub(crate) sha256: Digest,
}

/// That a link was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revoked {
    pub(crate) at: WallTime,
    pub(crate) device_name: String,
    pub(crate) user_name: String,
}

choices!(Kind { File, Folder, Unit });
choices!(DownloadEnd { Begun, Whole, Left, Revoked, Failed, Slow });
choices!(Sharers { Readers, Writers, Owners, Nobody });
fields!(Member { value, mode, changed });
fields!(Usage { downloads, bytes, last, lines });
fields!(Grant { root, link, until, archive, path });
fields!(Download { at, path, bytes, end, address });
fields!(Policy { revision, sharers, longest, password_required, keep_addresses, device_name, user_name, at });
fields!(Sums { blake3, sha256 });
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

    #[test]
    fn the_formats_of_what_goes_with_a_link_are_fixed() {
        let file = Value::File { content: Digest::from_bytes([4; 32]), size: 300 };
        golden(
            Member { value: file, mode: 0o755, changed: Mtime { seconds: 1, nanos: 2 } },
            &format!("0101{}ac02ed030202", "04".repeat(32)),
        );
        golden(Usage { downloads: 1, bytes: 300, last: Some(WallTime(7)), lines: 2 }, "0101ac02010702");
        let (root, link) = (RootId::from_bytes([1; 16]), Bytes::from_static(&[2; 16]));
        let grant = Grant { root, link, until: WallTime(9), archive: true, path: Bytes::from_static(b"d") };
        golden(grant, &format!("01{}10{}09010164", "01".repeat(16), "02".repeat(16)));
        let (path, address) = (Bytes::from_static(b"a"), "::1".to_owned());
        golden(
            Download { at: WallTime(7), path, bytes: 3, end: DownloadEnd::Slow, address },
            "0107016103 05033a3a31".replace(' ', "").as_str(),
        );
        let policy = Policy {
            revision: 2,
            sharers: Sharers::Owners,
            longest: Some(300),
            password_required: true,
            keep_addresses: false,
            device_name: "pc".to_owned(),
            user_name: "ada".to_owned(),
            at: Some(WallTime(7)),
        };
        golden(policy, "01020201ac020100027063036164610107");
        let sums = Sums { blake3: Digest::from_bytes([1; 32]), sha256: Digest::from_bytes([2; 32]) };
        golden(sums, &format!("01{}{}", "01".repeat(32), "02".repeat(32)));
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
