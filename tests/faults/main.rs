//! `make faults`: what takes long. Processes killed at random, and what a daemon does about
//! it by the clock. The quick ones are among the suite's.

// The ban is on the daemon's floors; the tests stand outside.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// It needs a part of it only.
#[allow(dead_code, unused_imports)]
#[path = "../suite/harness/mod.rs"]
mod harness;

mod dice;
mod door;
mod got;
mod killed;
mod late;
mod ledger;
mod page;
mod visitor;
