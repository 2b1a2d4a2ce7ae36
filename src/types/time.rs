//! Points in time.

use std::time::Duration;

/// A point on CLOCK_MONOTONIC, clock_gettime(2): it goes on across an execve(2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(pub Duration);

impl Instant {
    /// The moment `wait` later; the end of time if that cannot be represented.
    pub fn after(self, wait: Duration) -> Instant {
        Instant(self.0.saturating_add(wait))
    }

    /// How long it has been since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
