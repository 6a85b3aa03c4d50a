//! Roots: made, listed, attached to, detached from.

use bytes::Bytes;
use quics_kit::attempts::Who;
use quics_kit::clock::{from_millis, timestamp};
use quics_kit::secret::Secret;
use quics_proto::common::v1 as common;
use quics_proto::registry::v1 as proto;
use quics_types::{DeviceId, Role, RootId, UnitNames, UserId};

use crate::db::{Attached, Root, Rows, key, tag};
use crate::devices::attached;
use crate::error::{Error, Result};
use crate::members::{members, put_member};
use crate::names;
use crate::service::{Change, Guarded, Registry};
use crate::watch::Event;

/// Roots that one user may see.
const MAX_ROOTS: usize = 4096;

impl Registry {
    /// Makes a root under the id that the caller drew; found again by a repeated call of its maker.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::NotMember`] if the id is somebody else's, [`Error::TooMany`], [`Error::Malformed`].
    pub(crate) async fn create_root(
        &self,
        user: UserId,
        device: DeviceId,
        id: RootId,
        name: String,
        units: UnitNames,
        (password, grants): (Secret, Option<Role>),
    ) -> Result<proto::Root> {
        names::check_root(&name)?;
        if grants == Some(Role::Owner) || (grants.is_some() && password.expose().is_empty()) {
            return Err(Error::Malformed("a password grants the role of a reader or a writer"));
        }
        let password = self.inner.passwords.hash(password).await?;
        let now = self.now_millis();
        self.change(move |rows, change| {
            if let Some(root) = rows.root(id)? {
                let again = root.maker == user.as_bytes()[..] && root.name == name;
                return if again && rows.role(id, user)?.is_some() { Ok(()) } else { Err(Error::NotMember) };
            }
            let visible = roots_of(rows, user)?;
            if visible.len() >= MAX_ROOTS {
                return Err(Error::TooMany("roots of this user"));
            }
            for other in visible {
                if rows.root(other)?.is_some_and(|root| root.name == name) {
                    return Err(Error::NameTaken);
                }
            }
            let maker = Bytes::copy_from_slice(user.as_bytes());
            let password_role = grants.map_or(0, |role| common::Role::from(role).into());
            let unit_names = units.to_bytes();
            let root = Root { name, maker, password, created_at: now, password_role, unit_names };
            change.put(key(tag::ROOT, &[id.as_bytes()]), &root);
            put_member(change, id, user, Role::Owner, now);
            put_attached(change, id, device, now);
            Ok(())
        })
        .await?;
        self.describe(id, user, Some(device))
    }

    /// The roots that a user may see, in the order of their names.
    pub(crate) fn list_roots(&self, user: UserId, device: DeviceId) -> Result<Vec<proto::Root>> {
        let ids = roots_of(self.rows(), user)?;
        let mut roots: Vec<_> =
            ids.into_iter().map(|id| self.describe(id, user, Some(device))).collect::<Result<_>>()?;
        roots.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(roots)
    }

    /// Attaches a device to a root; one that is attached already is not asked for the password again. Who is no member
    /// becomes one by a password that grants a role, unless the membership was ended before.
    ///
    /// # Errors
    /// [`Error::NotMember`], [`Error::RootPassword`], [`Error::Limited`].
    pub(crate) async fn attach(
        &self,
        user: UserId,
        device: DeviceId,
        id: RootId,
        password: Secret,
    ) -> Result<proto::Root> {
        let rows = self.rows();
        let root = rows.root(id)?;
        let granted = match rows.role(id, user)? {
            Some(_) => {
                let stored = root.ok_or(Error::NotMember)?.password;
                if !stored.is_empty() && !rows.is_attached(id, device)? {
                    let attempt = self.inner.attempts.begin(vec![Who::Secret(Guarded::Root(id, user))])?;
                    if !self.inner.passwords.verify(password, stored).await? {
                        return Err(Error::RootPassword);
                    }
                    attempt.succeeded();
                }
                None
            }
            None => Some(self.grant(id, user, root, password).await?),
        };
        let now = self.now_millis();
        self.change(move |rows, change| {
            // Membership and device may have ended meanwhile.
            match granted {
                Some(role) if rows.role(id, user)?.is_none() && !rows.was_removed(id, user)? => {
                    put_member(change, id, user, role, now);
                }
                _ => drop(rows.role(id, user)?.ok_or(Error::NotMember)?),
            }
            let alive = rows.device(device)?.is_some_and(|device| device.revoked_at == 0);
            if !alive {
                return Err(Error::Device);
            }
            if !rows.is_attached(id, device)? {
                put_attached(change, id, device, now);
            }
            Ok(())
        })
        .await?;
        self.describe(id, user, Some(device))
    }

