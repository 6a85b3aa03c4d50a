//! `quics policy`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quics_proto::history::v1 as history;
use quics_proto::history::v1::{Amount, GetPolicyRequest, KeepRule, SetPolicyRequest};
use serde::Serialize;

use super::at::Place;
use super::{History, confirmed, stream};
use crate::account::call;
use crate::cli::failure::DONE;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Days that are for ever.
const FOREVER: u32 = u32::MAX;

/// Show or change how long the versions of a root are kept
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A version's age counts from the moment at which the next one, or its deletion, reached the server: while every version is
kept, what was there at any moment can be brought back whole; after that, what was there at the end of each day, then of
each week (days and weeks end by UTC). What is there now, pinned versions and those of an open conflict are always kept.

Examples:
  quics policy ~/Documents
  quics policy set ~/Documents --every 60d --daily 2y --dry-run
  quics policy set --for '*.iso' --every 7d
  quics policy set --size 200G
  quics policy reset ~/Documents"
)]
pub(in crate::cli) struct Policy {
    #[command(subcommand)]
    what: Option<What>,
    /// A root's name, or anything in it [default: the root that you are in]
    #[arg(value_name = "ROOT|PATH")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change it, after a preview of what it would remove; for owners
    Set(Box<Set>),
    /// Back to what every root has at first; for owners
    Reset {
        /// A root's name, or anything in it [default: the root that you are in]
        #[arg(value_name = "ROOT|PATH")]
        root: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
struct Set {
    /// A root's name, or anything in it [default: the root that you are in]
    #[arg(value_name = "ROOT|PATH")]
    root: Option<PathBuf>,
    /// Only for files that match this pattern, in gitignore's syntax; by the path that they have, or had last
    #[arg(long = "for", value_name = "GLOB")]
    glob: Option<String>,
    /// Keep every version so long: 30d, 8w, 2y, forever, none
    #[arg(long, value_name = "TIME", value_parser = days)]
    every: Option<u32>,
    /// Then the last of each day
    #[arg(long, value_name = "TIME", value_parser = days)]
    daily: Option<u32>,
    /// Then the last of each week
    #[arg(long, value_name = "TIME", value_parser = days)]
    weekly: Option<u32>,
    /// What may go may have so many bytes, and the oldest go first: 500M, 200G, none
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<u64>,
    /// Remove the rule with this pattern
    #[arg(long, value_name = "GLOB", conflicts_with = "glob")]
    drop: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Show what it would remove, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PolicyJson {
    root: String,
    revision: u64,
    rules: Vec<RuleJson>,
    size_cap: Option<u64>,
    set_by: String,
    set_from: String,
    set_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removes: Option<AmountJson>,
}

/// Days; `null` is for ever.
#[derive(Serialize)]
struct RuleJson {
    glob: Option<String>,
    every_days: Option<u32>,
    daily_days: Option<u32>,
    weekly_days: Option<u32>,
    words: String,
}

#[derive(Serialize)]
pub(super) struct AmountJson {
    versions: u64,
    bytes: u64,
    estimated: bool,
}

impl AmountJson {
    pub(super) fn new(amount: Option<Amount>) -> Self {
        let amount = amount.unwrap_or_default();
        Self { versions: amount.versions, bytes: amount.bytes, estimated: amount.estimated }
    }
}

impl Policy {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.what {
            None => show(context, self.root, self.json).await,
            Some(What::Reset { root, how }) => {
                let place = Place::find_or_only(context, root.as_deref())?;
                let mut history = History::find(context).await?;
                let revision = get(&mut history, &place).await?.policy.unwrap_or_default().revision;
                apply(&mut history, &place, history::Policy { revision, ..Default::default() }, &how).await
            }
            Some(What::Set(set)) => {
                let place = Place::find_or_only(context, set.root.as_deref())?;
                let mut history = History::find(context).await?;
                let mut policy = get(&mut history, &place).await?.policy.unwrap_or_default();
                set.change(&mut policy)?;
                apply(&mut history, &place, policy, &set.how).await
            }
        }
    }
}

impl Set {
    fn change(&self, policy: &mut history::Policy) -> Result<(), Failure> {
        let stages = self.every.is_some() || self.daily.is_some() || self.weekly.is_some();
        if !stages && self.size.is_none() && self.drop.is_none() {
            return Err(Failure::usage("say what to change: --every, --daily, --weekly, --size, or --drop"));
        }
        if self.glob.is_some() && !stages {
            return Err(Failure::usage("say how long these files' versions are kept: --every, --daily or --weekly"));
        }
        if let Some(size) = self.size {
            policy.size_cap = size;
        }
        if let Some(glob) = &self.drop {
            let before = policy.rules.len();
            policy.rules.retain(|rule| rule.glob.is_empty() || rule.glob != *glob);
            if policy.rules.len() == before {
                return Err(Failure::usage(format!("no rule has the pattern {}", text::line(glob))));
            }
        }
        let glob = self.glob.clone().unwrap_or_default();
        if self.glob.is_some() && glob.trim().is_empty() {
            return Err(Failure::usage("--for wants a pattern, in gitignore's syntax"));
        }
        if policy.rules.iter().all(|rule| rule.glob != glob) {
            // Before the rule for all, which stays the last one.
            let last = policy.rules.len().saturating_sub(1);
            policy.rules.insert(last, KeepRule { glob: glob.clone(), ..Default::default() });
        }
        for rule in policy.rules.iter_mut().filter(|rule| stages && rule.glob == glob) {
            rule.every_days = self.every.unwrap_or(rule.every_days);
            rule.daily_days = self.daily.unwrap_or(rule.daily_days);
            rule.weekly_days = self.weekly.unwrap_or(rule.weekly_days);
        }
        Ok(())
    }
}

async fn get(history: &mut History, place: &Place) -> Result<history::GetPolicyResponse, Failure> {
    let got = history.keeping.get_policy(call(GetPolicyRequest { root_id: place.root_id() })).await;
    Ok(got.map_err(|status| history.refused(&status))?.into_inner())
}

async fn show(context: &Context, root: Option<PathBuf>, json: bool) -> Result<u8, Failure> {
    let place = Place::find_or_only(context, root.as_deref())?;
    let mut history = History::find(context).await?;
    let got = get(&mut history, &place).await?;
    let policy = got.policy.unwrap_or_default();
    if json {
        output::json(&policy_json(&place, policy, None))?;
        return Ok(DONE);
    }
    print(&place, &policy, "keeps")?;
    output::line(match policy.revision {
        0 => "Every root begins with this; `quics policy set` changes it.".to_owned(),
        _ => {
            let (who, device) = (text::line(&policy.user_name), text::line(&policy.device_name));
            format!("Set by {who} from {device}, {}.", output::when(policy.set_at))
        }
    })?;
    if got.swept_at.is_some() {
        let when = output::when(got.swept_at);
        output::line(format_args!("Looked through last {when}: {} went.", text::count(got.taken, "version")))?;
    }
    Ok(DONE)
}

/// The policy in sentences.
fn print(place: &Place, policy: &history::Policy, keeps: &str) -> Result<(), Failure> {
    let name = text::line(&place.root.name);
    let (last, named) = policy.rules.split_last().ok_or_else(|| Failure::new("history-svc told no policy"))?;
    for rule in named {
        output::line(format_args!("{name} {keeps} of {}: {}.", text::line(&rule.glob), text::line(&rule.words)))?;
    }
    let others = if named.is_empty() { "of each file" } else { "of all other files" };
    output::line(format_args!("{name} {keeps} {others}: {}.", text::line(&last.words)))?;
    output::line("What is there now, pinned versions and those of open conflicts are always kept.")?;
    if policy.size_cap > 0 {
        let size = text::size(policy.size_cap);
        output::line(format_args!("What is not always kept may have {size}: above that, the oldest go first."))?;
    }
    Ok(())
}

/// Previews a policy, asks, and sets it.
async fn apply(history: &mut History, place: &Place, policy: history::Policy, how: &How) -> Result<u8, Failure> {
    let mut request = SetPolicyRequest { root_id: place.root_id(), policy: Some(policy), dry_run: true };
    let preview = history.keeping.set_policy(stream(request.clone())).await;
    let preview = preview.map_err(|status| history.refused(&status))?.into_inner();
    let (would, removes) = (preview.policy.unwrap_or_default(), preview.removes.unwrap_or_default());
    if !how.json {
        print(place, &would, if how.dry_run { "would keep" } else { "will keep" })?;
        output::line(match removes.versions {
            0 => "Nothing goes now.".to_owned(),
            versions => format!(
                "Now the contents of {} go, {}{} of contents that nothing else has.",
                text::count(versions, "version"),
                if removes.estimated { "about " } else { "" },
                text::size(removes.bytes)
            ),
        })?;
    }
    if how.dry_run {
        if how.json {
            output::json(&policy_json(place, would, Some(removes)))?;
        }
        return Ok(DONE);
    }
    if !how.yes && removes.versions > 0 {
        confirmed("Set?", how.json)?;
    }
    request.dry_run = false;
    let set = history.keeping.set_policy(call(request)).await;
    let set = set.map_err(|status| history.refused(&status))?.into_inner().policy.unwrap_or_default();
    if how.json {
        output::json(&policy_json(place, set, Some(removes)))?;
    } else {
        output::line("Set.")?;
    }
    Ok(DONE)
}

fn policy_json(place: &Place, policy: history::Policy, removes: Option<Amount>) -> PolicyJson {
    let days = |days: u32| (days != FOREVER).then_some(days);
    let rule = |rule: KeepRule| RuleJson {
        glob: (!rule.glob.is_empty()).then_some(rule.glob),
        every_days: days(rule.every_days),
        daily_days: days(rule.daily_days),
        weekly_days: days(rule.weekly_days),
        words: rule.words,
    };
    PolicyJson {
        root: place.root.name.clone(),
        revision: policy.revision,
        rules: policy.rules.into_iter().map(rule).collect(),
        size_cap: (policy.size_cap > 0).then_some(policy.size_cap),
        set_by: policy.user_name,
        set_from: policy.device_name,
        set_at: output::moment(policy.set_at),
        removes: removes.map(|removes| AmountJson::new(Some(removes))),
    }
}

/// Reads a time in days: "30d", "8w", "2y", "forever", "none".
fn days(text: &str) -> Result<u32, String> {
    let wanted = || format!("\"{}\" is no such time: write 30d, 8w, 2y, forever or none", text::line(text));
    match text {
        "forever" => return Ok(FOREVER),
        "none" => return Ok(0),
        _ => {}
    }
    let unit = text.chars().last().ok_or_else(wanted)?;
    let days: u32 = match unit {
        'd' => 1,
        'w' => 7,
        'y' => 365,
        _ => return Err(wanted()),
    };
    let number: u32 = text.trim_end_matches(unit).parse().map_err(|_| wanted())?;
    number.checked_mul(days).filter(|days| *days < FOREVER).ok_or_else(wanted)
}

/// Reads a size: "500M", "200G", "1T", "none". 0 would keep nothing, which is not what "none" is.
fn size(text: &str) -> Result<u64, String> {
    let wanted = || format!("\"{}\" is no such size: write 500M, 200G, 1T or none", text::line(text));
    if text == "none" {
        return Ok(0);
    }
    let unit = text.trim_end_matches("iB").chars().last().ok_or_else(wanted)?;
    let shift = match unit.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err(wanted()),
    };
    let number: u64 = text.trim_end_matches("iB").trim_end_matches(unit).parse().map_err(|_| wanted())?;
    if number == 0 {
        return Err("a limit of 0 would keep nothing: write none for no limit".to_owned());
    }
    number.checked_mul(1 << shift).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        for (text, wanted) in [("30d", 30), ("8w", 56), ("2y", 730), ("none", 0), ("forever", FOREVER), ("0d", 0)] {
            assert_eq!(days(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "d", "30", "-1d", "3.5d", "9999999999d", "4294967295d", "30m", "ä"] {
            assert!(days(text).is_err(), "{text}");
        }
        for (text, wanted) in [("500M", 500 << 20), ("200G", 200 << 30), ("1TiB", 1 << 40), ("4k", 4096), ("none", 0)] {
            assert_eq!(size(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "G", "5", "-1G", "0G", "99999999999T", "5B", "iB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_pattern_stands_before_the_rule_for_all_and_what_is_not_said_stays() {
        let rule = |glob: &str, every_days| KeepRule { glob: glob.into(), every_days, ..Default::default() };
        let mut policy = history::Policy { rules: vec![rule("a", 1), rule("", 30)], ..Default::default() };
        let set = Set {
            root: None,
            glob: None,
            every: None,
            daily: None,
            weekly: None,
            size: None,
            drop: None,
            how: How { dry_run: false, yes: false, json: false },
        };
        assert!(set.change(&mut policy).is_err());
        let iso = Set { glob: Some("*.iso".into()), every: Some(7), ..set };
        iso.change(&mut policy).unwrap();
        assert_eq!(policy.rules, [rule("a", 1), rule("*.iso", 7), rule("", 30)]);
        let daily = Set { glob: None, every: None, daily: Some(9), ..iso };
        daily.change(&mut policy).unwrap();
        assert_eq!(policy.rules[2], KeepRule { daily_days: 9, ..rule("", 30) });
        let drop = Set { daily: None, drop: Some("a".into()), ..daily };
        drop.change(&mut policy).unwrap();
        assert_eq!(policy.rules.len(), 2);
        assert!(drop.change(&mut policy).is_err());
    }
}
