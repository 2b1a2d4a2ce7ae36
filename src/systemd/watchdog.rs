//! The service manager's watchdog over the master, sd_watchdog_enabled(3). Pure.

use std::ffi::OsString;
use std::time::Duration;

use crate::types::environment::variable;
use crate::types::time::Instant;

/// When the master must tell the service manager that it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    time: Duration,
    due: Instant,
}

impl Watchdog {
    /// The watchdog that WATCHDOG_USEC sets, if it is meant for the process with this pid.
    pub fn find(environment: &[(OsString, OsString)], pid: u32, now: Instant) -> Option<Watchdog> {
        let number = |name| variable(environment, name).map(|value| value.to_str().and_then(|text| text.parse::<u64>().ok()));
        let is_ours = number("WATCHDOG_PID").is_none_or(|owner| owner == Some(pid.into()));
        let time = Duration::from_micros(number("WATCHDOG_USEC")??);
        (is_ours && !time.is_zero()).then(|| Watchdog { time, due: now.after(time / 2) })
    }

    /// The time within which the service manager wants to be told.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// When the master tells it next: after half of that time.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is to be told now.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now.after(self.time / 2);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let now = Instant(Duration::from_secs(100));
        let find = |time: &str, pid: Option<&str>| {
            let mut environment: Vec<(OsString, OsString)> = vec![("WATCHDOG_USEC".into(), time.into())];
            environment.extend(pid.map(|pid| ("WATCHDOG_PID".into(), pid.into())));
            Watchdog::find(&environment, 71, now).map(|watchdog| watchdog.due())
        };
        let due = Some(Instant(Duration::from_secs(101)));
        assert_eq!([find("2000000", None), find("2000000", Some("71")), find("2000000", Some(""))], [due; 3]);
        for (time, pid) in [("2000000", "7"), ("2000000", "x"), ("0", "71"), ("", "71"), ("-1", "71"), ("2s", "71")] {
            assert_eq!(find(time, Some(pid)), None, "{time} {pid}");
        }
        assert_eq!(Watchdog::find(&[], 71, now), None);
    }

    #[test]
    fn it_is_due_again_after_half_of_its_time() {
        let at = |millis| Instant(Duration::from_millis(millis));
        let mut watchdog = Watchdog { time: Duration::from_secs(2), due: at(1000) };
        assert!(!watchdog.take_due(at(999)));
        assert!(watchdog.take_due(at(1500)));
        assert_eq!(watchdog.due(), at(2500));
        assert!(!watchdog.take_due(at(2499)));
    }
}
