//! Progress bars on stderr, where it is a terminal, and waiting until everything is in sync.

use bytes::Bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use quics_proto::agent::v1::{Connection, Progress, RootState, Status, WaitInSyncRequest, WatchStatusRequest};

use super::failure::{DONE, WAITING};
use super::{Context, Failure};
use crate::api;

/// How a command that began something ends where nobody said whether it is to wait.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub(super) struct Patience {
    /// Return when all is in sync [default on a terminal, where Ctrl-C leaves it to the agent]
    #[arg(long)]
    wait: bool,
    /// Return at once; the agent does it in the background [default without a terminal]
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl Patience {
    /// Follows a root that was just added or cloned, or does not.
    pub(super) async fn follow(self, context: &Context, agent: &mut api::Client, root: Bytes) -> Result<u8, Failure> {
        if self.wait {
            return wait(context, agent, Some(root)).await;
        }
        if self.no_wait || !context.terminal {
            return Ok(DONE);
        }
        tokio::select! {
            code = wait(context, agent, Some(root)) => code,
            Ok(()) = tokio::signal::ctrl_c() => {
                eprintln!("\rquics: the agent goes on in the background: see `quics status --watch`");
                Ok(DONE)
            }
        }
    }
}

/// Waits until a root, or all, are in sync, with bars meanwhile where somebody looks. What it waits for besides, and
/// what waits for a person, is said on stderr.
pub(super) async fn wait(context: &Context, agent: &mut api::Client, root: Option<Bytes>) -> Result<u8, Failure> {
    let mut watching = agent.clone();
    let request = WaitInSyncRequest { root_id: root.clone().unwrap_or_default() };
    let mut bars = Bars::new(context.terminal);
    let showing = async {
        let mut stream = watching.watch_status(WatchStatusRequest {}).await?.into_inner();
        let mut said = false;
        while let Some(told) = stream.message().await? {
            let status = told.status.unwrap_or_default();
            // Before the first attempt to connect has failed there is no trouble.
            if status.connection() == Connection::Offline && !status.trouble.is_empty() && !said {
                said = true;
                bars.say(&waits(&status));
            }
            bars.show(&status, root.as_ref());
        }
        std::future::pending::<Result<(), tonic::Status>>().await
    };
    let waited = tokio::select! {
        waited = agent.wait_in_sync(request) => waited,
        Err(status) = showing => Err(status),
    };
    drop(bars);
    let waited = waited?.into_inner();
    for sentence in &waited.waiting {
        eprintln!("quics: {}", crate::text::line(sentence));
    }
    if waited.waiting.is_empty() && waited.in_sync { Ok(DONE) } else { Ok(WAITING) }
}

/// What a wait waits for while there is no server.
fn waits(status: &Status) -> String {
    format!("quics: waiting for the server: {}", crate::text::line(&status.trouble))
}

/// One bar each for the scan, what is sent and what is received, over all roots that are shown; each is there only while
/// it has something to show.
struct Bars {
    all: MultiProgress,
    scan: Bar,
    send: Bar,
    receive: Bar,
}

struct Bar {
    name: &'static str,
    style: ProgressStyle,
    shown: Option<ProgressBar>,
}

const BYTES: &str = "{prefix:>9} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const COUNT: &str = "{prefix:>9} [{bar:30}] {human_pos} of about {human_len} entries, {rate}, {eta} left";

impl Bars {
    /// Bars on stderr, or none.
    fn new(shown: bool) -> Self {
        // The templates are constants; one that cannot be read falls back to the default look.
        let style = |text| ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
        let count = style(COUNT).with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}/s", state.per_sec());
        });
        let bar = |name, style| Bar { name, style, shown: None };
        let (send, receive) = (bar("upload", style(BYTES)), bar("download", style(BYTES)));
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), scan: bar("scan", count), send, receive }
    }

    fn show(&mut self, status: &Status, root: Option<&Bytes>) {
        let shown = || status.roots.iter().filter(|one| root.is_none_or(|id| *id == one.root_id));
        let progress =
            |of: fn(&Progress) -> u64| shown().filter_map(|root| root.progress.as_ref()).map(of).sum::<u64>();
        let scanning = || shown().filter(|root| root.state() == RootState::Scanning);
        let scanned = scanning().filter_map(|root| root.progress).map(|progress| progress.scanned_entries).sum();
        // What was there last time is the best guess of what there is.
        let entries = scanning().map(|root| root.entries).sum();
        self.scan.set(&self.all, scanned, entries);
        self.send.set(&self.all, progress(|p| p.sent_bytes), progress(|p| p.send_total_bytes));
        self.receive.set(&self.all, progress(|p| p.received_bytes), progress(|p| p.receive_total_bytes));
    }

    /// Says something above the bars.
    fn say(&self, text: &str) {
        self.all.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in [&mut self.scan, &mut self.send, &mut self.receive] {
            bar.hide(&self.all);
        }
        // Nothing is left of the bars where the terminal is gone.
        let _gone = self.all.clear();
    }
}

impl Bar {
    fn set(&mut self, all: &MultiProgress, done: u64, total: u64) {
        let total = total.max(done);
        if total == 0 {
            self.hide(all);
            return;
        }
        let (name, style) = (self.name, &self.style);
        let bar = self.shown.get_or_insert_with(|| {
            let bar = ProgressBar::new(total).with_style(style.clone()).with_prefix(name).with_position(done);
            // What was done before it is shown says nothing of the rate.
            bar.reset_eta();
            all.add(bar)
        });
        bar.set_length(total);
        if done < bar.position() {
            // Other work: rate and remaining time begin anew.
            bar.reset();
        }
        bar.set_position(done);
    }

    fn hide(&mut self, all: &MultiProgress) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
            all.remove(&bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use quics_proto::agent::v1::RootStatus;

    use super::*;

    #[test]
    fn a_bar_is_there_only_while_there_is_something_to_show() {
        let mut bars = Bars::new(false);
        let progress = Progress { sent_bytes: 5, send_total_bytes: 10, ..Default::default() };
        let root = RootStatus { progress: Some(progress), root_id: Bytes::from_static(b"r"), ..Default::default() };
        let status = Status { roots: vec![root], ..Default::default() };
        bars.show(&status, None);
        let send = bars.send.shown.as_ref().unwrap();
        assert_eq!((send.position(), send.length()), (5, Some(10)));
        assert!(bars.receive.shown.is_none() && bars.scan.shown.is_none());
        bars.show(&status, Some(&Bytes::from_static(b"another")));
        assert!(bars.send.shown.is_none());
    }
}
