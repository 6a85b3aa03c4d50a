//! Waiting for a condition instead of for a time.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a condition has before a wait gives up, where nothing else is said. Generous: the machine may be slow, and
/// a wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Looks until `condition` gives a value, at most for `patience`.
///
/// # Errors
/// When time is up: what was waited for, and the last reason that `condition` gave.
pub fn until<T, E: Display>(what: &str, patience: Duration, mut condition: impl FnMut() -> Result<T, E>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => bail!("waited {patience:?} for {what}: {reason}"),
            Err(_) => thread::sleep(STEP),
        }
    }
}

/// Looks until `condition` is true, at most for `patience`.
///
/// # Errors
/// When time is up.
pub fn until_true(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, patience, || if condition() { Ok(()) } else { Err("it did not come") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_value_as_soon_as_there_is_one() {
        let mut looks = 0;
        let got = until("three looks", PATIENCE, || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err("not yet") }
        });
        assert_eq!(got.unwrap(), 3);
    }

    #[test]
    fn a_wait_that_gives_up_tells_the_last_reason() {
        let error = until::<(), _>("a wonder", Duration::ZERO, || Err("there are none")).unwrap_err();
        assert!(error.to_string().contains("a wonder: there are none"), "{error}");
    }
}
