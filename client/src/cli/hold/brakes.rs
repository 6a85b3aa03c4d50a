//! The brakes of the server: who is braked, and letting them go on.

use std::path::Path;

use quics_proto::registry::v1::Device;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_proto::sync::v1::{
    BrakeStage, DecideBrakeRequest, HeldChange, ListBrakesRequest, ListBrakesResponse, ListHeldRequest, ListedBrake,
    SetBrakeRequest, held_change,
};
use quics_quic::Channel;
use quics_types::Role;
use serde::Serialize;
use tonic::{Code, Status};

use crate::account::{self, call};
use crate::cli::failure::{DONE, UNREACHABLE};
use crate::cli::history::Place;
use crate::cli::{Context, Failure, devices, output};
use crate::home::RootEntry;
use crate::text;

/// Changes of one device that are named at most.
const NAMED: usize = 1000;

/// sync-svc, as this device.
pub(in crate::cli) struct Sync {
    client: SyncServiceClient<Channel>,
    address: String,
}

/// A braked device in a root that is here.
pub(super) struct Braked {
    pub(super) root: RootEntry,
    /// What people call it.
    pub(super) device: String,
    pub(super) listed: ListedBrake,
    /// What is held of it, where that was asked for.
    files: Vec<HeldChange>,
}

#[derive(Serialize)]
pub(super) struct BrakeJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    device: String,
    device_id: String,
    braked_at: Option<String>,
    stage: &'static str,
    changed_before: u64,
    entries: u64,
    held: u64,
    held_bytes: u64,
    since_commit: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileJson>,
}

#[derive(Serialize)]
struct FileJson {
    #[serde(flatten)]
    path: output::PathJson,
    change: &'static str,
}

impl Sync {
    pub(in crate::cli) fn new(context: &Context) -> Result<Self, Failure> {
        let registry = context.registry()?;
        let client = SyncServiceClient::new(account::sync_channel(&registry.account, &registry.tls));
        let client = client.max_decoding_message_size(quics_types::limits::MESSAGE_BYTES);
        Ok(Self { client, address: registry.account.sync })
    }

    fn refused(&self, status: &Status) -> Failure {
        let said = text::line(status.message());
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Failure {
                code: UNREACHABLE,
                text: format!("the server at {} cannot be reached now ({said})", text::line(&self.address)),
            },
            Code::PermissionDenied => Failure::new(format!("only owners of the root decide about a brake ({said})")),
            _ => Failure::new(said),
        }
    }

    async fn listed(&mut self, root: &RootEntry) -> Result<ListBrakesResponse, Failure> {
        let root_id = root.id.as_bytes().to_vec().into();
        let listed = self.client.list_brakes(call(ListBrakesRequest { root_id })).await;
        Ok(listed.map_err(|status| self.refused(&status))?.into_inner())
    }

    async fn files(&mut self, root: &RootEntry, device_id: &bytes::Bytes) -> Result<Vec<HeldChange>, Failure> {
        let root_id = root.id.as_bytes().to_vec().into();
        let mut request = ListHeldRequest { root_id, device_id: device_id.clone(), ..Default::default() };
        let mut files = Vec::new();
        loop {
            let page = self.client.list_held(call(request.clone())).await;
            let page = page.map_err(|status| self.refused(&status))?.into_inner();
            files.extend(page.changes);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() || files.len() >= NAMED {
                return Ok(files);
            }
        }
    }

    /// Percent of a root that a device may destroy in a short time; 0: as usual.
    pub(in crate::cli) async fn share(&mut self, root: &RootEntry) -> Result<u32, Failure> {
        Ok(self.listed(root).await?.share_percent)
    }

    /// Sets it.
    pub(in crate::cli) async fn set_share(&mut self, root: &RootEntry, share_percent: u32) -> Result<(), Failure> {
        let root_id = root.id.as_bytes().to_vec().into();
        let set = self.client.set_brake(call(SetBrakeRequest { root_id, share_percent })).await;
        set.map_err(|status| self.refused(&status))?;
        Ok(())
    }

    /// Decides on a brake.
    pub(super) async fn decide(&mut self, braked: &Braked, decision: BrakeStage) -> Result<(), Failure> {
        let brake = braked.listed.brake.clone().unwrap_or_default();
        let request = DecideBrakeRequest {
            root_id: braked.root.id.as_bytes().to_vec().into(),
            device_id: brake.device_id,
            since_seq: brake.since_seq,
            decision: decision as i32,
        };
        self.client.decide_brake(call(request)).await.map_err(|status| self.refused(&status))?;
        Ok(())
    }
}

/// The braked devices of the roots that are here.
pub(super) async fn all(context: &Context, files: bool) -> Result<Vec<Braked>, Failure> {
    let mut sync = Sync::new(context)?;
    let mut braked = Vec::new();
    for root in context.home.settings()?.roots {
        let listed = sync.listed(&root).await?.brakes;
        let devices = if listed.is_empty() {
            Vec::new()
        } else {
            devices::of_root(context, root.id.as_bytes().to_vec().into()).await?
        };
        for listed in listed {
            let id = listed.brake.clone().unwrap_or_default().device_id;
            let files = if files { sync.files(&root, &id).await? } else { Vec::new() };
            braked.push(Braked { root: root.clone(), device: name(&devices, &id), listed, files });
        }
    }
    Ok(braked)
}

