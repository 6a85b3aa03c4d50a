//! What people may call things.

use crate::error::{Error, Result};

/// The longest name, in characters.
const MAX: usize = 64;

/// Checks a name of a user or device: 1 to 64 characters, no control characters, no white space around it.
pub(crate) fn check(name: &str) -> Result<()> {
    let fits = (1..=MAX).contains(&name.chars().count());
    if !fits || name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::Malformed(
            "a name has 1 to 64 characters, no control characters, and no white space around it",
        ));
    }
    Ok(())
}

/// Checks a root's name: as others, and without "/".
pub(crate) fn check_root(name: &str) -> Result<()> {
    check(name)?;
    if name.contains('/') { Err(Error::Malformed("a root's name has no \"/\"")) } else { Ok(()) }
}

/// The first of `name`, `name 2`, `name 3`, ... that is not taken, shortened so that it stays a name.
pub(crate) fn free(name: &str, mut taken: impl FnMut(&str) -> Result<bool>) -> Result<String> {
    if !taken(name)? {
        return Ok(name.to_owned());
    }
    for number in 2..10_000 {
        let suffix = format!(" {number}");
        let stem: String = name.chars().take(MAX - suffix.len()).collect();
        let candidate = format!("{}{suffix}", stem.trim_end());
        if !taken(&candidate)? {
            return Ok(candidate);
        }
    }
    Err(Error::NameTaken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for good in ["a", "Ada's laptop", "büro №7 🦀", &"x".repeat(64)] {
            check(good).unwrap();
        }
        for bad in ["", " a", "a\n", "a\u{7}b", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check_root("a/b").is_err());
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let taken = ["laptop", "laptop 2"];
        assert_eq!(free("laptop", |name| Ok(taken.contains(&name))).unwrap(), "laptop 3");
        assert_eq!(free("desktop", |name| Ok(taken.contains(&name))).unwrap(), "desktop");
        let long = "x".repeat(64);
        let other = free(&long, |name| Ok(name == long)).unwrap();
        assert_eq!((other.chars().count(), other.ends_with("x 2")), (64, true));
        check(&other).unwrap();
    }
}
