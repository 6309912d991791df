//! SHA-256 over settings, so that equal settings have equal hashes and others have not.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// A hash in the making. Each value is written with its length first, so that two different sequences of values never
/// make the same bytes.
#[derive(Debug)]
pub struct CanonicalHash(Sha256);

impl CanonicalHash {
    /// Returns the hash of everything that `write` writes.
    pub fn digest(write: impl FnOnce(&mut Self)) -> [u8; 32] {
        let mut hash = Self(Sha256::new());
        write(&mut hash);
        hash.0.finalize().into()
    }

    /// Writes a number.
    pub fn number(&mut self, number: usize) {
        // A `usize` has at most 64 bits on every platform that Rust supports.
        self.0
            .update(u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
    }

    /// Writes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    /// Writes a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes a text that may be absent. An empty text differs from an absent one.
    pub fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.number(1);
                self.text(text);
            }
            None => self.number(0),
        }
    }

    /// Writes an instant that may be absent.
    pub fn instant(&mut self, instant: Option<Timestamp>) {
        let text = instant.map(|instant| instant.as_nanosecond().to_string());
        self.optional(text.as_deref());
    }

    /// Writes the digests of values whose order has no meaning.
    pub fn set(&mut self, digests: impl Iterator<Item = [u8; 32]>) {
        let mut digests: Vec<_> = digests.collect();
        digests.sort_unstable();
        self.number(digests.len());
        for digest in digests {
            self.bytes(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CanonicalHash;

    #[test]
    fn different_sequences_have_different_digests() {
        let texts =
            |texts: &[&str]| CanonicalHash::digest(|hash| texts.iter().for_each(|text| hash.text(text)));
        let optional = |text| CanonicalHash::digest(|hash| hash.optional(text));
        let are_distinct = |digests: &[[u8; 32]]| {
            let mut others = digests.iter().enumerate();
            others.all(|(index, digest)| !digests[..index].contains(digest))
        };
        assert!(are_distinct(&[
            texts(&[]),
            texts(&[""]),
            texts(&["", ""]),
            texts(&["ab", "c"]),
            texts(&["a", "bc"]),
            texts(&["abc"]),
        ]));
        assert!(are_distinct(&[
            optional(None),
            optional(Some("")),
            optional(Some("abc"))
        ]));
        assert_eq!(texts(&["ab", "c"]), texts(&["ab", "c"]));
    }

    #[test]
    fn a_set_has_no_order_and_keeps_what_stands_twice() {
        let set = |values: &[u8]| {
            let digests = values.iter().map(|value| [*value; 32]);
            CanonicalHash::digest(|hash| hash.set(digests))
        };
        assert_eq!(set(&[1, 2, 3]), set(&[3, 1, 2]));
        assert_ne!(set(&[1, 2]), set(&[1, 2, 2]));
        assert_ne!(set(&[]), set(&[0]));
    }
}
