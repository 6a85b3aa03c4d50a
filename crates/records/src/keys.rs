//! Where ranges of keys end and go on.

use bytes::{BufMut, Bytes, BytesMut};

/// Gives the first key that does not begin with `prefix`; empty (without an end) if there is none.
pub fn after_prefix(prefix: &[u8]) -> Bytes {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key.into()
}

/// Gives the key that follows `key` directly: where the next page begins.
pub fn behind(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_behind_a_prefix_is_behind_all_its_keys_even_where_it_ends_in_ff() {
        assert_eq!(after_prefix(&[b'a', 1]), Bytes::from_static(&[b'a', 2]));
        assert_eq!(after_prefix(&[b'a', 0xff, 0xff]), Bytes::from_static(b"b"));
        assert_eq!(after_prefix(&[0xff]), Bytes::new());
    }

    #[test]
    fn no_key_lies_between_a_key_and_the_one_behind_it() {
        let (key, next) = (&b"key"[..], behind(b"key"));
        assert!(key < &next[..]);
        assert_eq!(&next[..3], key);
        assert_eq!(next[3..], [0]);
    }
}
