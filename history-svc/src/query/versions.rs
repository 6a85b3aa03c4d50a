//! Lists of versions, the newest first, in pages.

use data_encoding::HEXLOWER;
use quics_proto::history::v1 as history;
use quics_types::{EntryId, Place, WallTime};

use super::entry;
use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::Cause;
use crate::encode::{self, Subject};
use crate::view::{At, PAGE, View};

/// Rows that one page looks at.
const SCANNED: usize = 4096;
/// Versions of a page, at most, and where it is not said.
const MOST: u32 = 1000;
const USUAL: u32 = 100;
/// Arrivals at one path that a page looks at.
const ARRIVALS: usize = 4096;

/// What of the versions is listed.
struct Filter {
    since: Option<WallTime>,
    until: Option<WallTime>,
    device: String,
    user: String,
    deleted: bool,
    /// In this directory, or the directory itself.
    below: Option<EntryId>,
}

impl Filter {
    fn takes(&self, view: View<'_>, at: &At) -> Result<bool, Error> {
        let version = &at.version;
        let accepted = version.accepted;
        let of_device =
            self.device.is_empty() || self.device == version.device_name || self.device == version.device.to_string();
        let takes = self.since.is_none_or(|since| accepted >= since)
            && self.until.is_none_or(|until| accepted <= until)
            && of_device
            && (self.user.is_empty() || self.user == version.user_name);
        if !takes || !self.is_below(view, at)? {
            return Ok(false);
        }
        if !self.deleted {
            return Ok(true);
        }
        if !version.row.dead || matches!(version.cause, Cause::Lost | Cause::HeldBack) {
            return Ok(false);
        }
        let newest = view.at(version.row.id, Point { generation: u32::MAX, seq: u64::MAX })?;
        Ok(newest.is_some_and(|newest| newest.point == at.point))
    }

    fn is_below(&self, view: View<'_>, at: &At) -> Result<bool, Error> {
        let Some(directory) = self.below else { return Ok(true) };
        let row = at.row();
        if row.id == directory || view.is_below(&row.place, directory, at.point)? {
            return Ok(true);
        }
        let came_from = at.version.moved_from.as_ref();
        came_from.map_or(Ok(false), |place| view.is_below(place, directory, at.point))
    }
}

/// Where the next page begins: behind this version of this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    point: Point,
    entry: EntryId,
    side: u32,
}

impl Token {
    fn of(at: &At) -> Self {
        Self { point: at.point, entry: at.row().id, side: at.side }
    }

    fn encode(self) -> String {
        let mut bytes = self.point.generation.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.point.seq.to_be_bytes());
        bytes.extend_from_slice(self.entry.as_bytes());
        bytes.extend_from_slice(&self.side.to_be_bytes());
        HEXLOWER.encode(&bytes)
    }

    fn decode(text: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes: [u8; 32] = HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?;
            let (generation, rest) = bytes.split_first_chunk::<4>()?;
            let (seq, rest) = rest.split_first_chunk::<8>()?;
            let (entry, rest) = rest.split_first_chunk::<16>()?;
            let (side, _) = rest.split_first_chunk::<4>()?;
            let point = Point { generation: u32::from_be_bytes(*generation), seq: u64::from_be_bytes(*seq) };
            Some(Self { point, entry: EntryId::from_bytes(*entry), side: u32::from_be_bytes(*side) })
        };
        read().map(Some).ok_or(Error::Asked("the page token is none of this list"))
    }
}

/// A page in the making.
struct Page {
    size: usize,
    scanned: usize,
    found: Vec<At>,
    /// Where it stopped, if before the end.
    next: Option<Token>,
}

impl Page {
    /// Looks at a version; `false`: the page is full with it.
    fn take(&mut self, view: View<'_>, filter: &Filter, at: At) -> Result<bool, Error> {
        self.scanned += 1;
        let token = Token::of(&at);
        if filter.takes(view, &at)? {
            self.found.push(at);
        }
        if self.found.len() >= self.size || self.scanned >= SCANNED {
            self.next = Some(token);
            return Ok(false);
        }
        Ok(true)
    }
}

