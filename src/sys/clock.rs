//! clock_gettime(2).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::ids::Moment;

/// CLOCK_MONOTONIC. It cannot fail on Linux; were it to, time would stand still, and deadlines would wait.
pub fn now() -> Moment {
    Moment(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from))
}
