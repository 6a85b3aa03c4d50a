//! Starts the services in order, each when the one before it is ready, and starts again what ends by itself, with
//! growing pauses and not for ever.

mod child;
mod patience;

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use quics_kit::{names::Service, service::Ready};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub use child::Log;
use child::{Child, Ended};
use patience::Patience;

/// How long a service has to become ready.
const START: Duration = Duration::from_secs(60);

/// How long a service has to end in good order before it is killed.
pub(crate) const STOP: Duration = Duration::from_secs(15);

/// How to start one service.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// Which.
    pub service: Service,
    /// This program's own file.
    pub program: PathBuf,
    /// What it is started with.
    pub arguments: Vec<OsString>,
    /// Its data directory, where it says when it serves.
    pub data: PathBuf,
    /// Where its log goes.
    pub log: Log,
}

/// News of a service, for whoever shows or records them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum News {
    /// It serves, as this process, after so many restarts.
    Ready {
        /// Which.
        service: Service,
        /// Its process and its addresses.
        ready: Ready,
        /// How often it ended by itself before.
        restarts: u32,
    },
    /// It ended by itself and is started again after a pause.
    Ended {
        /// Which.
        service: Service,
        /// How it ended.
        how: String,
        /// How long the pause is.
        pause: Duration,
    },
}

/// Running services.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<Result<()>>,
    stops: Vec<CancellationToken>,
}

impl Supervisor {
    /// Starts all services of `plans`, one after the other.
    ///
    /// # Errors
    /// When a service does not become ready; what it said last. Those that run already are ended before.
    ///
    /// # Cancel safety
    /// A dropped start kills what it had started.
    pub async fn start(plans: Vec<ServicePlan>, news: mpsc::UnboundedSender<News>) -> Result<Self> {
        let mut supervisor = Self { tasks: JoinSet::new(), stops: Vec::new() };
        for plan in plans {
            let first = match start_one(&plan).await {
                Ok(first) => first,
                Err(error) => {
                    supervisor.stop().await;
                    return Err(error);
                }
            };
            // The receiver outlives the supervisor; without one nobody wants to know.
            let _ = news.send(News::Ready { service: plan.service, ready: first.1, restarts: 0 });
            let stop = CancellationToken::new();
            supervisor.stops.push(stop.clone());
            supervisor.tasks.spawn(keep(plan, first.0, news.clone(), stop));
        }
        Ok(supervisor)
    }

    /// Waits until a service cannot be kept running.
    ///
    /// # Errors
    /// Always: which service, and what it said last.
    pub async fn failed(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(error.into()),
            None => Err(anyhow!("no service is left")),
        }
    }

    /// Ends all services and waits for them. All at once: each tells the others that it goes while they can still hear
    /// it; none waits for one that has gone without a word.
    pub async fn stop(&mut self) {
        self.stops.drain(..).for_each(|stop| stop.cancel());
        // A service that had failed has told so; each ends within its own time limit.
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn start_one(plan: &ServicePlan) -> Result<(Child, Ready)> {
    let mut child = Child::spawn(plan)?;
    match child.ready(START).await {
        Ok(ready) => Ok((child, ready)),
        Err(reason) => {
            child.end(STOP).await;
            Err(reason)
        }
    }
}

/// Keeps one service running until told to stop.
async fn keep(
    plan: ServicePlan,
    mut child: Child,
    news: mpsc::UnboundedSender<News>,
    stop: CancellationToken,
) -> Result<()> {
    let mut patience = Patience::new();
    let mut restarts = 0;
    loop {
        let since = Instant::now();
        let ended = tokio::select! {
            ended = child.ended() => ended,
            () = stop.cancelled() => {
                child.end(STOP).await;
                return Ok(());
            }
        };
        let how = describe(ended, &child);
        let ready = loop {
            let Some(pause) = patience.after(since.elapsed()) else {
                return Err(anyhow!("{} does not stay up: {how}", plan.service));
            };
            let _ = news.send(News::Ended { service: plan.service, how: how.clone(), pause });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
            restarts += 1;
            let started = tokio::select! {
                started = start_one(&plan) => started,
                () = stop.cancelled() => return Ok(()),
            };
            match started {
                Ok((next, ready)) => {
                    child = next;
                    break ready;
                }
                Err(error) if patience.is_over() => return Err(error),
                Err(_) => {}
            }
        };
        let _ = news.send(News::Ready { service: plan.service, ready, restarts });
    }
}

fn describe(ended: io::Result<Ended>, child: &Child) -> String {
    let how = match ended {
        Ok(ended) => ended.to_string(),
        Err(error) => error.to_string(),
    };
    match child.last_words() {
        Some(words) => format!("{how}: {words}"),
        None => how,
    }
}
