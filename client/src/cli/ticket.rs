//! `quics ticket`

use clap::Args;
use quics_proto::registry::v1::CreateTicketRequest;
use serde::Serialize;

use super::failure::DONE;
use super::{Context, Failure, output};
use crate::account::call;

/// Make a ticket for another device of yours
#[derive(Debug, Args)]
#[command(after_help = "\
The ticket lets one device in, once, within ten minutes. Whoever has it gets your files: send it by a way that you trust.

Example:
  quics ticket")]
pub(super) struct Ticket {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct TicketJson {
    ticket: String,
    expires_at: Option<String>,
}

impl Ticket {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut registry = context.registry()?;
        let made = registry.client.create_ticket(call(CreateTicketRequest {})).await;
        let made = made.map_err(|status| registry.refused(&status))?.into_inner();
        if self.json {
            output::json(&TicketJson { ticket: made.ticket, expires_at: output::moment(made.expires_at) })?;
        } else {
            eprintln!("Good for one device, until {}. On the other device run:", output::when(made.expires_at));
            output::line(format_args!("quics join {}", crate::text::line(&made.ticket)))?;
        }
        Ok(DONE)
    }
}
