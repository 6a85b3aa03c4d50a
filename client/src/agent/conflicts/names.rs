//! What people call the devices that have a root in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::registry::v1 as registry;
use quics_types::{DeviceId, RootId};
use tonic::Request;

use crate::agent::Core;

/// How long the registry may take: names are a courtesy.
const PATIENCE: Duration = Duration::from_secs(3);

/// The names of the devices of a root's members, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Names {
    own: Option<DeviceId>,
    user: String,
    devices: HashMap<Bytes, (String, String)>,
}

impl Names {
    /// Names out of what the registry lists.
    fn new(own: DeviceId, user: String, listed: Vec<registry::Device>) -> Self {
        let devices = listed.into_iter().map(|it| (it.device_id, (it.name, it.user_name))).collect();
        Self { own: Some(own), user, devices }
    }

    fn knows(&self, device: &[u8]) -> bool {
        self.devices.contains_key(device)
    }

    /// A device by the names that people know.
    pub(crate) fn author(&self, device: &[u8]) -> api::Author {
        let (device_name, user_name) = self.devices.get(device).cloned().unwrap_or_default();
        let own = self.own.is_some_and(|own| own.as_bytes().as_slice() == device);
        let same_user = own || (!user_name.is_empty() && user_name == self.user);
        api::Author { device_id: Bytes::copy_from_slice(device), device_name, user_name, own, same_user }
    }

    /// What a device is called in a sentence.
    pub(crate) fn label(&self, device: &[u8]) -> String {
        label(&self.author(device))
    }
}

/// What a device is called in a sentence: "laptop", "ann's laptop" where it is somebody else's.
pub fn label(author: &api::Author) -> String {
    let device = crate::text::line(&author.device_name);
    match (author.device_name.is_empty(), author.same_user) {
        (true, _) if author.device_id.iter().all(|byte| *byte == 0) => "the server".to_owned(),
        (true, _) => {
            format!("device {}", data_encoding::HEXLOWER.encode(author.device_id.get(..4).unwrap_or_default()))
        }
        (false, true) => device,
        (false, false) => format!("{}'s {device}", crate::text::line(&author.user_name)),
    }
}

impl Core {
    /// The names of a root's devices. They are asked for where one of `devices` is not known yet; without the registry,
    /// what is known has to do.
    pub(crate) async fn names(&self, root: RootId, devices: &[Bytes]) -> Arc<Names> {
        let known = self.desk.names.lock().get(&root).cloned();
        if let Some(known) = &known
            && devices.iter().all(|device| known.knows(device) || device.iter().all(|byte| *byte == 0))
        {
            return known.clone();
        }
        let mut request =
            Request::new(registry::ListDevicesRequest { root_id: Bytes::copy_from_slice(root.as_bytes()) });
        request.set_timeout(PATIENCE);
        let (own, user) = {
            let account = self.account.lock();
            (account.device, account.user_name.clone())
        };
        let asked = async { tokio::time::timeout(PATIENCE, self.registry().list_devices(request)).await };
        match asked.await {
            Ok(Ok(listed)) => {
                let names = Arc::new(Names::new(own, user, listed.into_inner().devices));
                self.desk.names.lock().insert(root, names.clone());
                names
            }
            failed => {
                tracing::debug!(?failed, "names.unknown");
                known.unwrap_or_else(|| Arc::new(Names::new(own, user, Vec::new())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_users_devices_are_told_apart_and_no_name_drives_a_terminal() {
        let device = |id: u8, name: &str, user: &str| registry::Device {
            device_id: vec![id; 16].into(),
            name: name.to_owned(),
            user_name: user.to_owned(),
            ..Default::default()
        };
        let listed = vec![device(1, "laptop", "ann"), device(2, "desk\u{1b}top", "ann"), device(3, "laptop", "bob")];
        let names = Names::new(DeviceId::from_bytes([1; 16]), "ann".to_owned(), listed);
        assert_eq!(names.label(&[1; 16]), "laptop");
        assert_eq!(names.label(&[2; 16]), "desk\\u{1b}top");
        assert_eq!(names.label(&[3; 16]), "bob's laptop");
        assert_eq!(names.label(&[0xab; 16]), "device abababab");
        assert_eq!(names.label(&[0; 16]), "the server");
        assert!(names.author(&[1; 16]).own && names.author(&[2; 16]).same_user && !names.author(&[3; 16]).same_user);
    }
}
