//! The view as rows of a store.
//!
//! Below the prefix: `d` + device id, `m` + root id + user id, `a` + root id + device id, and `f`. Values are the format
//! byte 1 followed by, in this order, registry's `DeviceState`, `Membership`, `Attachment` (protobuf); of `f` by the
//! milliseconds since 1970 of the last confirmation (u64, big-endian).

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quics_meta::{Batch, MAX_PAGE, MetaStore};
use quics_proto::common::v1 as common;
use quics_proto::registry::v1 as registry;
use quics_types::{DeviceId, RootId, UserId};

use super::mirror::{Device, Fact, Mirror};
use super::{Error, Members};
use crate::clock::{from_millis, millis};

const FORMAT: u8 = 1;
/// Rows that one batch writes.
const BATCH: usize = 1000;

pub(super) fn load(store: &dyn MetaStore, prefix: &[u8]) -> Result<(Mirror, Option<SystemTime>), Error> {
    let mut mirror = Mirror::default();
    let mut confirmed = None;
    let mut start = prefix.to_vec();
    let end = after(prefix);
    loop {
        let page = store.range(&start, &end, MAX_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok((mirror, confirmed)) };
        start = last.to_vec();
        start.push(0);
        for (key, value) in page {
            let damaged = || Error::Damaged { key: data_encoding::HEXLOWER.encode(&key) };
            let tag = key.get(prefix.len()).ok_or_else(damaged)?;
            let body = value.split_first().filter(|(format, _)| **format == FORMAT).ok_or_else(damaged)?.1;
            if *tag == b'f' {
                let at = <[u8; 8]>::try_from(body).map_err(|_| damaged())?;
                confirmed = Some(from_millis(u64::from_be_bytes(at)));
            } else {
                mirror.apply(decode(*tag, body).ok_or_else(damaged)?);
            }
        }
    }
}

/// The first key behind all that begin with `prefix`; empty where there is none.
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

fn decode(tag: u8, body: &[u8]) -> Option<Fact> {
    match tag {
        b'd' => device(registry::DeviceState::decode(body).ok()?),
        b'm' => membership(registry::Membership::decode(body).ok()?),
        b'a' => attachment(registry::Attachment::decode(body).ok()?),
        _ => None,
    }
}

pub(super) fn device(message: registry::DeviceState) -> Option<Fact> {
    Some(Fact::Device(Device {
        id: DeviceId::from_slice(&message.device_id).ok()?,
        user: UserId::from_slice(&message.user_id).ok()?,
        user_name: message.user_name,
        name: message.name,
        revoked: message.revoked,
    }))
}

pub(super) fn membership(message: registry::Membership) -> Option<Fact> {
    Some(Fact::Membership {
        root: RootId::from_slice(&message.root_id).ok()?,
        user: UserId::from_slice(&message.user_id).ok()?,
        // A role that this version does not know is none.
        role: common::Role::try_from(message.role).ok().and_then(common::Role::to_domain),
    })
}

pub(super) fn attachment(message: registry::Attachment) -> Option<Fact> {
    Some(Fact::Attachment {
        root: RootId::from_slice(&message.root_id).ok()?,
        device: DeviceId::from_slice(&message.device_id).ok()?,
        attached: message.attached,
    })
}

/// The fact's key, and its value unless it is the end of something.
fn row(prefix: &[u8], fact: &Fact) -> (Bytes, Option<Bytes>) {
    let id = |bytes: &[u8; 16]| Bytes::copy_from_slice(bytes);
    match fact {
        Fact::Device(device) => {
            let message = registry::DeviceState {
                device_id: id(device.id.as_bytes()),
                user_id: id(device.user.as_bytes()),
                name: device.name.clone(),
                revoked: device.revoked,
                user_name: device.user_name.clone(),
            };
            (key(prefix, b'd', &[device.id.as_bytes()]), Some(value(&message)))
        }
        Fact::Membership { root, user, role } => {
            let message = role.map(|role| registry::Membership {
                root_id: id(root.as_bytes()),
                user_id: id(user.as_bytes()),
                role: common::Role::from(role).into(),
            });
            (key(prefix, b'm', &[root.as_bytes(), user.as_bytes()]), message.map(|message| value(&message)))
        }
        Fact::Attachment { root, device, attached } => {
            let message =
                registry::Attachment { root_id: id(root.as_bytes()), device_id: id(device.as_bytes()), attached: true };
            (key(prefix, b'a', &[root.as_bytes(), device.as_bytes()]), attached.then(|| value(&message)))
        }
    }
}

fn key(prefix: &[u8], tag: u8, ids: &[&[u8; 16]]) -> Bytes {
    let mut out = BytesMut::with_capacity(prefix.len() + 1 + 16 * ids.len());
    out.put_slice(prefix);
    out.put_u8(tag);
    ids.iter().for_each(|id| out.put_slice(&id[..]));
    out.freeze()
}

fn value(message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.encoded_len());
    out.put_u8(FORMAT);
    // A growing buffer takes any length.
    message.encode_raw(&mut out);
    out.freeze()
}

impl Members {
    /// Makes facts durable.
    pub(super) async fn keep(&self, facts: &[Fact]) -> Result<(), Error> {
        for some in facts.chunks(BATCH) {
            let mut batch = Batch::new();
            for fact in some {
                match row(&self.inner.options.prefix, fact) {
                    (key, Some(value)) => batch.put(key, value),
                    (key, None) => batch.delete(key),
                };
            }
            quics_meta::commit(self.inner.store.as_ref(), batch).await?;
        }
        Ok(())
    }

    /// Makes durable when the view was last confirmed.
    pub(super) async fn keep_confirmed(&self, at: SystemTime) -> Result<(), Error> {
        let mut value = vec![FORMAT];
        value.extend_from_slice(&millis(at).to_be_bytes());
        let mut batch = Batch::new();
        batch.put(key(&self.inner.options.prefix, b'f', &[]), value);
        quics_meta::commit(self.inner.store.as_ref(), batch).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quics_types::Role;

    use super::super::mirror::tests::{device as a_device, member};
    use super::*;

    #[test]
    fn rows_are_those_of_format_1() {
        let (key, value) = row(b"m/", &member(Some(Role::Writer)));
        assert_eq!(&key[..3], b"m/m");
        assert_eq!(key.len(), 3 + 32);
        let golden = "010a10".to_owned() + &"01".repeat(16) + "1210" + &"02".repeat(16) + "1802";
        assert_eq!(data_encoding::HEXLOWER.encode(&value.unwrap()), golden);
        let (_, value) = row(b"", &a_device(true));
        let golden =
            "010a10".to_owned() + &"03".repeat(16) + "1210" + &"02".repeat(16) + "1a066c6170746f7020012a03616461";
        assert_eq!(data_encoding::HEXLOWER.encode(&value.unwrap()), golden);
    }

    #[test]
    fn every_fact_survives_its_row() {
        for fact in [a_device(false), a_device(true), member(Some(Role::Reader))] {
            let (key, value) = row(b"p", &fact);
            assert_eq!(decode(key[1], &value.unwrap()[1..]), Some(fact));
        }
        assert_eq!(row(b"p", &member(None)).1, None);
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(after(b"ab"), b"ac");
        assert_eq!(after(b"a\xff\xff"), b"b");
        assert_eq!(after(b"\xff"), b"");
    }
}
