//! Syncthing, two instances, direct, with the shortest watcher delay that it takes, no discovery, no relays,
//! at the priority of everybody else (by itself it lowers its own).

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use quics_stack::harness::{Daemon, Program, Scratch, wait};

use super::contest::Contestant;

const PROGRAM: &str = "/usr/bin/syncthing";

/// Seconds that its watcher waits for more changes; it takes no fractions.
const DELAY: &str = "1";

pub(crate) struct Syncthing {
    source: PathBuf,
    target: PathBuf,
    _daemons: [Daemon; 2],
    _scratch: Scratch,
}

struct Side {
    home: PathBuf,
    folder: PathBuf,
    id: String,
    port: u16,
    gui: u16,
}

impl Syncthing {
    pub(crate) fn is_there() -> bool {
        Path::new(PROGRAM).exists()
    }

    pub(crate) fn start(base: &Path) -> Result<Self> {
        let scratch = Scratch::below(base)?;
        let side = |name: &str| -> Result<Side> {
            let (home, folder) = (scratch.dir(&format!("{name}-home"))?, scratch.dir(&format!("{name}/folder"))?);
            // Without its marker a folder counts as not mounted.
            fs::create_dir(folder.join(".stfolder"))?;
            let run = |arguments: &[&str]| -> Result<String> {
                let home = format!("--home={}", home.display());
                let mut command = Command::new(PROGRAM);
                command.args(arguments).arg(home).env("HOME", scratch.path()).stdin(Stdio::null());
                let output = command.output().with_context(|| format!("{command:?}"))?;
                ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            };
            run(&["generate", "--no-default-folder", "--skip-port-probing"])?;
            let id = run(&["--device-id"])?;
            let port = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
            Ok(Side { home, folder, id, port: port()?, gui: port()? })
        };
        let (left, right) = (side("left")?, side("right")?);
        let start = |own: &Side, other: &Side| -> Result<Daemon> {
            fs::write(own.home.join("config.xml"), config(own, other))?;
            let home = format!("--home={}", own.home.display());
            let mut command = Program::at(Path::new(PROGRAM)).command([
                "serve",
                "--no-browser",
                "--no-restart",
                "--no-upgrade",
                &home,
            ]);
            command.env("HOME", scratch.path()).env("STNODEFAULTFOLDER", "1");
            Daemon::start(command, &own.home.join("syncthing.log"))
        };
        let daemons = [start(&left, &right)?, start(&right, &left)?];
        let started = Self { source: left.folder, target: right.folder, _daemons: daemons, _scratch: scratch };
        fs::write(started.source.join("hello"), "hello")?;
        wait::until_true("Syncthing to connect", wait::PATIENCE, || started.target.join("hello").exists())?;
        Ok(started)
    }
}

fn config(own: &Side, other: &Side) -> String {
    let device = |side: &Side, name: &str| {
        format!(
            "<device id=\"{}\" name=\"{name}\" compression=\"metadata\"><address>tcp://127.0.0.1:{}</address></device>",
            side.id, side.port
        )
    };
    format!(
        "<configuration version=\"35\">\n\
         <folder id=\"f\" label=\"f\" path=\"{folder}\" type=\"sendreceive\" rescanIntervalS=\"3600\" \
         fsWatcherEnabled=\"true\" fsWatcherDelayS=\"{DELAY}\" ignorePerms=\"false\">\n\
         <filesystemType>basic</filesystemType><device id=\"{own_id}\"></device><device id=\"{other_id}\"></device>\n\
         <minDiskFree unit=\"%\">1</minDiskFree></folder>\n{own_device}\n{other_device}\n\
         <gui enabled=\"true\" tls=\"false\"><address>127.0.0.1:{gui}</address><apikey>bench</apikey></gui>\n\
         <options><listenAddress>tcp://127.0.0.1:{port}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>\
         <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>\
         <urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH><crashReportingEnabled>false</crashReportingEnabled>\
         <startBrowser>false</startBrowser><setLowPriority>false</setLowPriority><reconnectionIntervalS>1</reconnectionIntervalS></options>\n</configuration>\n",
        folder = own.folder.display(),
        own_id = own.id,
        other_id = other.id,
        own_device = device(own, "own"),
        other_device = device(other, "other"),
        gui = own.gui,
        port = own.port,
    )
}

impl Contestant for Syncthing {
    fn name(&self) -> String {
        format!("Syncthing, direct, watcher delay {DELAY} s")
    }

    fn source(&self) -> &Path {
        &self.source
    }

    fn target(&self) -> &Path {
        &self.target
    }

    fn carry(&mut self) -> Result<()> {
        Ok(())
    }
}
