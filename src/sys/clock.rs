//! clock_gettime(2).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::types::time::Instant;

/// CLOCK_MONOTONIC. It cannot fail on Linux; were it to, time would stand still, and deadlines would wait.
pub fn now() -> Instant {
    Instant(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from))
}

/// CLOCK_REALTIME_COARSE in seconds and nanoseconds: the clock by which file systems stamp their files.
pub fn file_time() -> (i64, i64) {
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(Duration::ZERO, Duration::from);
    (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos().into())
}
