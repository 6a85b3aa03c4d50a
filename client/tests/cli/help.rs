//! What the program says of itself.

use crate::world::World;

const COMMANDS: [&str; 19] = [
    "join",
    "leave",
    "add",
    "clone",
    "roots",
    "detach",
    "status",
    "rescan",
    "pause",
    "resume",
    "explain",
    "devices",
    "ticket",
    "conflicts",
    "resolve",
    "config",
    "hold",
    "agent",
    "completions",
];

#[test]
fn every_command_explains_itself_with_an_example() {
    let world = World::new();
    let all = world.run(&["--help"]);
    assert_eq!(all.code, 0, "{all:?}");
    for command in COMMANDS {
        assert!(all.out.contains(&format!("\n  {command}")), "{command} is not listed: {}", all.out);
        let help = world.run(&[command, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{command}");
        assert!(help.out.contains(&format!("quics {command}")), "{command} shows no example: {}", help.out);
    }
    assert!(all.out.contains("Exit codes:"));
    assert!(!world.home().exists(), "help makes nothing");
}

#[test]
fn a_wrong_flag_or_no_command_is_wrong_use() {
    let world = World::new();
    for args in [&["status", "--nonsense"][..], &["nonsense"], &[], &["hold", "release", "."], &["clone", "x"]] {
        let ran = world.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?}: {ran:?}");
    }
    assert!(!world.home().exists());
}

#[test]
fn completions_are_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("conflicts"), "{shell}");
    }
}
