//! The bytes of something on the disk that has a content: a file's own, or a unit's bundle.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use rustix::fs::{Advice, fadvise};

use super::unit;

/// Something that can be read from its beginning or at any offset. It may change meanwhile.
#[derive(Debug)]
pub enum Body {
    /// A file.
    File(File),
    /// A unit.
    Unit(Box<unit::Reader>),
}

impl Body {
    /// Says that it will be read from its beginning to its end.
    pub(crate) fn read_ahead(&self) {
        if let Body::File(file) = self {
            // Advice: a file system that takes none reads all the same.
            _ = fadvise(file, 0, None, Advice::Sequential);
        }
    }

    /// Fills a buffer from an offset.
    ///
    /// # Errors
    /// When there are fewer bytes; what the system says.
    pub(crate) fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let unit = match self {
            Body::File(file) => return file.read_exact_at(buffer, offset),
            Body::Unit(unit) => unit,
        };
        while !buffer.is_empty() {
            match unit.read_at(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    offset += count as u64;
                    buffer = &mut buffer[count..];
                }
            }
        }
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Body::File(file) => file.read(buffer),
            Body::Unit(unit) => unit.read(buffer),
        }
    }
}
