//! The desktop's notification, on a message bus of the test's own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use quics_stack::harness::Stack;

use super::write;
use crate::support::{Pair, has, program, until};

/// A process of the test; it ends with it.
struct Helper(Child);

impl Helper {
    /// Starts it, and keeps what it prints.
    fn start(mut command: Command) -> (Self, Arc<Mutex<Vec<String>>>) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = said.clone();
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| sink.lock().unwrap().push(line)));
        (Self(child), said)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_burst_of_conflicts_is_one_notification() {
    const NAME: &str = "a_burst_of_conflicts_is_one_notification";
    if !has("dbus-daemon", NAME) || !has("dbus-monitor", NAME) {
        return;
    }
    let mut bus = Command::new("dbus-daemon");
    let (_bus, said) = Helper::start({
        bus.args(["--session", "--nofork", "--print-address"]);
        bus
    });
    until("the bus", || !said.lock().unwrap().is_empty());
    let address = said.lock().unwrap()[0].clone();
    let mut monitor = Command::new("dbus-monitor");
    monitor.args(["--address", &address, "interface='org.freedesktop.Notifications'"]);
    let (_monitor, heard) = Helper::start(monitor);

    let stack = Stack::start(&program().with("DBUS_SESSION_BUS_ADDRESS", &address)).unwrap();
    let names = ["a", "b", "c"];
    let mut pair = Pair::on_stack(stack, |folder| names.iter().for_each(|name| write(folder, name, "common")));
    pair.right.stop_agent().unwrap();
    names.iter().for_each(|name| write(&pair.here, name, "left"));
    pair.left.wait_in_sync().unwrap();
    names.iter().for_each(|name| write(&pair.there, name, "right one"));
    pair.right.start_agent().unwrap();
    pair.open(names.len());
    let shown = |text: &str| heard.lock().unwrap().iter().filter(|line| line.contains(text)).count();
    until("a notification of each device", || shown("3 conflicts wait for your choice") == 2);
    assert_eq!(shown("member=Notify"), 2, "{:?}", heard.lock().unwrap());
    // Nobody shows them here: the agents go on as if nothing were.
    fs::write(pair.at("other"), "goes on").unwrap();
    until("the rest to go on", || fs::read(pair.on("other")).is_ok_and(|it| it == b"goes on"));
}
