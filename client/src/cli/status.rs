//! `quics status`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quics_proto::agent::v1::{
    Connection, GetStatusRequest, RootState, RootStatus, Status as AgentStatus, WatchPromptsRequest,
    WatchPromptsResponse, WatchStatusRequest,
};

use super::failure::{DONE, FAILED};
use super::{Context, Failure, context, output, progress};

mod json;

use json::{NewsJson, PromptJson, read};

const EXAMPLES: &str = "\
Examples:
  quics status
  quics status ~/Documents --json
  quics status --watch                  live, until Ctrl-C
  quics status --wait --timeout 60      return when everything is in sync (exit code 3: something waits for you)";

/// Show what is in sync and what is not
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// A synced directory, or anything in it [default: all]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Go on showing it as it changes; with --json one object a line
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    /// Return when everything that is there now is in sync
    #[arg(long)]
    wait: bool,
    /// With --wait: give up after so long
    #[arg(long, requires = "wait", value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let only = self.path.as_deref().map(context::place).transpose()?;
        if self.watch {
            return self.watch(context, &mut agent, only).await;
        }
        let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
        let status = narrow(status, only.clone())?;
        if !self.wait {
            self.print(&status)?;
            return Ok(DONE);
        }
        let root = only.and_then(|_| status.roots.first().map(|root| root.root_id.clone()));
        let waiting = progress::wait(context, &mut agent, root);
        let code = match self.timeout {
            None => waiting.await?,
            Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), waiting).await {
                Ok(waited) => waited?,
                Err(_elapsed) => {
                    return Err(Failure {
                        code: FAILED,
                        text: format!("not in sync after {seconds} s: see `quics status`"),
                    });
                }
            },
        };
        if self.json {
            let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
            self.print(&status)?;
        }
        Ok(code)
    }

    fn print(&self, status: &AgentStatus) -> Result<(), Failure> {
        if self.json {
            output::json(&read(status))?;
        } else {
            output::line(page(status).trim_end())?;
        }
        Ok(())
    }

    async fn watch(
        &self,
        context: &Context,
        agent: &mut crate::api::Client,
        only: Option<PathBuf>,
    ) -> Result<u8, Failure> {
        let terminal = console::Term::stdout();
        let redraws = terminal.is_term() && !self.json;
        let mut prompts = agent.watch_prompts(WatchPromptsRequest {}).await?.into_inner();
        let mut stream = agent.watch_status(WatchStatusRequest {}).await?.into_inner();
        let mut lines = 0;
        loop {
            let told = tokio::select! {
                told = stream.message() => told?,
                prompt = prompts.message() => {
                    if let Some(prompt) = prompt?
                        && concerns(&prompt, only.as_deref())
                    {
                        // It stays above the status, which is drawn anew below it.
                        if redraws {
                            terminal.clear_last_lines(std::mem::take(&mut lines))?;
                        }
                        self.tell(&prompt)?;
                    }
                    continue;
                }
            };
            let Some(told) = told else { break };
            let status = narrow(told.status.unwrap_or_default(), only.clone())?;
            if self.json {
                output::json_line(&read(&status))?;
                continue;
            }
            let page = page(&status);
            if redraws {
                terminal.clear_last_lines(lines)?;
                let width = usize::from(terminal.size().1);
                // A line that wraps would be two.
                let cut: Vec<_> =
                    page.lines().map(|line| console::truncate_str(line, width, "…").into_owned()).collect();
                lines = cut.len();
                terminal.write_line(&cut.join("\n"))?;
            } else {
                output::line(page.trim_end())?;
            }
        }
        let home = crate::text::path(context.home.path());
        Err(Failure::new(format!("the agent of {home} has stopped")))
    }
}

impl Status {
    /// Shows news of a conflict.
    fn tell(&self, prompt: &WatchPromptsResponse) -> Result<(), Failure> {
        let conflict = prompt.conflict.clone().unwrap_or_default();
        if self.json {
            let path = output::PathJson::new(&conflict.path);
            output::json_line(&NewsJson {
                prompt: PromptJson { path, asked: prompt.asked, text: prompt.text.clone() },
            })?;
        } else {
            let at = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            output::line(format_args!("{at}  {}", crate::text::line(&prompt.text)))?;
        }
        Ok(())
    }
}

/// Whether news are about something that is shown.
fn concerns(prompt: &WatchPromptsResponse, only: Option<&std::path::Path>) -> bool {
    use std::os::unix::ffi::OsStrExt as _;

    let Some(conflict) = &prompt.conflict else { return false };
    only.is_none_or(|only| {
        let top = conflict.path.get(..conflict.root_length as usize).unwrap_or_default();
        only.starts_with(std::ffi::OsStr::from_bytes(top))
    })
}

