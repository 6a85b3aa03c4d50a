//! Who may do what: the seam to the view of members, and the checks that services make of their callers.

use std::future::Future;
use std::pin::Pin;

use quics_types::{DeviceId, Role, RootId, UserId};
use tokio::sync::broadcast;

use crate::caller::Caller;
use crate::members::{Change, Denied, Members};

/// What a service has to know of roots and devices. [`Members`] is it in production.
pub trait Access: Send + Sync + 'static {
    /// The role of a device in a root.
    ///
    /// # Errors
    /// [`Denied`] says why it has none.
    fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied>;

    /// As [`Access::role`], but waits a moment for a membership that is not known yet.
    ///
    /// # Errors
    /// As [`Access::role`].
    fn role_soon(
        &self,
        root: RootId,
        device: DeviceId,
    ) -> Pin<Box<dyn Future<Output = Result<Role, Denied>> + Send + '_>>;

    /// The devices that are attached to a root.
    fn attached(&self, root: RootId) -> Vec<DeviceId>;

    /// The roots that somebody is a member of.
    fn roots(&self) -> Vec<RootId>;

    /// Follows the changes; a receiver that lags behind has to look at everything again.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Notes that a device was heard of.
    fn seen(&self, device: DeviceId);

    /// The user whose device this is or was; `None` for one that was never known.
    fn user(&self, device: DeviceId) -> Option<UserId>;

    /// What people call a device.
    fn device_name(&self, device: DeviceId) -> Option<String>;

    /// What people call the user whose device this is or was.
    fn user_name(&self, device: DeviceId) -> Option<String>;
}

impl Access for Members {
    fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        Members::role(self, root, device)
    }
    fn role_soon(
        &self,
        root: RootId,
        device: DeviceId,
    ) -> Pin<Box<dyn Future<Output = Result<Role, Denied>> + Send + '_>> {
        Box::pin(Members::role_soon(self, root, device))
    }
    fn attached(&self, root: RootId) -> Vec<DeviceId> {
        Members::attached(self, root)
    }
    fn roots(&self) -> Vec<RootId> {
        Members::roots(self)
    }
    fn changes(&self) -> broadcast::Receiver<Change> {
        Members::changes(self)
    }
    fn seen(&self, device: DeviceId) {
        Members::seen(self, device);
    }
    fn user(&self, device: DeviceId) -> Option<UserId> {
        self.known(device).map(|device| device.user)
    }
    fn device_name(&self, device: DeviceId) -> Option<String> {
        self.known(device).map(|device| device.name)
    }
    fn user_name(&self, device: DeviceId) -> Option<String> {
        self.known(device).map(|device| device.user_name)
    }
}

/// Somebody who calls, with what is known of who may do what.
#[derive(Clone, Copy)]
pub struct Guard<'a> {
    /// What is known.
    pub access: &'a dyn Access,
    /// Who calls.
    pub caller: Caller,
}

impl Guard<'_> {
    /// The caller's role in a root now. Our own services may read everything.
    ///
    /// # Errors
    /// [`Denied`] says why it has none.
    pub fn role(&self, root: RootId) -> Result<Role, Denied> {
        match self.caller {
            Caller::Device(device) => self.access.role(root, device),
            Caller::Service(_) => Ok(Role::Reader),
        }
    }

    /// As [`Guard::role`], but waits a moment for a membership that is not known yet.
    ///
    /// # Errors
    /// As [`Guard::role`].
    pub async fn role_soon(&self, root: RootId) -> Result<Role, Denied> {
        match self.caller {
            Caller::Device(device) => self.access.role_soon(root, device).await,
            Caller::Service(_) => Ok(Role::Reader),
        }
    }

    /// Fails unless the caller owns the root.
    ///
    /// # Errors
    /// As [`Guard::role`]; [`Denied::Role`].
    pub fn owner(&self, root: RootId) -> Result<(), Denied> {
        match self.role(root)? {
            Role::Owner => Ok(()),
            role => Err(Denied::Role(role)),
        }
    }

    /// Fails unless the caller may change the root.
    ///
    /// # Errors
    /// As [`Guard::role`]; [`Denied::Role`].
    pub fn writer(&self, root: RootId) -> Result<(), Denied> {
        match self.role(root)? {
            reader @ Role::Reader => Err(Denied::Role(reader)),
            Role::Writer | Role::Owner => Ok(()),
        }
    }

    /// Whether one of these devices is the caller's user's.
    pub fn is_involved(&self, whose: &[DeviceId]) -> bool {
        let Caller::Device(caller) = self.caller else { return false };
        let user = self.access.user(caller);
        whose.iter().any(|device| *device == caller || (user.is_some() && self.access.user(*device) == user))
    }
}

impl std::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("caller", &self.caller).finish_non_exhaustive()
    }
}
