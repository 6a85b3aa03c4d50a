//! What a person sees at a terminal while something takes long.

use quics_stack::harness::{Device, tree};

use crate::support::{PATIENCE, stack, write_random};

#[test]
fn at_a_terminal_add_and_clone_show_how_far_they_are_and_return_when_all_is_there() {
    let stack = stack();
    let (left, right) = (Device::join(&stack, "left").unwrap(), Device::join(&stack, "right").unwrap());
    let (here, there) = (stack.dir("left/docs").unwrap(), stack.path().join("right"));
    write_random(&here.join("film"), 100 << 20);
    let mut add = left.at_terminal(["add".as_ref(), here.as_os_str()]).unwrap();
    add.expect("upload", PATIENCE).unwrap();
    add.expect("left", PATIENCE).unwrap();
    assert!(add.end(PATIENCE).unwrap().success());
    assert_eq!(left.status().unwrap()["roots"][0]["state"], "in_sync", "it returned when all was sent");
    let mut clone = right.at_terminal(["clone".as_ref(), "docs".as_ref(), there.as_os_str()]).unwrap();
    clone.expect("download", PATIENCE).unwrap();
    assert!(clone.end(PATIENCE).unwrap().success());
    tree::compare(&tree::read(&here).unwrap(), &tree::read(&there).unwrap()).expect("it returned when all was here");
}

#[test]
fn ctrl_c_leaves_the_rest_to_the_agent_and_says_so() {
    let mut stack = stack();
    let left = Device::join(&stack, "left").unwrap();
    let here = stack.dir("left/docs").unwrap();
    left.add(&here).unwrap();
    left.wait_in_sync().unwrap();
    stack.down().unwrap();
    std::fs::write(here.join("file"), "later").unwrap();
    // Without a server a wait says once what it waits for, and goes on.
    let mut waiting = left.at_terminal(["status", "--wait"]).unwrap();
    waiting.expect("waiting for the server", PATIENCE).unwrap();
    stack.up().unwrap();
    assert!(waiting.end(PATIENCE).unwrap().success());

    let more = stack.dir("left/more").unwrap();
    write_random(&more.join("film"), 300 << 20);
    let mut add = left.at_terminal(["add".as_ref(), more.as_os_str()]).unwrap();
    add.expect("upload", PATIENCE).unwrap();
    add.interrupt().unwrap();
    add.expect("the agent goes on in the background", PATIENCE).unwrap();
    assert!(add.end(PATIENCE).unwrap().success());
    left.wait_in_sync_within(PATIENCE).unwrap();
}
