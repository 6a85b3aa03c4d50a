//! rsync over ssh, twice, as a pair of devices with a server between them would run it: to the server, then from it.
//! Its own sshd listens on loopback; the connection is kept open (ControlMaster), so no handshake is counted.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use quics_stack::harness::{Daemon, Program, Scratch, wait};

use super::contest::Contestant;

pub(crate) struct Rsync {
    options: Vec<String>,
    shell: String,
    source: PathBuf,
    server: PathBuf,
    target: PathBuf,
    _sshd: Daemon,
    _scratch: Scratch,
}

impl Rsync {
    /// Whether all that it needs is installed.
    pub(crate) fn is_there() -> bool {
        ["/usr/bin/rsync", "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/sbin/sshd"]
            .iter()
            .all(|path| Path::new(path).exists())
            && rustix::process::geteuid().is_root()
    }

    pub(crate) fn start(base: &Path, options: &[&str]) -> Result<Self> {
        let scratch = Scratch::below(base)?;
        let ssh = scratch.dir("ssh")?;
        let at = |name: &str| ssh.join(name).display().to_string();
        for key in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(ssh.join(key)))?;
        }
        fs::copy(ssh.join("user.pub"), ssh.join("authorized"))?;
        fs::set_permissions(ssh.join("authorized"), fs::Permissions::from_mode(0o600))?;
        // sshd wants a directory that Debian makes when the service starts.
        fs::create_dir_all("/run/sshd")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n",
            at("host"),
            at("authorized")
        );
        fs::write(ssh.join("config"), config)?;
        let command = Program::at(Path::new("/usr/sbin/sshd")).command(["-D", "-e", "-f", &at("config")]);
        let sshd = Daemon::start(command, &ssh.join("sshd.log"))?;
        let shell = format!(
            "ssh -p {port} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile={} -o LogLevel=ERROR \
             -o ControlMaster=auto -o ControlPath={} -o ControlPersist=600",
            at("user"),
            at("known"),
            at("control")
        );
        let (source, server, target) = (scratch.dir("source")?, scratch.dir("server")?, scratch.dir("target")?);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let rsync = Self { options, shell, source, server, target, _sshd: sshd, _scratch: scratch };
        wait::until("sshd to answer", wait::PATIENCE, || rsync.once(&rsync.source, &rsync.server, true))?;
        Ok(rsync)
    }

    fn once(&self, from: &Path, to: &Path, up: bool) -> Result<()> {
        let (from, to) = (format!("{}/", from.display()), format!("{}/", to.display()));
        let far = |path: String| format!("root@127.0.0.1:{path}");
        let (from, to) = if up { (from, far(to)) } else { (far(from), to) };
        run(Command::new("rsync").args(["-a", "--delete", "-e", &self.shell]).args(&self.options).args([from, to]))
    }
}

impl Contestant for Rsync {
    fn name(&self) -> String {
        let options: String = self.options.iter().map(|option| format!(" {option}")).collect();
        format!("rsync{options} over ssh, twice")
    }

    fn source(&self) -> &Path {
        &self.source
    }

    fn target(&self) -> &Path {
        &self.target
    }

    fn carry(&mut self) -> Result<()> {
        self.once(&self.source, &self.server, true)?;
        self.once(&self.server, &self.target, false)
    }
}

impl Drop for Rsync {
    fn drop(&mut self) {
        // The connection that is kept open is a process of its own. Where it has gone already there is nothing to end.
        let end = format!("{} -O exit root@127.0.0.1", self.shell);
        let _ = run(Command::new("/bin/sh").args(["-c", &end]));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
