//! Devices: who they are, when they were heard of, and their end.

use bytes::Bytes;
use quics_kit::clock::{from_millis, timestamp};
use quics_proto::registry::v1 as proto;
use quics_types::{DeviceId, RootId, UserId};

use crate::db::{Device, Rows, Seen, key, tag};
use crate::error::{Error, Result};
use crate::members::members;
use crate::service::{Change, Registry};
use crate::watch::Event;

/// How exact last-seen times are for calls to registry-svc itself, in milliseconds: each note costs a sync.
const SEEN_EVERY: u64 = 60_000;

impl Registry {
    /// Checks that a device may call: it is known, not revoked, and shows a key that is still its own. Gives its user.
    ///
    /// # Errors
    /// [`Error::Device`], whatever is wrong.
    pub(crate) fn known_device(&self, device: DeviceId, key_hash: &[u8; 32]) -> Result<UserId> {
        let row = self.rows().device(device)?.ok_or(Error::Device)?;
        if row.revoked_at != 0 || !row.has_key(key_hash) {
            return Err(Error::Device);
        }
        row.user()
    }

    /// The devices of a user, in the order of their names; `own` is marked.
    pub(crate) fn devices_of(&self, user: UserId, own: Option<DeviceId>) -> Result<Vec<proto::Device>> {
        let rows = self.rows();
        let user_name = rows.user_name(user)?;
        let mut devices = Vec::new();
        rows.each(&key(tag::USER_DEVICE, &[user.as_bytes()]), |id, _| {
            let id = DeviceId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?;
            devices.push(describe(rows, id, &user_name, own)?);
            Ok(())
        })?;
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(devices)
    }

    /// The devices of all members of a root: names for those who have it in common. Of other users' devices it tells
    /// neither when they were heard of nor how their certificates stand.
    ///
    /// # Errors
    /// [`Error::NotMember`] for those who are none, whether the root exists or not.
    pub(crate) fn devices_of_members(&self, root: RootId, user: UserId, own: DeviceId) -> Result<Vec<proto::Device>> {
        self.rows().role(root, user)?.ok_or(Error::NotMember)?;
        let mut devices = Vec::new();
        for (member, _) in members(self.rows(), root)? {
            let mut theirs = self.devices_of(member, Some(own))?;
            if member != user {
                for device in &mut theirs {
                    (device.enrolled_at, device.seen_at, device.certificate_expires_at) = (None, None, None);
                }
            }
            devices.append(&mut theirs);
        }
        Ok(devices)
    }

    /// Notes that a device calls right now, once a minute at most.
    pub(crate) async fn heard(&self, device: DeviceId) -> Result<()> {
        let now = self.now_millis();
        let before: Seen = self.rows().get(&seen_key(device))?.unwrap_or_default();
        // A clock that was set back must not stop the notes for long.
        if now.abs_diff(before.at) < SEEN_EVERY { Ok(()) } else { self.note_seen(vec![(device, now)]).await }
    }

    /// Notes when devices were heard of. Unknown ones are passed over; an older time changes nothing.
    pub(crate) async fn note_seen(&self, seen: Vec<(DeviceId, u64)>) -> Result<()> {
        // A service's clock may be ahead; nobody was seen in the future.
        let now = self.now_millis();
        self.change(move |rows, change| {
            for (device, at) in seen {
                let at = at.min(now);
                let before: Seen = rows.get(&seen_key(device))?.unwrap_or_default();
                if at > before.at && rows.device(device)?.is_some() {
                    change.put(seen_key(device), &Seen { at });
                }
            }
            Ok(())
        })
        .await
    }

    /// Revokes a device, of `user` where one is given. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is none, or none of this user.
    pub(crate) async fn revoke(&self, device: DeviceId, user: Option<UserId>) -> Result<()> {
        let now = self.now_millis();
        self.change(move |rows, change| {
            let mut row = rows.device(device)?.ok_or(Error::NoDevice)?;
            let owner = row.user()?;
            if user.is_some_and(|user| user != owner) {
                return Err(Error::NoDevice);
            }
            if row.revoked_at != 0 {
                return Ok(());
            }
            row.revoked_at = now;
            change.put(Device::key(device), &row);
            // Its name may be given again.
            change.delete(key(tag::DEVICE_NAME, &[owner.as_bytes(), row.name.as_bytes()]));
            change.tell(Event::Device(device));
            detach_all(rows, change, device, |_| true)?;
            tracing::info!(%device, "device.revoked");
            Ok(())
        })
        .await
    }

    /// Finds a device that is not revoked by its name, among all users.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::Ambiguous`].
    pub(crate) fn device_named(&self, name: &str) -> Result<DeviceId> {
        let mut found = Vec::new();
        self.rows().each(&[tag::DEVICE], |id, value| {
            let row: Device = crate::db::decode(&[tag::DEVICE], value)?;
            if row.name == name && row.revoked_at == 0 {
                found.push(DeviceId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?);
            }
            Ok(())
        })?;
        match found.as_slice() {
            [only] => Ok(*only),
            [] => Err(Error::NoDevice),
            _ => Err(Error::Ambiguous("device")),
        }
    }
}

/// Ends the attachments of a device to the roots that `which` picks.
pub(crate) fn detach_all(
    rows: Rows<'_>,
    change: &mut Change,
    device: DeviceId,
    which: impl Fn(RootId) -> bool,
) -> Result<()> {
    rows.each(&key(tag::DEVICE_ROOT, &[device.as_bytes()]), |root, _| {
        let root = RootId::from_slice(root).map_err(|error| Error::Damaged(error.to_string()))?;
        if which(root) {
            change.delete(key(tag::DEVICE_ROOT, &[device.as_bytes(), root.as_bytes()]));
            change.delete(key(tag::ATTACHED, &[root.as_bytes(), device.as_bytes()]));
            change.tell(Event::Attachment(root, device));
        }
        Ok(())
    })
}

fn describe(rows: Rows<'_>, id: DeviceId, user_name: &str, own: Option<DeviceId>) -> Result<proto::Device> {
    let row = rows.device(id)?.ok_or_else(|| Error::Damaged(format!("device {id} is missing")))?;
    let seen: Option<Seen> = rows.get(&seen_key(id))?;
    let time = |millis: u64| Some(timestamp(from_millis(millis)));
    Ok(proto::Device {
        device_id: Bytes::copy_from_slice(id.as_bytes()),
        name: row.name,
        user_id: row.user,
        user_name: user_name.to_owned(),
        enrolled_at: time(row.enrolled_at),
        seen_at: time(seen.map_or(row.enrolled_at, |seen| seen.at)),
        revoked: row.revoked_at != 0,
        certificate_expires_at: time(row.certificate_ends_at),
        own: own == Some(id),
    })
}

/// The devices that are attached to a root, in the order of their ids.
pub(crate) fn attached(rows: Rows<'_>, root: RootId) -> Result<Vec<DeviceId>> {
    let mut devices = Vec::new();
    rows.each(&key(tag::ATTACHED, &[root.as_bytes()]), |device, _| {
        devices.push(DeviceId::from_slice(device).map_err(|error| Error::Damaged(error.to_string()))?);
        Ok(())
    })?;
    Ok(devices)
}

fn seen_key(device: DeviceId) -> Bytes {
    key(tag::SEEN, &[device.as_bytes()])
}
