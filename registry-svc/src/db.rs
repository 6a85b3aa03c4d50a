//! Keys and values of registry-svc's rows.
//!
//! | key | value |
//! |---|---|
//! | `v` | [`Format`] |
//! | `u` user | [`User`] |
//! | `U` folded name | user |
//! | `d` device | [`Device`] |
//! | `D` user device | |
//! | `n` user name | device: names that are in use |
//! | `k` key hash | device |
//! | `t` ticket hash | [`Ticket`] |
//! | `e` expiry (ms, u64 big-endian) ticket hash | |
//! | `r` root | [`Root`] |
//! | `m` root user | [`Member`] |
//! | `M` user root | |
//! | `x` root user | : was a member and was removed |
//! | `a` root device | [`Attached`] |
//! | `A` device root | |
//! | `s` device | [`Seen`] |
//! | `c` service name | its address |
//!
//! Ids are 16 bytes, hashes 32. Values are protobuf, so that a newer minor version can add fields; `v` says when it did more
//! than that. Times are milliseconds since 1970, 0 for never.

use bytes::Bytes;
use prost::Message;
use quics_meta::{MAX_PAGE, MetaStore};
use quics_types::{DeviceId, RootId, UserId};

use crate::error::{Error, Result};

/// The format that this version writes.
pub(crate) const FORMAT: u32 = 1;

/// Names the tag of each kind of key.
pub(crate) mod tag {
    pub(crate) const FORMAT: u8 = b'v';
    pub(crate) const USER: u8 = b'u';
    pub(crate) const USER_NAME: u8 = b'U';
    pub(crate) const DEVICE: u8 = b'd';
    pub(crate) const USER_DEVICE: u8 = b'D';
    pub(crate) const DEVICE_NAME: u8 = b'n';
    pub(crate) const KEY: u8 = b'k';
    pub(crate) const TICKET: u8 = b't';
    pub(crate) const EXPIRY: u8 = b'e';
    pub(crate) const ROOT: u8 = b'r';
    pub(crate) const MEMBER: u8 = b'm';
    pub(crate) const USER_ROOT: u8 = b'M';
    pub(crate) const REMOVED: u8 = b'x';
    pub(crate) const ATTACHED: u8 = b'a';
    pub(crate) const DEVICE_ROOT: u8 = b'A';
    pub(crate) const SEEN: u8 = b's';
    pub(crate) const SERVICE: u8 = b'c';
}

/// Builds a key of a tag and its parts.
pub(crate) fn key(tag: u8, parts: &[&[u8]]) -> Bytes {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    out.push(tag);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.into()
}

/// The stored form of the format's number.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Format {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
}

/// A person.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct User {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Argon2id in PHC form; empty: joining by password is off.
    #[prost(string, tag = "2")]
    pub(crate) password: String,
    #[prost(uint64, tag = "3")]
    pub(crate) created_at: u64,
}

/// A device of a person.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Device {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) user: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// Hashes of the keys that may renew: one, or two while a new one takes over.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) keys: Vec<Bytes>,
    #[prost(uint64, tag = "4")]
    pub(crate) enrolled_at: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) certificate_ends_at: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) revoked_at: u64,
}

/// An invitation.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ticket {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) user: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) expires_at: u64,
    /// The hash of the key that used it up; empty: nobody did.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) used_by: Bytes,
}

/// A root.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Root {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Who made it.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) maker: Bytes,
    /// Argon2id in PHC form; empty: none is asked.
    #[prost(string, tag = "3")]
    pub(crate) password: String,
    #[prost(uint64, tag = "4")]
    pub(crate) created_at: u64,
    /// What the password makes of a user who is no member, as `quics.common.v1.Role`; 0: nothing.
    #[prost(int32, tag = "5")]
    pub(crate) password_role: i32,
    /// Names of its unit directories, sorted.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(crate) unit_names: Vec<Bytes>,
}

/// A person's role in a root, as `quics.common.v1.Role`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Member {
    #[prost(int32, tag = "1")]
    pub(crate) role: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) since: u64,
}

/// A device's attachment to a root.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attached {
    #[prost(uint64, tag = "1")]
    pub(crate) since: u64,
}

/// When a device was last heard of.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Seen {
    #[prost(uint64, tag = "1")]
    pub(crate) at: u64,
}

impl User {
    pub(crate) fn key(user: UserId) -> Bytes {
        key(tag::USER, &[user.as_bytes()])
    }

    /// The key by which a name is found, whatever its case.
    pub(crate) fn name_key(name: &str) -> Bytes {
        key(tag::USER_NAME, &[name.to_lowercase().as_bytes()])
    }
}

impl Device {
    pub(crate) fn key(device: DeviceId) -> Bytes {
        key(tag::DEVICE, &[device.as_bytes()])
    }

    pub(crate) fn user(&self) -> Result<UserId> {
        UserId::from_slice(&self.user).map_err(|error| Error::Damaged(error.to_string()))
    }
}

/// Reads rows as what they mean.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a>(pub(crate) &'a dyn MetaStore);

