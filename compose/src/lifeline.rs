//! How a process ends with the one that started it, on every Unix and without a race: the parent holds the writing end
//! of the child's standard input and never writes; when the parent is gone, however it ended, the child reads the end.

use std::{
    io::{self, Read as _},
    process, thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

/// How long a process has to end in good order after its parent is gone.
const GRACE: Duration = Duration::from_secs(20);

/// Ends this process when its standard input ends: first as if it were asked to (SIGTERM), then, after a grace period,
/// without asking.
///
/// # Errors
/// When the watching thread cannot be started.
pub fn hold() -> io::Result<()> {
    thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        wait_for_end();
        // A process that cannot signal itself ends by the line below.
        let _ = kill_process(getpid(), Signal::TERM);
        thread::sleep(GRACE);
        process::exit(1);
    })?;
    Ok(())
}

fn wait_for_end() {
    let mut ignored = [0; 64];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
