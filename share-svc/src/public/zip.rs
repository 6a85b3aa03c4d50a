//! A folder as a zip archive (PKWARE's APPNOTE 6.3.10), written while it is sent.
//!
//! Files are stored as they are: what is worth sharing is mostly compressed already, and so the length of the archive follows
//! from names and sizes. Checksums come behind the bytes (bit 3), names are UTF-8 (bit 11), times are Unix' too (0x5455), the
//! 64-bit fields are there where they are needed. The directory of the archive is kept until its end: about 150 bytes a member.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use quics_types::{Mtime, Name};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::names::{numbered, portable};
use crate::desk::{Desk, Item, ItemKind, Opened, ReadFailure, Refusal};

/// Members up to which the length of an archive is told before it is sent.
const MEASURED: usize = 10_000;
/// Members of an archive, at most.
const MOST: usize = 1_000_000;
/// What 32 bits, or 16, cannot say.
const WIDE: u64 = 0xffff_ffff;
const MANY: usize = 0xffff;
/// Needs a program that knows 64-bit fields, made on Unix.
const VERSION: u16 = 45;
const UNIX: u16 = 3 << 8;
/// Checksums and sizes follow; names are UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;

/// Writes the frame of an archive around the bytes of its members.
#[derive(Default)]
struct Writer {
    position: u64,
    directory: Vec<u8>,
    members: usize,
    open: Option<Member>,
}

struct Member {
    name: Vec<u8>,
    changed: Mtime,
    mode: u32,
    size: u64,
    offset: u64,
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

impl Writer {
    /// What comes before the bytes of a member. A directory's name ends with a slash.
    fn open(&mut self, name: Vec<u8>, changed: Mtime, mode: u32, size: u64) -> Vec<u8> {
        let wide = size >= WIDE;
        let mut out = Vec::with_capacity(64 + name.len());
        put(&mut out, b"PK\x03\x04");
        put(&mut out, &VERSION.to_le_bytes());
        put(&mut out, &FLAGS.to_le_bytes());
        put(&mut out, &0_u16.to_le_bytes()); // stored
        put(&mut out, &dos(changed));
        put(&mut out, &[0; 4]); // the checksum follows
        let in_extra = if wide { u32::MAX } else { 0 };
        put(&mut out, &[in_extra.to_le_bytes(), in_extra.to_le_bytes()].concat());
        let mut extra = unix_time(changed);
        if wide {
            put(&mut extra, &[1, 0, 16, 0]);
            put(&mut extra, &[0; 16]);
        }
        put(&mut out, &(name.len() as u16).to_le_bytes());
        put(&mut out, &(extra.len() as u16).to_le_bytes());
        put(&mut out, &name);
        put(&mut out, &extra);
        self.open = Some(Member { name, changed, mode, size, offset: self.position });
        self.position += out.len() as u64;
        out
    }

    /// What comes behind the bytes of the member that was opened last.
    fn close(&mut self, checksum: u32) -> Vec<u8> {
        let Some(member) = self.open.take() else { return Vec::new() };
        let (size, wide) = (member.size, member.size >= WIDE);
        let mut out = Vec::with_capacity(24);
        put(&mut out, b"PK\x07\x08");
        put(&mut out, &checksum.to_le_bytes());
        for _ in 0..2 {
            if wide { put(&mut out, &size.to_le_bytes()) } else { put(&mut out, &(size as u32).to_le_bytes()) }
        }
        self.position += size + out.len() as u64;
        self.list(&member, checksum);
        out
    }

    /// Adds a member to the archive's directory.
    fn list(&mut self, member: &Member, checksum: u32) {
        let Member { name, changed, mode, size, offset } = member;
        let (wide_size, wide_offset) = (*size >= WIDE, *offset >= WIDE);
        let mut extra = unix_time(*changed);
        if wide_size || wide_offset {
            let mut fields = Vec::new();
            if wide_size {
                put(&mut fields, &[size.to_le_bytes(), size.to_le_bytes()].concat());
            }
            if wide_offset {
                put(&mut fields, &offset.to_le_bytes());
            }
            put(&mut extra, &[1, 0]);
            put(&mut extra, &(fields.len() as u16).to_le_bytes());
            put(&mut extra, &fields);
        }
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let is_directory = name.ends_with(b"/");
        let kind = if is_directory { 0o040_000 } else { 0o100_000 };
        let out = &mut self.directory;
        put(out, b"PK\x01\x02");
        put(out, &(UNIX | VERSION).to_le_bytes());
        put(out, &VERSION.to_le_bytes());
        put(out, &FLAGS.to_le_bytes());
        put(out, &0_u16.to_le_bytes());
        put(out, &dos(*changed));
        put(out, &checksum.to_le_bytes());
        let shown = if wide_size { u32::MAX.to_le_bytes() } else { narrow(*size) };
        put(out, &[shown, shown].concat());
        put(out, &(name.len() as u16).to_le_bytes());
        put(out, &(extra.len() as u16).to_le_bytes());
        put(out, &[0; 6]); // no comment, first disk, no special content
        put(out, &((kind | mode) << 16 | u32::from(is_directory) << 4).to_le_bytes());
        put(out, &if wide_offset { u32::MAX.to_le_bytes() } else { narrow(*offset) });
        put(out, name);
        put(out, &extra);
        self.members += 1;
    }

