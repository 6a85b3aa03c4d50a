//! The processes that this program starts of itself: `quics-stack internal …` is a part of the whole, with a lifeline;
//! `quics-stack quics …` is the command line of a device.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser};
use quics_kit::{shutdown, status::chain, telemetry};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{cli, lifeline};

/// A part that this process can be instead of the command line of `quics-stack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `internal service registry`
    Registry,
    /// `internal service sync`
    Sync,
    /// `internal service history`
    History,
    /// `internal service share`
    Share,
    /// `internal quics`: an agent that ends with its parent.
    Agent,
    /// `internal up`: a server that ends with its parent.
    Up,
    /// `quics`
    Quics,
}

impl Part {
    /// Finds out which part `arguments` (the program's name first) ask for, and takes the words for it out.
    pub(crate) fn taken_from(arguments: &mut Vec<OsString>) -> Option<Self> {
        const PARTS: [(&[&str], Part); 7] = [
            (&["internal", "service", "registry"], Part::Registry),
            (&["internal", "service", "sync"], Part::Sync),
            (&["internal", "service", "history"], Part::History),
            (&["internal", "service", "share"], Part::Share),
            (&["internal", "quics"], Part::Agent),
            (&["internal", "up"], Part::Up),
            (&["quics"], Part::Quics),
        ];
        let words = arguments.get(1..)?;
        let (words, part) = PARTS.into_iter().find(|(wanted, _)| {
            words.len() >= wanted.len() && words.iter().zip(*wanted).all(|(have, want)| have == want)
        })?;
        let kept = if part == Self::Up { words.len() - 1 } else { words.len() };
        arguments.drain(1..=kept);
        Some(part)
    }

    /// Is that part until it ends.
    pub(crate) fn run(self, arguments: Vec<OsString>) -> ExitCode {
        if self != Self::Quics
            && let Err(error) = lifeline::hold()
        {
            eprintln!("quics-stack: cannot watch the parent: {error}");
            return ExitCode::FAILURE;
        }
        match self {
            Self::Registry => serve(arguments, registry),
            Self::Sync => serve(arguments, sync),
            Self::History => serve(arguments, history),
            Self::Share => serve(arguments, share),
            Self::Agent | Self::Quics => quics_client::cli::main(arguments),
            Self::Up => cli::main(arguments),
        }
    }
}

/// The arguments of a service, as its own program takes them.
#[derive(Debug, Parser)]
struct Arguments<C: Args> {
    #[command(flatten)]
    config: C,
}

async fn registry(config: registry_svc::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.common.log, "registry-svc")?;
    Ok(registry_svc::run(config, shutdown).await?)
}

async fn sync(config: sync_svc::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.service.log, "sync-svc")?;
    Ok(sync_svc::run(config, shutdown).await?)
}

async fn history(config: history_svc::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.service.log, "history-svc")?;
    Ok(history_svc::run(config, shutdown).await?)
}

async fn share(config: share_svc::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.service.log, "share-svc")?;
    Ok(share_svc::run(config, shutdown).await?)
}

/// Runs a service to its end; what keeps it from going on is the last line that it logs.
fn serve<C: Args>(
    arguments: Vec<OsString>,
    run: impl AsyncFnOnce(C, CancellationToken) -> anyhow::Result<()>,
) -> ExitCode {
    let Arguments { config } = match Arguments::<C>::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let ended = Runtime::new().context("start the runtime").and_then(|runtime| {
        runtime.block_on(async {
            let shutdown = shutdown::on_signals()?;
            run(config, shutdown).await
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", chain::<dyn std::error::Error>(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn taken(line: &str) -> (Option<Part>, String) {
        let mut arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let part = Part::taken_from(&mut arguments);
        let left: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        (part, left.join(" "))
    }

    #[test]
    fn the_arguments_of_the_services_are_consistent() {
        Arguments::<registry_svc::Config>::command().debug_assert();
        Arguments::<sync_svc::Config>::command().debug_assert();
        Arguments::<history_svc::Config>::command().debug_assert();
        Arguments::<share_svc::Config>::command().debug_assert();
    }

    #[test]
    fn a_part_gets_the_arguments_that_are_its_own() {
        assert_eq!(taken("x internal service sync --data d"), (Some(Part::Sync), "x --data d".to_owned()));
        assert_eq!(taken("x quics --home h status"), (Some(Part::Quics), "x --home h status".to_owned()));
        assert_eq!(taken("x internal up --data d"), (Some(Part::Up), "x up --data d".to_owned()));
        assert_eq!(taken("x up --data quics"), (None, "x up --data quics".to_owned()));
        assert_eq!(taken("x internal service"), (None, "x internal service".to_owned()));
        assert_eq!(taken("x"), (None, "x".to_owned()));
    }
}
