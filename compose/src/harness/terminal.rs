//! A command at a pseudo-terminal, with somebody who reads and types.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{process, wait};

/// A running command and its terminal. It is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// Up to where the screen was read.
    read: usize,
}

impl Terminal {
    /// Starts a command at a terminal of its own, which is its controlling one, so that Ctrl-C reaches it as a signal:
    /// util-linux's `setsid` sees to that.
    ///
    /// # Errors
    /// When there is no terminal to be had or the command does not start.
    pub fn start(command: &Command) -> Result<Self> {
        let control =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("open a terminal")?;
        grantpt(&control)?;
        unlockpt(&control)?;
        tcsetwinsize(&control, Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&control, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty())?);
        let mut session = in_a_session(command);
        session.stdin(Stdio::from(end.try_clone()?)).stdout(Stdio::from(end.try_clone()?)).stderr(Stdio::from(end));
        let child = session.spawn().with_context(|| format!("start {session:?}"))?;
        // The command holds the terminal's other end, and nobody else: when it ends, so does reading.
        drop(session);
        let keyboard = File::from(control);
        let mut output = keyboard.try_clone()?;
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other end is closed gives an error, which is its end.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                shown.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { child, keyboard, screen, read: 0 })
    }

    /// Waits until the terminal shows a text behind what was waited for before; gives everything in between.
    ///
    /// # Errors
    /// When it does not come; what was shown.
    pub fn expect(&mut self, text: &str, patience: Duration) -> Result<String> {
        let (screen, from) = (self.screen.clone(), self.read);
        let found = wait::until(&format!("the terminal to show {text:?}"), patience, || {
            let shown = screen.lock().unwrap_or_else(PoisonError::into_inner);
            let new = &shown[from..];
            new.find(text).map(|at| at + text.len()).ok_or_else(|| format!("it shows {new:?}"))
        })?;
        let passed = self.shown()[from..from + found].to_owned();
        self.read = from + found;
        Ok(passed)
    }

    /// Types a line.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.type_in(&format!("{line}\n"))
    }

    /// Presses Ctrl-C.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn interrupt(&mut self) -> Result<()> {
        self.type_in("\x03")
    }

    fn type_in(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("type")
    }

    /// Everything that was shown.
    pub fn shown(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the command has ended.
    ///
    /// # Errors
    /// When it does not end; what it shows.
    pub fn end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let (child, screen) = (&mut self.child, &self.screen);
        wait::until("the command to end", patience, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("it shows {:?}", screen.lock().unwrap_or_else(PoisonError::into_inner))),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// The same command at the head of a session of its own, whose terminal is what it is given as stdin.
fn in_a_session(command: &Command) -> Command {
    let mut session = Command::new("setsid");
    session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => session.env(name, value),
            None => session.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        session.current_dir(folder);
    }
    session
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may end at this very moment.
            let _ = process::kill(self.child.id());
            let _ = self.child.wait();
        }
    }
}
