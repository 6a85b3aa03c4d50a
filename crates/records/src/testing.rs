//! What tests of formats share.

use std::fmt::Debug;

use crate::{Bytes, Code, Kept, Stored, decode, encode};

/// Checks that a record is written as these hexadecimal digits, reads back the same, and reads as damage wherever it is cut.
///
/// # Panics
/// If that is not so: it is made for tests.
pub fn golden<T: Code + PartialEq + Debug>(record: T, expected: &str) {
    let bytes = encode(&record);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected, "{record:?}");
    let read = |bytes: &[u8]| decode(b"key", Stored { bytes: Bytes::copy_from_slice(bytes), pieces: 0 });
    let kept: Option<Kept<T>> = read(&bytes).ok();
    assert_eq!(kept.map(|kept| kept.record), Some(record));
    for cut in 0..bytes.len() {
        let kept: Result<Kept<T>, _> = read(&bytes[..cut]);
        assert!(kept.is_err(), "cut to {cut}");
    }
}
