//! An agent whose server does not answer: everything local works, and ends in good order.

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{World, picture};

/// A world with an agent in the background, which is stopped at the end.
struct Running(World);

impl Running {
    fn start() -> Self {
        let world = World::new();
        world.join_nobody();
        let ran = world.run(&["agent", "start"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        Self(world)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that a test has stopped already says so.
        self.0.run(&["agent", "stop"]);
    }
}

#[test]
fn an_agent_without_its_server_runs_and_says_so() {
    let running = Running::start();
    let world = &running.0;
    let status = world.run(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["connection"], "offline");
    assert_eq!(status["device"], "laptop");
    let text = world.run(&["status"]);
    assert!(text.out.contains("not connected") && text.out.contains("quics add"), "{text:?}");
    let mode = std::fs::metadata(world.home().join("agent.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let conflicts = world.run(&["conflicts", "--json"]);
    assert_eq!((conflicts.code, conflicts.out.as_str()), (0, "[]\n"));
    assert_eq!(world.run(&["hold"]).out, "Nothing is held.\n");

    world.run(&["agent", "start"]).fails(1, &["running agent", "quics agent stop"]);
    let stopped = world.run(&["agent", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(!world.home().join("agent.sock").exists());
    world.run(&["status"]).fails(1, &["no agent runs"]);
}

#[test]
fn what_is_held_here_is_listed_though_the_server_cannot_be_asked() {
    let world = World::new();
    world.join_nobody();
    world.attach_lost("docs");
    let ran = world.run(&["agent", "start"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let running = Running(world);
    let world = &running.0;
    let listed = (0..100).map(|_| world.run(&["hold", "list"])).find(|ran| ran.out.contains("docs"));
    let listed = listed.expect("the root whose folder is gone is held");
    assert_eq!(listed.code, 3, "{listed:?}");
    assert!(listed.err.contains("cannot be said") && listed.err.trim_end().lines().count() == 1, "{listed:?}");
    let told: serde_json::Value = serde_json::from_str(&world.run(&["hold", "list", "--json"]).out).unwrap();
    assert_eq!((&told["held"][0]["root"], &told["braked"]), (&"docs".into(), &serde_json::json!([])));
}

#[test]
fn directories_that_cannot_be_synced_are_said_and_left_as_they_are() {
    let running = Running::start();
    let world = &running.0;
    std::fs::create_dir(world.path("d")).unwrap();
    std::fs::write(world.path("d/f"), "x").unwrap();
    std::fs::write(world.path("file"), "x").unwrap();
    let before = picture(&world.path("d"));

    world.run(&["add", "missing"]).fails(1, &["missing", "does not exist"]);
    world.run(&["add", "file"]).fails(1, &["not a directory"]);
    world.run(&["add", "."]).fails(1, &["home of quics"]);
    world.run(&["add", "d", "--name", "a/b"]).fails(1, &["--name"]);
    world.run(&["add", "d"]).fails(4, &["cannot reach the server"]);
    world.run(&["clone", "x", "d"]).fails(4, &["cannot reach the server"]);
    world.run(&["detach", "d"]).fails(1, &["not in a synced directory", "quics roots"]);
    world.run(&["explain", "d/f"]).fails(1, &["not in a synced directory"]);
    world.run(&["status", "d"]).fails(1, &["not in a synced directory"]);
    world.run(&["hold", "release", "--delete"]).fails(1, &["nothing is held"]);
    assert_eq!(picture(&world.path("d")), before, "nothing was changed");

    if !rustix::process::geteuid().is_root() {
        let locked = world.path("d");
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();
        world.run(&["add", "d"]).fails(1, &["not writable"]);
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_directory_of_another_root_is_refused() {
    use quics_client::folder::Disk;
    use quics_types::{RootId, UnitNames};

    let running = Running::start();
    let world = &running.0;
    std::fs::create_dir_all(world.path("outer/inner")).unwrap();
    drop(Disk::create(&world.path("outer"), RootId::from_bytes([9; 16]), UnitNames::default()).unwrap());
    let before = picture(&world.path("outer"));
    world.run(&["add", "outer/inner"]).fails(1, &["lies inside", "outer", "detach"]);
    world.run(&["add", "outer"]).fails(1, &["another root", "detach"]);
    assert_eq!(picture(&world.path("outer")), before);
}
