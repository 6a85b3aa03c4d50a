//! `quics-stack stop`.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{
    data::Data,
    harness::{process, wait},
    supervisor,
};

/// How long the supervisor has after its services had their time.
const MORE: Duration = Duration::from_secs(5);

/// Asks the stack that runs from `data` to end and waits for it; kills it, and its services, where it does not.
///
/// # Errors
/// When nothing runs there, or what runs cannot be ended.
pub(crate) fn stop(data: &Data) -> Result<()> {
    let record = data.running()?;
    process::terminate(record.pid).context("ask the supervisor to end")?;
    let services = u32::try_from(record.services.len()).unwrap_or(u32::MAX);
    let patience = supervisor::STOP.saturating_mul(services) + MORE;
    if wait::until_true("the server to stop", patience, || data.holder().is_ok_and(|holder| holder.is_none())).is_ok() {
        println!("stopped");
        return Ok(());
    }
    for pid in record.services.iter().map(|service| service.pid).chain([record.pid]) {
        if process::runs(pid) {
            process::kill(pid)?;
        }
    }
    wait::until_true("the server to be gone", MORE, || data.holder().is_ok_and(|holder| holder.is_none()))?;
    println!("killed: it did not stop within {} s", patience.as_secs());
    Ok(())
}