/// Answers a question for versions.
pub(crate) fn list(
    view: View<'_>,
    request: history::ListVersionsRequest,
) -> Result<history::ListVersionsResponse, Error> {
    let subject = encode::subject(request.subject)?;
    let below = match &subject {
        Some(directory) if request.below => Some(entry(view, directory, view.newest_point()?)?),
        _ => None,
    };
    let filter = Filter {
        below,
        since: encode::time(request.since)?,
        until: encode::time(request.until)?,
        device: request.device,
        user: request.user,
        deleted: request.deleted,
    };
    let size = if request.page_size == 0 { USUAL } else { request.page_size.min(MOST) };
    let token = Token::decode(&request.page_token)?;
    let mut page = Page { size: size as usize, scanned: 0, found: Vec::new(), next: None };
    match subject {
        None => of_root(view, &filter, token, &mut page)?,
        Some(_) if request.below => of_root(view, &filter, token, &mut page)?,
        Some(Subject::Path(path)) if path.is_empty() => of_root(view, &filter, token, &mut page)?,
        Some(Subject::Path(path)) if request.by_path => of_path(view, &path, &filter, token, &mut page)?,
        Some(subject) => {
            let entry = entry(view, &subject, view.newest_point()?)?;
            of_entry(view, entry, &filter, token, &mut page)?;
            if page.scanned == 0 && token.is_none() {
                return Err(Error::Nothing("nothing is known of this entry".into()));
            }
        }
    }
    let versions: Result<_, Error> = page.found.iter().map(|at| encode::version(view, at)).collect();
    Ok(history::ListVersionsResponse {
        versions: versions?,
        next_page_token: page.next.map(Token::encode).unwrap_or_default(),
        applied: Some(encode::cursor(view.state()?)),
    })
}

fn of_entry(
    view: View<'_>,
    entry: EntryId,
    filter: &Filter,
    token: Option<Token>,
    page: &mut Page,
) -> Result<(), Error> {
    let mut before = token.map(|token| (token.point, token.side));
    loop {
        let versions = view.versions_before(entry, before, PAGE)?;
        let Some(last) = versions.last() else { return Ok(()) };
        before = Some((last.point, last.side));
        for at in versions {
            if !page.take(view, filter, at)? {
                return Ok(());
            }
        }
    }
}

fn of_root(view: View<'_>, filter: &Filter, token: Option<Token>, page: &mut Page) -> Result<(), Error> {
    let (from, end) = keys::all(b't', view.root);
    let mut to = match (token, filter.until) {
        (Some(token), _) => keys::timeline(view.root, token.point, token.entry, token.side),
        (None, Some(until)) => match view.point_at(until)? {
            Some(point) => keys::timeline_behind(view.root, point),
            None => return Ok(()),
        },
        (None, None) => end,
    };
    loop {
        let rows = view.reads.raw_range_back(&from, &to, PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        to = last.clone();
        for (key, moment) in &rows {
            let (point, entry, side) = keys::parse_timeline(key).ok_or_else(|| Error::damaged(key))?;
            let moment = moment.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| Error::damaged(key))?;
            // What follows was accepted even before; what was found later may stand among it.
            if filter.since.is_some_and(|since| WallTime(moment) < since) {
                return Ok(());
            }
            let at = view.version(entry, point, side)?.ok_or_else(|| Error::damaged(key))?;
            if !page.take(view, filter, at)? {
                return Ok(());
            }
        }
    }
}

/// Everything that had a path, one after the other.
fn of_path(
    view: View<'_>,
    path: &[quics_types::Name],
    filter: &Filter,
    token: Option<Token>,
    page: &mut Page,
) -> Result<(), Error> {
    let Some((name, above)) = path.split_last() else { return Ok(()) };
    let newest = view.newest_point()?;
    let parent = entry(view, &Subject::Path(above.to_vec()), newest)?;
    let place = Place { parent, name: name.clone() };
    let arrivals = view.arrivals(&place, newest, ARRIVALS)?;
    if arrivals.is_empty() {
        return Err(Error::Nothing("nothing ever had this path".into()));
    }
    // Who came later had the place from then on.
    let mut end = token.map(|token| (token.point, token.side));
    for (came, entry) in arrivals {
        if end.is_some_and(|end| (came, 0) >= end) {
            continue;
        }
        let mut before = Some(end.unwrap_or((Point { generation: u32::MAX, seq: u64::MAX }, u32::MAX)));
        'stay: loop {
            let versions = view.versions_before(entry, before, PAGE)?;
            let Some(last) = versions.last() else { break };
            before = Some((last.point, last.side));
            for at in versions {
                if at.point < came {
                    break 'stay;
                }
                if at.row().place == place && !page.take(view, filter, at)? {
                    return Ok(());
                }
            }
        }
        end = Some((came, 0));
    }
    Ok(())
}
