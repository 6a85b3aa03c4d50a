//! Patterns in gitignore's syntax, over paths of a root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Error;

/// Patterns of one set, and bytes of one.
const PATTERNS: usize = 256;
const PATTERN_BYTES: usize = 4096;

/// A set of patterns; as in a file of gitignore, later ones count more.
#[derive(Debug, Clone)]
pub(crate) struct Globs(Gitignore);

impl Globs {
    /// Reads patterns.
    ///
    /// # Errors
    /// One sentence, for one that is none, and for too many.
    pub(crate) fn new<'a>(patterns: impl ExactSizeIterator<Item = &'a str> + Clone) -> Result<Self, Error> {
        const NONE: Error = Error::Asked("a pattern is none of gitignore's syntax");
        if patterns.len() > PATTERNS || patterns.clone().any(|pattern| pattern.len() > PATTERN_BYTES) {
            return Err(Error::Asked("too many patterns, or one that is too long"));
        }
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder.add_line(None, pattern).map_err(|_| NONE)?;
        }
        builder.build().map(Self).map_err(|_| NONE)
    }

    /// Whether a path fits, or a directory above it.
    pub(crate) fn matches(&self, path: &[u8], directory: bool) -> bool {
        self.0.matched_path_or_any_parents(Path::new(OsStr::from_bytes(path)), directory).is_ignore()
    }

    /// Whether there is no pattern: lines that are empty or comments are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
