//! `quics share policy`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quics_proto::share::v1 as share;
use quics_proto::share::v1::{GetPolicyRequest, SetPolicyRequest};
use serde::Serialize;

use super::Sharing;
use super::until::{longest, words};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::history::Place;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Show or change who may share what is in a root, and how; for owners
#[derive(Debug, Args)]
#[command(after_help = "\
Links that are there stay as they are. The server may have a policy of its own, which holds in all roots.

Examples:
  quics share policy ~/Documents
  quics share policy ~/Documents --sharers writers --longest 30d --password-required yes
  quics share policy ~/Documents --longest none --keep-addresses no")]
pub(super) struct Policy {
    /// A root's name, or anything in it [default: the root that you are in]
    #[arg(value_name = "ROOT|PATH")]
    root: Option<PathBuf>,
    /// Who may make links
    #[arg(long, value_enum, value_name = "WHO")]
    sharers: Option<Sharers>,
    /// How long a link may last: 30d, 12h, 1y, none for any time
    #[arg(long, value_name = "TIME", value_parser = longest)]
    longest: Option<Longest>,
    /// Whether each link has to have a password
    #[arg(long, value_enum, value_name = "YES|NO")]
    password_required: Option<YesNo>,
    /// Whether the log keeps from where downloads came
    #[arg(long, value_enum, value_name = "YES|NO")]
    keep_addresses: Option<YesNo>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Seconds; `None`: any time. It has a name because clap reads an `Option` in an `Option` as a flag.
type Longest = Option<i64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sharers {
    /// Every member
    Readers,
    /// Who may write
    Writers,
    Owners,
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

#[derive(Serialize)]
struct PolicyJson {
    sharers: &'static str,
    longest_seconds: Option<i64>,
    password_required: bool,
    keep_addresses: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Box<PolicyJson>>,
}

impl Policy {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let place = Place::find_or_only(context, self.root.as_deref())?;
        let mut sharing = Sharing::find(context).await?;
        let got = sharing.client.get_policy(call(GetPolicyRequest { root_id: place.root_id() })).await;
        let got = got.map_err(|status| sharing.refused(&status))?.into_inner();
        let mut policy = got.policy.unwrap_or_default();
        if self.change(&mut policy) {
            let request = SetPolicyRequest { root_id: place.root_id(), policy: Some(policy) };
            let set = sharing.client.set_policy(call(request)).await;
            policy = set.map_err(|status| sharing.refused(&status))?.into_inner().policy.unwrap_or_default();
        }
        let server = got.server.unwrap_or_default();
        if self.json {
            let server = Some(Box::new(json(&server, None, None)));
            output::json(&json(&policy, Some(policy.revision), server))?;
            return Ok(DONE);
        }
        output::line(format_args!("{}: {}.", text::line(&place.root.name), sentence(&policy)))?;
        if policy.revision > 0 {
            let (who, device) = (text::line(&policy.user_name), text::line(&policy.device_name));
            output::line(format_args!("Set by {who} from {device}, {}.", output::when(policy.set_at)))?;
        }
        output::line(format_args!("The server, everywhere: {}. The stricter of the two counts.", sentence(&server)))?;
        Ok(DONE)
    }

    /// Puts in what was said; whether anything was.
    fn change(&self, policy: &mut share::Policy) -> bool {
        if let Some(sharers) = self.sharers {
            policy.set_sharers(match sharers {
                Sharers::Readers => share::Sharers::Readers,
                Sharers::Writers => share::Sharers::Writers,
                Sharers::Owners => share::Sharers::Owners,
                Sharers::Nobody => share::Sharers::Nobody,
            });
        }
        if let Some(longest) = self.longest {
            policy.longest = longest.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        }
        if let Some(required) = self.password_required {
            policy.password_required = required == YesNo::Yes;
        }
        if let Some(keep) = self.keep_addresses {
            policy.keep_addresses = keep == YesNo::Yes;
        }
        self.sharers.is_some()
            || self.longest.is_some()
            || self.password_required.is_some()
            || self.keep_addresses.is_some()
    }
}

/// A policy in words.
fn sentence(policy: &share::Policy) -> String {
    let who = match policy.sharers() {
        share::Sharers::Readers | share::Sharers::Unspecified => "every member may share",
        share::Sharers::Writers => "who may write may share",
        share::Sharers::Owners => "owners may share",
        share::Sharers::Nobody => return "nobody may share".to_owned(),
    };
    let long = match policy.longest {
        Some(longest) => format!("for {} at most", words(longest.seconds)),
        None => "for any time".to_owned(),
    };
    let password = if policy.password_required { ", with a password only" } else { "" };
    let addresses = if policy.keep_addresses { "; the log keeps from where downloads came" } else { "" };
    format!("{who}, {long}{password}{addresses}")
}

fn json(policy: &share::Policy, revision: Option<u64>, server: Option<Box<PolicyJson>>) -> PolicyJson {
    PolicyJson {
        sharers: match policy.sharers() {
            share::Sharers::Readers | share::Sharers::Unspecified => "readers",
            share::Sharers::Writers => "writers",
            share::Sharers::Owners => "owners",
            share::Sharers::Nobody => "nobody",
        },
        longest_seconds: policy.longest.map(|longest| longest.seconds),
        password_required: policy.password_required,
        keep_addresses: policy.keep_addresses,
        revision,
        server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let longest = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
        let mut policy = share::Policy { revision: 3, longest, password_required: true, ..Default::default() };
        let said = Policy {
            root: None,
            sharers: None,
            longest: None,
            password_required: None,
            keep_addresses: None,
            json: false,
        };
        assert!(!said.change(&mut policy));
        let said = Policy { sharers: Some(Sharers::Owners), keep_addresses: Some(YesNo::Yes), ..said };
        assert!(said.change(&mut policy));
        assert_eq!((policy.revision, policy.longest, policy.password_required), (3, longest, true));
        let told = "owners may share, for 1 day at most, with a password only; the log keeps from where downloads came";
        assert_eq!(sentence(&policy), told);
        assert!(Policy { longest: Some(None), ..said }.change(&mut policy));
        assert_eq!(policy.longest, None);
    }
}
