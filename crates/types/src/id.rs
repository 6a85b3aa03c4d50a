//! Random 128-bit ids, one type for each thing that has one.

use crate::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Bytes of an id.
            pub const LEN: usize = 16;

            /// Makes an id of the 16 bytes given; the caller draws them at random.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads an id from a message or a stored record.
            ///
            /// # Errors
            /// [`Error::Length`] unless there are exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
                bytes.try_into().map(Self).map_err(|_| Error::Length { what: $what, expected: 16, found: bytes.len() })
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                let wrong = Error::Hex { what: $what, expected: 32 };
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong.clone())?;
                bytes.try_into().map(Self).map_err(|_| wrong)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id!(
    /// A file, directory or symlink of a root, through all its changes and moves.
    EntryId, "entry id"
);
id!(
    /// A registered directory tree.
    RootId, "root id"
);
id!(
    /// An enrolled client of a user.
    DeviceId, "device id"
);
id!(
    /// A person.
    UserId, "user id"
);
id!(
    /// An upload's hold on chunks that no commit names yet.
    LeaseId, "lease id"
);
id!(
    /// An answer to conflicts, or its undoing; drawn by whoever answers.
    ResolutionId, "resolution id"
);
id!(
    /// Changes that are made together on somebody's behalf, a restore for example; drawn by whoever begins them.
    GroupId, "group id"
);

impl DeviceId {
    /// The server itself, where it answers a conflict on nobody's behalf. No device has this id.
    pub const SERVER: DeviceId = DeviceId([0; 16]);
}

impl EntryId {
    /// The entry that is the top directory of every root: it has no name, never moves and never dies.
    pub const TOP: EntryId = EntryId([0; 16]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = RootId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<RootId>(), Ok(id));
        assert!("xyz".parse::<RootId>().is_err());
        assert!(RootId::from_slice(&[0; 15]).is_err());
    }
}
