//! Bad input: one clear sentence, a code that is not 0, and nothing changed.

use std::time::{Duration, Instant, SystemTime};

use quics_client::home::{self, Home, Locked};
use quics_kit::ticket::Fingerprint;
use tonic::Code;

use crate::server::{Refusing, ticket};
use crate::world::{World, picture};

fn anybody() -> Fingerprint {
    Fingerprint::from_bytes([7; 32])
}

#[test]
fn what_is_no_ticket_is_said_and_nothing_is_made() {
    let world = World::new();
    world.run(&["join", "hello!/"]).fails(1, &["not a ticket", "quics ticket"]);
    world.run(&["join", "quics2-abc"]).fails(1, &["newer"]);
    let good = ticket("127.0.0.1:1", anybody());
    world.run(&["join", &good[..good.len() - 3]]).fails(1, &["incomplete", "copy it again"]);
    world.run(&["join", "srv.example:6121"]).fails(2, &["--password"]);
    world.run(&["join", "https://srv", "--password"]).fails(1, &["HOST:PORT"]);
    assert!(!world.home().exists());
}

#[test]
fn a_ticket_survives_how_people_paste() {
    let world = World::new();
    let good = ticket("127.0.0.1:1", anybody());
    // The ticket is understood: what fails is reaching the server.
    for pasted in [format!("quics join {good}"), format!(" '{good}' \n"), format!("{}\n  {}", &good[..30], &good[30..])]
    {
        world.run(&["join", &pasted]).fails(4, &["127.0.0.1:1"]);
    }
    let (first, rest) = good.split_at(30);
    world.run(&["join", first, rest]).fails(4, &["127.0.0.1:1"]);
}

#[test]
fn names_of_units_that_cannot_be_names_are_refused_before_anything_is_asked() {
    let world = World::new();
    for wrong in ["", "a/b", ".git,,x", ".quics", &"x".repeat(65)] {
        world.run(&["add", ".", "--units", wrong]).fails(2, &["--units", "--no-units"]);
    }
    let both = world.run(&["add", ".", "--units", "x", "--no-units"]);
    assert!(both.code == 2 && both.err.contains("cannot be used with"), "{both:?}");
}

#[test]
fn a_server_that_is_down_is_a_code_of_its_own() {
    let world = World::new();
    world.run(&["join", &ticket("127.0.0.1:1", anybody())]).fails(4, &["cannot reach the server at 127.0.0.1:1"]);
    let ran = world.run_with(&["join", "127.0.0.1:1", "--password", "--user", "ann"], "secret");
    ran.fails(4, &["cannot reach the server"]);
    world.join_nobody();
    for args in [&["roots"][..], &["devices"], &["ticket"], &["devices", "revoke", "x", "--yes"], &["leave", "--yes"]] {
        world.run(args).fails(4, &["cannot reach the server at 127.0.0.1:1"]);
    }
}

#[test]
fn a_ticket_that_was_used_or_has_expired_is_said_and_leaves_no_account() {
    let server = Refusing::start(Code::Unauthenticated);
    let world = World::new();
    world.run(&["join", &server.ticket()]).fails(1, &["used or has expired", "quics ticket"]);
    let left = picture(&world.home().join("identity"));
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(Home::find(Some(world.home())).unwrap().settings().unwrap().account, None);
}

#[test]
fn a_wrong_password_is_said() {
    let server = Refusing::start(Code::Unauthenticated);
    let world = World::new();
    let (address, fingerprint) = (server.address.to_string(), server.fingerprint.to_string());
    let args = ["join", &address, "--password", "--user", "ann", "--fingerprint", &fingerprint];
    world.run_with(&args, "wrong").fails(1, &["password"]);
    world.run_with(&args, "").fails(1, &["no password was given"]);
}

#[test]
fn a_server_with_another_fingerprint_gets_nothing() {
    let server = Refusing::start(Code::Unauthenticated);
    let world = World::new();
    let forged = ticket(&server.address.to_string(), anybody());
    world.run(&["join", &forged]).fails(1, &["not the one", &server.fingerprint.to_string(), "do not go on"]);
    let (address, wrong) = (server.address.to_string(), anybody().to_string());
    let args = ["join", &address, "--password", "--fingerprint", &wrong];
    world.run_with(&args, "secret").fails(1, &["not the one"]);
    world.run(&["join", &address, "--password", "--fingerprint", "12"]).fails(2, &["--fingerprint", "64"]);
}

