//! The seam through which randomness for ids and secrets comes in.

/// Draws `N` bytes from the system's generator, fit for secrets.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    // Fails only before the system has gathered its first randomness, in which case nothing secret can be made.
    getrandom::fill(&mut out).expect("the system has a random generator");
    out
}
