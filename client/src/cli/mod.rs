//! The command line, one file a command.
//!
//! Each command gives its result on stdout and says everything else on stderr: one sentence when it fails. Names that
//! come from a disk or a peer are made safe for the terminal before they are printed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quics_kit::telemetry;

mod add;
mod agent;
mod clone;
mod completions;
mod config;
mod conflicts;
mod context;
mod detach;
mod devices;
mod difference;
mod explain;
mod failure;
mod files;
mod history;
mod hold;
mod join;
mod leave;
mod members;
mod output;
mod password;
mod pause;
mod progress;
mod rescan;
mod resolve;
mod roots;
mod share;
mod sides;
mod sister;
mod status;
mod ticket;

use context::Context;
use failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; one sentence on stderr says why and what to do
  2  wrong use of the command line
  3  done as far as possible: something waits for a person (a conflict, a hold, a pause)
  4  the server cannot be reached

Example:
  quics join quics1-aeaxg…          make this computer a device of the server
  quics agent start                 start the agent in the background
  quics add ~/Documents             sync a folder
  quics status --watch              see how far it is";

/// Keeps folders the same on all your devices.
#[derive(Debug, Parser)]
#[command(name = "quics", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
struct Global {
    /// Where this device's settings, keys and state are [default: $XDG_DATA_HOME/quics or ~/.local/share/quics]
    #[arg(long, global = true, env = "QUICS_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// What is logged: a level, or directives as `info,quics_quic=debug` [default: info for `agent run`, else warn]
    #[arg(long, global = true, env = "QUICS_LOG", value_name = "FILTER", hide_env = true)]
    log: Option<String>,
    /// Append the log to this file instead of stderr
    #[arg(long, global = true, env = "QUICS_LOG_FILE", value_name = "FILE", hide_env = true)]
    log_file: Option<PathBuf>,
    /// Write the log as JSON, one object a line
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Join(join::Join),
    Leave(leave::Leave),
    Add(add::Add),
    Clone(clone::Clone),
    Roots(roots::Roots),
    Detach(detach::Detach),
    Status(status::Status),
    Rescan(rescan::Rescan),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Explain(explain::Explain),
    Devices(devices::Devices),
    Ticket(ticket::Ticket),
    Conflicts(conflicts::Conflicts),
    Resolve(resolve::Resolve),
    Log(history::Log),
    Ls(history::Ls),
    Cat(history::Cat),
    Get(history::Get),
    Diff(history::Diff),
    Restore(history::Restore),
    Pin(history::Pin),
    Unpin(history::Unpin),
    Pins(history::Pins),
    Policy(history::Policy),
    Usage(history::Usage),
    Purge(history::Purge),
    Share(share::Share),
    Shares(share::Shares),
    Unshare(share::Unshare),
    Config(config::Config),
    Hold(hold::Hold),
    Agent(agent::Agent),
    Completions(completions::Completions),
}

/// Runs the command line and gives the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(failure) = failure::of_value(&error) {
                failure.print();
                return ExitCode::from(failure.code);
            }
            let wrong = error.use_stderr();
            // Nothing can be said where stdout and stderr are closed.
            let _closed = error.print();
            return ExitCode::from(if wrong { failure::USAGE } else { failure::DONE });
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    if let Command::Completions(completions) = &cli.command {
        return completions.run::<Cli>();
    }
    let serves = matches!(&cli.command, Command::Agent(agent) if agent.serves());
    let runtime = if serves {
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("agent").build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let options = telemetry::Options {
            log: cli.global.log.clone().unwrap_or_else(|| if serves { "info" } else { "warn" }.to_owned()),
            log_format: if cli.global.log_json { telemetry::Format::Json } else { telemetry::Format::Text },
            log_file: cli.global.log_file.clone(),
        };
        let _telemetry = telemetry::init(&options, "quics").map_err(|error| Failure::new(error.to_string()))?;
        let context = Context::new(cli.global)?;
        match cli.command {
            Command::Join(command) => command.run(&context).await,
            Command::Leave(command) => command.run(&context).await,
            Command::Add(command) => command.run(&context).await,
            Command::Clone(command) => command.run(&context).await,
            Command::Roots(command) => command.run(&context).await,
            Command::Detach(command) => command.run(&context).await,
            Command::Status(command) => command.run(&context).await,
            Command::Rescan(command) => command.run(&context).await,
            Command::Pause(command) => command.run(&context).await,
            Command::Resume(command) => command.run(&context).await,
            Command::Explain(command) => command.run(&context).await,
            Command::Devices(command) => command.run(&context).await,
            Command::Ticket(command) => command.run(&context).await,
            Command::Conflicts(command) => command.run(&context).await,
            Command::Resolve(command) => command.run(&context).await,
            Command::Log(command) => command.run(&context).await,
            Command::Ls(command) => command.run(&context).await,
            Command::Cat(command) => command.run(&context).await,
            Command::Get(command) => command.run(&context).await,
            Command::Diff(command) => command.run(&context).await,
            Command::Restore(command) => command.run(&context).await,
            Command::Pin(command) => command.run(&context).await,
            Command::Unpin(command) => command.run(&context).await,
            Command::Pins(command) => command.run(&context).await,
            Command::Policy(command) => command.run(&context).await,
            Command::Usage(command) => command.run(&context).await,
            Command::Purge(command) => command.run(&context).await,
            Command::Share(command) => command.run(&context).await,
            Command::Shares(command) => command.run(&context).await,
            Command::Unshare(command) => command.run(&context).await,
            Command::Config(command) => command.run(&context).await,
            Command::Hold(command) => command.run(&context).await,
            Command::Agent(command) => command.run(&context).await,
            Command::Completions(_) => Ok(failure::DONE),
        }
    });
    // Name lookups and the like that nobody waits for any more do not keep the process.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_with_a_value_is_one_sentence() {
        let told = |args: &[&str]| {
            let error = Cli::try_parse_from(["quics"].iter().chain(args)).unwrap_err();
            failure::of_value(&error).map(|failure| (failure.code, failure.text))
        };
        for (args, words) in [
            (&["share", "a", "--limit", "x"][..], "--limit: \"x\" is no number of downloads"),
            (&["share", "a", "--expires", "x"], "--expires: \"x\" is no time: write 7d"),
            (&["share", "a", "--label", "a\nb"], "--label: \"a\\nb\" is no label: one has at most 256 bytes"),
            (&["policy", "set", "--every", "x"], "--every: \"x\" is no such time"),
            (&["log", "--limit", "a\u{1b}b"], "--limit: \"a\\u{1b}b\" cannot be: invalid digit"),
        ] {
            let (code, text) = told(args).unwrap_or_default();
            assert!(code == failure::USAGE && text.contains(words) && !text.contains('\n'), "{args:?}: {text}");
        }
        assert_eq!(told(&["status", "--nonsense"]), None);
    }

    #[test]
    fn help_shows_no_backslashes() {
        fn look(command: &mut clap::Command, path: &str) {
            let (help, path) = (command.render_long_help().to_string(), format!("{path} {}", command.get_name()));
            assert!(!help.contains('\\'), "{path}: {help}");
            command.get_subcommands_mut().for_each(|below| look(below, &path));
        }
        look(&mut Cli::command(), "");
    }

    #[test]
    fn every_command_has_a_summary_and_an_example() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no summary");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("quics {name}")), "{name} shows no example");
        }
    }
}
