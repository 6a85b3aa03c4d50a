//! The process of registry-svc: arguments and wiring.

use std::process::ExitCode;

use clap::Parser;
use quics_kit::status::chain;
use quics_kit::{shutdown, telemetry};

/// registry-svc of QUIC-S: users, devices, certificates, roots and membership
#[derive(Debug, Parser)]
#[command(name = "registry-svc", version)]
struct Arguments {
    #[command(flatten)]
    config: registry_svc::Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { config } = Arguments::parse();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("registry-svc: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: registry_svc::Config) -> Result<(), Box<dyn std::error::Error>> {
    let _telemetry = telemetry::init(&config.common.log, "registry-svc")?;
    let shutdown = shutdown::on_signals()?;
    Ok(registry_svc::run(config, shutdown).await?)
}
