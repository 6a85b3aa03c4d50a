//! How devices and services become known, and get new certificates.

use std::net::IpAddr;

use bytes::Bytes;
use quics_kit::attempts::Who;
use quics_kit::caller::Caller;
use quics_kit::clock::{from_millis, millis};
use quics_kit::names::{Service, Subject};
use quics_kit::secret::Secret;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::enrol_request::Right;
use quics_types::{DeviceId, UserId};

use crate::authority::Requested;
use crate::db::{Device, Rows, key, tag};
use crate::error::{Error, Result};
use crate::service::{Change, Guarded, Registry};
use crate::watch::Event;
use crate::{names, tickets};

/// The shortest ticket or service secret, in bytes.
const MIN_SECRET: usize = 16;
/// Devices of one user, revoked ones included.
const MAX_DEVICES: usize = 10_000;

impl Registry {
    /// Enrols the key of a request by the right that comes with it.
    pub(crate) async fn enrol(&self, from: IpAddr, request: proto::EnrolRequest) -> Result<proto::EnrolResponse> {
        let requested = Requested::read(&request.certificate_request)?;
        let right = request.right.ok_or(Error::Malformed("the right to enrol is missing"))?;
        let (device, user, user_name, subject) = match right {
            Right::ServiceSecret(secret) => {
                let service = self.service_right(from, &request.name, &secret)?;
                (Bytes::new(), Bytes::new(), String::new(), Subject::Service(service))
            }
            Right::Ticket(secret) => {
                names::check(&request.name)?;
                let attempt = self.inner.attempts.begin(vec![Who::Address(from)])?;
                let known = self.enrol_by_ticket(&requested, request.name, &secret).await?;
                attempt.succeeded();
                known.into_parts()
            }
            Right::Password(right) => {
                names::check(&request.name)?;
                let known = self.enrol_by_password(from, &requested, request.name, right).await?;
                known.into_parts()
            }
        };
        let credentials = self.credentials(&requested, subject)?;
        tracing::info!(%subject, user = user_name, %from, "enrol.done");
        Ok(proto::EnrolResponse {
            credentials: Some(credentials),
            device_id: device,
            user_id: user,
            user_name,
            services: Some(self.services()?),
        })
    }

    fn service_right(&self, from: IpAddr, name: &str, secret: &[u8]) -> Result<Service> {
        let attempt = self.inner.attempts.begin(vec![Who::Address(from)])?;
        if secret.len() < MIN_SECRET || !self.inner.service_secret.matches(secret) {
            return Err(Error::Right);
        }
        let service: Service = name.parse().map_err(|_| Error::Malformed("no service has this name"))?;
        if service == Service::Registry {
            return Err(Error::Malformed("registry-svc enrols itself"));
        }
        attempt.succeeded();
        Ok(service)
    }

    async fn enrol_by_ticket(&self, requested: &Requested, name: String, secret: &[u8]) -> Result<Known> {
        if secret.len() < MIN_SECRET {
            return Err(Error::Right);
        }
        let (ticket_hash, key_hash) = (tickets::hash(secret), requested.hash());
        let times = self.times();
        self.change(move |rows, change| {
            let ticket = tickets::usable(rows, &ticket_hash, &key_hash, times.now)?;
            let user = UserId::from_slice(&ticket.user).map_err(|error| Error::Damaged(error.to_string()))?;
            let known = know(rows, change, user, &key_hash, name, times)?;
            tickets::use_up(change, &ticket_hash, ticket, &key_hash);
            Ok(known)
        })
        .await
    }

    async fn enrol_by_password(
        &self,
        from: IpAddr,
        requested: &Requested,
        name: String,
        right: proto::PasswordRight,
    ) -> Result<Known> {
        let who =
            vec![Who::Address(from), Who::Secret(Guarded::User(right.user.to_lowercase().chars().take(64).collect()))];
        let attempt = self.inner.attempts.begin(who)?;
        let user = self.rows().user_by_name(&right.user)?;
        let stored = match user {
            Some(user) => self.rows().user(user)?.map(|user| user.password).unwrap_or_default(),
            None => String::new(),
        };
        let right_one = self.inner.passwords.verify(Secret::from(right.password.into_bytes()), stored.clone()).await?;
        let user = user.filter(|_| right_one).ok_or(Error::Right)?;
        attempt.succeeded();
        let (key_hash, times) = (requested.hash(), self.times());
        self.change(move |rows, change| {
            // It may have been changed while it was verified.
            if rows.user(user)?.is_none_or(|user| user.password != stored) {
                return Err(Error::Right);
            }
            know(rows, change, user, &key_hash, name, times)
        })
        .await
    }

