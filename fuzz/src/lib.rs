//! The fuzz targets, for the programs of `fuzz_targets`.

#[path = "../../tests/sim/mod.rs"]
pub mod sim;
#[path = "targets.rs"]
pub mod targets;

use sim::*;
