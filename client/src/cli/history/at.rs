//! What a person names: something in a synced directory, perhaps at a moment: `PATH@T`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::{Timestamp, Zoned};
use quics_proto::history::v1::subject::Subject as Named;
use quics_proto::history::v1::{Moment, Subject, VersionNumber, moment};

use super::History;
use crate::cli::{Context, Failure, context, files};
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
    /// Finds what lies at a path or, where nothing is there, the root that is called so.
    ///
    /// # Errors
    /// One sentence.
    pub(in crate::cli) fn find(context: &Context, path: &Path) -> Result<Self, Failure> {
        let found = Self::of_path(context, path);
        if found.as_ref().is_ok_and(|place| files::is_there(&place.local(&place.relative))) {
            return found;
        }
        let roots = context.home.settings()?.roots;
        match roots.into_iter().find(|root| path.to_str() == Some(&root.name)) {
            Some(root) => Ok(Self { root, relative: Bytes::new() }),
            None => found,
        }
    }

    /// Finds the root in which a path lies.
    ///
    /// # Errors
    /// One sentence.
    pub(in crate::cli) fn of_path(context: &Context, path: &Path) -> Result<Self, Failure> {
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

    /// What is named, as [`Place::find`], or the root that one is in, or the only one that there is.
    ///
    /// # Errors
    /// One sentence.
    pub(in crate::cli) fn find_or_only(context: &Context, path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path {
            return Self::find(context, path);
        }
        if let Ok(here) = Self::of_path(context, Path::new(".")) {
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
    /// One sentence; of a path alone, that it has to say which version.
    pub(super) async fn find(context: &Context, text: &OsStr) -> Result<Self, Failure> {
        match named(context, text, true).await? {
            (place, Some(moment)) => Ok(Self { place, moment }),
            (_, None) => Err(Failure::usage(format!(
                "say which version: {0}@7, or {0}@\"2h ago\"; `quics log` shows all",
                text::path(text)
            ))),
        }
    }
}

/// Reads `PATH` or `PATH@T`; names may have an `@` in them. What is done to it is not to be done to a whole root by mistake:
/// its name does not do here.
///
/// # Errors
/// One sentence.
pub(in crate::cli) async fn find(context: &Context, text: &OsStr) -> Result<(Place, Option<Moment>), Failure> {
    named(context, text, false).await
}

/// What a text names.
#[derive(Debug)]
enum Meant {
    /// Something whose name is all of it.
    Whole,
    /// Something at a moment.
    At(OsString, Moment),
    /// What stands behind the `@` is no moment, and nothing is called so here: it may have been once.
    Once(Failure),
}

/// Decides what a text names, by what is there now. Where a moment is needed, one that is read as such counts, unless
/// something is there that is called like the whole and nothing that is called like what stands before it.
fn meant(text: &OsStr, needed: bool, there: impl Fn(&Path) -> bool) -> Meant {
    let Some((path, when)) = split(text) else { return Meant::Whole };
    let whole = there(Path::new(text));
    match parse(&when) {
        Ok(_) if whole && !(needed && there(Path::new(&path))) => Meant::Whole,
        Ok(moment) => Meant::At(path, moment),
        Err(_) if whole => Meant::Whole,
        Err(failure) => Meant::Once(failure),
    }
}

async fn named(context: &Context, text: &OsStr, needed: bool) -> Result<(Place, Option<Moment>), Failure> {
    let find = if needed { Place::find } else { Place::of_path };
    let otherwise = match meant(text, needed, files::is_there) {
        Meant::Whole => return Ok((find(context, Path::new(text))?, None)),
        Meant::At(path, moment) => {
            let place = find(context, Path::new(&path))?;
            if files::is_there(Path::new(&path)) || was_there(context, &place).await {
                return Ok((place, Some(moment)));
            }
            Ok((place, Some(moment)))
        }
        Meant::Once(failure) => Err(failure),
    };
    // Nothing is called like what stands before the `@`, nor was: something was like the whole, perhaps.
    if let Ok(whole) = Place::of_path(context, Path::new(text))
        && was_there(context, &whole).await
    {
        return Ok((whole, None));
    }
    otherwise
}

/// Whether history-svc knows that anything was ever there.
async fn was_there(context: &Context, place: &Place) -> bool {
    match History::find(context).await {
        Ok(mut history) => history.has_known(place).await,
        Err(_away) => false,
    }
}

/// Splits at the last `@`.
fn split(text: &OsStr) -> Option<(OsString, String)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0)?;
    let when = String::from_utf8(bytes[at + 1..].to_vec()).ok()?;
    Some((OsStr::from_bytes(&bytes[..at]).to_owned(), when))
}

/// Reads a moment.
///
/// # Errors
/// One sentence.
pub(super) fn parse(text: &str) -> Result<Moment, Failure> {
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
    fn a_name_with_an_at_in_it_is_itself_unless_a_moment_is_meant() {
        let told = |text: &str, needed, there: &[&str]| match meant(OsStr::new(text), needed, |path| {
            there.iter().any(|name| path == Path::new(name))
        }) {
            Meant::Whole => "whole".to_owned(),
            Meant::At(path, _) => path.into_string().unwrap(),
            Meant::Once(failure) => failure.text,
        };
        for needed in [true, false] {
            assert_eq!(told("plan.txt", needed, &[]), "whole");
            assert_eq!(told("plan.txt@7", needed, &["plan.txt"]), "plan.txt");
            assert_eq!(told("at@x.txt", needed, &["at@x.txt"]), "whole");
            assert_eq!(told("at@x.txt@7", needed, &["at@x.txt"]), "at@x.txt");
            assert_eq!(told("a@7", needed, &["a@7"]), "whole");
            assert!(told("at@x.txt", needed, &[]).contains("no time"), "only history knows");
        }
        assert_eq!(told("a@7", true, &["a", "a@7"]), "a");
        assert_eq!(told("a@7", false, &["a", "a@7"]), "whole");
    }

    #[test]
    fn the_last_at_separates() {
        let parts = |text: &str| split(OsStr::new(text)).map(|(path, when)| (path.into_string().unwrap(), when));
        assert_eq!(parts("a@b/c@7"), Some(("a@b/c".to_owned(), "7".to_owned())));
        assert_eq!(parts("a"), None);
        assert_eq!(parts("@7"), None);
    }
}
