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
    let differences = digest(a)
        .iter()
        .zip(digest(b))
        .fold(0, |d, (x, y)| d | (x ^ y));
    core::hint::black_box(differences) == 0
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
    }
}
