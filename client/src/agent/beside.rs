//! Names beside a file's: for what is put back next to it, or kept as its second version.

use quics_types::Name;

/// Numbers that are tried for a name beside another.
pub(super) const NUMBERS: u32 = 999;

/// A name beside the original: "report (late edit on laptop).odt", with a number from the second on. `None` when the
/// mark leaves no room for it.
pub(super) fn beside(original: &[u8], mark: &str, number: u32) -> Option<Name> {
    let mark: String = mark.chars().filter(|c| !c.is_control() && *c != '/').take(64).collect();
    let count = if number == 1 { String::new() } else { format!(" {number}") };
    let mark = format!(" ({mark}{count})");
    let dot = original.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0 && original.len() - at <= 16);
    let (stem, ending) = original.split_at(dot.unwrap_or(original.len()));
    let room = quics_types::limits::NAME_BYTES.checked_sub(mark.len() + ending.len())?;
    // A name that is text stays text where it is cut.
    let cut = match std::str::from_utf8(stem) {
        Ok(text) => text.floor_char_boundary(room),
        Err(_) => room.min(stem.len()),
    };
    Name::new([&stem[..cut], mark.as_bytes(), ending].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_beside_a_file_keeps_its_ending_and_fits() {
        let shown = |original: &[u8], number| beside(original, "late edit on lap/top", number).unwrap().to_string();
        assert_eq!(shown(b"report.odt", 1), "report (late edit on laptop).odt");
        assert_eq!(shown(b"report.odt", 2), "report (late edit on laptop 2).odt");
        assert_eq!(shown(b".profile", 1), ".profile (late edit on laptop)");
        let long = "ü".repeat(127);
        let name = beside(long.as_bytes(), "from laptop", 1).unwrap();
        assert!(std::str::from_utf8(name.as_bytes()).is_ok());
        assert!(beside(&[0xff; 255], "from laptop", 1).is_some());
    }
}
