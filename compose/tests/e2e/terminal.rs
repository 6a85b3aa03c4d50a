//! What a person sees at a terminal. `script` (util-linux) gives a command one.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use quics_stack::harness::{Device, tree};

use crate::support::{PATIENCE, has, stack, until, write_random};

/// A command at a terminal.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(command: &Command) -> Self {
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
        let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let line: OsString = words.join(" ").into();
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c"]).arg(line).arg("/dev/null").env("TERM", "xterm").env_remove("QUICS_HOME");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut output, sink) = (child.stdout.take().unwrap(), shown.clone());
        // It ends with the command.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, shown }
    }

    fn shows(&self, text: &str) -> bool {
        self.shown.lock().unwrap().contains(text)
    }

    fn until_shows(&mut self, text: &str) {
        until(&format!("the terminal to show {text:?}"), || self.shows(text) || self.ended());
        assert!(self.shows(text), "it ended before it showed {text:?}: {}", self.shown.lock().unwrap());
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(keys).unwrap();
    }

    fn code(mut self) -> Option<i32> {
        until("the command to end", || self.ended());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn at_a_terminal_add_and_clone_show_how_far_they_are_and_return_when_all_is_there() {
    if !has("script", "at_a_terminal_add_and_clone_show_how_far_they_are_and_return_when_all_is_there") {
        return;
    }
    let stack = stack();
    let (left, right) = (Device::join(&stack, "left").unwrap(), Device::join(&stack, "right").unwrap());
    let (here, there) = (stack.dir("left/docs").unwrap(), stack.path().join("right"));
    write_random(&here.join("film"), 100 << 20);
    let mut add = Terminal::run(&left.command(["add".as_ref(), here.as_os_str()]));
    add.until_shows("upload");
    add.until_shows("left");
    assert_eq!(add.code(), Some(0));
    assert_eq!(left.status().unwrap()["roots"][0]["state"], "in_sync", "it returned when all was sent");
    let mut clone = Terminal::run(&right.command(["clone".as_ref(), "docs".as_ref(), there.as_os_str()]));
    clone.until_shows("download");
    assert_eq!(clone.code(), Some(0));
    tree::compare(&tree::read(&here).unwrap(), &tree::read(&there).unwrap()).expect("it returned when all was here");
}

#[test]
fn ctrl_c_leaves_the_rest_to_the_agent_and_says_so() {
    if !has("script", "ctrl_c_leaves_the_rest_to_the_agent_and_says_so") {
        return;
    }
    let mut stack = stack();
    let left = Device::join(&stack, "left").unwrap();
    let here = stack.dir("left/docs").unwrap();
    left.add(&here).unwrap();
    left.wait_in_sync().unwrap();
    stack.down().unwrap();
    std::fs::write(here.join("file"), "later").unwrap();
    // Without a server a wait says once what it waits for, and goes on.
    let mut waiting = Terminal::run(&left.command(["status", "--wait"]));
    waiting.until_shows("waiting for the server");
    stack.up().unwrap();
    assert_eq!(waiting.code(), Some(0));

    let more = stack.dir("left/more").unwrap();
    write_random(&more.join("film"), 300 << 20);
    let mut add = Terminal::run(&left.command(["add".as_ref(), more.as_os_str()]));
    add.until_shows("upload");
    add.type_in(b"\x03");
    add.until_shows("the agent goes on in the background");
    assert_eq!(add.code(), Some(0));
    left.wait_in_sync_within(PATIENCE).unwrap();
}
