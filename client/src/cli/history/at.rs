//! What a person names: something in a synced directory, perhaps at a moment: `PATH@T`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::{Timestamp, Zoned};
use quics_proto::history::v1::subject::Subject as Named;
use quics_proto::history::v1::{Moment, Subject, VersionNumber, moment};

use crate::cli::{Context, Failure, context};
use crate::home::RootEntry;
use crate::text;

/// What may stand behind the `@`, for help texts.
pub(super) const MOMENTS: &str = "\
T is a version as `quics log` shows it (7, or 7.1 for the side of a conflict that lost to it), a commit of the root
(#1200), or a time: \"2026-11-20 14:00\", \"yesterday 9am\", \"2h ago\".";

/// Something in a synced directory, which need not exist now.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Place {
    pub(in crate::cli) root: RootEntry,
    /// Relative to the root, without a slash at its ends; empty is the root itself.
    pub(in crate::cli) relative: Bytes,
}

impl Place {
    /// Finds the root in which a path lies.
    ///
    /// # Errors
    /// One sentence.
    pub(in crate::cli) fn find(context: &Context, path: &Path) -> Result<Self, Failure> {
        let roots = context.home.settings()?.roots;
        let find = |place: &Path| {
            roots.iter().find_map(|root| {
                let rest = place.strip_prefix(&root.path).ok()?.as_os_str().as_bytes();
                Some(Self { relative: Bytes::copy_from_slice(rest), root: root.clone() })
            })
        };
        // A link in a root is what is meant, even where it leads to a directory; one from outside may lead into a root.
        if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            if let Some(found) = find(&context::place(above)?.join(name)) {
                return Ok(found);
            }
        }
        let place = context::place(path)?;
        find(&place).ok_or_else(|| crate::agent::Error::NoRoot { at: place }.into())
    }

    /// The root with a name, or what lies at a path; without either as [`Place::find_or_only`].
    ///
    /// # Errors
    /// One sentence.
    pub(in crate::cli) fn named(context: &Context, name: Option<&Path>) -> Result<Self, Failure> {
        let named = match name {
            Some(name) => context.home.settings()?.roots.into_iter().find(|root| name.to_str() == Some(&root.name)),
            None => None,
        };
        match named {
            Some(root) => Ok(Self { root, relative: Bytes::new() }),
            None => Self::find_or_only(context, name),
        }
    }

    /// The root that lies at a path or around it, or the only one that there is.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn find_or_only(context: &Context, path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path {
            return Self::find(context, path);
        }
        if let Ok(here) = Self::find(context, Path::new(".")) {
            return Ok(here);
        }
        let mut roots = context.home.settings()?.roots;
        match (roots.pop(), roots.is_empty()) {
            (Some(root), true) => Ok(Self { root, relative: Bytes::new() }),
            (None, _) => Err(Failure::new("no root is synced here: `quics add DIR` or `quics clone` begins")),
            _ => Err(Failure::usage("several roots are synced here: give the path of one, or of something in it")),
        }
    }

    pub(in crate::cli) fn subject(&self) -> Option<Subject> {
        Some(Subject { subject: Some(Named::Path(self.relative.clone())) })
    }

    pub(in crate::cli) fn root_id(&self) -> Bytes {
        Bytes::copy_from_slice(self.root.id.as_bytes())
    }

    /// Where something of the root is on this device.
    pub(in crate::cli) fn local(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() { self.root.path.clone() } else { self.root.path.join(OsStr::from_bytes(relative)) }
    }

    /// The path for people.
    pub(in crate::cli) fn shown(&self) -> String {
        text::path(&self.local(&self.relative)).to_string()
    }
}

/// Something at a moment.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) place: Place,
    pub(super) moment: Moment,
}

impl At {
    /// Reads `PATH@T`.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn find(context: &Context, text: &OsStr) -> Result<Self, Failure> {
        let wanted = || {
            Failure::usage(format!(
                "say which version: {0}@7, or {0}@\"2h ago\"; `quics log` shows all",
                text::path(text)
            ))
        };
        let (path, when) = split(text).ok_or_else(wanted)?;
        Ok(Self { place: Place::find(context, Path::new(&path))?, moment: parse(&when)? })
    }
}

/// Splits at the last `@`.
pub(in crate::cli) fn split(text: &OsStr) -> Option<(OsString, String)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0)?;
    let when = String::from_utf8(bytes[at + 1..].to_vec()).ok()?;
    Some((OsStr::from_bytes(&bytes[..at]).to_owned(), when))
}

/// Reads a moment.
///
/// # Errors
/// One sentence.
pub(in crate::cli) fn parse(text: &str) -> Result<Moment, Failure> {
    let moment = number(text).or_else(|| commit(text)).map_or_else(|| time(text).map(moment::Moment::Time), Ok)?;
    Ok(Moment { moment: Some(moment) })
}

