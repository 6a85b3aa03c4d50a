//! The sides of a conflict: how they are shown, named and chosen.

use bytes::Bytes;
use prost_types::Timestamp;
use quics_proto::agent::v1::{Author, ConflictAnswer, ListedConflict, MergedFile, conflict_answer::Choice};
use quics_proto::common::v1::{File, Value, value::Kind};
use quics_proto::sync::v1::{
    Candidate, CandidateKey, CandidateRole, ConflictState, KeepBoth, KeepServer, NamedCandidate,
};

use super::output;
use crate::agent::conflicts::label;
use crate::text;

/// One side of a conflict.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// Not set: the server's.
    pub(super) key: Option<CandidateKey>,
    pub(super) author: Option<Author>,
    /// Not set: deleted.
    pub(super) value: Option<Value>,
    pub(super) base: Option<Value>,
    pub(super) modified_at: Option<Timestamp>,
    accepted_at: Option<Timestamp>,
    /// A name beside the entry's.
    pub(super) second_name: Bytes,
}

impl Side {
    /// Whose it is: "the server (left)", "right, this device".
    pub(super) fn name(&self) -> String {
        let author = self.author.as_ref().map(|author| match author.own {
            true => format!("{}, this device", label(author)),
            false => label(author),
        });
        let role = match self.key.as_ref().map(CandidateKey::role) {
            Some(CandidateRole::New) => " (something new of that name)",
            Some(CandidateRole::Kept) => " (kept from before an answer was taken back)",
            _ => "",
        };
        match (self.key.is_some(), author) {
            (false, Some(author)) => format!("the server (from {author})"),
            (false, None) => "the server".to_owned(),
            (true, author) => format!("{}{role}", author.unwrap_or_default()),
        }
    }

    /// What it is: "12 KiB, modified 2025-04-01 12:30", "deleted".
    pub(super) fn what(&self) -> String {
        let what = match self.value.as_ref().and_then(|value| value.kind.as_ref()) {
            None => return "deleted".to_owned(),
            Some(Kind::Directory(_)) => "a directory".to_owned(),
            Some(Kind::Link(link)) => format!("a link to {}", text::bytes(&link.target)),
            Some(Kind::File(file)) => text::size(file.size),
            Some(Kind::Unit(unit)) => format!("a directory of {} as a whole", text::size(unit.size)),
        };
        format!("{what}, modified {}", output::when(self.modified_at))
    }

    /// The file that it is.
    pub(super) fn file(&self) -> Option<&File> {
        file(self.value.as_ref())
    }

    /// The bundle of the unit that it is.
    pub(super) fn unit(&self) -> Option<File> {
        unit(self.value.as_ref())
    }

    /// When it was made: by its author's clock, or for a delete when the server heard of it.
    fn made_at(&self) -> (i64, i32) {
        let at = if self.value.is_some() { self.modified_at } else { self.accepted_at };
        at.map_or((i64::MIN, 0), |at| (at.seconds, at.nanos))
    }

    fn is_by(&self, wanted: &str) -> bool {
        let Some(author) = &self.author else { return false };
        let id = output::hex(&author.device_id);
        author.device_name == wanted
            || label(author) == wanted
            || format!("{}/{}", author.user_name, author.device_name) == wanted
            || (wanted.len() >= 8 && id.starts_with(wanted))
    }
}

/// The file that a value is.
pub(super) fn file(value: Option<&Value>) -> Option<&File> {
    match value?.kind.as_ref()? {
        Kind::File(file) => Some(file),
        _ => None,
    }
}

/// The bundle of the unit that a value is.
pub(super) fn unit(value: Option<&Value>) -> Option<File> {
    match value?.kind.as_ref()? {
        Kind::Unit(unit) => Some(File { content_id: unit.content_id.clone(), size: unit.size }),
        _ => None,
    }
}

/// An open conflict with its sides, the server's first.
#[derive(Debug, Clone)]
pub(super) struct Conflict {
    pub(super) listed: ListedConflict,
    pub(super) state: ConflictState,
    pub(super) sides: Vec<Side>,
}