fn name(devices: &[Device], id: &[u8]) -> String {
    let found = devices.iter().find(|device| device.device_id == id);
    found.map_or_else(|| output::hex(id), |device| device.name.clone())
}

/// The brake that is on a device in the root around a path, or in the only root where it is.
pub(super) async fn find(context: &Context, directory: Option<&Path>, device: &str) -> Result<Braked, Failure> {
    let root = directory.map(|directory| Place::find(context, directory)).transpose()?.map(|place| place.root.id);
    let mut found = all(context, false).await?;
    found.retain(|braked| root.is_none_or(|root| root == braked.root.id) && braked.is_on(device));
    match (found.pop(), found.is_empty()) {
        (Some(braked), true) => Ok(braked),
        (None, _) => {
            Err(Failure::new(format!("\"{}\" is not braked here: `quics hold list` shows who is", text::line(device))))
        }
        _ => Err(Failure::usage("it is braked in several roots, or several are called so: give the root, or the id")),
    }
}

/// Lets what a braked device does pass.
pub(super) async fn release(
    context: &Context,
    directory: Option<&Path>,
    device: &str,
    json: bool,
) -> Result<u8, Failure> {
    let mut braked = find(context, directory, device).await?;
    Sync::new(context)?.decide(&braked, BrakeStage::Released).await?;
    if json {
        if let Some(brake) = &mut braked.listed.brake {
            brake.stage = BrakeStage::Released as i32;
        }
        output::json(&braked.json())?;
        return Ok(DONE);
    }
    let held = text::count(braked.listed.held, "held change");
    output::line(format_args!("Released: {held} of \"{}\" pass now.", text::line(&braked.device)))?;
    Ok(DONE)
}

impl Braked {
    fn is_on(&self, device: &str) -> bool {
        let brake = self.listed.brake.as_ref();
        self.device == device || brake.is_some_and(|brake| output::hex(&brake.device_id) == device)
    }

    pub(super) fn json(&self) -> BrakeJson {
        let brake = self.listed.brake.clone().unwrap_or_default();
        let file = |change: &HeldChange| FileJson { path: output::PathJson::new(&change.path), change: word(change) };
        BrakeJson {
            root: self.root.name.clone(),
            path: output::PathJson::new(std::os::unix::ffi::OsStrExt::as_bytes(self.root.path.as_os_str())),
            device: self.device.clone(),
            device_id: output::hex(&brake.device_id),
            braked_at: output::moment(brake.braked_at),
            stage: match brake.stage() {
                BrakeStage::Released => "released",
                BrakeStage::TakenBack => "taken_back",
                BrakeStage::On | BrakeStage::Unspecified => "on",
            },
            changed_before: brake.changed,
            entries: brake.entries,
            held: self.listed.held,
            held_bytes: self.listed.held_bytes,
            since_commit: brake.since_seq,
            files: self.files.iter().map(file).collect(),
        }
    }

    /// For people; how it is decided is told to those who may.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let brake = self.listed.brake.clone().unwrap_or_default();
        let (root, device) = (text::path(&self.root.path), text::line(&self.device));
        let held = text::count(self.listed.held, "change");
        match brake.stage() {
            BrakeStage::Released => {
                output::line(format_args!("{root}: \"{device}\" is released; {held} still to come from it"))?;
            }
            BrakeStage::TakenBack => {
                output::line(format_args!("{root}: what \"{device}\" did is taken back; it has not undone {held} yet"))?
            }
            BrakeStage::On | BrakeStage::Unspecified => {
                output::line(format_args!(
                    "{root}: \"{device}\" was braked at {}: it had changed or deleted {} of {} entries; {held} of it \
                     held since ({})",
                    output::when_exactly(brake.braked_at),
                    brake.changed,
                    brake.entries,
                    text::size(self.listed.held_bytes)
                ))?;
                output::line(format_args!("  {}", decision(self.root.role, &device)))?;
            }
        }
        for change in &self.files {
            output::line(format_args!("  {}  {}", word(change), text::bytes(&change.path)))?;
        }
        Ok(())
    }
}

/// How it is decided about a brake, for who may and for others.
fn decision(role: Role, device: &str) -> String {
    if role == Role::Owner {
        format!(
            "quics hold release --device \"{device}\" lets it pass, quics hold rewind --device \"{device}\" takes all of it \
             back"
        )
    } else {
        "an owner of the root decides whether it passes or is taken back".to_owned()
    }
}

/// What a held change would do.
fn word(change: &HeldChange) -> &'static str {
    match &change.what {
        Some(held_change::What::Delete(_)) => "delete",
        Some(held_change::What::Create(_)) => "create",
        Some(held_change::What::Change(change)) if change.content.is_some() => "change",
        Some(held_change::What::Change(_)) => "move",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_brake_is_decided_is_told_to_who_may() {
        assert!(decision(Role::Owner, "laptop").contains("quics hold rewind --device \"laptop\""));
        for role in [Role::Reader, Role::Writer] {
            let told = decision(role, "laptop");
            assert!(told.contains("an owner") && !told.contains("quics hold"), "{told}");
        }
    }
}
