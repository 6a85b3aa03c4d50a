//! `quics leave`

use clap::Args;
use quics_proto::agent::v1::LeaveRequest;

use super::failure::DONE;
use super::{Context, Failure, output, password};
use crate::account;

const EXAMPLES: &str = "\
All roots are detached and this device is revoked at the server; the files stay where they are.

Examples:
  quics leave
  quics leave --force        forget the server even if it cannot be reached, or has revoked this device";

/// Leave the server; the files stay
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Leave {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Forget the server even if it cannot be told
    #[arg(long)]
    force: bool,
}

impl Leave {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let settings = context.home.settings()?;
        let Some(account) = settings.account.clone() else {
            return Err(account::Error::NotJoined { home: context.home.path().to_owned() }.into());
        };
        let server = crate::text::line(&account.server);
        if !self.yes && !self.force {
            match password::confirm(&format!("Leave the server at {server}? The files stay."))? {
                Some(true) => {}
                Some(false) => return Err(Failure::new("nothing was changed")),
                None => return Err(Failure::usage("nobody can be asked: add --yes")),
            }
        }
        match context.find_agent().await? {
            Some(mut agent) if !self.force => {
                agent.leave(LeaveRequest {}).await?;
            }
            Some(_) => {
                return Err(Failure::new(
                    "an agent runs: stop it with `quics agent stop` before `quics leave --force`",
                ));
            }
            None => {
                let locked = context.home.lock()?;
                let told = match account::open(&settings, &context.home) {
                    Ok((account, identity)) => {
                        let tls = identity.tls().map_err(account::Error::from)?;
                        let channel = account::registry_channel(&account, &tls);
                        account::revoke_self(&account, channel).await
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = told {
                    if !self.force {
                        return Err(error.into());
                    }
                    eprintln!("quics: the server was not told: {error}");
                }
                for root in &settings.roots {
                    crate::agent::release(&root.path, root.id).await;
                }
                account::forget(&locked)?;
            }
        }
        output::line(format_args!("This device has left the server at {server}."))?;
        Ok(DONE)
    }
}
