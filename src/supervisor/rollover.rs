//! A reload: reads the configuration, starts a candidate, and makes it current or rolls it back.

use std::rc::Rc;
use std::time::Duration;

use super::event::{Action, FailedReload, Lifecycle, Reloaded, Reply, Why};
use super::generation::{Generation, Role};
use super::message::Message;
use super::timers::Timer;
use super::{Loss, Outcome, Phase, Supervisor};
use crate::types::listener::ListenerLabel;
use crate::types::process::{Pid, SpawnError, WorkerId};
use crate::types::request::CallerId;
use crate::types::settings::{Policy, Trust};
use crate::types::time::Instant;

/// The time limit for executing a program. A network file system without its server, a virus scanner, or the workers' own user
/// may delay it for ever.
const LONGEST_EXEC: Duration = Duration::from_secs(60);

/// The current reload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rollover {
    /// When it began.
    pub since: Instant,
    pub stage: Stage,
}

/// How far a reload has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The candidate is not ready, or there is none yet.
    Starting,
    /// The candidate has lived as long as it must; whether it accepts is what is left to see.
    Lived,
    /// The candidate is ready, and runs beside the current generation for the time of `-settle`.
    Settling,
}

impl Supervisor {
    pub(super) fn begin_reload(&mut self, caller: Option<CallerId>, now: Instant, act: &mut Vec<Action>) {
        self.requests.reload.extend(caller);
        // A reload request during the start makes the first generation current at once.
        self.announce_serving(act);
        self.newest = self.newest.next();
        self.phase = Phase::RollingOver(Rollover { since: now, stage: Stage::Starting });
        act.push(Action::Announce(Lifecycle::ReloadBegun { generation: self.newest }));
        act.push(Action::Load { generation: self.newest });
    }

    pub(super) fn run_remembered_reload(&mut self, now: Instant, act: &mut Vec<Action>) {
        if self.requests.begin_remembered() {
            self.begin_reload(None, now, act);
        }
    }

    pub(super) fn start_candidate(&mut self, policy: Policy, listeners: Rc<[ListenerLabel]>, now: Instant, act: &mut Vec<Action>) {
        let within = match policy.trust {
            // The time of -start begins when the program runs, which a scanner or the worker's user may delay for ever.
            Trust::Lived(_) | Trust::LivedAndAccepts { .. } => Some(LONGEST_EXEC),
            Trust::Accepts { within, .. } | Trust::Ready { within } => within,
        };
        if let Some(within) = within {
            self.timers.set(Timer::Trust, now.after(within));
        }
        self.see_what_current_does(&policy, act);
        self.start_generation(policy, listeners, Role::Candidate, now, act);
    }

    /// What the candidate must do is what the current generation does, and only where it is not known yet is that looked at.
    fn see_what_current_does(&mut self, policy: &Policy, act: &mut Vec<Action>) {
        if let Trust::LivedAndAccepts { lived, .. } = policy.trust
            && !lived.is_zero()
            && let Some(current) = self.generations.iter_mut().find(|generation| generation.role == Role::Current)
            && current.is_idle_somewhere()
        {
            current.looks = 0;
            act.push(current.look());
        }
    }