impl From<ListedConflict> for Conflict {
    fn from(listed: ListedConflict) -> Self {
        let state = listed.conflict.clone().unwrap_or_default();
        let row = listed.row.clone().unwrap_or_default();
        let server = Side {
            key: None,
            author: listed.author.clone(),
            value: row.value.filter(|_| !row.tombstone),
            base: None,
            modified_at: row.modified_at,
            accepted_at: row.accepted_at,
            second_name: Bytes::new(),
        };
        let side = |(index, candidate): (usize, &Candidate)| {
            let told = listed.sides.get(index).cloned().unwrap_or_default();
            Side {
                key: Some(CandidateKey {
                    device_id: candidate.device_id.clone(),
                    role: candidate.role,
                    number: candidate.number,
                }),
                author: told.author,
                value: candidate.value.clone(),
                base: candidate.base.clone(),
                modified_at: candidate.modified_at,
                accepted_at: candidate.accepted_at,
                second_name: told.second_name,
            }
        };
        let candidates = state.candidates.iter().enumerate().map(side);
        let sides = std::iter::once(server).chain(candidates).collect();
        Self { listed, state, sides }
    }
}

/// Which side is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Take {
    Server,
    Mine,
    Both,
    Merged,
    Newest,
    Device(String),
}

impl std::str::FromStr for Take {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "server" => Take::Server,
            "mine" => Take::Mine,
            "both" => Take::Both,
            "merged" => Take::Merged,
            "newest" => Take::Newest,
            device => Take::Device(device.to_owned()),
        })
    }
}

impl Conflict {
    /// Its path, for people.
    pub(super) fn path(&self) -> String {
        text::bytes(&self.listed.path).to_string()
    }

    /// Its path below the root.
    pub(super) fn relative(&self) -> &[u8] {
        let path: &[u8] = &self.listed.path;
        path.get(self.listed.root_length as usize..).map_or(path, |rest| rest.strip_prefix(b"/").unwrap_or(rest))
    }

    /// The candidates.
    pub(super) fn candidates(&self) -> &[Side] {
        self.sides.get(1..).unwrap_or_default()
    }

    /// The server's side.
    pub(super) fn server(&self) -> &Side {
        // There always is one: see `From`.
        &self.sides[0]
    }

    /// Whether a side is a directory that is one thing with everything in it.
    pub(super) fn is_about_a_unit(&self) -> bool {
        self.sides.iter().any(|side| side.unit().is_some())
    }

    /// The side that is meant.
    ///
    /// # Errors
    /// One sentence: there is none, or there are several.
    pub(super) fn side(&self, take: &Take) -> Result<&Side, String> {
        let found: Vec<&Side> = match take {
            Take::Server => vec![self.server()],
            Take::Newest => self.sides.iter().max_by_key(|side| side.made_at()).into_iter().collect(),
            Take::Mine => self.by(|side| side.author.as_ref().is_some_and(|author| author.own)),
            Take::Device(name) => self.by(|side| side.is_by(name)),
            Take::Both | Take::Merged => Vec::new(),
        };
        let names = || self.sides.iter().map(Side::name).collect::<Vec<_>>().join(" · ");
        match (found.as_slice(), take) {
            ([only], _) => Ok(only),
            ([], Take::Mine) => Err(format!("this device has no side in it; the sides are: {}", names())),
            ([], Take::Device(name)) => {
                Err(format!("\"{}\" has no side in it; the sides are: {}", text::line(name), names()))
            }
            _ => Err(format!("several sides are meant: choose one of {}", names())),
        }
    }

    /// The candidates of which this holds, or the server's side.
    fn by(&self, whose: impl Fn(&Side) -> bool) -> Vec<&Side> {
        let found: Vec<&Side> = self.candidates().iter().filter(|side| whose(side)).collect();
        if found.is_empty() && whose(self.server()) { vec![self.server()] } else { found }
    }

    /// The answer that takes a side.
    ///
    /// # Errors
    /// As [`Conflict::side`].
    pub(super) fn keep(&self, take: &Take) -> Result<ConflictAnswer, String> {
        Ok(self.keep_side(self.side(take)?))
    }

    /// The answer that takes this side.
    pub(super) fn keep_side(&self, side: &Side) -> ConflictAnswer {
        self.answer(side.key.clone().map_or(Choice::Server(KeepServer {}), Choice::Candidate))
    }

