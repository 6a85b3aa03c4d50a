//! sync-svc as a process of its own.

use clap::Parser;
use sync_svc::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let _telemetry = quics_kit::telemetry::init(&config.service.log, "sync-svc")?;
    let shutdown = quics_kit::shutdown::on_signals()?;
    Ok(sync_svc::run(config, shutdown).await?)
}