    /// The end of the archive.
    fn end(mut self) -> Vec<u8> {
        let (at, length) = (self.position, self.directory.len() as u64);
        let mut out = std::mem::take(&mut self.directory);
        if self.members >= MANY || at >= WIDE || length >= WIDE {
            put(&mut out, b"PK\x06\x06");
            put(&mut out, &44_u64.to_le_bytes());
            put(&mut out, &(UNIX | VERSION).to_le_bytes());
            put(&mut out, &VERSION.to_le_bytes());
            put(&mut out, &[0; 8]);
            let members = self.members as u64;
            for value in [members, members, length, at] {
                put(&mut out, &value.to_le_bytes());
            }
            put(&mut out, b"PK\x06\x07");
            put(&mut out, &[0; 4]);
            put(&mut out, &(at + length).to_le_bytes());
            put(&mut out, &1_u32.to_le_bytes());
        }
        let members = u16::try_from(self.members).unwrap_or(u16::MAX).to_le_bytes();
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        put(&mut out, b"PK\x05\x06");
        put(&mut out, &[0; 4]);
        put(&mut out, &[members, members].concat());
        put(&mut out, &[narrow(length), narrow(at)].concat());
        put(&mut out, &[0; 2]);
        out
    }
}

/// The extra field of a Unix time; empty where it does not fit.
fn unix_time(changed: Mtime) -> Vec<u8> {
    let Ok(seconds) = i32::try_from(changed.seconds) else { return Vec::new() };
    let mut out = vec![0x55, 0x54, 5, 0, 1];
    put(&mut out, &seconds.to_le_bytes());
    out
}

/// Time and date as MS-DOS had them, of UTC; 1980 to 2107.
fn dos(changed: Mtime) -> [u8; 4] {
    let at = jiff::Timestamp::from_second(changed.seconds).ok().map(|at| at.to_zoned(jiff::tz::TimeZone::UTC));
    let Some(at) = at.filter(|at| (1980..=2107).contains(&at.year())) else { return [0, 0, 0x21, 0] };
    // All of these are within a few bits.
    let time = (at.hour() as u16) << 11 | (at.minute() as u16) << 5 | ((at.second() as u16) / 2);
    let date = ((at.year() - 1980) as u16) << 9 | (at.month() as u16) << 5 | at.day() as u16;
    let [time, date] = [time.to_le_bytes(), date.to_le_bytes()];
    [time[0], time[1], date[0], date[1]]
}

/// Gives members names that every system can unpack; two that would be the same there get numbers. Folders come before
/// what is in them.
#[derive(Default)]
struct Namer {
    /// What was given, in small letters, as hashes.
    given: HashSet<u64>,
    /// The folders that lead to the member before: their names, and what they are called in the archive.
    above: Vec<(Name, String)>,
}

impl Namer {
    /// The path of a member in the archive.
    fn name(&mut self, path: &[Name]) -> Result<String, Disorder> {
        let (name, directory) = path.split_last().ok_or(Disorder)?;
        let same = self.above.iter().zip(directory).take_while(|((known, _), name)| known == *name).count();
        self.above.truncate(same);
        if same < directory.len() {
            return Err(Disorder);
        }
        let prefix: String = self.above.iter().flat_map(|(_, given)| [given.as_str(), "/"]).collect();
        let plain = portable(name.as_bytes());
        let mut number = 1;
        let given = loop {
            let given = numbered(&plain, number);
            let mut hasher = DefaultHasher::new();
            (prefix.to_lowercase(), given.to_lowercase()).hash(&mut hasher);
            if self.given.insert(hasher.finish()) {
                break given.into_owned();
            }
            number += 1;
        };
        self.above.push((name.clone(), given.clone()));
        Ok(prefix + &given)
    }
}

/// A member came whose folder did not come before it: an archive of that would not be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a member of a folder came before it, or long after")]
struct Disorder;

impl From<Disorder> for ReadFailure {
    fn from(disorder: Disorder) -> Self {
        tracing::error!(error = %disorder, "archive.failed");
        ReadFailure::Damaged
    }
}

/// What members of one folder are called in its archive, where that is not their name.
pub(super) fn renamed(items: &[Item]) -> Vec<(&Item, String)> {
    let mut namer = Namer::default();
    let mut in_order: Vec<&Item> = items.iter().filter(|item| is_archived(item)).collect();
    in_order.sort_by(|a, b| a.name.cmp(&b.name));
    let given = |item: &&Item| {
        let name = Name::of_entry(item.name.clone()).ok()?;
        namer.name(std::slice::from_ref(&name)).ok()
    };
    let given: Vec<Option<String>> = in_order.iter().map(given).collect();
    let renamed = in_order.into_iter().zip(given);
    renamed
        .filter_map(|(item, given)| Some((item, given?)))
        .filter(|(item, given)| given.as_bytes() != item.name)
        .collect()
}

/// Whether something is in an archive of its folder.
fn is_archived(item: &Item) -> bool {
    !matches!(item.kind, ItemKind::Symlink | ItemKind::Unit)
}

/// The frame of one member: its name, its mode, and its bytes; `None` for what no archive has.
fn member(namer: &mut Namer, path: &[Name], item: &Item) -> Result<Option<(Vec<u8>, u32, u64)>, Disorder> {
    if !is_archived(item) {
        return Ok(None);
    }
    let mut name = namer.name(path)?;
    let (mode, size) = match &item.kind {
        ItemKind::File(file) => (if file.executable { 0o755 } else { 0o644 }, file.size),
        ItemKind::Folder => {
            name.push('/');
            (0o755, 0)
        }
        ItemKind::Symlink | ItemKind::Unit => return Ok(None),
    };
    // What is too long for a zip has no place in one; no path of ours is.
    Ok((name.len() <= MANY).then(|| (name.into_bytes(), mode, size)))
}

/// How long the archive of a folder will be; `None` where that is not told.
///
/// # Errors
/// Those of the desk.
pub(super) async fn length<D: Desk>(desk: &D, opened: &Opened, path: &[Name]) -> Result<Option<u64>, Refusal> {
    if opened.live {
        return Ok(None); // it may change while it is sent
    }
    let mut items = std::pin::pin!(desk.walk(opened, path).await?);
    let (mut writer, mut namer, mut count) = (Writer::default(), Namer::default(), 0);
    while let Some(item) = items.next().await {
        let (path, item) = item?;
        count += 1;
        if count > MEASURED {
            return Ok(None);
        }
        if let Some((name, mode, size)) = member(&mut namer, &path, &item).map_err(ReadFailure::from)? {
            writer.open(name, item.changed, mode, size);
            writer.close(0);
        }
    }
    let position = writer.position;
    Ok(Some(position + writer.end().len() as u64))
}

/// The archive of a folder.
pub(super) fn pieces<D: Desk>(
    desk: Arc<D>,
    opened: Opened,
    path: Vec<Name>,
) -> impl Stream<Item = Result<Bytes, ReadFailure>> + Send + 'static {
    let (out, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(failure) = write(&*desk, &opened, &path, &out).await {
            // Who has gone does not need to know.
            drop(out.send(Err(failure)).await);
        }
    });
    ReceiverStream::new(pieces)
}

