//! The oracle: what must hold of all writings of a history when everything is at rest.
//!
//! A writing is in the tree, whole and once. Or it is not, since a person took it away knowing it: wrote over it or
//! removed it in a folder, or saw it as a side of a conflict that they answered (and did not take that answer back).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::content::{Token, Writing};

/// What is noted while a history runs.
#[derive(Debug, Default)]
pub(crate) struct Books {
    writings: BTreeMap<Token, Writing>,
    /// What the user of a device took away in its folder, having it there.
    taken: BTreeSet<Token>,
    answers: Vec<Answer>,
    /// What may stand twice: sides of answers that were taken back, since what such an answer had made stays where its
    /// user went on with it; and what somebody gave another name, since where others went on with the name that it had,
    /// or an answer kept what stood there, it is there too.
    twice: BTreeSet<Token>,
}

/// An answer that a person gave, and what they had seen.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// As `quics resolve --undo` takes it; unknown where the answer's fate is.
    pub(crate) id: Option<String>,
    pub(crate) sides: BTreeSet<Token>,
    /// What they made of the sides, if they did.
    pub(crate) merged: Option<Token>,
    pub(crate) undone: bool,
}

/// What must not be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A content that nobody wrote so.
    Torn { path: PathBuf, why: String },
    /// A writing that is gone and that nobody took away.
    Lost(Writing),
    /// A writing that stands in several places, though it never was in another one than the first.
    Doubled { token: Token, paths: Vec<PathBuf> },
    /// A name that is none of a person's.
    Litter(PathBuf),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { path, why } => write!(formatter, "torn: {}: {why}", path.display()),
            Self::Lost(writing) => write!(formatter, "lost: {writing:?}"),
            Self::Doubled { token, paths } => write!(formatter, "doubled: {token} is at {paths:?}"),
            Self::Litter(path) => write!(formatter, "litter: {}", path.display()),
        }
    }
}

/// A tree as the oracle sees it: what each file is, and the names of directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) files: BTreeMap<PathBuf, Result<Token, String>>,
    pub(crate) directories: BTreeSet<PathBuf>,
}

impl Books {
    /// The next writing's number.
    pub(crate) fn next(&self) -> Token {
        self.writings.last_key_value().map_or(1, |(token, _)| token + 1)
    }

    pub(crate) fn wrote(&mut self, writing: Writing) {
        self.writings.insert(writing.token, writing);
    }

    pub(crate) fn took(&mut self, tokens: impl IntoIterator<Item = Token>) {
        self.taken.extend(tokens);
    }

