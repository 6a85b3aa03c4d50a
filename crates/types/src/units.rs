//! Directories that are one entry: which names make them so.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Name, limits};

/// The directories in which version control systems keep a repository, whose files only fit each other.
const REPOSITORIES: [&str; 6] = [".git", ".hg", ".svn", ".bzr", ".jj", "_darcs"];
/// What follows a unit's name where one is kept beside another: `.git (from laptop)`. It stands before an extension:
/// `Pictures (from laptop).bundle`.
const BESIDE: &[u8] = b" (";

/// The names of a root's unit directories: sorted, each once, at most [`limits::UNIT_NAMES`] of at most
/// [`limits::UNIT_NAME_BYTES`] each. They are compared as bytes.
///
/// A unit is a directory that is one entry with everything in it: it is on each device wholly as one of them left it.
/// The names are chosen when a root is made and never change, so that no directory becomes a unit, or ceases to be
/// one, but by being renamed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitNames(Arc<[Name]>);

impl UnitNames {
    /// Takes names in any order; one that is given twice counts once.
    ///
    /// # Errors
    /// [`Error::Units`] if there are too many, if one is too long, or if one is `.quics`.
    pub fn new(names: impl IntoIterator<Item = Name>) -> Result<Self, Error> {
        let mut all = std::collections::BTreeSet::new();
        for name in names {
            if name.as_bytes() == Name::OWN.as_bytes() {
                return Err(Error::Units(".quics is every device's own"));
            }
            if name.as_bytes().len() > limits::UNIT_NAME_BYTES {
                return Err(Error::Units("one has more than 64 bytes"));
            }
            all.insert(name);
            if all.len() > limits::UNIT_NAMES {
                return Err(Error::Units("there are more than 32"));
            }
        }
        Ok(Self(all.into_iter().collect()))
    }

    /// Reads the names from a message or a stored record.
    ///
    /// # Errors
    /// [`Error::Name`]; and as [`UnitNames::new`].
    pub fn from_bytes(names: impl IntoIterator<Item = Bytes>) -> Result<Self, Error> {
        Self::new(names.into_iter().map(Name::new).collect::<Result<Vec<_>, _>>()?)
    }

    /// The names as shared bytes, for a message.
    pub fn to_bytes(&self) -> Vec<Bytes> {
        self.iter().map(Name::to_bytes).collect()
    }

    /// No directory is a unit.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// Whether no directory is a unit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.0.iter()
    }

    /// Whether a directory of this name is a unit: its name is one of these, or one of these with ` (` behind it or before
    /// its extension, which is how a unit is called that is kept beside another.
    pub fn is_unit(&self, name: &Name) -> bool {
        let name = name.as_bytes();
        let is_of = |unit: &Name| {
            let unit = unit.as_bytes();
            let dot = unit.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(unit.len());
            let (stem, extension) = unit.split_at(dot);
            let beside = |stem: &[u8], extension: &[u8]| {
                let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
                rest.is_some_and(|rest| rest.starts_with(BESIDE))
            };
            name == unit || beside(unit, b"") || beside(stem, extension)
        };
        self.iter().any(is_of)
    }
}

impl Default for UnitNames {
    /// The directories of version control systems: `.git`, `.hg`, `.svn`, `.bzr`, `.jj`, `_darcs`.
    fn default() -> Self {
        let names = REPOSITORIES.map(|name| Name::new(Bytes::from_static(name.as_bytes())));
        // Fixed, short, and covered by a test.
        names.into_iter().collect::<Result<Vec<_>, _>>().and_then(Self::new).expect("the default names are names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.to_owned()).unwrap()
    }

    fn texts(units: &UnitNames) -> Vec<String> {
        units.iter().map(Name::to_string).collect()
    }

    #[test]
    fn repositories_are_units_by_default() {
        assert_eq!(texts(&UnitNames::default()), [".bzr", ".git", ".hg", ".jj", ".svn", "_darcs"]);
    }

    #[test]
    fn a_unit_is_known_by_its_name_and_by_the_name_it_is_kept_under_beside_another() {
        let units = UnitNames::default();
        for unit in [".git", ".git (from right)", ".git (from right 2)", ".git (from a) (from b)", "_darcs (x)"] {
            assert!(units.is_unit(&name(unit)), "{unit}");
        }
        for other in [".gi", ".gitignore", ".github", ".git(from right)", ".git ", ".GIT", "x.git", "a.git (from b)"] {
            assert!(!units.is_unit(&name(other)), "{other}");
        }
        let bundle = UnitNames::new([name("My pictures.bundle")]).unwrap();
        for unit in ["My pictures.bundle", "My pictures (from right).bundle", "My pictures.bundle (from right)"] {
            assert!(bundle.is_unit(&name(unit)), "{unit}");
        }
        for other in ["My pictures", "My pictures (from right)", "My pictures (x).other", "Your pictures.bundle"] {
            assert!(!bundle.is_unit(&name(other)), "{other}");
        }
        assert!(!UnitNames::none().is_unit(&name(".git")) && UnitNames::none().is_empty());
    }

    #[test]
    fn names_are_sorted_and_unique_and_come_back() {
        let units = UnitNames::new([name("b"), name("a"), name("b")]).unwrap();
        assert_eq!(texts(&units), ["a", "b"]);
        assert_eq!(UnitNames::from_bytes(units.to_bytes()), Ok(units));
        assert_eq!(UnitNames::from_bytes([]), Ok(UnitNames::none()));
    }

    #[test]
    fn too_many_too_long_and_foreign_names_are_refused() {
        let numbered = |count: usize| UnitNames::new((0..count).map(|number| name(&number.to_string())));
        assert!(numbered(limits::UNIT_NAMES).is_ok());
        assert!(matches!(numbered(limits::UNIT_NAMES + 1), Err(Error::Units(_))));
        assert!(UnitNames::new([name(&"x".repeat(limits::UNIT_NAME_BYTES))]).is_ok());
        assert!(matches!(UnitNames::new([name(&"x".repeat(limits::UNIT_NAME_BYTES + 1))]), Err(Error::Units(_))));
        assert!(matches!(UnitNames::new([name(".quics")]), Err(Error::Units(_))));
        assert!(matches!(UnitNames::from_bytes([Bytes::from_static(b"a/b")]), Err(Error::Name(_))));
    }
}
