//! share-svc as a process of its own.

use clap::Parser;
use share_svc::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let _telemetry = quics_kit::telemetry::init(&config.service.log, "share-svc")?;
    let shutdown = quics_kit::shutdown::on_signals()?;
    Ok(share_svc::run(config, shutdown).await?)
}