    /// Somebody gave them another name.
    pub(crate) fn moved(&mut self, tokens: impl IntoIterator<Item = Token>) {
        self.twice.extend(tokens);
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    /// The answers that hold and can be named.
    pub(crate) fn standing(&self) -> impl DoubleEndedIterator<Item = (&str, &Answer)> {
        let standing = self.answers.iter().filter(|answer| !answer.undone);
        standing.filter_map(|answer| Some((answer.id.as_deref()?, answer)))
    }

    /// An answer was taken back: its sides have to be somewhere again. What was merged for it goes with it.
    pub(crate) fn undone(&mut self, id: &str) {
        self.perhaps_undone(id);
        self.answers.iter_mut().filter(|answer| answer.id.as_deref() == Some(id)).for_each(|it| it.undone = true);
    }

    /// It is not known whether an answer was taken back.
    pub(crate) fn perhaps_undone(&mut self, id: &str) {
        for answer in self.answers.iter().filter(|answer| answer.id.as_deref() == Some(id)) {
            self.twice.extend(&answer.sides);
            self.taken.extend(answer.merged);
        }
    }

    /// Whether a writing of this history is neither in the tree nor was taken away.
    pub(crate) fn is_missing(&self, token: Token, tree: &Tree) -> bool {
        self.writings.contains_key(&token)
            && !self.is_taken(token)
            && !tree.files.values().flatten().any(|it| *it == token)
    }

    /// Whether a person took a writing away.
    fn is_taken(&self, token: Token) -> bool {
        let asked = |answer: &Answer| !answer.undone && answer.sides.contains(&token);
        self.taken.contains(&token) || self.answers.iter().any(asked)
    }

    /// Everything that is wrong with the tree that all agree about; `may_be` says which names people give.
    pub(crate) fn judge(&self, tree: &Tree, may_be: impl Fn(&str) -> bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut places: BTreeMap<Token, Vec<PathBuf>> = BTreeMap::new();
        for (path, file) in &tree.files {
            match file {
                Ok(token) => places.entry(*token).or_default().push(path.clone()),
                Err(why) => faults.push(Fault::Torn { path: path.clone(), why: why.clone() }),
            }
        }
        for (token, paths) in &places {
            let foreign = || "it is a writing of nobody".to_owned();
            if !self.writings.contains_key(token) {
                faults.push(Fault::Torn { path: paths[0].clone(), why: foreign() });
            }
            if paths.len() > 1 && !self.twice.contains(token) {
                faults.push(Fault::Doubled { token: *token, paths: paths.clone() });
            }
        }
        let gone = self.writings.values().filter(|it| !places.contains_key(&it.token) && !self.is_taken(it.token));
        faults.extend(gone.cloned().map(Fault::Lost));
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let strange = tree.files.keys().chain(&tree.directories).filter(|path| !may_be(&name(path)));
        faults.extend(strange.cloned().map(Fault::Litter));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(token: Token) -> Writing {
        Writing { token, device: "d1".into(), path: format!("{token}"), over: Vec::new(), large: false }
    }

    /// Four writings, all of them in the tree.
    fn whole() -> (Books, Tree) {
        let (mut books, mut tree) = (Books::default(), Tree::default());
        for token in 1..=4 {
            assert_eq!(books.next(), token);
            books.wrote(writing(token));
            tree.files.insert(format!("{token}").into(), Ok(token));
        }
        (books, tree)
    }

    fn judge(books: &Books, tree: &Tree) -> Vec<Fault> {
        books.judge(tree, |name| name.len() == 1)
    }

    fn answer(sides: &[Token], merged: Option<Token>) -> Answer {
        Answer { id: Some("1f".into()), sides: sides.iter().copied().collect(), merged, undone: false }
    }

    #[test]
    fn a_lost_writing_is_noticed_unless_somebody_took_it_away() {
        let (mut books, mut tree) = whole();
        assert_eq!(judge(&books, &tree), []);
        tree.files.remove(Path::new("2"));
        assert_eq!(judge(&books, &tree), [Fault::Lost(writing(2))]);
        books.took([3]);
        assert_eq!(judge(&books, &tree), [Fault::Lost(writing(2))], "another one was taken away");
        books.took([2]);
        assert_eq!(judge(&books, &tree), []);
    }

    #[test]
    fn a_side_that_was_not_kept_is_lost_unless_the_answer_saw_it_and_stands() {
        let (mut books, mut tree) = whole();
        tree.files.remove(Path::new("2"));
        books.answered(answer(&[1, 3], None));
        assert_eq!(judge(&books, &tree), [Fault::Lost(writing(2))], "the person did not see it");
        books.answered(answer(&[1, 2], Some(4)));
        assert_eq!(judge(&books, &tree), []);
        books.undone("1f");
        assert_eq!(judge(&books, &tree), [Fault::Lost(writing(2))], "it should have come back");
        tree.files.insert("2".into(), Ok(2));
        tree.files.remove(Path::new("4"));
        assert_eq!(judge(&books, &tree), [], "what was merged went with the answer");
    }

    #[test]
    fn a_doubled_writing_is_noticed_unless_somebody_moved_it() {
        let (mut books, mut tree) = whole();
        tree.files.insert("9".into(), Ok(3));
        assert_eq!(judge(&books, &tree), [Fault::Doubled { token: 3, paths: vec!["3".into(), "9".into()] }]);
        books.moved([3]);
        assert_eq!(judge(&books, &tree), []);
    }

    #[test]
    fn a_torn_file_and_one_that_nobody_wrote_are_noticed() {
        let (books, mut tree) = whole();
        tree.files.insert("5".into(), Err("no end".into()));
        tree.files.insert("6".into(), Ok(17));
        let faults = judge(&books, &tree);
        assert!(matches!(&faults[..], [Fault::Torn { .. }, Fault::Torn { .. }]), "{faults:?}");
    }

    #[test]
    fn litter_is_noticed() {
        let (books, mut tree) = whole();
        tree.directories.insert("a/new-17".into());
        assert_eq!(judge(&books, &tree), [Fault::Litter("a/new-17".into())]);
    }
}
