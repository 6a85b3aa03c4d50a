//! `quics join`

use clap::Args;
use quics_kit::enrol::Right;
use quics_kit::names::FIRST_USER;
use quics_kit::secret::Secret;
use quics_kit::ticket::Fingerprint;

use super::failure::DONE;
use super::{Context, Failure, output, password};
use crate::account::{self, Invitation};

const EXAMPLES: &str = "\
A ticket is one word that carries the server's address, its fingerprint and a secret that works once, for ten minutes.
It is made by `quics ticket` on a device of yours or by `quics-stack ticket` on the server. With --password the server's
fingerprint is shown; compare it with what its owner says.

Examples:
  quics join quics1-aeaxg…
  quics join files.example.org --password --user ann";

/// Make this computer a device of a server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Join {
    /// The ticket, or the server's HOST:PORT with --password
    #[arg(value_name = "TICKET|HOST:PORT", required = true, num_args = 1.., allow_hyphen_values = false)]
    invitation: Vec<String>,
    /// Join by the server password, which is asked for (or read from stdin)
    #[arg(long)]
    password: bool,
    /// Whose device this is, with --password
    #[arg(long, requires = "password", value_name = "USER", default_value = FIRST_USER)]
    user: String,
    /// The server's fingerprint, so that it need not be confirmed
    #[arg(long, requires = "password", value_name = "HEX")]
    fingerprint: Option<String>,
    /// What to call this device [default: the computer's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Join {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let text = self.invitation.join(" ");
        // Whatever is wrong with the text is said before anything is made.
        let ticket = if self.password { None } else { Some(read_ticket(&text)?) };
        let expected = self
            .fingerprint
            .as_deref()
            .map(|text| text.parse::<Fingerprint>().map_err(|error| Failure::usage(format!("--fingerprint: {error}"))));
        let address = if self.password { account::address(&text)? } else { String::new() };
        let settings = context.home.settings()?;
        if let Some(account) = settings.account {
            let (device, server) = (account.device_name, account.server);
            return Err(account::Error::AlreadyJoined { device, server }.into());
        }
        let locked = context.home.lock()?;
        let invitation = match ticket {
            Some(ticket) => ticket,
            None => by_password(address, self.user, expected.transpose()?).await?,
        };
        let name = self.name.unwrap_or_else(account::host_name);
        let joined = account::join(&locked, &invitation, &name).await?;
        output::line(format_args!(
            "This is the device \"{}\" of {} now, at {}.",
            crate::text::line(&joined.device_name),
            crate::text::line(&joined.user_name),
            crate::text::line(&joined.server)
        ))?;
        output::line("Next: `quics agent start`, then `quics add DIR` or `quics clone ROOT DIR`.")?;
        Ok(DONE)
    }
}

fn read_ticket(text: &str) -> Result<Invitation, Failure> {
    account::by_ticket(text).map_err(|error| {
        // Somebody who gives an address wants to join by password.
        let foreign = matches!(error, account::Error::Ticket(quics_kit::ticket::Error::Prefix));
        if foreign && account::address(text).is_ok() {
            return Failure::usage(format!(
                "\"{}\" is an address and no ticket: to join with the server password add --password",
                crate::text::line(text)
            ));
        }
        error.into()
    })
}

async fn by_password(address: String, user: String, expected: Option<Fingerprint>) -> Result<Invitation, Failure> {
    let fingerprint = match expected {
        Some(fingerprint) => fingerprint,
        None => confirm(&address, account::look(&address).await?)?,
    };
    let password =
        password::ask(&format!("Password of {} on {}: ", crate::text::line(&user), crate::text::line(&address)))?;
    let right = Right::Password { user, password: Secret::from(password.into_bytes()) };
    Ok(Invitation { addresses: vec![address], fingerprint, right })
}

fn confirm(address: &str, fingerprint: Fingerprint) -> Result<Fingerprint, Failure> {
    let address = crate::text::line(address);
    eprintln!("The server at {address} shows the fingerprint\n\n  {fingerprint}\n");
    match password::confirm("Is this what its owner told you?")? {
        Some(true) => Ok(fingerprint),
        Some(false) => Err(Failure::new("not joined: ask the server's owner for its fingerprint or for a ticket")),
        None => Err(Failure::usage(
            "nobody can be asked whether this is the right server: give its fingerprint with --fingerprint, or a ticket",
        )),
    }
}