/// Leaves only the root that holds the path, where one was given.
fn narrow(mut status: AgentStatus, only: Option<PathBuf>) -> Result<AgentStatus, Failure> {
    use std::os::unix::ffi::OsStrExt as _;

    if let Some(only) = only {
        status.roots.retain(|root| only.starts_with(std::ffi::OsStr::from_bytes(&root.path)));
        if status.roots.is_empty() {
            return Err(crate::agent::Error::NoRoot { at: only }.into());
        }
    }
    Ok(status)
}

fn state(state: RootState) -> &'static str {
    match state {
        RootState::Unspecified => "unknown",
        RootState::InSync => "in sync",
        RootState::Scanning => "scanning",
        RootState::Syncing => "syncing",
        RootState::Offline => "offline",
        RootState::Paused => "paused",
        RootState::Held => "held",
        RootState::Failed => "failed",
    }
}

/// The status for people.
fn page(status: &AgentStatus) -> String {
    use std::fmt::Write as _;

    let line = |text: &str| crate::text::line(text);
    let way = match status.connection() {
        Connection::Quic => "connected over QUIC".to_owned(),
        Connection::Tcp => "connected over TCP (QUIC does not get through)".to_owned(),
        Connection::Offline | Connection::Unspecified if status.trouble.is_empty() => "not connected".to_owned(),
        Connection::Offline | Connection::Unspecified => format!("not connected: {}", line(&status.trouble)),
        Connection::Revoked => "revoked: run `quics leave --force` and join again".to_owned(),
    };
    let mut page =
        format!("{} of {} at {}: {way}\n", line(&status.device_name), line(&status.user_name), line(&status.server));
    // Writing to a String does not fail.
    let mut say = |text: String| {
        let _ = writeln!(page, "{text}");
    };
    if status.roots.is_empty() {
        say("Nothing is synced here yet: `quics add DIR` or `quics clone ROOT DIR`.".to_owned());
    }
    for root in &status.roots {
        say(format!("\n{}  {}  {}", line(&root.name), crate::text::bytes(&root.path), work(root)));
        if !root.hold.is_empty() {
            say(format!("  {}", line(&root.hold)));
        }
        for device in &root.braked_devices {
            say(format!("  {} has changed or deleted unusually much and is braked: see `quics hold`", line(device)));
        }
        if root.open_conflicts > 0 {
            say(format!("  {}: see `quics conflicts`", crate::text::count(root.open_conflicts, "open conflict")));
        }
        for problem in root.problems.iter().take(10) {
            say(format!("  {}: {}", crate::text::bytes(&problem.path), line(&problem.reason)));
        }
        let shown = root.problems.len().min(10) as u64;
        if root.problem_count > shown {
            say(format!("  and {} more that cannot be synced: see --json", root.problem_count - shown));
        }
    }
    page
}

/// What a root does, in one line.
fn work(root: &RootStatus) -> String {
    let mut text = state(root.state()).to_owned();
    let progress = root.progress.unwrap_or_default();
    match root.state() {
        RootState::Scanning => text.push_str(&format!(", {} entries seen", progress.scanned_entries)),
        RootState::InSync => text.push_str(&format!(", {} entries", root.entries)),
        _ => {}
    }
    let mut flow = |entries: u64, done: u64, total: u64, what: &str| {
        if entries > 0 || total > done {
            text.push_str(&format!(", {entries} to {what}"));
            if total > 0 {
                text.push_str(&format!(" ({} of {})", crate::text::size(done), crate::text::size(total)));
            }
        }
    };
    flow(root.outgoing, progress.sent_bytes, progress.send_total_bytes, "send");
    flow(root.incoming, progress.received_bytes, progress.receive_total_bytes, "receive");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> AgentStatus {
        let root = RootStatus {
            name: "evil\u{1b}[2J".into(),
            path: (&b"/home/\xff"[..]).into(),
            state: RootState::Syncing as i32,
            outgoing: 3,
            ..Default::default()
        };
        AgentStatus {
            device_name: "laptop".into(),
            connection: Connection::Tcp as i32,
            roots: vec![root],
            ..Default::default()
        }
    }

    #[test]
    fn a_status_for_people_cannot_drive_their_terminal() {
        let page = page(&status());
        assert!(page.contains("TCP") && page.contains("3 to send"), "{page}");
        assert!(!page.contains('\u{1b}') && page.contains("\\xff"), "{page}");
    }

    #[test]
    fn a_path_outside_of_all_roots_is_an_error() {
        assert!(narrow(status(), Some("/elsewhere".into())).is_err());
        assert_eq!(narrow(status(), None).unwrap().roots.len(), 1);
    }
}