    /// Signs a new certificate for a caller's key or a new key; `caller_key` is the hash of the key that it showed.
    ///
    /// A device's former key may renew until the new one has been used for it: the answer may have been lost.
    pub(crate) async fn renew(
        &self,
        caller: Caller,
        caller_key: [u8; 32],
        request: &[u8],
    ) -> Result<proto::RenewResponse> {
        let requested = Requested::read(request)?;
        let subject = match caller {
            Caller::Service(service) => Subject::Service(service),
            Caller::Device(device) => {
                let (key_hash, times) = (requested.hash(), self.times());
                self.change(move |rows, change| renew(rows, change, device, &caller_key, &key_hash, times)).await?;
                Subject::Device(device)
            }
            _ => return Err(Error::Device),
        };
        let credentials = self.credentials(&requested, subject)?;
        tracing::info!(%subject, "renew.done");
        Ok(proto::RenewResponse { credentials: Some(credentials), services: Some(self.services()?) })
    }

    fn times(&self) -> Times {
        let now = self.now_millis();
        Times { now, certificate_ends_at: millis(self.inner.authority.end(from_millis(now))) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Times {
    now: u64,
    certificate_ends_at: u64,
}

struct Known {
    device: DeviceId,
    user: UserId,
    user_name: String,
}

impl Known {
    fn into_parts(self) -> (Bytes, Bytes, String, Subject) {
        let bytes = |id: &[u8; 16]| Bytes::copy_from_slice(id);
        let subject = Subject::Device(self.device);
        (bytes(self.device.as_bytes()), bytes(self.user.as_bytes()), self.user_name, subject)
    }
}

/// Finds the device of a key, or makes it.
fn know(
    rows: Rows<'_>,
    change: &mut Change,
    user: UserId,
    key_hash: &[u8; 32],
    name: String,
    times: Times,
) -> Result<Known> {
    let user_name = rows.user_name(user)?;
    if let Some(device) = rows.device_by_key(key_hash)? {
        let mut known = rows.device(device)?.ok_or_else(|| Error::Damaged(format!("device {device} is missing")))?;
        if known.user()? != user || known.revoked_at != 0 || !known.has_key(key_hash) {
            return Err(Error::KeyTaken);
        }
        known.certificate_ends_at = times.certificate_ends_at;
        change.put(Device::key(device), &known);
        return Ok(Known { device, user, user_name });
    }
    let of_user = key(tag::USER_DEVICE, &[user.as_bytes()]);
    let mut count = 0;
    rows.each(&of_user, |_, _| {
        count += 1;
        Ok(())
    })?;
    if count >= MAX_DEVICES {
        return Err(Error::TooMany("devices of this user"));
    }
    let device = DeviceId::from_bytes(quics_kit::random::bytes());
    let name_key = |name: &str| key(tag::DEVICE_NAME, &[user.as_bytes(), name.as_bytes()]);
    let name = names::free(&name, |name| Ok(rows.0.get(&name_key(name))?.is_some()))?;
    let row = Device {
        user: Bytes::copy_from_slice(user.as_bytes()),
        name: name.clone(),
        keys: vec![Bytes::copy_from_slice(key_hash)],
        enrolled_at: times.now,
        certificate_ends_at: times.certificate_ends_at,
        revoked_at: 0,
    };
    change.put(Device::key(device), &row);
    change.put_bytes(key(tag::USER_DEVICE, &[user.as_bytes(), device.as_bytes()]), &[]);
    change.put_bytes(name_key(&name), device.as_bytes());
    change.put_bytes(key(tag::KEY, &[key_hash]), device.as_bytes());
    change.tell(Event::Device(device));
    Ok(Known { device, user, user_name })
}

fn renew(
    rows: Rows<'_>,
    change: &mut Change,
    device: DeviceId,
    caller_key: &[u8; 32],
    new_key: &[u8; 32],
    times: Times,
) -> Result<()> {
    let mut row = rows.device(device)?.ok_or(Error::Device)?;
    if row.revoked_at != 0 {
        return Err(Error::Revoked);
    }
    if !row.has_key(caller_key) {
        return Err(Error::Device);
    }
    // The newest key is in use: what it replaced is of no more use.
    if row.keys.last().is_some_and(|last| last == &caller_key[..]) {
        row.keys = vec![Bytes::copy_from_slice(caller_key)];
    }
    if !row.has_key(new_key) {
        if rows.device_by_key(new_key)?.is_some() {
            return Err(Error::KeyTaken);
        }
        // A former key that asks once more replaces the new one that it asked for before.
        row.keys = vec![Bytes::copy_from_slice(caller_key), Bytes::copy_from_slice(new_key)];
        change.put_bytes(key(tag::KEY, &[new_key]), device.as_bytes());
    }
    row.certificate_ends_at = times.certificate_ends_at;
    change.put(Device::key(device), &row);
    Ok(())
}

impl Device {
    /// Tells whether a key is the device's.
    pub(crate) fn has_key(&self, hash: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key == &hash[..])
    }
}
