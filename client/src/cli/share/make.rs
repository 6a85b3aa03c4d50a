//! `quics share`

use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use quics_proto::share::v1::{CreateLinkRequest, CreateLinkResponse, Expiry};
use tonic::{Code, Request};

use super::until::until;
use super::{Sharing, edit, label, limit, log, policy, ready, show};
use crate::cli::failure::{DONE, UNREACHABLE};
use crate::cli::history::{self, Place};
use crate::cli::{Context, Failure, output, password};
use crate::home::Token;
use crate::text;

/// How long making a link may take: a folder with many entries is looked through first.
const CALL: Duration = Duration::from_secs(120);
/// How often it is tried where no answer came: the same call again answers with the same link.
const ATTEMPTS: usize = 3;

/// Make a link to a file or folder, for people who have no account
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Whoever has the link can look at what it shows and download it with any browser, until it ends or `quics unshare` takes it
back. It shows what is there now, or at T with PATH@T; with --live always the newest. Only this device keeps the
address: `quics shares` shows it again. A file that is called like one of the commands above is ./edit, ./log, ./policy.

Examples:
  quics share ~/Documents/plan.odt
  quics share ~/Photos/2026 --expires never --password --label \"for the family\"
  quics share ~/Documents/plan.odt@7 --expires \"2026-12-01 18:00\" --limit 5 --qr
  quics share ~/Documents/menu.pdf --live --copy
  quics share edit 3fa9c01d --expires 30d"
)]
pub(in crate::cli) struct Share {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    make: Make,
}

#[derive(Debug, Subcommand)]
enum What {
    Edit(Box<edit::Edit>),
    Log(log::Log),
    Policy(policy::Policy),
}

#[derive(Debug, Args)]
struct Make {
    /// The file or folder, now or at a moment
    #[arg(value_name = "PATH[@T]")]
    path: Option<OsString>,
    /// When it ends: 7d, 12h, "2026-12-01 18:00", never [default: in 7 days, or what the root's policy allows]
    #[arg(long, value_name = "TIME", value_parser = until, allow_hyphen_values = true)]
    expires: Option<Expiry>,
    /// How many downloads it is good for [default: any number]
    #[arg(long, value_name = "N", value_parser = limit, allow_hyphen_values = true)]
    limit: Option<u32>,
    /// Ask for a password, which whoever opens the link has to give
    #[arg(long)]
    password: bool,
    /// Show what is there at any time, wherever it is moved
    #[arg(long)]
    live: bool,
    /// What it is for, for you and for whoever opens it
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = label)]
    label: String,
    /// Show the address as a QR code too
    #[arg(long, conflicts_with = "json")]
    qr: bool,
    /// Put the address into the clipboard
    #[arg(long)]
    copy: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Share {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.what {
            None => self.make.run(context).await,
            Some(What::Edit(command)) => command.run(context).await,
            Some(What::Log(command)) => command.run(context).await,
            Some(What::Policy(command)) => command.run(context).await,
        }
    }
}

impl Make {
    async fn run(self, context: &Context) -> Result<u8, Failure> {
        let path = self.path.as_deref().ok_or_else(|| Failure::usage("say what to share: a file or a folder"))?;
        let (place, moment) = history::find(context, path).await?;
        if self.live && moment.is_some() {
            return Err(Failure::usage("a live link shows what is there at any time: leave out --live, or the moment"));
        }
        let mut sharing = Sharing::find(context).await?;
        let password = if self.password { Some(password::choose("Password of the link: ")?) } else { None };
        if moment.is_none() {
            ready::ready(context, &place).await?;
        }
        let (id, token) = (quics_kit::random::bytes::<16>(), Token::new(quics_kit::random::bytes()));
        let request = CreateLinkRequest {
            link_id: Bytes::copy_from_slice(&id),
            token: Bytes::copy_from_slice(token.as_bytes()),
            root_id: place.root_id(),
            subject: place.subject(),
            moment,
            live: self.live,
            expiry: self.expires,
            limit: self.limit,
            password,
            label: self.label.clone(),
        };
        // The server keeps no more than a hash: what is not kept here now could never be shown.
        context.home.keep_token(&id, &token)?;
        let made = match create(context, &mut sharing, &place, request).await {
            Ok(made) => made,
            Err(failure) => {
                // Where no answer came the link may be there.
                if failure.code != UNREACHABLE {
                    context.home.forget_token(&id)?;
                }
                return Err(failure);
            }
        };
        self.show(context, made)
    }

    fn show(&self, context: &Context, made: CreateLinkResponse) -> Result<u8, Failure> {
        let (link, address) = (made.link.unwrap_or_default(), text::line(&made.url));
        if self.json {
            output::json(&show::LinkJson::new(&link, Some(made.url)))?;
        } else {
            output::line(&address)?;
            if self.qr {
                output::line(show::qr(&address)?)?;
            }
            let (path, id) = (show::path(context, &link)?, show::id(&link));
            eprintln!("quics: {path}: {}; `quics unshare {id}` takes it back", show::words(&link));
        }
        if self.copy {
            show::copy(&address);
        }
        Ok(DONE)
    }
}

async fn create(
    context: &Context,
    sharing: &mut Sharing,
    place: &Place,
    message: CreateLinkRequest,
) -> Result<CreateLinkResponse, Failure> {
    for attempt in 1.. {
        let mut request = Request::new(message.clone());
        request.set_timeout(CALL);
        match sharing.client.create_link(request).await {
            Ok(made) => return Ok(made.into_inner()),
            Err(status) if status.code() == Code::Unavailable && attempt < ATTEMPTS => {}
            Err(status) => {
                let failure = sharing.sister.refused_about(&place.shown(), &status);
                // Why there was nothing then, history-svc knows.
                return Err(match message.moment {
                    Some(moment) if status.code() == Code::NotFound => {
                        history::missing(context, place, moment).await.unwrap_or(failure)
                    }
                    _ => failure,
                });
            }
        }
    }
    Err(Failure::new("share-svc gave no answer"))
}
