//! `quics add`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::AddRootRequest;
use quics_proto::common::v1::Role;

use super::{Context, Failure, context, output, password, progress};

const EXAMPLES: &str = "\
The directory becomes a root: a tree that your other devices can clone. Everything in it is sent; an agent has to run.

Examples:
  quics add ~/Documents
  quics add ~/Documents --name papers --wait
  quics add ~/Documents --password      ask each device that clones it for a password";

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
        let mut agent = context.agent().await?;
        let path = context::place(&self.directory)?;
        let password = if self.password { password::choose("New password of the root: ")? } else { String::new() };
        let role = match self.grants {
            None => Role::Unspecified,
            Some(Grant::Reader) => Role::Reader,
            Some(Grant::Writer) => Role::Writer,
        };
        let (path, name) = (context::bytes(&path), self.name.unwrap_or_default());
        let request = AddRootRequest { path, name, password, password_role: role.into() };
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
