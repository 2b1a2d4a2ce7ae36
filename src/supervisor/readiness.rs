//! Decides when the runtime looks whether a generation accepts, and handles the results of these looks.
//!
//! Only a generation that is to be judged is looked at, and the current one a few times when a reload begins. At any other
//! time no timer is set.

use std::time::Duration;

use super::event::{Action, Lifecycle, Why};
use super::generation::Generation;
use super::message::Message;
use super::rollover::Stage;
use super::timers::Timer;
use super::{Phase, Supervisor};
use crate::types::listener::{ListenerId, ListenerLabel};
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, WorkerId};
use crate::types::settings::Trust;
use crate::types::time::Instant;

/// From the moment that a program runs to the first look at it.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Each pause is twice as long as the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
/// A server without load is found waiting in 24 of 25 looks, so this many looks miss it once in millions of reloads.
const LOOKS_AT_CURRENT: u32 = 5;

impl Supervisor {
    // ---- when to look

    /// Looks at this generation soon, and then again and again.
    pub(super) fn look_from_now_on(&mut self, now: Instant) {
        self.timers.set(Timer::Look, now.after(FIRST_PAUSE));
    }

    /// It is decided whether a generation is trusted: no deadline and no look is due any more.
    pub(super) fn stop_judging(&mut self) {
        self.timers.stop(Timer::Trust);
        self.timers.stop(Timer::Look);
    }

    /// A look is due: at the candidate, or at the current generation while the candidate cannot be judged yet.
    pub(super) fn look(&mut self, now: Instant, act: &mut Vec<Action>) {
        if !self.timers.take_due(Timer::Look, now) {
            return;
        }
        let looked_at = match self.phase {
            Phase::RollingOver(_) if self.candidate_is_judged() => self.candidate(),
            Phase::Starting | Phase::Serving | Phase::RollingOver(_) => self.current(),
            Phase::Stopping | Phase::Ended => None,
        };
        act.extend(looked_at.map(Generation::look));
    }

    /// Whether looks at the candidate count: one that must live for some time first is not looked at before that.
    fn candidate_is_judged(&self) -> bool {
        match (self.phase, self.candidate().map(|candidate| &candidate.policy.trust)) {
            (Phase::RollingOver(rollover), Some(Trust::LivedAndAccepts { .. })) => rollover.stage == Stage::Lived,
            (_, Some(Trust::Accepts { .. })) => true,
            _ => false,
        }
    }

    fn look_again(&mut self, number: GenerationNumber, now: Instant) {
        if let Some(generation) = self.generation_mut(number) {
            generation.looks = generation.looks.saturating_add(1);
            let pause = FIRST_PAUSE.saturating_mul(1 << generation.looks.min(8)).min(LONGEST_PAUSE);
            self.timers.set(Timer::Look, now.after(pause));
        }
    }

    // ---- what follows

    /// Keeps what a look has shown. Each phase then draws its own conclusion.
    pub(super) fn note_look(&mut self, number: GenerationNumber, accepts: &[(WorkerId, Vec<ListenerId>)], is_hidden: bool) {
        if let Some(generation) = self.generation_mut(number) {
            for (id, listeners) in accepts {
                generation.note_accepts(*id, listeners);
            }
            generation.hidden |= is_hidden;
        }
    }

    /// The first listener on which not every worker of the current generation has been seen to accept.
    pub(super) fn missing_of_current(&self) -> Option<&ListenerLabel> {
        self.current()?.missing(|_| true)
    }

    /// Handles a look at the first generation, which is current only when it accepts.
    pub(super) fn first_generation_looked_at(
        &mut self,
        number: GenerationNumber,
        hidden: Option<OneLine>,
        now: Instant,
        act: &mut Vec<Action>,
    ) {
        match (self.missing_of_current(), hidden) {
            (None, _) => {
                act.push(Action::Log(Message::Accepts { generation: number }));
                self.serve(now, act);
            }
            (Some(_), None) => self.look_again(number, now),
            (Some(_), Some(why)) => {
                self.judge_by_time(number, why, act);
                self.serve(now, act);
            }
        }
    }

    /// Handles a look at the current generation while the service manager still waits for the start to succeed.
    pub(super) fn current_looked_at(&mut self, number: GenerationNumber, now: Instant, act: &mut Vec<Action>) {
        if self.announced {
            return;
        }
        match self.missing_of_current() {
            None => self.announce_serving(act),
            Some(_) => self.look_again(number, now),
        }
    }

