//! The refusals that more than one room of the server gives.

use crate::http::Refusal;

/// The answer to whoever comes, or has not been let in yet, while the daemon shuts down.
pub fn stopping() -> Refusal {
    Refusal::busy("stopping", "503: the daemon is shutting down")
}

/// The answer to whoever names a connection that is not there, or is not theirs.
pub fn gone() -> Refusal {
    Refusal::new(410, "gone", "410: no such connection (any more)")
}

/// The answer to whoever there is no memory for.
pub fn no_memory() -> Refusal {
    Refusal::busy("memory", "503: --memory is used up")
}
