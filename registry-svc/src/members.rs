//! Membership: which user may do what with which root.

use quics_proto::common::v1 as common;
use quics_types::{DeviceId, Role, RootId, UserId};

use crate::db::{Member, Rows, key, tag};
use crate::devices::detach_all;
use crate::error::{Error, Result};
use crate::service::{Change, Registry};
use crate::watch::Event;

impl Registry {
    /// Sets a user's role in a root, or ends the membership; the devices of a user who is no member any more are
    /// detached.
    ///
    /// # Errors
    /// [`Error::NoRoot`], [`Error::LastOwner`].
    pub(crate) async fn set_member(&self, root: RootId, user: UserId, role: Option<Role>) -> Result<()> {
        let now = self.now_millis();
        self.change(move |rows, change| {
            rows.root(root)?.ok_or(Error::NoRoot)?;
            let before = rows.role(root, user)?;
            if before == role {
                return Ok(());
            }
            if before == Some(Role::Owner) {
                let owners = members(rows, root)?.iter().filter(|(_, role)| *role == Role::Owner).count();
                if owners < 2 {
                    return Err(Error::LastOwner);
                }
            }
            match role {
                Some(role) => put_member(change, root, user, role, now),
                None => {
                    change.delete(key(tag::MEMBER, &[root.as_bytes(), user.as_bytes()]));
                    change.delete(key(tag::USER_ROOT, &[user.as_bytes(), root.as_bytes()]));
                    change.put_bytes(key(tag::REMOVED, &[root.as_bytes(), user.as_bytes()]), &[]);
                    change.tell(Event::Member(root, user));
                    detach_users(rows, change, root, user)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn detach_users(rows: Rows<'_>, change: &mut Change, root: RootId, user: UserId) -> Result<()> {
    let mut devices = Vec::new();
    rows.each(&key(tag::USER_DEVICE, &[user.as_bytes()]), |id, _| {
        devices.push(DeviceId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?);
        Ok(())
    })?;
    devices.into_iter().try_for_each(|device| detach_all(rows, change, device, |one| one == root))
}

/// Writes a role.
pub(crate) fn put_member(change: &mut Change, root: RootId, user: UserId, role: Role, now: u64) {
    let row = Member { role: common::Role::from(role).into(), since: now };
    change.put(key(tag::MEMBER, &[root.as_bytes(), user.as_bytes()]), &row);
    change.delete(key(tag::REMOVED, &[root.as_bytes(), user.as_bytes()]));
    change.put_bytes(key(tag::USER_ROOT, &[user.as_bytes(), root.as_bytes()]), &[]);
    change.tell(Event::Member(root, user));
}

impl Rows<'_> {
    /// The role of a user in a root; `None` for those who are no members, whether the root exists or not.
    pub(crate) fn role(&self, root: RootId, user: UserId) -> Result<Option<Role>> {
        let Some(member) = self.member(root, user)? else { return Ok(None) };
        role(&member).map(Some)
    }
}

/// The members of a root, in the order of their ids.
pub(crate) fn members(rows: Rows<'_>, root: RootId) -> Result<Vec<(UserId, Role)>> {
    let mut found = Vec::new();
    rows.each(&key(tag::MEMBER, &[root.as_bytes()]), |user, value| {
        let user = UserId::from_slice(user).map_err(|error| Error::Damaged(error.to_string()))?;
        found.push((user, role(&crate::db::decode(&[tag::MEMBER], value)?)?));
        Ok(())
    })?;
    Ok(found)
}

/// The role that a row says.
pub(crate) fn role(member: &Member) -> Result<Role> {
    let role = common::Role::try_from(member.role).ok().and_then(common::Role::to_domain);
    role.ok_or_else(|| Error::Damaged(format!("a membership has the role {}", member.role)))
}
