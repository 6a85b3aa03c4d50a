//! Tickets: invitations that work once, for ten minutes, and of which only a hash is kept.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quics_kit::clock::{from_millis, millis};
use quics_kit::secret::Secret;
use quics_types::UserId;

use crate::db::{Rows, Ticket, key, tag};
use crate::error::{Error, Result};
use crate::service::{Change, Registry};

/// How long a ticket works.
pub(crate) const LIFE: Duration = Duration::from_secs(600);
/// Tickets that may be open at a time, in the whole installation.
const MAX_OPEN: usize = 1000;
/// Names what the hash is for (BLAKE3, `derive_key`); part of the stored format.
const CONTEXT: &str = "quics registry-svc 2026 ticket secret";

impl Registry {
    /// Makes a ticket for a device of `user`: its text, and when it ends.
    ///
    /// # Errors
    /// [`Error::TooMany`] while a thousand tickets are open.
    pub(crate) async fn make_ticket(&self, user: UserId) -> Result<(String, SystemTime)> {
        let secret = Secret::draw();
        let hash = secret.hash(CONTEXT);
        let now = self.now_millis();
        let expires_at = from_millis(now) + LIFE;
        self.change(move |rows, change| {
            remove_old(rows, change, now)?;
            let ticket = Ticket {
                user: Bytes::copy_from_slice(user.as_bytes()),
                expires_at: millis(expires_at),
                used_by: Bytes::new(),
            };
            change.put(ticket_key(&hash), &ticket);
            change.put_bytes(expiry_key(ticket.expires_at, &hash), &[]);
            Ok(())
        })
        .await?;
        let ticket = quics_kit::ticket::Ticket {
            addresses: self.inner.place.addresses.clone(),
            fingerprint: self.inner.authority.fingerprint(),
            secret,
        };
        Ok((ticket.to_string(), expires_at))
    }
}

/// The hash by which a ticket's secret is found.
pub(crate) fn hash(secret: &[u8]) -> [u8; 32] {
    Secret::from(secret.to_vec()).hash(CONTEXT)
}

/// Finds a ticket that `key_hash` may use at `now`: one that nobody used, or that the same key used.
///
/// # Errors
/// [`Error::Right`] whatever is wrong with it.
pub(crate) fn usable(rows: Rows<'_>, hash: &[u8; 32], key_hash: &[u8; 32], now: u64) -> Result<Ticket> {
    let ticket: Ticket = rows.get(&ticket_key(hash))?.ok_or(Error::Right)?;
    let free = ticket.used_by.is_empty() || ticket.used_by == key_hash[..];
    if now >= ticket.expires_at || !free { Err(Error::Right) } else { Ok(ticket) }
}

/// Writes that a ticket is used up.
pub(crate) fn use_up(change: &mut Change, hash: &[u8; 32], mut ticket: Ticket, key_hash: &[u8; 32]) {
    ticket.used_by = Bytes::copy_from_slice(key_hash);
    change.put(ticket_key(hash), &ticket);
}

/// Removes tickets that ended, and counts those that are open.
fn remove_old(rows: Rows<'_>, change: &mut Change, now: u64) -> Result<()> {
    let prefix = [tag::EXPIRY];
    let mut open = 0;
    for (at, _) in rows.page(&prefix, &prefix)? {
        let (expires_at, hash) = at[1..]
            .split_first_chunk::<8>()
            .ok_or_else(|| Error::Damaged("a ticket's expiry has another length".to_owned()))?;
        if u64::from_be_bytes(*expires_at) <= now {
            change.delete(key(tag::TICKET, &[hash]));
            change.delete(at);
        } else {
            open += 1;
        }
    }
    if open >= MAX_OPEN { Err(Error::TooMany("open tickets")) } else { Ok(()) }
}

fn ticket_key(hash: &[u8; 32]) -> Bytes {
    key(tag::TICKET, &[hash])
}

fn expiry_key(expires_at: u64, hash: &[u8; 32]) -> Bytes {
    key(tag::EXPIRY, &[&expires_at.to_be_bytes(), hash])
}