    /// The role that a password gives to a user who is no member. Whoever does not get one gets the same answer after
    /// the same time, whether the root exists or not.
    async fn grant(&self, id: RootId, user: UserId, root: Option<Root>, password: Secret) -> Result<Role> {
        if password.expose().is_empty() {
            return Err(Error::NotMember);
        }
        let root = match root {
            Some(root) if !self.rows().was_removed(id, user)? => Some(root),
            _ => None,
        };
        let role = root.as_ref().and_then(|root| common::Role::try_from(root.password_role).ok()?.to_domain());
        let stored = root.filter(|_| role.is_some()).map(|root| root.password).unwrap_or_default();
        let attempt = self.inner.attempts.begin(vec![Who::Secret(Guarded::Root(id, user))])?;
        if !self.inner.passwords.verify(password, stored).await? {
            return Err(Error::NotMember);
        }
        attempt.succeeded();
        role.ok_or(Error::NotMember)
    }

    /// Ends a device's attachment to a root; one that is not attached stays so.
    ///
    /// # Errors
    /// [`Error::NotMember`].
    pub(crate) async fn detach(&self, user: UserId, device: DeviceId, id: RootId) -> Result<()> {
        self.change(move |rows, change| {
            rows.role(id, user)?.ok_or(Error::NotMember)?;
            crate::devices::detach_all(rows, change, device, |root| root == id)
        })
        .await
    }

    /// All roots with their members, in the order of their ids.
    pub(crate) fn all_roots(&self) -> Result<Vec<proto::RootMembers>> {
        let mut ids = Vec::new();
        self.rows().each(&[tag::ROOT], |id, _| {
            ids.push(RootId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?);
            Ok(())
        })?;
        ids.into_iter().map(|id| self.describe_for_admin(id)).collect()
    }

    /// Finds a root by its name, among all users'.
    ///
    /// # Errors
    /// [`Error::NoRoot`], [`Error::Ambiguous`].
    pub(crate) fn root_named(&self, name: &str) -> Result<RootId> {
        let mut found = Vec::new();
        self.rows().each(&[tag::ROOT], |id, value| {
            let root: Root = crate::db::decode(&[tag::ROOT], value)?;
            if root.name == name {
                found.push(RootId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?);
            }
            Ok(())
        })?;
        match found.as_slice() {
            [only] => Ok(*only),
            [] => Err(Error::NoRoot),
            _ => Err(Error::Ambiguous("root")),
        }
    }

    fn describe_for_admin(&self, id: RootId) -> Result<proto::RootMembers> {
        let rows = self.rows();
        let members = members(rows, id)?;
        let owner = members.iter().find(|(_, role)| *role == Role::Owner).map(|(user, _)| *user);
        let viewer = owner.unwrap_or(UserId::from_bytes([0; 16]));
        let root = self.describe(id, viewer, None)?;
        let members = members.into_iter().map(|(user, role)| {
            Ok(proto::Member { user: rows.user_name(user)?, role: common::Role::from(role).into() })
        });
        Ok(proto::RootMembers { root: Some(root), members: members.collect::<Result<_>>()? })
    }

    fn describe(&self, id: RootId, viewer: UserId, device: Option<DeviceId>) -> Result<proto::Root> {
        let rows = self.rows();
        let root = rows.root(id)?.ok_or(Error::NotMember)?;
        let role = rows.role(id, viewer)?;
        let devices = attached(rows, id)?;
        let mut names = Vec::with_capacity(devices.len());
        for device in &devices {
            names.extend(rows.device(*device)?.map(|device| device.name));
        }
        names.sort();
        let owners = members(rows, id)?.into_iter().filter(|(_, role)| *role == Role::Owner);
        let owners: Vec<_> = owners.map(|(user, _)| rows.user_name(user)).collect::<Result<_>>()?;
        Ok(proto::Root {
            root_id: Bytes::copy_from_slice(id.as_bytes()),
            name: root.name,
            role: role.map_or(common::Role::Unspecified, common::Role::from).into(),
            password_required: !root.password.is_empty(),
            owner: owners.join(", "),
            created_at: Some(timestamp(from_millis(root.created_at))),
            attached_devices: names,
            attached: device.is_some_and(|device| devices.contains(&device)),
            unit_names: root.unit_names,
        })
    }
}

fn put_attached(change: &mut Change, root: RootId, device: DeviceId, now: u64) {
    change.put(key(tag::ATTACHED, &[root.as_bytes(), device.as_bytes()]), &Attached { since: now });
    change.put_bytes(key(tag::DEVICE_ROOT, &[device.as_bytes(), root.as_bytes()]), &[]);
    change.tell(Event::Attachment(root, device));
}

fn roots_of(rows: Rows<'_>, user: UserId) -> Result<Vec<RootId>> {
    let mut roots = Vec::new();
    rows.each(&key(tag::USER_ROOT, &[user.as_bytes()]), |root, _| {
        roots.push(RootId::from_slice(root).map_err(|error| Error::Damaged(error.to_string()))?);
        Ok(())
    })?;
    Ok(roots)
}
