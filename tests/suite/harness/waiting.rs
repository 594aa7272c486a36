//! Waiting for something.

use super::PATIENCE;
use std::time::{Duration, Instant};

/// Waits until `found` gives something. `what` names it where it does not.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        // A condition with a deadline, looked at often.
        std::thread::sleep(Duration::from_millis(2));
    }
}
