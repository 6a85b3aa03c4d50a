//! Pins: versions that are kept whatever the policy says.
//!
//! A version may have several, each of another origin: people's now, and whatever else has to hold on to a version later.
//! These rows are the only place that says so.

use data_encoding::HEXLOWER;
use quics_meta::Batch;
use quics_proto::history::v1 as history;
use quics_records::{fields, get, pieces, put, wide};
use quics_types::{DeviceId, EntryId, WallTime};

use crate::Error;
use crate::db::keys::{self, Point};
use crate::encode;
use crate::service::Service;
use crate::view::{At, View};

/// Bytes of a note.
const NOTE: usize = 1024;
/// Pins of a page, at most, and where it is not said.
const MOST: u32 = 256;

/// Whose a pin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    /// Somebody said `pin`.
    People = 0,
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) device: DeviceId,
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) at: WallTime,
    pub(crate) note: String,
}

fields!(Pin { device, device_name, user_name, at, note });

/// Tells which versions of a root are pinned.
#[derive(Clone, Copy)]
pub(crate) struct Pins<'a> {
    view: View<'a>,
    any: bool,
}

impl<'a> Pins<'a> {
    pub(crate) fn of(view: View<'a>) -> Result<Self, Error> {
        let (from, to) = keys::all(b'n', view.root);
        Ok(Self { view, any: !view.reads.raw_range(&from, &to, 1)?.is_empty() })
    }

    /// Whether a version is pinned, by whomever.
    pub(crate) fn holds(&self, entry: EntryId, point: Point, side: u32) -> Result<bool, Error> {
        let (from, to) = keys::pins(self.view.root, entry, point, side);
        Ok(self.any && !self.view.reads.raw_range(&from, &to, 1)?.is_empty())
    }
}

/// Pins a version; the caller holds [`Service::keeping`], reads what was submitted last, and submits.
///
/// # Errors
/// One sentence where there is nothing to keep.
pub(crate) fn pin(view: View<'_>, at: &At, pin: &Pin) -> Result<Batch, Error> {
    if pin.note.len() > NOTE {
        return Err(Error::Asked("a pin's note has at most 1024 bytes"));
    }
    let time = encode::number(at);
    if let Some(removed) = &at.version.removed {
        return Err(Error::Gone(format!("the content of version {time} is not kept any more: {}", removed.told())));
    }
    if !at.is_live() {
        return Err(Error::Gone(format!("version {time} is its deletion: pin one before it")));
    }
    if at.row().value.content().is_none() {
        return Err(Error::Gone("it is no file: only contents are ever removed, so there is nothing to pin".into()));
    }
    let key = keys::pin(view.root, at.row().id, at.point, at.side, Origin::People as u8);
    let before = get::<Pin>(view.reads, &key)?;
    let mut batch = Batch::new();
    put(&mut batch, key, pin, pieces(&before));
    Ok(batch)
}

/// Takes people's pin from a version; as [`pin`].
///
/// # Errors
/// One sentence where there is none.
pub(crate) fn unpin(view: View<'_>, at: &At) -> Result<Batch, Error> {
    let key = keys::pin(view.root, at.row().id, at.point, at.side, Origin::People as u8);
    let Some(kept) = get::<Pin>(view.reads, &key)? else {
        return Err(Error::Nothing(format!("version {} is not pinned", encode::number(at))));
    };
    let mut batch = Batch::new();
    wide::delete(&mut batch, key, kept.pieces);
    Ok(batch)
}

/// The pin that a device sets now.
pub(crate) fn by(service: &Service, device: DeviceId, note: String) -> Pin {
    let (device_name, user_name) = service.names(device);
    Pin { device, device_name, user_name, at: service.now(), note }
}

/// Answers a question for pins.
pub(crate) fn list(view: View<'_>, request: &history::ListPinsRequest) -> Result<history::ListPinsResponse, Error> {
    let size = if request.page_size == 0 { MOST } else { request.page_size.min(MOST) } as usize;
    let (all, to) = keys::all(b'n', view.root);
    let from = if request.page_token.is_empty() {
        all.clone()
    } else {
        let rest = HEXLOWER.decode(request.page_token.as_bytes()).ok();
        let key = rest.map(|rest| [&all[..], &rest[..]].concat()).filter(|key| keys::parse_pin(key).is_some());
        keys::behind(&key.ok_or(Error::Asked("the page token is none of this list"))?)
    };
    let rows = view.reads.range(&from, &to, size)?;
    let next = rows.last().filter(|_| rows.len() == size);
    let next_page_token = next.map(|(key, _)| HEXLOWER.encode(&key[all.len()..])).unwrap_or_default();
    let mut pins = Vec::new();
    for (key, stored) in rows {
        let (entry, point, side) = keys::parse_pin(&key).ok_or_else(|| Error::damaged(&key))?;
        let pin = quics_records::decode::<Pin>(&key, stored)?.record;
        let at = view.version(entry, point, side)?.ok_or_else(|| Error::damaged(&key))?;
        pins.push(message(encode::version(view, &at)?, pin));
    }
    Ok(history::ListPinsResponse { pins, next_page_token })
}

pub(crate) fn message(version: history::Version, pin: Pin) -> history::Pin {
    history::Pin {
        version: Some(history::Version { pinned: true, ..version }),
        note: pin.note,
        device_name: pin.device_name,
        user_name: pin.user_name,
        at: encode::stamp(pin.at),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_format_is_fixed() {
        let pin = Pin {
            device: DeviceId::from_bytes([3; 16]),
            device_name: "pc".into(),
            user_name: "ada".into(),
            at: WallTime(1000),
            note: "x".into(),
        };
        let key: Bytes = keys::pin(quics_types::RootId::from_bytes([1; 16]), EntryId::TOP, Point::BEGIN, 2, 0);
        assert_eq!(keys::parse_pin(&key), Some((EntryId::TOP, Point::BEGIN, 2)));
        quics_records::testing::golden(pin, "010303030303030303030303030303030302706303616461e8070178");
    }
}
