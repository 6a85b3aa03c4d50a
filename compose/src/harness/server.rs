//! A whole server: the supervisor and its services, as processes, in a directory of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use quics_kit::names::Service;
use quics_proto::sync::v1::{GetStatisticsRequest, GetStatisticsResponse, admin_service_client::AdminServiceClient};
use tonic::transport::Endpoint;

use super::{
    process,
    program::{Daemon, Program, printed},
    scratch::Scratch,
    wait,
};
use crate::data::{Data, Record, ServiceRecord};

/// How long a server has to start and to stop.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running server on free ports. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Stack {
    program: Program,
    scratch: Scratch,
    data: Data,
    supervisor: Option<Daemon>,
}

impl Stack {
    /// Starts a server with an empty data directory, in memory where possible.
    ///
    /// # Errors
    /// When it does not start; what it said.
    pub fn start(program: &Program) -> Result<Self> {
        Self::start_in(program, Scratch::new()?)
    }

    /// Starts a server whose data lie in `scratch`; devices and folders of the test find their places there too.
    ///
    /// # Errors
    /// When it does not start; what it said.
    pub fn start_in(program: &Program, scratch: Scratch) -> Result<Self> {
        let data = Data::at(&scratch.path().join("server"));
        let mut stack = Self { program: program.clone(), scratch, data, supervisor: None };
        stack.up()?;
        Ok(stack)
    }

    /// Starts the server again after [`Stack::down`], on the same ports.
    ///
    /// # Errors
    /// When it does not start; what it said.
    pub fn up(&mut self) -> Result<()> {
        let mut command =
            self.program.command(["internal", "up", "--port-base", "0", "--listen", "127.0.0.1", "--data"]);
        command.arg(self.data.root());
        let mut supervisor = Daemon::start(command, &self.scratch.path().join("supervisor.log"))?;
        let pid = supervisor.pid();
        let started = wait::until("the server to start", PATIENCE, || {
            if let Err(error) = supervisor.check() {
                return Ok(Err(error));
            }
            match self.data.running() {
                Ok(record) if record.pid == pid => Ok(Ok(())),
                Ok(_) => Err(anyhow::anyhow!("another server runs there")),
                Err(error) => Err(error),
            }
        })?;
        started?;
        self.supervisor = Some(supervisor);
        Ok(())
    }

    /// Stops the server in good order.
    ///
    /// # Errors
    /// When it does not stop, or not in good order.
    pub fn down(&mut self) -> Result<()> {
        let mut supervisor = self.supervisor.take().context("the server does not run")?;
        let status = supervisor.stop(PATIENCE)?;
        if !status.success() {
            bail!("the server did not stop in good order ({status})");
        }
        Ok(())
    }

    /// A directory of the test beside the server's data, made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        self.scratch.dir(name)
    }

    /// The directory in which everything of this server and its devices lies.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The server's data directory.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The program that the server was started from.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The process of the supervisor.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn supervisor_pid(&self) -> Result<u32> {
        self.supervisor.as_ref().map(Daemon::pid).context("the server does not run")
    }

    /// What runs.
    ///
    /// # Errors
    /// When nothing does.
    pub fn record(&self) -> Result<Record> {
        self.data.running()
    }

    /// What runs of one service.
    ///
    /// # Errors
    /// When the server does not run.
    pub fn service(&self, service: Service) -> Result<ServiceRecord> {
        let record = self.record()?;
        let found = record.services.into_iter().find(|found| found.name == service.as_str());
        found.with_context(|| format!("{service} is not recorded"))
    }

    /// Kills a service without warning and waits until the supervisor has started it again.
    ///
    /// # Errors
    /// When it is not started again in time.
    pub fn crash(&self, service: Service) -> Result<()> {
        let before = self.service(service)?.pid;
        process::kill(before)?;
        wait::until_true(&format!("{service} to be started again"), PATIENCE, || {
            self.service(service).is_ok_and(|now| now.pid != before && process::runs(now.pid))
        })
    }

    /// What sync-svc counts of everything that it keeps.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn statistics(&self) -> Result<GetStatisticsResponse> {
        let ops = self.service(Service::Sync)?.ops;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{ops}"))?.connect().await?;
            Ok(AdminServiceClient::new(channel).get_statistics(GetStatisticsRequest {}).await?.into_inner())
        })
    }

    /// A command of `quics-stack` about this server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command(arguments);
        command.arg("--data").arg(self.data.root());
        command
    }

    /// A one-time ticket for a new device.
    ///
    /// # Errors
    /// When the server gives none.
    pub fn ticket(&self) -> Result<String> {
        Ok(printed(self.command(&["ticket"]), PATIENCE)?.trim().to_owned())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The directory goes away next: what a server in trouble leaves does not matter, and its own drop kills it.
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.stop(Duration::from_secs(30));
        }
    }
}