    /// The candidates that get an entry of their own when both are kept, with the name that each gets. The first one of
    /// an entry that was deleted takes its place.
    pub(super) fn seconds(&self) -> Vec<(&Side, &Bytes)> {
        let can = |side: &&Side| !side.second_name.is_empty() && !is_directory(side);
        self.candidates().iter().filter(can).map(|side| (side, &side.second_name)).collect()
    }

    /// The answer that keeps both; with a name of the person's own, where there is one candidate.
    ///
    /// # Errors
    /// One sentence: nothing to keep beside the server's, or which name is whose is not clear.
    pub(super) fn keep_both(&self, name: Option<&Bytes>) -> Result<ConflictAnswer, String> {
        let seconds = self.seconds();
        if seconds.is_empty() {
            return Err("there is nothing to keep beside the server's version".to_owned());
        }
        if name.is_some() && seconds.len() > 1 {
            return Err("--name names one version, and here are several: leave it out".to_owned());
        }
        let place = self.listed.row.as_ref().and_then(|row| row.place.as_ref()).map(|place| &place.name);
        let named = seconds.into_iter().filter_map(|(side, second)| {
            let name = name.unwrap_or(second);
            // What takes the entry's own place has no name of its own.
            let at_home = self.server().value.is_none() && Some(name) == place;
            (!at_home).then(|| NamedCandidate { candidate: side.key.clone(), name: name.clone() })
        });
        let both = KeepBoth { candidates: named.collect() };
        Ok(self.answer(Choice::Both(both)))
    }

    /// The answer that takes a file that was made of the sides.
    pub(super) fn keep_merged(&self, path: Bytes) -> ConflictAnswer {
        self.answer(Choice::Merged(MergedFile { path }))
    }

    fn answer(&self, choice: Choice) -> ConflictAnswer {
        let (entry_id, revision) = (self.state.entry_id.clone(), self.state.revision);
        ConflictAnswer { entry_id, revision, choice: Some(choice) }
    }
}

fn is_directory(side: &Side) -> bool {
    matches!(side.value.as_ref().and_then(|value| value.kind.as_ref()), Some(Kind::Directory(_)))
}