#[test]
fn an_unknown_server_is_shown_and_needs_somebody_who_confirms() {
    let server = Refusing::start(Code::Unauthenticated);
    let world = World::new();
    let ran = world.run(&["join", &server.address.to_string(), "--password"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains(&server.fingerprint.to_string()) && ran.err.contains("--fingerprint"), "{ran:?}");
}

#[test]
fn a_clock_that_is_far_off_is_named() {
    let world = World::new();
    let day = Duration::from_secs(86_400);
    let tomorrow = Refusing::start_at(Code::Unauthenticated, SystemTime::now() + day);
    world.run(&["join", &tomorrow.ticket()]).fails(1, &["clock", "not valid yet"]);
    let yesterday = Refusing::start_at(Code::Unauthenticated, SystemTime::now() - day);
    world.run(&["join", &yesterday.ticket()]).fails(1, &["clock", "out of date"]);
}

/// Takes the lock of a home that nobody holds. A process that another test starts at this moment has this one's open files
/// until it becomes a program of its own, and so a lock that was just given up.
fn lock_when_free(home: &Home) -> Locked {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        match home.lock() {
            Err(home::Error::Held { .. }) if Instant::now() < patience => std::thread::yield_now(),
            locked => return locked.unwrap(),
        }
    }
}

#[test]
fn a_home_that_is_held_is_said_and_by_whom() {
    let world = World::new();
    let home = Home::find(Some(world.home())).unwrap();
    let held = home.lock().unwrap();
    let process = std::process::id().to_string();
    let good = ticket("127.0.0.1:1", anybody());
    world.run(&["join", &good]).fails(1, &["running agent", &process, "quics agent stop"]);
    drop(held);
    // Another home: what this process has locked may stay locked for a moment, by what other tests start just then.
    let world = World::new();
    world.join_nobody();
    let home = Home::find(Some(world.home())).unwrap();
    let before = picture(&world.home());
    let held = lock_when_free(&home);
    for args in [&["agent", "run"][..], &["agent", "start"], &["leave", "--yes"]] {
        world.run(args).fails(1, &["running agent"]);
    }
    drop(held);
    // The lock's text is all that may differ.
    let changed: Vec<_> = picture(&world.home()).into_iter().filter(|one| !before.contains(one)).collect();
    assert!(changed.iter().all(|(path, _)| path.ends_with("agent.lock")), "{changed:?}");
}

#[test]
fn a_home_that_has_joined_does_not_join_again() {
    let world = World::new();
    world.join_nobody();
    let before = picture(&world.home());
    world.run(&["join", &ticket("127.0.0.1:1", anybody())]).fails(1, &["joined already", "laptop", "quics leave"]);
    assert_eq!(picture(&world.home()), before);
}

#[test]
fn commands_without_an_account_or_an_agent_say_how_to_get_one() {
    let world = World::new();
    let needs_agent =
        [&["status"][..], &["add", "."], &["clone", "x", "."], &["pause"], &["rescan"], &["explain", "x"], &["hold"]];
    for args in needs_agent {
        world.run(args).fails(1, &["quics join"]);
    }
    for args in [&["roots"][..], &["devices"], &["ticket"], &["leave", "--yes"], &["agent", "run"], &["agent", "start"]]
    {
        world.run(args).fails(1, &["quics join"]);
    }
    world.join_nobody();
    for args in needs_agent {
        world.run(args).fails(1, &["no agent runs", "quics agent start"]);
    }
    world.run(&["agent", "stop"]).fails(1, &["no agent runs"]);
}

#[test]
fn damaged_settings_are_said_and_kept() {
    let world = World::new();
    world.join_nobody();
    let path = world.home().join("settings.toml");
    std::fs::write(&path, "format = 1\nstray = 2\n").unwrap();
    world.run(&["status"]).fails(1, &["settings.toml", "cannot be understood"]);
    std::fs::write(&path, "format = 9\n").unwrap();
    world.run(&["agent", "run"]).fails(1, &["newer quics"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"format = 9\n");
}