impl Rows<'_> {
    /// Reads one row.
    pub(crate) fn get<T: Message + Default>(&self, key: &[u8]) -> Result<Option<T>> {
        self.0.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    pub(crate) fn user(&self, user: UserId) -> Result<Option<User>> {
        self.get(&User::key(user))
    }

    pub(crate) fn user_by_name(&self, name: &str) -> Result<Option<UserId>> {
        self.id(&User::name_key(name), UserId::from_slice)
    }

    pub(crate) fn device(&self, device: DeviceId) -> Result<Option<Device>> {
        self.get(&Device::key(device))
    }

    pub(crate) fn device_by_key(&self, hash: &[u8; 32]) -> Result<Option<DeviceId>> {
        self.id(&key(tag::KEY, &[hash]), DeviceId::from_slice)
    }

    pub(crate) fn root(&self, root: RootId) -> Result<Option<Root>> {
        self.get(&key(tag::ROOT, &[root.as_bytes()]))
    }

    pub(crate) fn member(&self, root: RootId, user: UserId) -> Result<Option<Member>> {
        self.get(&key(tag::MEMBER, &[root.as_bytes(), user.as_bytes()]))
    }

    /// Whether a user was a member of a root and was removed.
    pub(crate) fn was_removed(&self, root: RootId, user: UserId) -> Result<bool> {
        Ok(self.0.get(&key(tag::REMOVED, &[root.as_bytes(), user.as_bytes()]))?.is_some())
    }

    pub(crate) fn is_attached(&self, root: RootId, device: DeviceId) -> Result<bool> {
        Ok(self.0.get(&key(tag::ATTACHED, &[root.as_bytes(), device.as_bytes()]))?.is_some())
    }

    fn id<T>(&self, key: &[u8], read: impl Fn(&[u8]) -> Result<T, quics_types::Error>) -> Result<Option<T>> {
        let value = self.0.get(key)?;
        value.map(|value| read(&value).map_err(|error| Error::Damaged(error.to_string()))).transpose()
    }

    /// Reads all rows whose key begins with `prefix`, page by page, in the order of their keys.
    pub(crate) fn each(&self, prefix: &[u8], mut take: impl FnMut(&[u8], &Bytes) -> Result<()>) -> Result<()> {
        let mut start = prefix.to_vec();
        loop {
            let page = self.page(prefix, &start)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            start = last.to_vec();
            start.push(0);
            for (key, value) in &page {
                take(&key[prefix.len()..], value)?;
            }
        }
    }

    /// One page of the rows whose key begins with `prefix`, from `start` on.
    pub(crate) fn page(&self, prefix: &[u8], start: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
        Ok(self.0.range(start, &after(prefix), MAX_PAGE)?)
    }
}

/// The first key behind all that begin with `prefix`, whose last byte is below 255 or whose length makes it so.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Reads a row's value.
pub(crate) fn decode<T: Message + Default>(key: &[u8], value: &[u8]) -> Result<T> {
    let kind = key.first().copied().unwrap_or_default();
    T::decode(value).map_err(|error| Error::Damaged(format!("of kind `{}`: {error}", char::from(kind))))
}

/// Splits the two 16-byte ids that end a key.
pub(crate) fn two_ids(key: &[u8]) -> Result<([u8; 16], [u8; 16])> {
    let damaged = || Error::Damaged("a key of two ids has another length".to_owned());
    let at = key.len().checked_sub(32).ok_or_else(damaged)?;
    let (first, second) = key[at..].split_at(16);
    Ok((first.try_into().map_err(|_| damaged())?, second.try_into().map_err(|_| damaged())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored form of format 1; it must never change.
    #[test]
    fn rows_are_those_of_format_1() {
        let hex = |message: &[u8]| data_encoding::HEXLOWER.encode(message);
        let device = Device {
            user: Bytes::from_static(&[1; 16]),
            name: "laptop".to_owned(),
            keys: vec![Bytes::from_static(&[2; 4])],
            enrolled_at: 3,
            certificate_ends_at: 4,
            revoked_at: 5,
        };
        let golden = "0a10".to_owned() + &"01".repeat(16) + "12066c6170746f70" + "1a0402020202" + "200328043005";
        assert_eq!(hex(&device.encode_to_vec()), golden);
        let ticket = Ticket { user: Bytes::from_static(&[1; 2]), expires_at: 300, used_by: Bytes::from_static(&[9]) };
        assert_eq!(hex(&ticket.encode_to_vec()), "0a02010110ac021a0109");
        let (maker, password) = (Bytes::from_static(&[7]), "p".to_owned());
        let root = Root { name: "docs".into(), maker, password, created_at: 1, password_role: 0, unit_names: vec![] };
        assert_eq!(hex(&root.encode_to_vec()), "0a04646f63731201071a01702001");
        let root = Root { password_role: 2, ..root };
        assert_eq!(hex(&root.encode_to_vec()), "0a04646f63731201071a017020012802");
        let unit_names = vec![Bytes::from_static(b".git"), Bytes::from_static(b"x")];
        let root = Root { unit_names, ..root };
        assert_eq!(hex(&root.encode_to_vec()), "0a04646f63731201071a01702001280232042e676974320178");
        assert_eq!(hex(&Member { role: 3, since: 1 }.encode_to_vec()), "08031001");
        let user = User { name: "ada".into(), password: String::new(), created_at: 1 };
        assert_eq!(hex(&user.encode_to_vec()), "0a036164611801");
        assert_eq!(&User::name_key("Ada")[..], b"Uada");
    }

    #[test]
    fn two_ids_are_read_off_the_end() {
        let key = key(tag::MEMBER, &[&[1; 16], &[2; 16]]);
        assert_eq!(two_ids(&key).unwrap(), ([1; 16], [2; 16]));
        assert!(two_ids(&key[..20]).is_err());
    }
}