/// What an answer does, for people.
pub(super) fn told(conflict: &Conflict, answer: &ConflictAnswer) -> String {
    // A file cannot take the place of a directory with something in it.
    let beside = match is_directory(conflict.server()) {
        true => "; a directory with anything in it stays, and this gets a name beside it",
        false => "",
    };
    match &answer.choice {
        None => "nothing".to_owned(),
        Some(Choice::Server(_)) => "the server's version is kept".to_owned(),
        Some(Choice::Candidate(key)) => {
            let side = conflict.candidates().iter().find(|side| side.key.as_ref() == Some(key));
            let whose = side.and_then(|side| side.author.as_ref()).map(label);
            let beside = if side.is_some_and(|side| side.value.is_some()) { beside } else { "" };
            format!("the version of {} is kept{beside}", whose.unwrap_or_default())
        }
        Some(Choice::Both(both)) => {
            let names: Vec<_> = both.candidates.iter().map(|it| format!("\"{}\"", text::bytes(&it.name))).collect();
            if names.is_empty() {
                "both are kept".to_owned()
            } else {
                format!("both are kept, the second as {}", names.join(", "))
            }
        }
        Some(Choice::Merged(_)) => format!("the merged version is kept{beside}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use quics_proto::agent::v1::Side as Told;
    use quics_proto::common::v1::{Link, Place, Row};

    use super::*;

    pub(in crate::cli) fn author(id: u8, name: &str, own: bool) -> Author {
        Author {
            device_id: vec![id; 16].into(),
            device_name: name.into(),
            user_name: "ann".into(),
            own,
            same_user: true,
        }
    }

    pub(in crate::cli) fn content(id: u8, size: u64) -> Option<Value> {
        Some(Value { kind: Some(Kind::File(File { content_id: vec![id; 32].into(), size })) })
    }

    fn candidate(id: u8, value: Option<Value>, seconds: i64) -> Candidate {
        let at = Some(Timestamp { seconds, nanos: 0 });
        let role = CandidateRole::Own as i32;
        Candidate {
            device_id: vec![id; 16].into(),
            role,
            value,
            modified_at: at,
            accepted_at: at,
            ..Default::default()
        }
    }

    pub(in crate::cli) fn conflict(tombstone: bool) -> Conflict {
        let place = Some(Place { parent_id: vec![0; 16].into(), name: (&b"plan"[..]).into() });
        let row = Row {
            place,
            value: content(1, 10),
            modified_at: Some(Timestamp { seconds: 50, nanos: 0 }),
            tombstone,
            ..Default::default()
        };
        let candidates = vec![candidate(2, content(2, 20), 60), candidate(3, None, 40)];
        let told = |it: Author, name: &'static [u8]| Told { author: Some(it), second_name: name.into() };
        let second: &'static [u8] = if tombstone { b"plan" } else { b"plan (from right)" };
        ListedConflict {
            path: (&b"/home/docs/a/plan"[..]).into(),
            root_length: 10,
            row: Some(row),
            author: Some(author(1, "left", true)),
            sides: vec![told(author(2, "right", false), second), told(author(3, "third", false), b"")],
            conflict: Some(ConflictState {
                entry_id: vec![9; 16].into(),
                revision: 4,
                candidates,
                ..Default::default()
            }),
            ..Default::default()
        }
        .into()
    }

    #[test]
    fn a_side_is_named_by_device_or_by_what_it_is() {
        let conflict = conflict(false);
        let device = |take: &str| {
            let side = conflict.side(&take.parse().unwrap()).unwrap();
            side.key.as_ref().map(|key| key.device_id[0])
        };
        assert_eq!(device("server"), None);
        assert_eq!(device("mine"), None, "what the server has came from this device");
        assert_eq!(device("right"), Some(2));
        assert_eq!(device("ann/third"), Some(3));
        assert_eq!(device(&"02".repeat(6)), Some(2));
        assert_eq!(device("newest"), Some(2));
        assert!(conflict.side(&Take::Device("nobody".into())).unwrap_err().contains("right · third"));
        assert_eq!(conflict.relative(), b"a/plan");
    }

    #[test]
    fn both_names_every_version_but_the_one_that_takes_the_place_of_a_deleted_file() {
        let names = |conflict: &Conflict, name: Option<&'static [u8]>| {
            let answer = conflict.keep_both(name.map(Bytes::from_static).as_ref()).unwrap();
            let Some(Choice::Both(both)) = answer.choice else { panic!("not both") };
            both.candidates.into_iter().map(|it| it.name.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(names(&conflict(false), None), [b"plan (from right)"]);
        assert_eq!(names(&conflict(false), Some(b"other")), [b"other"]);
        assert!(names(&conflict(true), None).is_empty());
        assert_eq!(names(&conflict(true), Some(b"other")), [b"other"]);
    }

    #[test]
    fn what_gets_a_name_beside_a_directory_is_told_so() {
        let mut conflict = conflict(false);
        let told_of = |conflict: &Conflict, side: usize| told(conflict, &conflict.keep_side(&conflict.sides[side]));
        assert_eq!(told_of(&conflict, 1), "the version of right is kept");
        conflict.sides[0].value = Some(Value { kind: Some(Kind::Directory(Default::default())) });
        assert!(told_of(&conflict, 1).contains("stays, and this gets a name beside it"));
        assert!(told(&conflict, &conflict.keep_merged(Bytes::new())).contains("a name beside it"));
        assert_eq!(told_of(&conflict, 0), "the server's version is kept");
        assert_eq!(told_of(&conflict, 2), "the version of third is kept", "it has no version to put anywhere");
    }

    #[test]
    fn a_side_tells_what_it_is_without_driving_the_terminal() {
        let mut conflict = conflict(false);
        assert!(conflict.sides[1].what().starts_with("20 B, modified "));
        assert_eq!(conflict.sides[2].what(), "deleted");
        conflict.sides[1].value = Some(Value { kind: Some(Kind::Link(Link { target: (&b"a\x1b[2J"[..]).into() })) });
        assert!(!conflict.sides[1].what().contains('\u{1b}'));
        assert_eq!(conflict.sides[0].name(), "the server (from left, this device)");
    }
}