fn number(text: &str) -> Option<moment::Moment> {
    let (time, side) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(time) || !digits(side) {
        return None;
    }
    Some(moment::Moment::Version(VersionNumber { time: time.parse().ok()?, side: side.parse().ok()? }))
}

fn commit(text: &str) -> Option<moment::Moment> {
    text.strip_prefix('#')?.parse().ok().map(moment::Moment::Seq)
}

/// Reads a time as people write it, by this computer's clock and time zone.
///
/// # Errors
/// One sentence, of what cannot be read and of what is to come.
pub(super) fn time(text: &str) -> Result<prost_types::Timestamp, Failure> {
    let now = Zoned::now();
    let wanted = "write \"2026-11-20 14:00\", \"yesterday 9am\" or \"2h ago\"";
    let at = read(text, &now).ok_or_else(|| no_time(text, wanted))?;
    // "monday 9am" is the last one: the next one is still to come.
    let last = (at > now.timestamp()).then(|| read(&format!("last {text}"), &now)).flatten();
    let at = last.filter(|last| *last <= now.timestamp()).unwrap_or(at);
    if at > now.timestamp() {
        return Err(Failure::usage(format!("{} is still to come: give a time that is over", shown(at, &now))));
    }
    Ok(timestamp(at))
}

/// Reads a time that is to come, likewise.
///
/// # Errors
/// One sentence, of what cannot be read and of what is over.
pub(in crate::cli) fn coming(text: &str) -> Result<prost_types::Timestamp, Failure> {
    let now = Zoned::now();
    let at = read(text, &now).ok_or_else(|| no_time(text, "write 7d, 12h, \"2026-12-01 18:00\" or never"))?;
    if at <= now.timestamp() {
        return Err(Failure::usage(format!("{} is over: give a time that is still to come", shown(at, &now))));
    }
    Ok(timestamp(at))
}

fn no_time(text: &str, wanted: &str) -> Failure {
    Failure::usage(format!("\"{}\" is no time: {wanted}", text::line(text)))
}

fn shown(at: Timestamp, now: &Zoned) -> String {
    at.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn read(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // A number alone would be a year.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    interim::parse_date_string(text, now.clone(), interim::Dialect::Uk).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        let now: Zoned = "2026-11-23T17:52:45+01:00[Europe/Berlin]".parse().unwrap();
        read(text, &now).map(|at| at.to_string())
    }

    #[test]
    fn times_are_read_as_people_write_them_in_their_own_zone() {
        assert_eq!(told("2h ago").as_deref(), Some("2026-11-23T14:52:45Z"));
        assert_eq!(told("3 days ago").as_deref(), Some("2026-11-20T16:52:45Z"));
        assert_eq!(told("yesterday 9am").as_deref(), Some("2026-11-22T08:00:00Z"));
        assert_eq!(told("2026-11-20 14:00").as_deref(), Some("2026-11-20T13:00:00Z"));
        assert_eq!(told("2026-11-20T14:00:05Z").as_deref(), Some("2026-11-20T14:00:05Z"));
        for text in ["", "2026", "soon", "2026-02-30"] {
            assert_eq!(told(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_moment_is_a_version_a_commit_or_a_time_that_is_over() {
        let version = |time, side| moment::Moment::Version(VersionNumber { time, side });
        assert_eq!(parse("7").unwrap().moment, Some(version(7, 0)));
        assert_eq!(parse("7.2").unwrap().moment, Some(version(7, 2)));
        assert_eq!(parse("#1200").unwrap().moment, Some(moment::Moment::Seq(1200)));
        assert!(matches!(parse("1h ago").unwrap().moment, Some(moment::Moment::Time(_))));
        assert!(parse("tomorrow").unwrap_err().text.contains("still to come"));
        assert!(parse("never").unwrap_err().text.contains("no time"));
    }

    #[test]
    fn what_is_to_come_is_not_over() {
        assert!(coming("tomorrow").unwrap().seconds > Zoned::now().timestamp().as_second());
        assert!(coming("2020-01-01").unwrap_err().text.contains("is over"));
        assert!(coming("sometime").unwrap_err().text.contains("no time"));
    }

    #[test]
    fn the_last_at_separates() {
        let parts = |text: &str| split(OsStr::new(text)).map(|(path, when)| (path.into_string().unwrap(), when));
        assert_eq!(parts("a@b/c@7"), Some(("a@b/c".to_owned(), "7".to_owned())));
        assert_eq!(parts("a"), None);
        assert_eq!(parts("@7"), None);
    }
}
