//! Progress bars on stderr, where it is a terminal, and waiting until everything is in sync.

use std::time::Duration;

use bytes::Bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use quics_proto::agent::v1::{Connection, GetStatusRequest, RootStatus, Status, WaitInSyncRequest, WatchStatusRequest};

use super::failure::{DONE, WAITING};
use super::{Context, Failure};
use crate::api;

/// Waits until a root, or all, are in sync, with bars meanwhile. What waits for a person is said on stderr.
pub(super) async fn wait(context: &Context, agent: &mut api::Client, root: Option<Bytes>) -> Result<u8, Failure> {
    let mut watching = agent.clone();
    let request = WaitInSyncRequest { root_id: root.clone().unwrap_or_default() };
    let waiting = agent.wait_in_sync(request);
    tokio::pin!(waiting);
    let waited = if context.terminal {
        let bars = Bars::new();
        let showing = async {
            let mut stream = watching.watch_status(WatchStatusRequest {}).await?.into_inner();
            while let Some(told) = stream.message().await? {
                bars.show(&told.status.unwrap_or_default(), root.as_ref());
            }
            std::future::pending::<Result<(), tonic::Status>>().await
        };
        let waited = tokio::select! {
            waited = &mut waiting => waited,
            Err(status) = showing => Err(status),
        };
        bars.clear();
        waited?
    } else {
        let status = watching.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
        if status.connection() == Connection::Offline {
            eprintln!("quics: waiting for the server at {}", crate::text::line(&status.server));
        }
        waiting.await?
    };
    let waited = waited.into_inner();
    for sentence in &waited.waiting {
        eprintln!("quics: {}", crate::text::line(sentence));
    }
    if waited.waiting.is_empty() && waited.in_sync { Ok(DONE) } else { Ok(WAITING) }
}

/// One bar each for the scan, what is sent and what is received, over all roots that are shown.
struct Bars {
    all: MultiProgress,
    scan: ProgressBar,
    send: ProgressBar,
    receive: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let bytes = "{prefix:>9} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        // The templates are constants; one that cannot be read falls back to the default look.
        let bytes = ProgressStyle::with_template(bytes).unwrap_or_else(|_| ProgressStyle::default_bar());
        let count = ProgressStyle::with_template("{prefix:>9} {spinner} {human_pos} entries, {per_sec} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let scan = all.add(ProgressBar::new_spinner().with_style(count).with_prefix("scan"));
        let send = all.add(ProgressBar::new(0).with_style(bytes.clone()).with_prefix("upload"));
        let receive = all.add(ProgressBar::new(0).with_style(bytes).with_prefix("download"));
        scan.enable_steady_tick(Duration::from_millis(100));
        Self { all, scan, send, receive }
    }

    fn show(&self, status: &Status, root: Option<&Bytes>) {
        let shown = || status.roots.iter().filter(|one| root.is_none_or(|id| *id == one.root_id));
        let sum = |of: fn(&RootStatus) -> u64| shown().map(of).sum::<u64>();
        let progress = |of: fn(&quics_proto::agent::v1::Progress) -> u64| {
            shown().filter_map(|root| root.progress.as_ref()).map(of).sum::<u64>()
        };
        self.scan.set_position(progress(|p| p.scanned_entries));
        let (out, incoming) = (sum(|root| root.outgoing), sum(|root| root.incoming));
        self.scan.set_message(format!("({out} to send, {incoming} to receive)"));
        set(&self.send, progress(|p| p.sent_bytes), progress(|p| p.send_total_bytes));
        set(&self.receive, progress(|p| p.received_bytes), progress(|p| p.receive_total_bytes));
    }

    fn clear(&self) {
        for bar in [&self.scan, &self.send, &self.receive] {
            bar.finish_and_clear();
        }
        // Nothing is left of the bars where the terminal is gone.
        let _gone = self.all.clear();
    }
}

fn set(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total.max(done));
    if done < bar.position() {
        // Other work: rate and remaining time begin anew.
        bar.reset();
    }
    bar.set_position(done);
}
