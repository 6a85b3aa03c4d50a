//! history-svc as a process of its own.

use clap::Parser;
use history_svc::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let _telemetry = quics_kit::telemetry::init(&config.service.log, "history-svc")?;
    let shutdown = quics_kit::shutdown::on_signals()?;
    Ok(history_svc::run(config, shutdown).await?)
}
