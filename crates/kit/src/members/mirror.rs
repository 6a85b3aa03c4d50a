//! The view itself, in memory: pure, without time or I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use quics_types::{DeviceId, Role, RootId, UserId};

use super::{Change, Denied};

/// A device as registry-svc describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Whose.
    pub user: UserId,
    /// The user's name.
    pub user_name: String,
    /// What people call it.
    pub name: String,
    /// Whether it may no longer do anything.
    pub revoked: bool,
}

/// One thing that registry-svc said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    Device(Device),
    Membership { root: RootId, user: UserId, role: Option<Role> },
    Attachment { root: RootId, device: DeviceId, attached: bool },
}

#[derive(Debug, Default)]
pub(super) struct Mirror {
    devices: HashMap<DeviceId, Device>,
    roles: BTreeMap<(RootId, UserId), Role>,
    attached: BTreeSet<(RootId, DeviceId)>,
}

impl Mirror {
    pub(super) fn device(&self, device: DeviceId) -> Result<&Device, Denied> {
        let device = self.devices.get(&device).ok_or(Denied::Unknown)?;
        if device.revoked { Err(Denied::Revoked) } else { Ok(device) }
    }

    /// A device that was ever known, revoked or not.
    pub(super) fn known(&self, device: DeviceId) -> Option<&Device> {
        self.devices.get(&device)
    }

    pub(super) fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        let user = self.device(device)?.user;
        self.roles.get(&(root, user)).copied().ok_or(Denied::NotMember)
    }

    pub(super) fn attached(&self, root: RootId) -> Vec<DeviceId> {
        let all = self.attached.range((root, FIRST)..=(root, LAST));
        all.map(|(_, device)| *device).filter(|device| self.device(*device).is_ok()).collect()
    }

    pub(super) fn is_attached(&self, root: RootId, device: DeviceId) -> bool {
        self.attached.contains(&(root, device)) && self.device(device).is_ok()
    }

    pub(super) fn roots(&self) -> Vec<RootId> {
        let roots: BTreeSet<RootId> =
            self.roles.keys().map(|(root, _)| *root).chain(self.attached.iter().map(|(root, _)| *root)).collect();
        roots.into_iter().collect()
    }

    pub(super) fn users(&self, root: RootId) -> Vec<(UserId, Role)> {
        let first = UserId::from_bytes([0; 16]);
        let last = UserId::from_bytes([0xff; 16]);
        self.roles.range((root, first)..=(root, last)).map(|((_, user), role)| (*user, *role)).collect()
    }

    /// Takes a fact in; gives what it changed, if anything.
    pub(super) fn apply(&mut self, fact: Fact) -> Option<Change> {
        match fact {
            Fact::Device(device) => {
                let change = Change::Device { device: device.id, revoked: device.revoked };
                let old = self.devices.insert(device.id, device.clone());
                (old.as_ref() != Some(&device)).then_some(change)
            }
            Fact::Membership { root, user, role } => {
                let old = match role {
                    Some(role) => self.roles.insert((root, user), role),
                    None => self.roles.remove(&(root, user)),
                };
                (old != role).then_some(Change::Membership { root, user, role })
            }
            Fact::Attachment { root, device, attached } => {
                let changed = match attached {
                    true => self.attached.insert((root, device)),
                    false => self.attached.remove(&(root, device)),
                };
                changed.then_some(Change::Attachment { root, device, attached })
            }
        }
    }

    /// What turns this view into `new`: the facts that `new` has and this one has not, and the ends of what it lacks.
    ///
    /// A device that is gone altogether becomes a revoked one.
    pub(super) fn facts_to(&self, new: &Mirror) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (id, device) in &self.devices {
            if !new.devices.contains_key(id) && !device.revoked {
                facts.push(Fact::Device(Device { revoked: true, ..device.clone() }));
            }
        }
        facts.extend(new.devices.values().filter(|d| self.devices.get(&d.id) != Some(d)).cloned().map(Fact::Device));
        let ended: HashSet<_> = self.roles.keys().filter(|key| !new.roles.contains_key(key)).collect();
        facts.extend(ended.into_iter().map(|&(root, user)| Fact::Membership { root, user, role: None }));
        for (&(root, user), &role) in &new.roles {
            if self.roles.get(&(root, user)) != Some(&role) {
                facts.push(Fact::Membership { root, user, role: Some(role) });
            }
        }
        for &(root, device) in self.attached.symmetric_difference(&new.attached) {
            let attached = new.attached.contains(&(root, device));
            facts.push(Fact::Attachment { root, device, attached });
        }
        facts
    }
}

