//! A directory as one content: what a unit is stored as.
//!
//! ```text
//! magic "quicsun1" | length of the list (u64) | the list | the bytes of the files, in the order of the list
//! ```
//!
//! Numbers are little-endian. The list names every member, sorted by path: kind (u8: 0 directory, 1 file, 2 executable
//! file, 3 link), length of the path (u16), path, and of a file its size (u64), of a link the length of the target (u16)
//! and the target. A path is names joined by `/`; the directories on the way to a member stand before it.
//!
//! The form is canonical: the same names, kinds and bytes give the same content. Times are not part of it, nor are
//! permission bits but whether a file may be executed: a directory that was only looked through is not another one.
//! The list stands in front so that a bundle can be looked through by its first bytes, and so that its bytes can be read
//! at any offset from the files themselves without a copy of them.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use quics_types::limits;

const MAGIC: &[u8; 8] = b"quicsun1";
/// What a bundle holds, without the bytes of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    members: Vec<Member>,
    /// Where each member's bytes begin.
    offsets: Vec<u64>,
    /// Bytes of everything before the first file's.
    head: u64,
    size: u64,
}

/// A member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path below the directory: names joined by `/`.
    pub path: Bytes,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member of a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// The target as it stands in the link, 1 to 3072 bytes.
        target: Bytes,
    },
}

/// Why something is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It breaks a rule of the format.
    #[error("not a directory's bundle: {0}")]
    Malformed(&'static str),
    /// It has more members, or longer names together, than one unit may have.
    #[error("more than {} files and directories, or names too long, for one unit", limits::UNIT_MEMBERS)]
    TooLarge,
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Bundle {
    /// Bytes before the list, which say how long it is.
    pub const PREFIX: usize = 16;

    /// Bytes of prefix and list, as the prefix says.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn head_of(prefix: &[u8; Self::PREFIX]) -> Result<usize, BundleError> {
        let (magic, length) = prefix.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(BundleError::Malformed("it does not begin as one"));
        }
        let length = length.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let list = usize::try_from(length).ok().filter(|length| *length <= limits::UNIT_LIST_BYTES);
        list.map(|list| Self::PREFIX + list).ok_or(BundleError::TooLarge)
    }

    /// Puts members together, in any order.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`]; [`BundleError::Malformed`] where a path is none, comes twice, or lacks a directory on
    /// its way.
    pub fn new(mut members: Vec<Member>) -> Result<Self, BundleError> {
        members.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self::sorted(members)
    }

    fn sorted(members: Vec<Member>) -> Result<Self, BundleError> {
        if members.len() > limits::UNIT_MEMBERS {
            return Err(BundleError::TooLarge);
        }
        let mut list = 0;
        for (index, member) in members.iter().enumerate() {
            member.check(&members[..index])?;
            list += member.length();
        }
        if list > limits::UNIT_LIST_BYTES {
            return Err(BundleError::TooLarge);
        }
        let head = (Self::PREFIX + list) as u64;
        let mut size = head;
        let mut offsets = Vec::with_capacity(members.len());
        for member in &members {
            offsets.push(size);
            size = size.checked_add(member.bytes()).ok_or(BundleError::Malformed("its files are too long"))?;
        }
        Ok(Self { members, offsets, head, size })
    }

    /// Reads what stands in front of the files' bytes; `size` is the length of the whole.
    ///
    /// # Errors
    /// [`BundleError`]. Memory is bounded by the limits, whatever the bytes say.
    pub fn read(mut from: impl Read, size: u64) -> Result<Self, BundleError> {
        let mut prefix = [0; Self::PREFIX];
        from.read_exact(&mut prefix)?;
        let length = (Self::head_of(&prefix)? - Self::PREFIX) as u64;
        let mut list = Vec::new();
        from.take(length).read_to_end(&mut list)?;
        if list.len() as u64 != length {
            return Err(BundleError::Malformed("its list is cut off"));
        }
        let mut list = Bytes::from(list);
        let mut members: Vec<Member> = Vec::new();
        while !list.is_empty() {
            let member = Member::read(&mut list).ok_or(BundleError::Malformed("its list does not decode"))?;
            if members.last().is_some_and(|last| last.path >= member.path) {
                return Err(BundleError::Malformed("its list is not sorted"));
            }
            members.push(member);
        }
        let bundle = Self::sorted(members)?;
        if bundle.size == size {
            Ok(bundle)
        } else {
            Err(BundleError::Malformed("its length is not what its list says"))
        }
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes before the first file's.
    pub fn head_size(&self) -> u64 {
        self.head
    }

    /// What stands in front of the files' bytes.
    pub fn head(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.head as usize);
        out.put_slice(MAGIC);
        out.put_u64_le(self.head - Self::PREFIX as u64);
        self.members.iter().for_each(|member| member.write(&mut out));
        out.freeze()
    }

    /// The members, sorted by path.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member that has a byte of the bundle, by its number, and where in its file the byte is. `None` in the head and
    /// behind the end.
    pub fn at(&self, offset: u64) -> Option<(usize, u64)> {
        if offset < self.head || offset >= self.size {
            return None;
        }
        // Of several that begin at one offset all but the last are empty.
        let index = self.offsets.partition_point(|begin| *begin <= offset).checked_sub(1)?;
        Some((index, offset - self.offsets[index]))
    }
}

