//! What only its owner may know: a connection's key, and how secrets are compared.

use crate::target::Id;
use sha1_smol::Sha1;

/// Makes the keys of a daemon start's connections. An id is no credential, as everybody in a
/// room may learn it; its key is one.
pub struct Keys([u8; 20]);

impl Keys {
    /// `secret`: bytes that nobody can guess.
    pub fn new(secret: [u8; 20]) -> Keys {
        Keys(secret)
    }

    /// The key of a connection: 32 hexadecimal digits.
    pub fn of(&self, id: Id) -> String {
        // Of a fixed length, so that no hash of a longer text can be made of it.
        let mut hash = Sha1::from(self.0);
        hash.update(&id.boot.0.to_be_bytes());
        hash.update(&id.number.to_be_bytes());
        hash.update(&self.0);
        let mut digits = hash.digest().to_string();
        digits.truncate(32);
        digits
    }

    /// Whether this is the key of that connection.
    pub fn fits(&self, id: Id, key: &str) -> bool {
        same(self.of(id).as_bytes(), key.as_bytes())
    }
}

/// Compares in a time that tells nothing of where, or how long, they differ: by digests.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let digest = |bytes| Sha1::from(bytes).digest().bytes();
    differences(digest(a).into_iter(), digest(b).into_iter()) == 0
}

/// The bits that differ anywhere. All bytes are looked at, whatever the first of them are.
fn differences(a: impl Iterator<Item = u8>, b: impl Iterator<Item = u8>) -> u8 {
    core::hint::black_box(a.zip(b).fold(0, |d, (x, y)| d | (x ^ y)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Boot;

    #[test]
    fn each_connection_has_its_own() {
        let keys = Keys::new([7; 20]);
        let id = |number| Id {
            boot: Boot(1),
            number,
        };
        let key = keys.of(id(1));
        assert_eq!(key.len(), 32);
        assert!(keys.fits(id(1), &key) && !keys.fits(id(2), &key) && !keys.fits(id(1), ""));
        assert_ne!(Keys::new([8; 20]).of(id(1)), key);
    }

    #[test]
    fn secrets_compare() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b""));
        assert!(!same(b"abc", b"abcd") && !same(b"", b"abc") && same(b"", b""));
    }

    #[test]
    fn a_comparison_looks_at_every_byte_wherever_they_differ() {
        let token = [7; 20];
        for place in 0..=token.len() {
            let mut given = token;
            given.iter_mut().skip(place).for_each(|byte| *byte = 8);
            let looked = core::cell::Cell::new(0);
            let count = |_: &u8| looked.set(looked.get() + 1);
            let bits = differences(
                token.into_iter().inspect(count),
                given.into_iter().inspect(count),
            );
            assert_eq!(bits == 0, place == token.len());
            assert_eq!(looked.get(), 2 * token.len(), "they differ from {place} on");
        }
    }
}
