//! One small table of everything that is due at some time. It is empty when nothing is due, and then nothing wakes the master.

use crate::types::process::WorkerId;
use crate::types::time::Instant;

/// What a timer is for. Each is set at most once at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// The newest generation is ready now, or has missed its deadline.
    Trust,
    /// A generation is to be looked at.
    Look,
    /// A worker that has exited is to be replaced.
    Respawn,
    /// The stop timeout of this worker is over.
    Kill(WorkerId),
}

/// The timers that are set.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Timers(pub(super) Vec<(Timer, Instant)>);

impl Timers {
    /// Sets a timer, or moves it.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.stop(timer);
        // In an order of their own: that in which they were set must not make two states of one.
        let place = self.0.partition_point(|(known, _)| *known < timer);
        self.0.insert(place, (timer, at));
    }

    /// Moves a timer that is set to a later time.
    pub fn postpone(&mut self, timer: Timer, at: Instant) {
        for (_, due) in self.0.iter_mut().filter(|(known, _)| *known == timer) {
            *due = at.max(*due);
        }
    }

    /// Stops a timer, if it is set.
    pub fn stop(&mut self, timer: Timer) {
        self.0.retain(|(known, _)| *known != timer);
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Stops the timer if it is due, and returns whether it was.
    pub fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.0.iter().any(|(known, at)| *known == timer && *at <= now);
        if due {
            self.stop(timer);
        }
        due
    }

    /// Stops every kill timer that is due, and returns their workers.
    pub fn take_due_kills(&mut self, now: Instant) -> Vec<WorkerId> {
        let due = self.0.iter().filter(|(_, at)| *at <= now).filter_map(|(timer, _)| match timer {
            Timer::Kill(id) => Some(*id),
            Timer::Trust | Timer::Look | Timer::Respawn => None,
        });
        let due: Vec<WorkerId> = due.collect();
        due.iter().for_each(|id| self.stop(Timer::Kill(*id)));
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(Duration::from_secs(seconds))
    }

    #[test]
    fn a_timer_is_due_once_and_only_when_its_time_has_come() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Trust, at(5));
        timers.set(Timer::Kill(WorkerId(1)), at(3));
        timers.set(Timer::Trust, at(7));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.take_due_kills(at(2)), []);
        assert_eq!(timers.take_due_kills(at(3)), [WorkerId(1)]);
        assert_eq!(timers.take_due_kills(at(9)), []);
        assert!(!timers.take_due(Timer::Trust, at(6)));
        assert!(timers.take_due(Timer::Trust, at(7)));
        assert!(!timers.take_due(Timer::Trust, at(8)));
        assert_eq!(timers, Timers::default());
    }
}
