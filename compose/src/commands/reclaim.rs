//! `quics-stack reclaim`.

use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use quics_kit::names::Service;
use quics_proto::sync::v1::{
    ReclaimFinish, ReclaimProgress, ReclaimRequest, ReclaimStep, admin_service_client::AdminServiceClient,
    reclaim_response::Message,
};
use tonic::Request;

use super::admin::{operations, told};
use crate::data::Data;

/// Has sync-svc give back the room of what nothing refers to, or say how much that would be, and tells of it.
///
/// # Errors
/// When nothing runs there, or a service cannot be asked what it still needs; then nothing was given back.
pub(crate) async fn reclaim(data: &Data, dry_run: bool, thorough: bool) -> Result<()> {
    let (channel, bearer) = operations(data, Service::Sync).await?;
    let mut request = Request::new(ReclaimRequest { dry_run, thorough });
    request.metadata_mut().insert("authorization", bearer);
    let mut answers = AdminServiceClient::new(channel).reclaim(request).await.map_err(told)?.into_inner();
    let mut line = Line::default();
    while let Some(answer) = answers.message().await.map_err(told)? {
        match answer.message {
            Some(Message::Progress(progress)) => line.show(&progress),
            Some(Message::Finish(finish)) => {
                line.end();
                say(&finish, dry_run, thorough);
                return Ok(());
            }
            None => {}
        }
    }
    bail!("the server stopped before it was done; nothing is lost, run it again")
}

/// What is going on, at a terminal only.
#[derive(Default)]
struct Line {
    shown: bool,
}

impl Line {
    fn show(&mut self, progress: &ReclaimProgress) {
        let terminal = console::Term::stderr();
        if !std::io::stderr().is_terminal() {
            return;
        }
        let text = match progress.step() {
            ReclaimStep::FirstMark => format!("looking at what is needed: {} contents", progress.done),
            ReclaimStep::SecondMark => format!("looking again: {} contents", progress.done),
            ReclaimStep::Rewriting => format!("rewriting: {} of {} segments", progress.done, progress.total),
            ReclaimStep::Waiting | ReclaimStep::Unspecified => "waiting for what is being stored just now".to_owned(),
        };
        // What does not show it is not worth an end.
        let _ = terminal.clear_line().and_then(|()| terminal.write_str(&text));
        self.shown = true;
    }

    fn end(&mut self) {
        if self.shown {
            let _ = console::Term::stderr().clear_line();
        }
    }
}

fn say(done: &ReclaimFinish, dry_run: bool, thorough: bool) {
    println!(
        "examined {} stored chunks, {}: {} of that is needed by nothing ({} references to contents were followed)",
        done.chunks,
        size(done.chunk_bytes),
        size(done.unneeded_bytes),
        done.references
    );
    match (done.segments, dry_run) {
        (0, _) if done.unneeded_bytes == 0 => println!("there is nothing to give back"),
        (0, _) => println!(
            "it lies so thinly among what is needed that it would cost more than it brings; `quics-stack reclaim --all` gives it back all the same"
        ),
        (count, true) => println!(
            "{} would return to the disk by rewriting {count} segments; nothing was changed",
            size(done.returned_bytes)
        ),
        (count, false) => {
            println!("{} returned to the disk; {count} segments were rewritten", size(done.returned_bytes))
        }
    }
    if !thorough && done.segments > 0 && done.unneeded_bytes > done.returned_bytes + done.unneeded_bytes / 10 {
        println!("the rest lies thinly among what is needed; `quics-stack reclaim --all` gives it back, too");
    }
    if !done.kept_root_ids.is_empty() {
        println!(
            "of {} roots nothing was given back: the disk has lost a list of chunks there, so that it is not known what they need. \
             `quics-stack verify` asks it back from the devices",
            done.kept_root_ids.len()
        );
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        assert_eq!(
            [0, 1023, 1024, 1536, 5 << 30].map(size),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 GiB"]
        );
    }
}
