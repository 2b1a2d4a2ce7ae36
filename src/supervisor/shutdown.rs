//! A shutdown: sends workers the stop signal, waits for them, kills them after the timeout, and exits.

use super::event::{Action, Lifecycle, Reply};
use super::generation::{Generation, StopRequest, Worker, WorkerState};
use super::message::Message;
use super::timers::Timer;
use super::{Outcome, Phase, Supervisor};
use crate::types::one_line::OneLine;
use crate::types::process::{ExitStatus, SpawnError, WorkerId};
use crate::types::signal::Signal;
use crate::types::time::Instant;

impl Supervisor {
    // ---- the first generation has failed

    pub(super) fn first_generation_cannot_start(&mut self, id: WorkerId, error: SpawnError, now: Instant, act: &mut Vec<Action>) {
        self.worker_never_ran(id, error, now, act);
        self.give_up(now, act);
    }

    pub(super) fn first_generation_lost_one(
        &mut self,
        id: WorkerId,
        status: ExitStatus,
        group_left: bool,
        now: Instant,
        act: &mut Vec<Action>,
    ) {
        if self.worker_exited(id, status, group_left, now, act).is_some() {
            // It was never ready, which is a failure even if -ok lists its status.
            if matches!(self.outcome, Outcome::Program { ok: true, .. }) || status.code() == 0 {
                self.outcome = Outcome::Own(1);
            }
            self.give_up(now, act);
        }
    }

    pub(super) fn first_generation_is_late(&mut self, now: Instant, act: &mut Vec<Action>) {
        if self.timers.take_due(Timer::Trust, now) {
            self.outcome = Outcome::Own(1);
            let is_reported = self.current().is_some_and(|current| current.policy.trust.is_reported());
            act.push(Action::Log(match self.missing_of_current().filter(|_| !is_reported) {
                Some(listener) => Message::NobodyAcceptsOn { generation: self.newest, listener: listener.uri.clone() },
                None => Message::NotReady { generation: self.newest },
            }));
            self.give_up(now, act);
        }
    }

    fn give_up(&mut self, now: Instant, act: &mut Vec<Action>) {
        self.begin_stop(act);
        self.tell_to_stop(|generation, _| Some(generation.policy.stop_signal), now, act);
        self.end_if_alone(act);
    }

    // ---- a stop

    /// `with` and `again` as in [`Request::Stop`](crate::types::request::Request::Stop).
    pub(super) fn stop(&mut self, with: Option<Signal>, again: Option<Signal>, now: Instant, act: &mut Vec<Action>) {
        act.push(Action::Log(Message::Stopping { signal: again.or(with) }));
        let insists = std::mem::replace(&mut self.stop_asked, true);
        self.begin_stop(act);
        self.tell_to_stop(
            |generation, worker| {
                let signal = with.unwrap_or(generation.policy.stop_signal);
                if insists {
                    return again.or(Some(signal));
                }
                // Many servers exit at once when they get the same signal again, so a worker that drains already does not get it twice.
                let told = worker.stop.as_ref().is_some_and(|stop| stop.signal == signal);
                (!told).then_some(signal)
            },
            now,
            act,
        );
        self.end_if_alone(act);
    }

    pub(super) fn begin_stop(&mut self, act: &mut Vec<Action>) {
        if self.phase != Phase::Stopping {
            self.phase = Phase::Stopping;
            self.stop_judging();
            self.awaited = None;
            self.fill_no_vacancy(act);
            let callers = self.requests.no_more_reloads();
            act.extend(callers.into_iter().map(|caller| Action::Answer { caller, reply: Reply::Stopping }));
            act.push(Action::Announce(Lifecycle::Stopping));
            // This comes first, so that clients are refused once the program has closed its own copies. They would hang in the queue
            // otherwise.
            act.push(Action::CloseListeners);
        }
    }

