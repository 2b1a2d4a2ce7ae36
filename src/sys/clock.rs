//! clock_gettime(2).

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::types::time::Instant;

/// CLOCK_MONOTONIC. It cannot fail on Linux; were it to, time would stand still, and deadlines would wait.
pub fn now() -> Instant {
    Instant(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from))
}

/// The longest wait that a 32-bit time_t holds: 68 years.
const LONGEST_WAIT: Duration = Duration::from_secs(i32::MAX as u64);

/// A time to wait as ppoll(2) and sigtimedwait(2) take it. A longer one than they can take is cut: wrapped around it would
/// be none at all, or an error.
pub(super) fn timeout(wait: Duration) -> TimeSpec {
    TimeSpec::from(wait.min(LONGEST_WAIT))
}

/// CLOCK_REALTIME_COARSE in seconds and nanoseconds: the clock by which file systems stamp their files.
pub fn file_time() -> (i64, i64) {
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(Duration::ZERO, Duration::from);
    (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_ever_is_a_long_one_even_where_seconds_have_32_bits() {
        assert_eq!(Duration::from(timeout(Duration::from_millis(1500))), Duration::from_millis(1500), "the control");
        for millis in [u64::MAX, (1 << 32) * 1000, (1 << 31) * 1000] {
            let wait = timeout(Duration::from_millis(millis));
            assert!(
                u64::try_from(wait.tv_sec()).is_ok_and(|seconds| (1..=LONGEST_WAIT.as_secs()).contains(&seconds)),
                "{millis} ms: {wait:?}"
            );
        }
    }
}