impl Member {
    /// Bytes that it has behind the list.
    pub fn bytes(&self) -> u64 {
        if let MemberKind::File { size, .. } = self.kind { size } else { 0 }
    }

    /// The path of the directory that it is in, and its name there.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.path[..slash], &self.path[slash + 1..]),
            None => (b"", &self.path),
        }
    }

    /// Whether it may stand behind these, which are sorted.
    fn check(&self, before: &[Member]) -> Result<(), BundleError> {
        let is_name = |name: &[u8]| {
            (1..=limits::NAME_BYTES).contains(&name.len()) && name != b"." && name != b".." && !name.contains(&0)
        };
        if !self.path.split(|byte| *byte == b'/').all(is_name) || self.path.len() > usize::from(u16::MAX) {
            return Err(BundleError::Malformed("a path is not possible"));
        }
        if before.last().is_some_and(|last| last.path == self.path) {
            return Err(BundleError::Malformed("a path comes twice"));
        }
        if let MemberKind::Link { target } = &self.kind
            && (!(1..=limits::LINK_TARGET_BYTES).contains(&target.len()) || target.contains(&0))
        {
            return Err(BundleError::Malformed("a link's target is not possible"));
        }
        let (dir, _) = self.split();
        let found = before.binary_search_by(|other| other.path[..].cmp(dir));
        if dir.is_empty() || found.is_ok_and(|index| before[index].kind == MemberKind::Directory) {
            Ok(())
        } else {
            Err(BundleError::Malformed("a member lies in what is no directory"))
        }
    }

    /// Bytes in the list.
    fn length(&self) -> usize {
        let more = match &self.kind {
            MemberKind::Directory => 0,
            MemberKind::File { .. } => 8,
            MemberKind::Link { target } => 2 + target.len(),
        };
        3 + self.path.len() + more
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_u8(match self.kind {
            MemberKind::Directory => 0,
            MemberKind::File { executable, .. } => 1 + u8::from(executable),
            MemberKind::Link { .. } => 3,
        });
        // Both lengths were checked.
        out.put_u16_le(self.path.len() as u16);
        out.put_slice(&self.path);
        match &self.kind {
            MemberKind::Directory => {}
            MemberKind::File { size, .. } => out.put_u64_le(*size),
            MemberKind::Link { target } => {
                out.put_u16_le(target.len() as u16);
                out.put_slice(target);
            }
        }
    }

    fn read(from: &mut Bytes) -> Option<Self> {
        let mut take = |count: usize| (count <= from.len()).then(|| from.split_to(count));
        let kind = take(1)?[0];
        let length = |bytes: Bytes| bytes[..].try_into().ok().map(u16::from_le_bytes).map(usize::from);
        let path_length = length(take(2)?)?;
        // A copy of its own: a slice would keep the whole list.
        let path = Bytes::copy_from_slice(&take(path_length)?);
        let kind = match kind {
            0 => MemberKind::Directory,
            1 | 2 => {
                MemberKind::File { size: take(8)?[..].try_into().ok().map(u64::from_le_bytes)?, executable: kind == 2 }
            }
            3 => {
                let target_length = length(take(2)?)?;
                MemberKind::Link { target: Bytes::copy_from_slice(&take(target_length)?) }
            }
            _ => return None,
        };
        Some(Self { path, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &'static str, kind: MemberKind) -> Member {
        Member { path: Bytes::from_static(path.as_bytes()), kind }
    }

    fn file(path: &'static str, size: u64) -> Member {
        member(path, MemberKind::File { size, executable: false })
    }

    fn repository() -> Bundle {
        Bundle::new(vec![
            file("objects/ab/cd", 300),
            member("hooks", MemberKind::Directory),
            member("hooks/run", MemberKind::File { size: 5, executable: true }),
            file("HEAD", 23),
            member("objects", MemberKind::Directory),
            member("objects/ab", MemberKind::Directory),
            file("empty", 0),
            member("objects.link", MemberKind::Link { target: Bytes::from_static(b"../x") }),
        ])
        .unwrap()
    }

    #[test]
    fn the_form_is_fixed_for_all_time_and_comes_back() {
        let bundle = repository();
        let head = bundle.head();
        assert_eq!(bundle.head_size(), head.len() as u64);
        assert_eq!(bundle.size(), head.len() as u64 + 300 + 5 + 23);
        assert_eq!(quics_types::Digest::of(&head).to_string(), GOLDEN);
        assert_eq!(Bundle::read(&head[..], bundle.size()).unwrap(), bundle);
    }

    const GOLDEN: &str = "ed13344d1d07622254ad0ce5d7e0320d9ae5937674ba2a06d38f7583544cacd5";

    #[test]
    fn every_byte_belongs_to_the_file_that_has_it() {
        let bundle = repository();
        let head = bundle.head_size();
        let at = |offset| bundle.at(offset).map(|(index, within)| (&bundle.members()[index].path[..], within));
        assert_eq!(at(head - 1), None);
        assert_eq!(at(head), Some((&b"HEAD"[..], 0)));
        assert_eq!(at(head + 22), Some((&b"HEAD"[..], 22)));
        assert_eq!(at(head + 23), Some((&b"hooks/run"[..], 0)));
        assert_eq!(at(head + 28), Some((&b"objects/ab/cd"[..], 0)));
        assert_eq!(at(bundle.size()), None);
        assert_eq!(Bundle::new(Vec::new()).unwrap().at(Bundle::PREFIX as u64), None);
    }

    #[test]
    fn what_leads_elsewhere_or_is_not_canonical_is_refused() {
        let links = member("way", MemberKind::Link { target: Bytes::from_static(b"/etc") });
        for wrong in [
            vec![file("../x", 1)],
            vec![file("/x", 1)],
            vec![file("a//b", 1)],
            vec![file("a/./b", 1)],
            vec![file("", 1)],
            vec![file("a\0b", 1)],
            vec![file("a/b", 1)],
            vec![file("a", 1), file("a/b", 1)],
            vec![links, file("way/passwd", 1)],
            vec![file("a", 1), file("a", 1)],
            vec![member("l", MemberKind::Link { target: Bytes::new() })],
            vec![file("a", u64::MAX)],
        ] {
            assert!(matches!(Bundle::new(wrong.clone()), Err(BundleError::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn damaged_heads_are_refused_and_none_makes_it_allocate() {
        let bundle = repository();
        let head = bundle.head();
        for cut in 0..head.len() {
            assert!(Bundle::read(&head[..cut], bundle.size()).is_err(), "cut at {cut}");
        }
        for at in 0..head.len() {
            let mut damaged = head.to_vec();
            damaged[at] ^= 0x81;
            let size = bundle.size();
            // A changed letter of a name is another bundle; what is taken is never the same one.
            assert!(Bundle::read(&damaged[..], size).map_or(true, |other| other != bundle), "byte {at}");
        }
        assert!(matches!(Bundle::read(&head[..], bundle.size() + 1), Err(BundleError::Malformed(_))));
        let mut claims = MAGIC.to_vec();
        claims.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(Bundle::read(&claims[..], 16), Err(BundleError::TooLarge)));
    }
}
