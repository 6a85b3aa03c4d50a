//! `quics add`

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::AddRootRequest;
use quics_proto::common::v1::Role;
use quics_types::{Name, UnitNames};

use super::{Context, Failure, context, output, password, progress};

const EXAMPLES: &str = "\
The directory becomes a root: a tree that your other devices can clone. Everything in it is sent; an agent has to run.

A unit is a directory that is synced as one entry with everything in it, because its files only fit each other: the
repositories of version control systems, unless you say otherwise. It never holds a part of one version and a part of
another, and where two devices changed it there is one question, about all of it. Which names are units is chosen here
for ever; a directory of another name is nothing special on any device.

Examples:
  quics add ~/Documents
  quics add ~/Documents --name papers --wait
  quics add ~/Documents --password      ask each device that clones it for a password
  quics add ~/Pictures --units .git,Catalog.bundle";

/// Sync a directory of this computer as a new root
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Add {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What to call the root [default: the directory's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set a password that every device has to give that attaches the root; it is asked for (or read from stdin)
    #[arg(long)]
    password: bool,
    /// What the password makes of other people of this server, who then need no invitation; they name the root by its id
    #[arg(long, value_name = "ROLE", requires = "password")]
    grants: Option<Grant>,
    /// Names of directories that are units, for ever [default: .git,.hg,.svn,.bzr,.jj,_darcs]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    units: Vec<OsString>,
    /// No directory is a unit
    #[arg(long, conflicts_with = "units")]
    no_units: bool,
    #[command(flatten)]
    patience: progress::Patience,
}

/// The roles that a password can grant.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Grant {
    /// May see all of it
    Reader,
    /// May change it, too
    Writer,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let units = match (self.no_units, self.units) {
            (true, _) => UnitNames::none(),
            (false, names) if names.is_empty() => UnitNames::default(),
            (false, names) => units(names).map_err(Failure::usage)?,
        };
        let mut agent = context.agent().await?;
        let path = context::place(&self.directory)?;
        let password = if self.password { password::choose("New password of the root: ")? } else { String::new() };
        let role = match self.grants {
            None => Role::Unspecified,
            Some(Grant::Reader) => Role::Reader,
            Some(Grant::Writer) => Role::Writer,
        };
        let (path, name) = (context::bytes(&path), self.name.unwrap_or_default());
        let unit_names = units.to_bytes();
        let request = AddRootRequest { path, name, password, password_role: role.into(), unit_names };
        let root = agent.add_root(request).await?.into_inner().root.unwrap_or_default();
        output::line(format_args!(
            "{} is the root \"{}\" now.",
            crate::text::bytes(&root.path),
            crate::text::line(&root.name)
        ))?;
        if self.grants.is_some() {
            let id = output::hex(&root.root_id);
            output::line(format_args!("Others attach it by its password: quics clone {id} DIR --password"))?;
        }
        self.patience.follow(context, &mut agent, root.root_id).await
    }
}

fn units(names: Vec<OsString>) -> Result<UnitNames, String> {
    let names = names.into_iter().map(|name| Name::new(name.into_vec())).collect::<Result<Vec<_>, _>>();
    let units = names.and_then(UnitNames::new);
    units.map_err(|error| format!("--units: {error}: give names of directories, or --no-units for none"))
}
