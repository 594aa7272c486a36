//! Names that peers choose: of rooms, spool files, segments of routes.

use crate::limits::NAME;

/// A room's or spool file's name: `[A-Za-z0-9._-]{1,64}`.
pub fn valid(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && name.bytes().all(byte)
}

/// A byte of a name.
pub fn byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._-".contains(&b)
}
