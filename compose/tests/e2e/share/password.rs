//! Links with a password.

use std::time::{Duration, Instant};

use quics_stack::harness::feed;

use super::{Answer, ask, get};
use crate::support::{PATIENCE, Pair, has};

fn unlock(link: &str, password: &str) -> Answer {
    ask(&format!("{link}/password"), &["--data-urlencode", &format!("password={password}")])
}

#[test]
fn a_password_opens_and_guesses_are_slowed_while_others_are_served() {
    if !has("curl", "a_password_opens_and_guesses_are_slowed_while_others_are_served") {
        return;
    }
    let pair = Pair::with(|folder| std::fs::write(folder.join("secret.txt"), "the secret words").unwrap());
    let path = pair.at("secret.txt");
    let making = pair.left.command(["share", path.to_str().unwrap(), "--password", "--label", "for Ann"]);
    let made = feed(making, b"correct horse & battery\n", PATIENCE).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let link = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let open = pair.share("secret.txt", &[]);

    let asked = get(&link);
    assert_eq!(asked.status, 401);
    for secret in ["secret.txt", "for Ann", "16 bytes"] {
        assert!(!asked.text().contains(secret), "only who proves the password learns more: {}", asked.text());
    }
    assert!(asked.text().contains("type=\"password\"") && asked.text().contains("<label"), "{}", asked.text());
    for path in ["get", "raw", "zip"] {
        assert_eq!(get(&format!("{link}/{path}")).status, 401, "{path}");
    }
    assert_eq!(unlock(&link, "wrong").status, 401);
    let unlocked = unlock(&link, "correct horse & battery");
    assert_eq!(unlocked.status, 303, "{unlocked:?}");
    let cookie = unlocked.header("set-cookie").to_owned();
    for word in ["HttpOnly", "SameSite=Lax", "Path=/s/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let session = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert!(ask(&link, &["-H", &session]).text().contains("secret.txt"));
    assert_eq!(ask(&format!("{link}/get"), &["-H", &session]).body, b"the secret words");
    let forged = ask(&link, &["-H", &format!("{session}A")]);
    assert_eq!(forged.status, 401, "a session that was written by hand is none");

    let begun = Instant::now();
    let slowed = loop {
        let answer = unlock(&link, "guess");
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401);
        assert!(begun.elapsed() < Duration::from_secs(60), "guesses are slowed");
    };
    assert!(slowed.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{slowed:?}");
    assert_eq!(unlock(&link, "correct horse & battery").status, 429, "a guess that would be right has to wait too");
    assert_eq!(get(&open).status, 200, "others are served");
    assert_eq!(ask(&link, &["-H", &session]).status, 200, "who is in stays in");

    // Another password ends the sessions of the one before.
    let locked = pair.links().into_iter().find(|link| link["password"] == true).unwrap();
    let editing = pair.left.command(["share", "edit", locked["id"].as_str().unwrap(), "--password"]);
    let edited = feed(editing, b"another\n", PATIENCE).unwrap();
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert_eq!(ask(&link, &["-H", &session]).status, 401);
}
