//! The command line of `quics-stack`.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use quics_proto::common::v1::Role;
use tokio::runtime::Runtime;

use crate::{
    commands::{self, UpOptions},
    data::{self, Data},
    internal, ports,
};

/// The server of QUIC-S as local processes
#[derive(Debug, Parser)]
#[command(name = "quics-stack", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server, keep it running until Ctrl-C, and print a ready `quics join` line
    Up {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        up: UpArgs,
    },
    /// Stop the server that runs from a data directory
    Stop {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show what runs, since when, and whether it serves
    Status {
        #[command(flatten)]
        data: DataArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read back everything that the server keeps; what its disk has lost is asked back from the devices
    Verify {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Give back the disk space of contents that nothing refers to any more: no file, conflict, version or upload
    Reclaim {
        #[command(flatten)]
        data: DataArgs,
        /// Only say how much would come back
        #[arg(long)]
        dry_run: bool,
        /// Rewrite also what has little to give
        #[arg(long)]
        all: bool,
    },
    /// Give a user a role in a root, or end the membership
    Member {
        #[command(flatten)]
        data: DataArgs,
        /// The root's name
        root: String,
        /// The user's name
        user: String,
        /// What the user may do
        role: Membership,
    },
    /// Print a one-time ticket with which a device joins: `quics join TICKET`
    Ticket {
        #[command(flatten)]
        data: DataArgs,
        /// Whose device it will be; may be left out where there is one user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Manage the people of this server
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Show the whole at work: a server, two devices, a folder on each, changes of many kinds, each timed
    Demo {
        /// End when all changes were made: exit code 0 if all arrived, 1 otherwise
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user
    Add {
        #[command(flatten)]
        data: DataArgs,
        /// What the user is called
        name: String,
    },
    /// Let a user's devices join by a password: asked for at a terminal, else read from standard input
    Password {
        #[command(flatten)]
        data: DataArgs,
        /// Whose
        name: String,
        /// End joining by password for this user
        #[arg(long)]
        off: bool,
    },
    /// List the users
    List {
        #[command(flatten)]
        data: DataArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a user may do with a root.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Membership {
    /// See all of it
    Reader,
    /// Change it, too
    Writer,
    /// And say who else may
    Owner,
    /// Nothing any more
    None,
}

#[derive(Debug, Args)]
struct DataArgs {
    /// Where everything of the server lies [default: $XDG_DATA_HOME/quics-stack, else ~/.local/share/quics-stack]
    #[arg(long, env = "QUICS_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct UpArgs {
    /// The ports count from here: links +0, the services +1 to +4, operations +11 to +14; 0 takes free ones
    #[arg(long, env = "QUICS_PORT_BASE", value_name = "PORT", default_value_t = ports::DEFAULT_BASE)]
    port_base: u16,
    /// A host name or address by which devices reach this machine, for tickets; may be repeated
    /// [default: what this machine calls itself]
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// On which address the server listens
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    listen: IpAddr,
    /// Log to standard error instead of files in the data directory
    #[arg(long)]
    log_stderr: bool,
    #[command(flatten)]
    links: share_svc::Links,
}

/// Runs the command line and returns its exit code: 0 if all went well, 1 if not, 2 if the arguments are wrong.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(part) = internal::Part::taken_from(&mut arguments) {
        return part.run(arguments);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even that cannot be printed, the exit code says it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quics-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let runtime = || Runtime::new().context("start the runtime");
    match command {
        Command::Up { data, up } => {
            let options = UpOptions {
                port_base: up.port_base,
                hosts: up.host,
                listen: up.listen,
                log_stderr: up.log_stderr,
                links: up.links,
            };
            runtime()?.block_on(commands::up(&data.resolve()?, options))?;
        }
        Command::Stop { data } => commands::stop(&data.resolve()?)?,
        Command::Status { data, json } => return runtime()?.block_on(commands::status(&data.resolve()?, json)),
        Command::Verify { data } => return runtime()?.block_on(commands::verify(&data.resolve()?)),
        Command::Reclaim { data, dry_run, all } => {
            runtime()?.block_on(commands::reclaim(&data.resolve()?, dry_run, all))?;
        }
        Command::Member { data, root, user, role } => {
            let role = match role {
                Membership::Reader => Role::Reader,
                Membership::Writer => Role::Writer,
                Membership::Owner => Role::Owner,
                Membership::None => Role::Unspecified,
            };
            runtime()?.block_on(commands::set_member(&data.resolve()?, root, user, role))?;
        }
        Command::Ticket { data, user } => runtime()?.block_on(commands::ticket(&data.resolve()?, user))?,
        Command::User { command: UserCommand::Add { data, name } } => {
            runtime()?.block_on(commands::add_user(&data.resolve()?, name))?;
        }
        Command::User { command: UserCommand::Password { data, name, off } } => {
            runtime()?.block_on(commands::set_password(&data.resolve()?, name, off))?;
        }
        Command::User { command: UserCommand::List { data, json } } => {
            runtime()?.block_on(commands::list_users(&data.resolve()?, json))?;
        }
        Command::Demo { once } => return commands::demo(&runtime()?, once),
    }
    Ok(ExitCode::SUCCESS)
}

impl DataArgs {
    fn resolve(self) -> Result<Data> {
        let root = self.data.map_or_else(data::default_root, Ok)?;
        let root = std::path::absolute(&root).with_context(|| format!("find {}", root.display()))?;
        Ok(Data::at(&root))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