const FIRST: DeviceId = DeviceId::from_bytes([0; 16]);
const LAST: DeviceId = DeviceId::from_bytes([0xff; 16]);

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ROOT: RootId = RootId::from_bytes([1; 16]);
    pub(in super::super) const USER: UserId = UserId::from_bytes([2; 16]);
    pub(in super::super) const DEVICE: DeviceId = DeviceId::from_bytes([3; 16]);

    pub(in super::super) fn device(revoked: bool) -> Fact {
        let (name, user_name) = ("laptop".to_owned(), "ada".to_owned());
        Fact::Device(Device { id: DEVICE, user: USER, user_name, name, revoked })
    }

    pub(in super::super) fn member(role: Option<Role>) -> Fact {
        Fact::Membership { root: ROOT, user: USER, role }
    }

    fn attached(attached: bool) -> Fact {
        Fact::Attachment { root: ROOT, device: DEVICE, attached }
    }

    fn mirror(facts: impl IntoIterator<Item = Fact>) -> Mirror {
        let mut mirror = Mirror::default();
        for fact in facts {
            mirror.apply(fact);
        }
        mirror
    }

    #[test]
    fn a_device_has_its_users_role() {
        let mut mirror = mirror([device(false)]);
        assert_eq!(mirror.role(ROOT, DEVICE), Err(Denied::NotMember));
        mirror.apply(member(Some(Role::Writer)));
        assert_eq!(mirror.role(ROOT, DEVICE), Ok(Role::Writer));
        mirror.apply(member(None));
        assert_eq!(mirror.role(ROOT, DEVICE), Err(Denied::NotMember));
        assert_eq!(mirror.role(ROOT, DeviceId::from_bytes([9; 16])), Err(Denied::Unknown));
    }

    #[test]
    fn a_revoked_device_has_nothing_whatever_its_user_may() {
        let mirror = mirror([device(false), member(Some(Role::Owner)), attached(true), device(true)]);
        assert_eq!(mirror.role(ROOT, DEVICE), Err(Denied::Revoked));
        assert!(mirror.attached(ROOT).is_empty() && !mirror.is_attached(ROOT, DEVICE));
    }

    #[test]
    fn only_changes_are_told() {
        let mut mirror = mirror([device(false)]);
        assert_eq!(mirror.apply(device(false)), None);
        assert_eq!(mirror.apply(device(true)), Some(Change::Device { device: DEVICE, revoked: true }));
        assert_eq!(mirror.apply(attached(false)), None);
        assert!(mirror.apply(attached(true)).is_some());
    }

    #[test]
    fn a_full_state_ends_what_it_does_not_hold() {
        let mut old = mirror([device(false), member(Some(Role::Owner)), attached(true)]);
        let new = mirror([device(false), member(Some(Role::Reader))]);
        let facts = old.facts_to(&new);
        assert_eq!(facts.len(), 2, "{facts:?}");
        for fact in facts {
            old.apply(fact);
        }
        assert_eq!(old.role(ROOT, DEVICE), Ok(Role::Reader));
        assert!(!old.is_attached(ROOT, DEVICE));
        assert_eq!(old.facts_to(&Mirror::default()).len(), 2);
        assert_eq!(old.facts_to(&Mirror::default())[0], device(true), "a device that is gone is as good as revoked");
    }
}
