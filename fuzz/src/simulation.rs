//! The whole daemon on the simulated operating system of `tests/sim`, from its arguments to its
//! exit code.

use crate::{draw, run};

/// Whatever plan the bytes are, all is as it must be. The same bytes in a file are
/// `make sim BYTES=FILE`, which prints what happens and finds a smaller plan.
pub fn run(bytes: &[u8]) {
    let outcome = run::run(&draw::from_bytes(bytes), false);
    assert_eq!(outcome.wrong, None);
}
