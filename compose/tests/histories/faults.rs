//! What goes wrong: agents and services that end, are killed, are paused, are started again.

use anyhow::Result;
use quics_kit::names::Service;
use quics_stack::harness::{process, wait};
use quics_stack::ports::Ports;
use rand::Rng as _;

use crate::world::{Agent, PATIENCE, World, say};

impl World<'_> {
    /// Something happens to an agent: it ends or comes back.
    pub(crate) fn agent_trouble(&mut self) -> Result<()> {
        let device = self.draw(self.agents.len());
        let what = self.random.random_range(0..100);
        match (self.agents[device], what) {
            (Agent::Stopped, _) => self.starts(device)?,
            (Agent::Paused, 0..60) => self.resumes(device)?,
            // A pause outlives the agent.
            (Agent::Runs, 0..35) | (Agent::Paused, 60..80) => {
                say!(self, "the agent of d{} is killed and started", device + 1);
                self.lane.devices[device].kill_agent()?;
                self.lane.devices[device].start_agent()?;
            }
            (Agent::Runs, 35..60) => {
                let top = self.at(device, "".as_ref())?;
                say!(self, "d{} pauses", device + 1);
                self.device(device).quics(["pause", &top])?;
                self.agents[device] = Agent::Paused;
            }
            (Agent::Runs, 60..80) => {
                say!(self, "the agent of d{} is killed", device + 1);
                self.lane.devices[device].kill_agent()?;
                self.agents[device] = Agent::Stopped;
            }
            (Agent::Runs, _) => {
                say!(self, "the agent of d{} stops", device + 1);
                self.lane.devices[device].stop_agent()?;
                self.agents[device] = Agent::Stopped;
            }
            (Agent::Paused, _) => {}
        }
        Ok(())
    }

    fn starts(&mut self, device: usize) -> Result<()> {
        say!(self, "the agent of d{} starts", device + 1);
        self.lane.devices[device].start_agent()?;
        self.agents[device] = Agent::Runs;
        Ok(())
    }

    fn resumes(&mut self, device: usize) -> Result<()> {
        let top = self.at(device, "".as_ref())?;
        say!(self, "d{} resumes", device + 1);
        self.device(device).quics(["resume", &top])?;
        self.agents[device] = Agent::Runs;
        Ok(())
    }

    /// A service is killed; the supervisor starts it again. Where that happened so often that the supervisor would lose
    /// patience, the whole server is killed, which begins anew with it.
    pub(crate) fn service_trouble(&mut self) -> Result<()> {
        const OFTEN: u32 = 3;
        let service = if self.chance(70) { Service::Sync } else { Service::Registry };
        if self.lane.stack.service(service)?.restarts >= OFTEN {
            self.server_is_killed()?;
            return self.lane.stack.up();
        }
        say!(self, "{service} is killed");
        self.lane.stack.crash(service)
    }

    fn server_is_killed(&mut self) -> Result<()> {
        say!(self, "the whole server is killed");
        let record = self.lane.stack.record()?;
        // The supervisor first: nobody starts the services again. They end with it.
        process::kill(record.pid)?;
        record.services.iter().try_for_each(|service| process::wait_ended(service.pid, PATIENCE))?;
        // Threads that are still ending may hold the ports, on which the devices look for the server.
        wait::until("the server's ports to be free", PATIENCE, || Ports::choose(record.port_base, None)).map(drop)
    }

    /// The whole server is away for a moment, in which people go on.
    pub(crate) fn server_trouble(&mut self) -> Result<()> {
        if self.chance(50) {
            self.server_is_killed()?;
        } else {
            say!(self, "the server is down");
            self.lane.stack.down()?;
        }
        for _ in 0..self.draw(8) {
            let device = self.draw(self.folders.len());
            self.user(device);
        }
        say!(self, "the server is up");
        self.lane.stack.up()
    }

    /// One device gets in sync.
    pub(crate) fn one_settles(&mut self) -> Result<()> {
        let Some(device) = self.running().filter(|it| self.agents[*it] == Agent::Runs) else { return Ok(()) };
        say!(self, "d{} gets in sync", device + 1);
        self.settles(device)
    }

    /// Everything runs again.
    pub(crate) fn faults_end(&mut self) -> Result<()> {
        for device in 0..self.agents.len() {
            match self.agents[device] {
                Agent::Runs => {}
                Agent::Paused => self.resumes(device)?,
                Agent::Stopped => self.starts(device)?,
            }
        }
        Ok(())
    }
}
