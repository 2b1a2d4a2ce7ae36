//! The check before a reload: a program of the operator that decides whether the candidate may start.

use std::rc::Rc;
use std::time::Duration;

use super::event::{Action, Why};
use super::generation::Role;
use super::message::Message;
use super::timers::Timer;
use super::{Loss, Supervisor};
use crate::types::listener::ListenerLabel;
use crate::types::process::{ExitStatus, GenerationNumber, SpawnError};
use crate::types::settings::{Policy, Trust};
use crate::types::time::Instant;

/// The time limit of a check, unless a candidate has more time to become ready.
const LONGEST_CHECK: Duration = Duration::from_secs(60);
/// How long a check may run after the stop signal where workers may run for ever.
const CHECK_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The candidate that starts when the check has succeeded.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Awaited {
    policy: Policy,
    listeners: Rc<[ListenerLabel]>,
}

impl Supervisor {
    /// The configuration has been read. The check runs first, if there is one.
    pub(super) fn start_check_or_candidate(&mut self, policy: Policy, listeners: Rc<[ListenerLabel]>, now: Instant, act: &mut Vec<Action>) {
        if !policy.check {
            return self.start_candidate(policy, listeners, now, act);
        }
        let limit = match policy.trust {
            Trust::Accepts { within: None, .. } | Trust::Ready { within: None } => LONGEST_CHECK,
            Trust::Accepts { within: Some(limit), .. } | Trust::Ready { within: Some(limit) } => limit,
            Trust::Lived(limit) | Trust::LivedAndAccepts { within: limit, .. } => limit,
        };
        self.timers.set(Timer::Trust, now.after(limit.max(LONGEST_CHECK)));
        self.awaited = Some(Awaited { policy: policy.clone(), listeners: listeners.clone() });
        // A check has one process, and what that leaves running is not waited for.
        let stop_timeout = policy.stop_timeout.or(Some(CHECK_STOP_TIMEOUT));
        self.start_generation(Policy { workers: 1, group: false, stop_timeout, ..policy }, listeners, Role::Check, now, act);
    }

    /// Whether the candidate of the current reload waits for the check of this generation. The check of an earlier reload may
    /// still be there.
    pub(super) fn is_awaited(&self, generation: GenerationNumber) -> bool {
        self.awaited.is_some() && generation == self.newest
    }

    pub(super) fn check_cannot_start(&mut self, generation: GenerationNumber, error: SpawnError, now: Instant, act: &mut Vec<Action>) {
        if self.is_awaited(generation) {
            act.push(Action::Forget { generation });
            self.roll_back(Why::CheckNotStarted(error), now, act);
        }
    }

    /// A check has exited. If it is the check of the current reload and was successful, the candidate starts.
    pub(super) fn check_exited(&mut self, loss: &Loss, now: Instant, act: &mut Vec<Action>) {
        if !self.is_awaited(loss.generation) {
            return;
        }
        let Some(Awaited { policy, listeners }) = self.awaited.take() else { return };
        if loss.status == ExitStatus::Exited(0) {
            act.push(Action::Log(Message::Checked { generation: loss.generation, took: loss.lived }));
            self.stop_judging();
            self.start_candidate(policy, listeners, now, act);
        } else {
            act.push(Action::Forget { generation: loss.generation });
            self.roll_back(Why::CheckFailed { status: loss.status, lived: loss.lived }, now, act);
        }
    }
}