    /// Sends workers the stop signal that `choose` returns for each.
    pub(super) fn tell_to_stop(&mut self, choose: impl Fn(&Generation, &Worker) -> Option<Signal>, now: Instant, act: &mut Vec<Action>) {
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations.get(at) else { continue };
            let chosen: Vec<(WorkerId, Signal)> =
                generation.workers.iter().filter_map(|worker| Some((worker.id, choose(generation, worker)?))).collect();
            let (number, group, timeout) = (generation.number, generation.policy.group, generation.policy.stop_timeout);
            for (id, signal) in chosen {
                let Some(worker) = self.generations.get_mut(at).and_then(|generation| generation.worker_mut(id)) else { continue };
                let unexecuted = worker.state == WorkerState::Spawning;
                match (unexecuted, worker.pid()) {
                    // It has nothing to finish, and a signal might stay pending for ever because its program never runs.
                    (true, _) if worker.stop.is_some() => continue,
                    (true, _) => {
                        act.push(Action::Log(Message::StoppedBeforeItRan { generation: number }));
                        act.push(Action::Kill { id });
                    }
                    (false, pid) => {
                        act.push(Action::Signal { id, signal, group });
                        act.extend(pid.map(|pid| Action::Log(Message::StopSent { generation: number, pid, signal })));
                        if worker.suspended {
                            // A suspended process handles the signal only when it is continued. systemd also sends SIGCONT after each stop signal.
                            act.push(Action::Continue { id });
                        }
                    }
                }
                match &mut worker.stop {
                    // The timeout starts at the first stop signal, so that a second one does not prolong it.
                    Some(stop) => stop.signal = signal,
                    None => {
                        worker.stop = Some(StopRequest { signal, at: now, unexecuted });
                        if let (false, Some(timeout)) = (unexecuted, timeout) {
                            self.timers.set(Timer::Kill(id), now.after(timeout));
                        }
                    }
                }
            }
        }
    }

    // ---- workers that do not stop

    pub(super) fn kill_the_overdue(&mut self, now: Instant, act: &mut Vec<Action>) {
        act.extend(self.timers.take_due_kills(now).into_iter().map(|id| Action::Kill { id }));
    }

    pub(super) fn worker_killed(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) {
        if let Some((generation, worker)) = self.worker(id)
            && let Some(stop) = &worker.stop
        {
            let (generation, waited) = (generation.number, now.since(stop.at));
            match worker.state {
                WorkerState::Spawning => {}
                WorkerState::Running { pid } => act.push(Action::Log(Message::Killed { generation, pid, waited })),
                WorkerState::Leaderless { pid, .. } => act.push(Action::Log(Message::GroupKilled { generation, pid, waited })),
            }
        }
    }

    pub(super) fn worker_cannot_be_killed(&mut self, id: WorkerId, cause: OneLine, act: &mut Vec<Action>) {
        if let Some((generation, worker)) = self.worker(id)
            && let Some(pid) = worker.pid()
        {
            act.push(Action::Log(Message::CannotKill { generation: generation.number, pid, cause }));
        }
        if let Some(worker) = self.worker_mut(id) {
            worker.out_of_reach = true;
        }
        if self.phase == Phase::Stopping {
            self.end_if_alone(act);
        }
    }

    // ---- the end

    /// Exits when no worker is left to wait for.
    pub(super) fn end_if_alone(&mut self, act: &mut Vec<Action>) {
        if self.workers().any(|(_, worker)| !worker.out_of_reach) {
            return;
        }
        let left = self.workers().count();
        if left > 0 {
            act.push(Action::Log(Message::NotWaitedFor { workers: left }));
        }
        let (status, quick) = match self.outcome {
            Outcome::Own(status) => (status, false),
            Outcome::Program { ok: true, quick, .. } => (0, quick),
            Outcome::Program { status, quick, .. } => (status.code(), quick),
            // Never report 0 if the result is unknown.
            Outcome::Unknown => (1, false),
        };
        self.phase = Phase::Ended;
        act.push(Action::ReportLeftovers { quick });
        act.push(Action::Log(Message::Ended { status }));
        act.push(Action::Exit { status, callers: std::mem::take(&mut self.requests.end) });
    }
}