    pub(super) fn candidate(&self) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.role == Role::Candidate)
    }

    pub(super) fn candidate_grows(&mut self, id: WorkerId, pid: Pid, now: Instant, act: &mut Vec<Action>) {
        if self.worker_runs(id, pid, now, act) != Some(Role::Candidate) {
            return;
        }
        let Some(candidate) = self.candidate().filter(|candidate| candidate.runs()) else { return };
        match candidate.policy.trust {
            // No generation serves, so any candidate is better than none.
            _ if !self.is_served() => self.promote(now, act),
            Trust::Lived(Duration::ZERO) | Trust::LivedAndAccepts { lived: Duration::ZERO, .. } => self.candidate_is_trusted(now, act),
            Trust::Lived(wait) | Trust::LivedAndAccepts { lived: wait, .. } => self.timers.set(Timer::Trust, now.after(wait)),
            Trust::Accepts { .. } => self.look_from_now_on(now),
            Trust::Ready { .. } => {}
        }
    }

    /// It cannot be seen whether the candidate accepts: it is ready when it has lived long enough.
    pub(super) fn give_candidate_its_time(&mut self, now: Instant, act: &mut Vec<Action>) {
        let Some(candidate) = self.candidate() else { return };
        let Trust::Lived(wait) = candidate.policy.trust else { return };
        let since = candidate.workers.iter().map(|worker| worker.started).max().unwrap_or(now);
        if since.after(wait) <= now {
            self.candidate_is_trusted(now, act);
        } else {
            self.timers.set(Timer::Trust, since.after(wait));
        }
    }

    pub(super) fn candidate_cannot_start(&mut self, id: WorkerId, error: SpawnError, now: Instant, act: &mut Vec<Action>) {
        let Some((generation, role)) = self.worker(id).map(|(generation, _)| (generation.number, generation.role)) else { return };
        if role == Role::Current {
            self.worker_never_ran(id, error, now, act);
            return self.current_lost_one(now, act);
        }
        self.remove_worker(id, now, act);
        match role {
            Role::Candidate => self.roll_back(Why::NotStarted(error), now, act),
            Role::Check => self.check_cannot_start(generation, error, now, act),
            // One of an earlier candidate may have been killed before it ran.
            Role::Current | Role::Retiring => {}
        }
    }

    pub(super) fn candidate_is_ready(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) {
        self.hear_ready(id, act);
        let trusted =
            self.candidate().is_some_and(|candidate| candidate.is_ready() && matches!(candidate.policy.trust, Trust::Ready { .. }));
        if trusted && !self.is_at(Stage::Settling) {
            self.candidate_is_trusted(now, act);
        }
    }

    /// The candidate is ready. It becomes current at once, or after it has run beside the current generation for a while.
    pub(super) fn candidate_is_trusted(&mut self, now: Instant, act: &mut Vec<Action>) {
        let settle = self.candidate().map_or(Duration::ZERO, |candidate| candidate.policy.settle);
        match self.current() {
            Some(current) if !settle.is_zero() && self.is_served() => {
                act.push(Action::Log(Message::Settling { generation: self.newest, stays: current.number, wait: settle }));
                self.stop_judging();
                self.enter(Stage::Settling);
                self.timers.set(Timer::Trust, now.after(settle));
            }
            Some(_) | None => self.promote(now, act),
        }
    }

    pub(super) fn candidate_time_is_over(&mut self, now: Instant, act: &mut Vec<Action>) {
        if !self.timers.take_due(Timer::Trust, now) {
            return;
        }
        match self.candidate() {
            _ if self.awaited.is_some() => self.roll_back(Why::CheckTooLong, now, act),
            Some(_) if self.is_at(Stage::Settling) => self.promote(now, act),
            Some(candidate) if !candidate.runs() => self.roll_back(Why::NotExecuted, now, act),
            Some(Generation { policy: Policy { trust: Trust::Lived(_), .. }, .. }) => self.candidate_is_trusted(now, act),
            Some(Generation { policy: Policy { trust: Trust::LivedAndAccepts { lived, within }, .. }, .. })
                if self.is_at(Stage::Starting) =>
            {
                let within = within.saturating_sub(*lived);
                self.candidate_has_lived(within, now, act);
            }
            Some(_) | None => self.roll_back(self.why_not_ready(), now, act),
        }
    }

    pub(super) fn is_at(&self, stage: Stage) -> bool {
        matches!(self.phase, Phase::RollingOver(rollover) if rollover.stage == stage)
    }

    fn enter(&mut self, stage: Stage) {
        if let Phase::RollingOver(rollover) = &mut self.phase {
            rollover.stage = stage;
        }
    }

    /// The candidate has lived as long as it must. It has `within` to accept where the current generation does.
    fn candidate_has_lived(&mut self, within: Duration, now: Instant, act: &mut Vec<Action>) {
        self.enter(Stage::Lived);
        if self.missing_of_candidate().is_none() {
            return self.candidate_is_trusted(now, act);
        }
        self.timers.set(Timer::Trust, now.after(within));
        self.timers.stop(Timer::Look);
        act.extend(self.candidate().map(Generation::look));
    }

    pub(super) fn lost_while_rolling_over(&mut self, loss: Option<Loss>, now: Instant, act: &mut Vec<Action>) {
        match loss {
            Some(loss @ Loss { role: Role::Check, .. }) => self.check_exited(&loss, now, act),
            Some(Loss { role: Role::Candidate, pid, status, lived, .. }) => {
                self.roll_back(Why::Exited { pid, status, lived }, now, act);
            }
            Some(Loss { role: Role::Current, .. }) => self.current_lost_one(now, act),
            Some(_) | None => {}
        }
    }

    /// If no worker of the current generation is left, any candidate that runs is better than none. One that does not run yet is
    /// promoted when it runs.
    fn current_lost_one(&mut self, now: Instant, act: &mut Vec<Action>) {
        if !self.is_served() && self.candidate().is_some_and(Generation::runs) {
            self.promote(now, act);
        }
    }

    pub(super) fn promote(&mut self, now: Instant, act: &mut Vec<Action>) {
        for generation in &mut self.generations {
            generation.role = match generation.role {
                Role::Candidate => Role::Current,
                Role::Current | Role::Retiring => Role::Retiring,
                Role::Check => Role::Check,
            };
        }
        self.outcome = Outcome::Unknown;
        self.stop_judging();
        self.fill_no_vacancy(act);
        self.follow_with_the_terminal(act);
        // Log this before the stop of the old generation, so that a reader sees the reason first.
        act.push(Action::Log(Message::Current { generation: self.newest }));
        let took = self.time_of_rollover(now);
        self.phase = Phase::Serving;
        self.retire(now, act);
        let leader = self.current().and_then(|current| current.workers.first());
        let reloaded = Reloaded {
            generation: self.newest,
            pid: leader.and_then(|leader| leader.pid()),
            workers: self.current().map_or(0, |current| current.workers.len()),
            took,
        };
        self.end_reload(Ok(reloaded), now, act);
    }

    pub(super) fn roll_back(&mut self, why: Why, now: Instant, act: &mut Vec<Action>) {
        let failed = FailedReload { generation: self.newest, why, stays: self.current().map(|current| current.number) };
        act.push(Action::Log(Message::ReloadFailed(failed.clone())));
        for generation in self.generations.iter_mut().filter(|generation| generation.role == Role::Candidate) {
            generation.role = Role::Retiring;
        }
        self.stop_judging();
        self.awaited = None;
        self.phase = Phase::Serving;
        self.retire(now, act);
        self.end_reload(Err(failed), now, act);
        self.end_if_nobody_is_left(act);
    }

    /// Answers the callers that wait for this reload, and begins the next one if it was requested meanwhile.
    fn end_reload(&mut self, outcome: Result<Reloaded, FailedReload>, now: Instant, act: &mut Vec<Action>) {
        let reply = outcome.clone().map_or_else(Reply::ReloadFailed, Reply::Reloaded);
        let callers = self.requests.reload_ended();
        act.extend(callers.into_iter().map(|caller| Action::Answer { caller, reply: reply.clone() }));
        act.push(Action::Announce(Lifecycle::ReloadEnded { generation: self.newest, outcome }));
        self.run_remembered_reload(now, act);
    }

    /// Stops every retiring worker that has not been sent the stop signal.
    fn retire(&mut self, now: Instant, act: &mut Vec<Action>) {
        self.tell_to_stop(
            |generation, worker| {
                let ends = matches!(generation.role, Role::Retiring | Role::Check);
                (ends && worker.stop.is_none()).then_some(generation.policy.stop_signal)
            },
            now,
            act,
        );
    }

    fn time_of_rollover(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::RollingOver(rollover) => now.since(rollover.since),
            Phase::Starting | Phase::Serving | Phase::Stopping | Phase::Ended => Duration::ZERO,
        }
    }

    /// During a reload, or while one may come, the master keeps running as long as any worker does.
    pub(super) fn end_if_nobody_is_left(&mut self, act: &mut Vec<Action>) {
        if self.phase == Phase::Serving && self.generations.is_empty() {
            self.begin_stop(act);
            self.end_if_alone(act);
        }
    }
}
