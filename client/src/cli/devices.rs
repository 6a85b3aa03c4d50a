//! `quics devices`

use bytes::Bytes;
use clap::{Args, Subcommand};
use quics_proto::registry::v1::{Device, ListDevicesRequest, RevokeDeviceRequest};
use serde::Serialize;

use super::context::Registry;
use super::failure::DONE;
use super::{Context, Failure, output, password};
use crate::account::call;

/// List your devices, or cut one off
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics devices
  quics devices --json
  quics devices revoke \"old laptop\"")]
pub(super) struct Devices {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Cut a device off, at once and everywhere; its files stay on it
    Revoke {
        /// Its name, or its id as `quics devices --json` shows it
        #[arg(value_name = "NAME")]
        device: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct DeviceJson {
    id: String,
    name: String,
    user: String,
    own: bool,
    revoked: bool,
    enrolled_at: Option<String>,
    seen_at: Option<String>,
    certificate_expires_at: Option<String>,
}

impl Devices {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut registry = context.registry()?;
        let listed = registry.client.list_devices(call(ListDevicesRequest::default())).await;
        let mut devices = listed.map_err(|status| registry.refused(&status))?.into_inner().devices;
        devices.sort_by(|a, b| (&a.name, &a.device_id).cmp(&(&b.name, &b.device_id)));
        if let Some(What::Revoke { device, yes }) = self.what {
            return revoke(registry, &devices, &device, yes).await;
        }
        if self.json {
            let list = devices.iter().map(|device| DeviceJson {
                id: output::hex(&device.device_id),
                name: device.name.clone(),
                user: device.user_name.clone(),
                own: device.own,
                revoked: device.revoked,
                enrolled_at: output::moment(device.enrolled_at),
                seen_at: output::moment(device.seen_at),
                certificate_expires_at: output::moment(device.certificate_expires_at),
            });
            output::json(&list.collect::<Vec<_>>())?;
            return Ok(DONE);
        }
        let rows: Vec<Vec<String>> = devices
            .iter()
            .map(|device| {
                let state = match (device.revoked, device.own) {
                    (true, _) => "revoked",
                    (false, true) => "this device",
                    (false, false) => "",
                };
                vec![
                    crate::text::line(&device.name),
                    output::when(device.enrolled_at),
                    output::when(device.seen_at),
                    state.to_owned(),
                ]
            })
            .collect();
        output::table(&["DEVICE", "JOINED", "LAST SEEN", ""], &rows)?;
        Ok(DONE)
    }
}

/// The devices of a root's members.
///
/// # Errors
/// One sentence.
pub(super) async fn of_root(context: &Context, root_id: Bytes) -> Result<Vec<Device>, Failure> {
    let mut registry = context.registry()?;
    let listed = registry.client.list_devices(call(ListDevicesRequest { root_id })).await;
    Ok(listed.map_err(|status| registry.refused(&status))?.into_inner().devices)
}

async fn revoke(mut registry: Registry, devices: &[Device], wanted: &str, yes: bool) -> Result<u8, Failure> {
    let device = find(devices, wanted)?;
    let name = crate::text::line(&device.name);
    if device.own {
        return Err(Failure::new(format!("\"{name}\" is this device: use `quics leave`")));
    }
    if !yes {
        match password::confirm(&format!("Cut off \"{name}\"? It needs a new ticket to come back."))? {
            Some(true) => {}
            Some(false) => return Err(Failure::new("nothing was changed")),
            None => return Err(Failure::usage("nobody can be asked: add --yes")),
        }
    }
    let request = RevokeDeviceRequest { device_id: device.device_id.clone() };
    registry.client.revoke_device(call(request)).await.map_err(|status| registry.refused(&status))?;
    output::line(format_args!("\"{name}\" is cut off."))?;
    Ok(DONE)
}

/// Finds a device that is not revoked by its id or its name; a name has to be unique.
fn find<'a>(devices: &'a [Device], wanted: &str) -> Result<&'a Device, Failure> {
    let live = || devices.iter().filter(|device| !device.revoked);
    if let Some(device) = live().find(|device| output::hex(&device.device_id) == wanted) {
        return Ok(device);
    }
    let mut named = live().filter(|device| device.name == wanted);
    let shown = crate::text::line(wanted);
    match (named.next(), named.next()) {
        (Some(device), None) => Ok(device),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "several devices are called \"{shown}\": give the id instead, `quics devices --json` shows it"
        ))),
        (None, _) => Err(Failure::new(format!("you have no device \"{shown}\": `quics devices` lists them"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: u8, name: &str, revoked: bool) -> Device {
        Device { device_id: vec![id; 16].into(), name: name.to_owned(), revoked, ..Default::default() }
    }

    #[test]
    fn a_device_is_found_by_a_name_that_only_one_live_device_has() {
        let devices = [device(1, "a", true), device(2, "a", false), device(3, "b", false), device(4, "b", false)];
        assert_eq!(find(&devices, "a").unwrap().device_id, vec![2; 16]);
        assert!(find(&devices, "b").unwrap_err().text.contains("several"));
        assert_eq!(find(&devices, &"03".repeat(16)).unwrap().device_id, vec![3; 16]);
        assert!(find(&devices, "c").unwrap_err().text.contains("quics devices"));
    }
}
