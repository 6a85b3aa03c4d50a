//! `quics agent`

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, Subcommand};
use quics_proto::agent::v1::StopRequest;

use super::failure::DONE;
use super::{Context, Failure, output};
use crate::account;
use crate::agent::{self, AgentConfig};

/// How long an agent may take to answer after its start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Run, start or stop the agent that does the syncing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics agent start      in the background; it logs to agent.log in the home
  quics agent run        in the foreground, as a service manager wants it; it logs to stderr
  quics agent stop")]
pub(super) struct Agent {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the agent in the foreground until Ctrl-C, SIGTERM or `quics agent stop`
    Run,
    /// Start the agent in the background
    Start,
    /// Stop the agent
    Stop,
}

impl Agent {
    /// Whether this process is going to be the agent.
    pub(super) fn serves(&self) -> bool {
        matches!(self.what, What::Run)
    }

    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        match self.what {
            What::Run => run(context).await,
            What::Start => start(context).await,
            What::Stop => stop(context).await,
        }
    }
}

async fn run(context: &Context) -> Result<u8, Failure> {
    let shutdown = quics_kit::shutdown::on_signals()
        .map_err(|error| Failure::new(format!("cannot watch for signals: {error}")))?;
    agent::run(AgentConfig::new(context.home.path()), shutdown).await?;
    Ok(DONE)
}

async fn start(context: &Context) -> Result<u8, Failure> {
    if context.home.settings()?.account.is_none() {
        return Err(account::Error::NotJoined { home: context.home.path().to_owned() }.into());
    }
    if let Some(holder) = context.home.holder()? {
        return Err(context.home.held_by(holder).into());
    }
    let log = context.log_file.clone().unwrap_or_else(|| context.home.log());
    let failed = |error: std::io::Error| Failure::new(format!("cannot start the agent: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    // Where this is a part of another program, that one has to be told which.
    command.args(std::env::args_os().skip(1).take_while(|word| word == "quics"));
    command.arg("--home").arg(context.home.path()).arg("--log-file").arg(&log);
    if let Some(filter) = &context.log {
        command.arg("--log").arg(filter);
    }
    command.args(["agent", "run"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.envs(quics_kit::allocator::settings());
    // Its own group: a Ctrl-C here is not for it.
    command.process_group(0).current_dir("/");
    let mut child = command.spawn().map_err(failed)?;
    let answers = async {
        loop {
            if context.find_agent().await?.is_some() {
                return Ok::<bool, Failure>(true);
            }
            if child.try_wait().map_err(failed)?.is_some() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, answers).await {
        Ok(answered) => {
            if answered? {
                output::line(format_args!(
                    "The agent runs as process {} and logs to {}.",
                    child.id(),
                    crate::text::path(&log)
                ))?;
                return Ok(DONE);
            }
            let ended = child.wait_with_output().map_err(failed)?;
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.trim().trim_start_matches("quics: ");
            if said.is_empty() {
                return Err(Failure::new(format!("the agent did not start: see {}", crate::text::path(&log))));
            }
            Err(Failure::new(crate::text::line(said)))
        }
        Err(_elapsed) => Err(Failure::new(format!("the agent does not answer yet: see {}", crate::text::path(&log)))),
    }
}

async fn stop(context: &Context) -> Result<u8, Failure> {
    let Some(mut agent) = context.find_agent().await? else {
        let home = crate::text::path(context.home.path());
        return Err(Failure::new(format!("no agent runs for the home {home}")));
    };
    agent.stop(StopRequest {}).await?;
    drop(agent);
    let ended = async {
        while context.home.holder()?.is_some() {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), Failure>(())
    };
    match tokio::time::timeout(PATIENCE, ended).await {
        Ok(ended) => ended.map(|()| DONE),
        Err(_elapsed) => Err(Failure::new("the agent is still ending: look again with `quics status`")),
    }
}
