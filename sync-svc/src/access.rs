//! Who may do what: the seam to the view of members.

use std::future::Future;
use std::pin::Pin;

use quics_kit::caller::Caller;
use quics_kit::members::{Change, Denied, Members};
use quics_types::{DeviceId, Role, RootId, UserId};
use tokio::sync::broadcast;

use crate::Error;

/// What this service has to know of roots and devices. [`Members`] is it in production.
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
}

/// Somebody who calls, with what is known of who may do what.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'a> {
    pub(crate) access: &'a dyn Access,
    pub(crate) caller: Caller,
}

impl Guard<'_> {
    /// The caller's role in a root now. Our own services may read everything.
    pub(crate) fn role(&self, root: RootId) -> Result<Role, Error> {
        match self.caller {
            Caller::Device(device) => Ok(self.access.role(root, device)?),
            _ => Ok(Role::Reader),
        }
    }

    /// As [`Guard::role`], but waits a moment for a membership that is not known yet.
    pub(crate) async fn role_soon(&self, root: RootId) -> Result<Role, Error> {
        match self.caller {
            Caller::Device(device) => Ok(self.access.role_soon(root, device).await?),
            _ => Ok(Role::Reader),
        }
    }

    /// Fails unless the caller owns the root.
    pub(crate) fn owner(&self, root: RootId) -> Result<(), Error> {
        match self.role(root)? {
            Role::Owner => Ok(()),
            role => Err(Denied::Role(role).into()),
        }
    }

    /// Whether one of these devices is the caller's user's.
    pub(crate) fn is_involved(&self, whose: &[DeviceId]) -> bool {
        let Caller::Device(caller) = self.caller else { return false };
        let user = self.access.user(caller);
        whose.iter().any(|device| *device == caller || (user.is_some() && self.access.user(*device) == user))
    }

    /// The roots, of those that the caller follows, that are not its to see any more after a change of members, each with
    /// why.
    ///
    /// # Errors
    /// [`Denied::Revoked`]: the caller itself was revoked. [`Error::Draining`]: there is nothing to follow any more.
    pub(crate) fn lost(
        &self,
        changed: Result<Change, broadcast::error::RecvError>,
        roots: impl Iterator<Item = RootId>,
    ) -> Result<Vec<(RootId, Error)>, Error> {
        let only = match changed {
            Ok(Change::Membership { root, .. }) => Some(root),
            Ok(Change::Device { device, revoked: true }) if self.caller == Caller::Device(device) => {
                return Err(Denied::Revoked.into());
            }
            Ok(Change::Device { .. } | Change::Attachment { .. }) => return Ok(Vec::new()),
            Err(broadcast::error::RecvError::Closed) => return Err(Error::Draining),
            _ => None,
        };
        let concerned = roots.filter(|root| only.is_none_or(|only| only == *root));
        Ok(concerned.filter_map(|root| Some((root, self.role(root).err()?))).collect())
    }

    /// Fails unless the caller may change the root.
    pub(crate) fn writer(&self, root: RootId) -> Result<(), Error> {
        match self.role(root)? {
            reader @ Role::Reader => Err(Denied::Role(reader).into()),
            Role::Writer | Role::Owner => Ok(()),
        }
    }
}
