//! Who may do what, as a test says. The unit tests of this crate include this file, too.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use quics_kit::members::{Change, Denied};
use quics_types::{DeviceId, Role, RootId, UserId};
use tokio::sync::broadcast;

use crate::Access;

pub(crate) const ROOT: RootId = RootId::from_bytes([1; 16]);
pub(crate) const A: DeviceId = DeviceId::from_bytes([0xa; 16]);
pub(crate) const B: DeviceId = DeviceId::from_bytes([0xb; 16]);

/// Each device's role in each root. Each device has a user of its own.
pub(crate) struct Roles {
    pub(crate) roles: Mutex<BTreeMap<(RootId, DeviceId), Role>>,
    pub(crate) changes: broadcast::Sender<Change>,
}

impl Roles {
    pub(crate) fn new(roles: impl IntoIterator<Item = ((RootId, DeviceId), Role)>) -> Arc<Self> {
        Arc::new(Self { roles: Mutex::new(roles.into_iter().collect()), changes: broadcast::channel(16).0 })
    }
}

impl Access for Roles {
    fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        self.roles.lock().get(&(root, device)).copied().ok_or(Denied::NotMember)
    }
    fn role_soon(
        &self,
        root: RootId,
        device: DeviceId,
    ) -> Pin<Box<dyn Future<Output = Result<Role, Denied>> + Send + '_>> {
        Box::pin(std::future::ready(self.role(root, device)))
    }
    fn attached(&self, root: RootId) -> Vec<DeviceId> {
        self.roles.lock().keys().filter(|(r, _)| *r == root).map(|(_, device)| *device).collect()
    }
    fn roots(&self) -> Vec<RootId> {
        let roots: BTreeSet<RootId> = self.roles.lock().keys().map(|(root, _)| *root).collect();
        roots.into_iter().collect()
    }
    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
    fn seen(&self, _: DeviceId) {}
    fn user(&self, device: DeviceId) -> Option<UserId> {
        Some(UserId::from_bytes(*device.as_bytes()))
    }
    fn device_name(&self, device: DeviceId) -> Option<String> {
        Some(format!("device {:x}", device.as_bytes()[0]))
    }
    fn user_name(&self, _: DeviceId) -> Option<String> {
        None
    }
}