    pub(super) fn looked_while_rolling_over(
        &mut self,
        number: GenerationNumber,
        hidden: Option<OneLine>,
        now: Instant,
        act: &mut Vec<Action>,
    ) {
        if self.candidate().is_none_or(|candidate| candidate.number != number) {
            if self.current().is_some_and(|current| current.looks + 1 < LOOKS_AT_CURRENT && current.is_idle_somewhere()) {
                self.look_again(number, now);
            }
            return;
        }
        let Some(candidate) = self.candidate().filter(|candidate| candidate.runs()) else { return };
        let by_time = match candidate.policy.trust {
            Trust::Accepts { .. } => false,
            Trust::Lived(_) | Trust::LivedAndAccepts { .. } | Trust::Ready { .. } => true,
        };
        match (self.missing_of_candidate(), hidden) {
            (None, _) => {
                act.push(Action::Log(Message::Accepts { generation: number }));
                self.candidate_is_trusted(now, act);
            }
            // It has run for the required time.
            (Some(_), Some(_)) if by_time => self.candidate_is_trusted(now, act),
            (Some(_), Some(why)) => {
                self.judge_by_time(number, why, act);
                self.give_candidate_its_time(now, act);
            }
            (Some(_), None) => self.look_again(number, now),
        }
    }

    /// If the master cannot look, the time that a generation has run decides whether it is ready. The first one serves at once.
    fn judge_by_time(&mut self, number: GenerationNumber, why: OneLine, act: &mut Vec<Action>) {
        let is_first = self.phase == Phase::Starting;
        if let Some(generation) = self.generation_mut(number)
            && let Trust::Accepts { unseen, .. } = generation.policy.trust
        {
            generation.policy.trust = Trust::Lived(unseen);
            act.push(Action::Log(Message::Hidden { generation: number, wait: (!is_first).then_some(unseen), why }));
        }
    }

    /// The listener on which the candidate does not accept although it must.
    pub(super) fn missing_of_candidate(&self) -> Option<OneLine> {
        let candidate = self.candidate()?;
        let missing = match candidate.policy.trust {
            Trust::LivedAndAccepts { .. } => {
                let current = self.current()?;
                candidate.missing(|id| current.accepts_on(id))
            }
            Trust::Accepts { .. } => candidate.missing(|_| true),
            Trust::Lived(_) | Trust::Ready { .. } => None,
        };
        missing.map(|listener| listener.uri.clone())
    }

    /// The generation that is waited for gets more time, if this is one of its workers. It never gets less than it has.
    pub(super) fn give_more_time(&mut self, id: WorkerId, time: Duration, now: Instant) {
        let waited_for = match self.phase {
            Phase::Starting => self.current(),
            Phase::RollingOver(_) if !self.is_at(Stage::Settling) => self.candidate(),
            Phase::RollingOver(_) | Phase::Serving | Phase::Stopping | Phase::Ended => None,
        };
        let is_one = |generation: &Generation| generation.workers.iter().any(|worker| worker.id == id);
        if waited_for.is_some_and(|generation| generation.policy.trust.is_reported() && is_one(generation)) {
            self.timers.postpone(Timer::Trust, now.after(time));
        }
    }

    /// Why the candidate has not become ready in its time.
    pub(super) fn why_not_ready(&self) -> Why {
        self.missing_of_candidate().map_or(Why::DeadlineMissed, |listener| Why::NobodyAccepts { listener })
    }

    // ---- the announcement of the first generation to the service manager

    /// The first generation is current. It is announced when it accepts everywhere, or has lived long enough.
    pub(super) fn wait_to_announce(&mut self, now: Instant, act: &mut Vec<Action>) {
        let Some(current) = self.current() else { return };
        let has_listeners = !current.listeners.is_empty();
        match current.policy.trust {
            Trust::Lived(Duration::ZERO) | Trust::LivedAndAccepts { lived: Duration::ZERO, .. } => self.announce_serving(act),
            Trust::Lived(lived) => self.timers.set(Timer::Trust, now.after(lived)),
            Trust::LivedAndAccepts { lived, .. } => {
                self.timers.set(Timer::Trust, now.after(lived));
                if has_listeners {
                    self.look_from_now_on(now);
                }
            }
            Trust::Accepts { .. } | Trust::Ready { .. } => self.announce_serving(act),
        }
    }

    /// It has lived long enough, whether it accepts or not.
    pub(super) fn announce_by_time(&mut self, now: Instant, act: &mut Vec<Action>) {
        if !self.timers.take_due(Timer::Trust, now) {
            return;
        }
        if let Some(Generation { number, policy, hidden: false, .. }) = self.current()
            && let Trust::LivedAndAccepts { .. } = policy.trust
            && let Some(listener) = self.missing_of_current()
        {
            act.push(Action::Log(Message::NobodyAcceptsOn { generation: *number, listener: listener.uri.clone() }));
        }
        self.announce_serving(act);
    }

    /// Announced once, and before anything else.
    pub(super) fn announce_serving(&mut self, act: &mut Vec<Action>) {
        if !self.announced {
            self.announced = true;
            self.stop_judging();
            act.push(Action::Announce(Lifecycle::Serving));
        }
    }
}
