//! `quics roots`

use clap::Args;
use quics_proto::common::v1::Role;
use quics_proto::registry::v1::{ListRootsRequest, Root};
use quics_types::UnitNames;
use serde::Serialize;

use super::failure::DONE;
use super::{Context, Failure, output};
use crate::account::call;

/// List the roots of the server that you may see
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics roots
  quics roots --json")]
pub(super) struct Roots {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RootJson {
    id: String,
    name: String,
    role: &'static str,
    owner: String,
    password_required: bool,
    created_at: Option<String>,
    attached_devices: Vec<String>,
    units: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    here: Option<output::PathJson>,
}

impl Roots {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        use std::os::unix::ffi::OsStrExt as _;

        let mut registry = context.registry()?;
        let listed = registry.client.list_roots(call(ListRootsRequest {})).await;
        let mut roots = listed.map_err(|status| registry.refused(&status))?.into_inner().roots;
        roots.sort_by(|a, b| (&a.name, &a.root_id).cmp(&(&b.name, &b.root_id)));
        let settings = context.home.settings()?;
        let here = |id: &[u8]| {
            let entry = settings.roots.iter().find(|entry| entry.id.as_bytes().as_slice() == id)?;
            Some(entry.path.as_os_str().as_bytes().to_vec())
        };
        if self.json {
            let list = roots.iter().map(|root| RootJson {
                id: output::hex(&root.root_id),
                name: root.name.clone(),
                role: role(root.role()),
                owner: root.owner.clone(),
                password_required: root.password_required,
                created_at: output::moment(root.created_at),
                attached_devices: root.attached_devices.clone(),
                units: units(root),
                here: here(&root.root_id).map(|path| output::PathJson::new(&path)),
            });
            output::json(&list.collect::<Vec<_>>())?;
            return Ok(DONE);
        }
        if roots.is_empty() {
            output::line("There are no roots yet: `quics add DIR` makes one.")?;
            return Ok(DONE);
        }
        let usual = UnitNames::default().to_bytes();
        let all_usual = roots.iter().all(|root| root.unit_names == usual);
        let rows: Vec<Vec<String>> = roots
            .iter()
            .map(|root| {
                let devices: Vec<String> = root.attached_devices.iter().map(|name| crate::text::line(name)).collect();
                let mut row = vec![
                    crate::text::line(&root.name),
                    role(root.role()).to_owned(),
                    crate::text::line(&root.owner),
                    here(&root.root_id).map_or_else(|| "-".to_owned(), |path| crate::text::bytes(&path).to_string()),
                    devices.join(", "),
                ];
                // Said only where somebody chose others than the usual ones.
                if !all_usual {
                    row.push(match units(root) {
                        _ if root.unit_names == usual => "usual".to_owned(),
                        none if none.is_empty() => "none".to_owned(),
                        names => names.join(", "),
                    });
                }
                row
            })
            .collect();
        let columns = ["ROOT", "ROLE", "OWNER", "HERE", "DEVICES", "UNITS"];
        output::table(if all_usual { &columns[..5] } else { &columns }, &rows)?;
        Ok(DONE)
    }
}

/// The names of a root's unit directories.
fn units(root: &Root) -> Vec<String> {
    // A name that cannot be one comes from no registry of ours; it is printed safely all the same.
    root.unit_names.iter().map(|name| crate::text::bytes(name).to_string()).collect()
}

/// The word for a role.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "unknown",
        Role::Reader => "reader",
        Role::Writer => "writer",
        Role::Owner => "owner",
    }
}