async fn write<D: Desk>(
    desk: &D,
    opened: &Opened,
    path: &[Name],
    out: &mpsc::Sender<Result<Bytes, ReadFailure>>,
) -> Result<(), ReadFailure> {
    let away = |_| ReadFailure::Away;
    let mut items = std::pin::pin!(desk.walk(opened, path).await.map_err(away)?);
    let (mut writer, mut namer) = (Writer::default(), Namer::default());
    while let Some(item) = items.next().await {
        let (path, item) = item.map_err(away)?;
        let Some((name, mode, size)) = member(&mut namer, &path, &item)? else { continue };
        if writer.members >= MOST {
            return Err(ReadFailure::Away);
        }
        let head = writer.open(name, item.changed, mode, size);
        if out.send(Ok(head.into())).await.is_err() {
            return Ok(());
        }
        let mut checksum = crc32fast::Hasher::new();
        if let ItemKind::File(file) = &item.kind {
            let mut pieces = std::pin::pin!(desk.read(opened, file, 0..size));
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                checksum.update(&piece);
                if out.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if out.send(Ok(writer.close(checksum.finalize()).into())).await.is_err() {
            return Ok(());
        }
    }
    // Who has gone does not need the end.
    drop(out.send(Ok(writer.end().into())).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::new((*name).to_owned()).unwrap()).collect()
    }

    #[test]
    fn names_that_would_be_the_same_elsewhere_get_numbers_and_folders_keep_theirs() {
        let mut namer = Namer::default();
        let mut name = |names: &[&str]| namer.name(&path(names)).unwrap();
        assert_eq!(name(&["A.txt"]), "A.txt");
        assert_eq!(name(&["a.txt"]), "a (2).txt");
        assert_eq!(name(&["con"]), "_con");
        assert_eq!(name(&["con", "x"]), "_con/x");
        assert_eq!(name(&["d"]), "d");
        assert_eq!(name(&["d", "b?"]), "d/b_");
        assert_eq!(name(&["d", "b_"]), "d/b_ (2)");
        assert_eq!(name(&["d2"]), "d2");
        assert_eq!(name(&["D"]), "D (2)");
        assert_eq!(name(&["D", "b?"]), "D (2)/b_");
        assert_eq!(namer.name(&path(&["nowhere", "x"])), Err(Disorder));
    }

    #[test]
    fn times_of_ms_dos() {
        let at = |seconds| dos(Mtime { seconds, nanos: 0 });
        assert_eq!(at(0), [0, 0, 0x21, 0], "before 1980");
        // 2026-11-24 10:20:30 UTC
        let [time, date] = [10 << 11 | 20 << 5 | 15_u16, 46 << 9 | 11 << 5 | 24_u16];
        assert_eq!(at(1_795_515_630), [time.to_le_bytes(), date.to_le_bytes()].concat()[..]);
    }
}
