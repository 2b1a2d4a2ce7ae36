//! The pure core: it decides, and never does. No clock, no system call, no log; notes are actions too.
//!
//! ```text
//!   Boot
//!    │
//!    ▼
//!  Starting ─── trusted ────────────────────► Serving ◄──────────────────────────────┐
//!    │   ▲                                     │    │                                │
//!    │   └ a reload is remembered              │    │ the last current worker is gone│
//!    │                                  Reload │    ▼                                │
//!    ├── it failed ───────────────────────────────► Stopping ── no worker left ─► Ended
//!    │                                         ▼    ▲                                │
//!    │                                     Warming ─┘ Stop (the same from any phase) │
//!    │                                         │                                     │
//!    │        trusted, or the current is gone: │ the candidate is current,           │
//!    │                                         │ the old one is told to stop ────────┤
//!    │   it failed: its workers are told to stop, the current never notices ─────────┘
//! ```
//!
//! The invariant, which the walk in `tests.rs` checks in every reachable state: while no stop was asked for and
//! any worker lives that has not been told to stop, there is a current generation, and it is told to stop only when
//! its successor has been trusted; after a stop nothing is started; it ends exactly when no worker lives.

mod event;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use event::{Action, Event, FailedReload, Failure, Note, Reloaded, Turn, Why};

use crate::ids::{Ending, Generation, Moment, Pid, Signal};

/// What the operator has laid down.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    pub trust: Trust,
    /// Workers in a generation, at least 1.
    pub workers: usize,
    /// What tells a retiring worker to stop.
    pub stop_signal: Signal,
    /// How long a worker that was told to stop may take before it gets KILL; `None`: for ever.
    pub stop_timeout: Option<Duration>,
    /// Exit statuses of the program that are reported as 0.
    pub ok: Vec<u8>,
}

/// When a new generation may be trusted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Trust {
    /// All of its workers have lived this long.
    Lived(Duration),
    /// All of its workers have said so, within this time if there is one.
    Ready { within: Option<Duration> },
}

/// The state of a life. Plain data, all of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Supervisor {
    policy: Policy,
    phase: Phase,
    /// The generation last started.
    newest: Generation,
    workers: Vec<Worker>,
    /// A reload was asked for while one was under way.
    reload_again: bool,
    stop_asked: bool,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The first generation is not trusted yet; `until` then it must be.
    Starting {
        until: Option<Moment>,
    },
    Serving,
    /// A candidate warms up, since the reload began; `until` is when it is trusted, or when its time is over.
    Warming {
        since: Moment,
        until: Option<Moment>,
    },
    Stopping,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Candidate,
    Current,
    Retiring,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    pub pid: Pid,
    pub generation: Generation,
    pub role: Role,
    pub started: Moment,
    pub ready: bool,
    pub told: Option<Told>,
}

/// A worker has been told to stop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Told {
    pub signal: Signal,
    pub at: Moment,
    kill_at: Option<Moment>,
}

/// What the master will end with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Outcome {
    /// Nothing has ended yet that would count.
    Unknown,
    /// A worker of the current generation has, the latest so far.
    Program(Ending),
    /// The first generation could not be started or was never ready.
    Own(u8),
}

impl Supervisor {
    pub fn new(policy: Policy) -> Supervisor {
        Supervisor {
            policy,
            phase: Phase::Starting { until: None },
            newest: Generation::FIRST,
            workers: Vec::new(),
            reload_again: false,
            stop_asked: false,
            outcome: Outcome::Unknown,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// All that live, in no order.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// What a reload that is asked for now will start: at once, or after the one under way.
    pub fn next_generation(&self) -> Generation {
        self.newest.next()
    }

    /// When [`Event::Tick`] is due next.
    pub fn deadline(&self) -> Option<Moment> {
        let warm = match self.phase {
            Phase::Starting { until } | Phase::Warming { until, .. } => until,
            Phase::Serving | Phase::Stopping | Phase::Ended => None,
        };
        let kills = self.workers.iter().filter_map(|worker| worker.told.as_ref().and_then(|told| told.kill_at));
        kills.chain(warm).min()
    }

    /// What is to be done, in this order, now that this has happened.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut todo = Vec::new();
        self.answer(event, now, &mut todo);
        self.trust_if_ready(now, &mut todo);
        self.kill_the_overdue(now, &mut todo);
        todo
    }

    /// The table: each event in each phase, a line a case, and no wildcard among the events.
    #[rustfmt::skip]
    fn answer(&mut self, event: Event, now: Moment, act: &mut Vec<Action>) {
        use Event::*;
        use Phase::*;
        match (self.phase, event) {
            (Starting { .. },                 Boot)                    => self.start_one(act),
            (Starting { .. },                 Started { pid })         => self.first_generation_grows(pid, now, act),
            (Starting { .. },                 StartFailed(failure))    => self.cannot_begin(failure, now, act),
            (Starting { .. },                 Ready { pid })           => self.hear_ready(pid, act),
            (Starting { .. },                 Reload)                  => self.remember_reload(act),
            (Starting { .. },                 Died { pid, ending })    => self.first_generation_lost_one(pid, ending, now, act),
            (Starting { .. },                 Tick)                    => self.first_generation_was_late(now, act),

            (Serving,                         Reload)                  => self.begin_reload(now, act),
            (Serving,                         Died { pid, ending })    => self.bury_while_serving(pid, ending, now, act),

            (Warming { .. },                  Started { pid })         => self.candidate_grows(pid, now, act),
            (Warming { .. },                  StartFailed(failure))    => self.roll_back(Why::NotStarted(failure), now, act),
            (Warming { .. },                  Ready { pid })           => self.hear_ready(pid, act),
            (Warming { .. },                  Reload)                  => self.remember_reload(act),
            (Warming { .. },                  Died { pid, ending })    => self.bury_while_warming(pid, ending, now, act),
            (Warming { .. },                  Tick)                    => self.candidate_time_is_over(now, act),

            (Stopping,                        Reload)                  => act.push(Action::Note(Note::ReloadRefused)),
            (Stopping,                        Died { pid, ending })    => self.bury_while_stopping(pid, ending, now, act),

            (Starting { .. } | Serving | Warming { .. } | Stopping, Stop { signal })    => self.stop(signal, now, act),
            (Starting { .. } | Serving | Warming { .. } | Stopping, Pass { signal })    => self.pass_to_current(signal, act),
            (Starting { .. } | Serving | Warming { .. } | Stopping, Resume { signal })  => self.pass_to_all(signal, act),
            (Starting { .. } | Serving | Warming { .. } | Stopping, Suspend { signal }) => self.suspend(signal, act),
            (Starting { .. } | Serving | Warming { .. } | Stopping, Suspended { pid })  => self.continue_suspended(pid, act),

            // Ready means nothing from those already trusted or told to stop; nothing is begun, started or due there.
            (Serving | Stopping,              Boot | Started { .. } | StartFailed(_) | Ready { .. } | Tick) => {}
            (Warming { .. },                  Boot) => {}
            (Ended, Boot | Started { .. } | StartFailed(_) | Ready { .. } | Died { .. } | Suspended { .. } | Reload
                  | Stop { .. } | Pass { .. } | Suspend { .. } | Resume { .. } | Tick) => {}
        }
    }

    // ---- the first generation

    fn first_generation_grows(&mut self, pid: Pid, now: Moment, act: &mut Vec<Action>) {
        self.enrol(pid, Role::Current, now, act);
        if self.living(Role::Current) < self.policy.workers {
            return self.start_one(act);
        }
        match self.policy.trust {
            Trust::Lived(_) => self.serve(now, act),
            Trust::Ready { within } => self.phase = Phase::Starting { until: within.map(|within| now.after(within)) },
        }
    }

    fn cannot_begin(&mut self, failure: Failure, now: Moment, act: &mut Vec<Action>) {
        self.outcome = Outcome::Own(failure.status);
        act.push(Action::Note(Note::NotStarted(failure)));
        self.give_up(now, act);
    }

    fn first_generation_lost_one(&mut self, pid: Pid, ending: Ending, now: Moment, act: &mut Vec<Action>) {
        if self.bury(pid, ending, now, act).is_some() {
            if ending.status() == 0 {
                self.outcome = Outcome::Own(1);
            }
            self.give_up(now, act);
        }
    }

    fn first_generation_was_late(&mut self, now: Moment, act: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Starting { until: Some(until) } if until <= now) {
            self.outcome = Outcome::Own(1);
            act.push(Action::Note(Note::NotReady { generation: self.newest }));
            self.give_up(now, act);
        }
    }

    fn give_up(&mut self, now: Moment, act: &mut Vec<Action>) {
        let signal = self.policy.stop_signal;
        self.begin_stop(act);
        self.tell(|_| true, signal, now, act);
        self.end_if_alone(act);
    }

    fn serve(&mut self, now: Moment, act: &mut Vec<Action>) {
        self.phase = Phase::Serving;
        act.push(Action::Note(Note::Current { generation: self.newest }));
        act.push(Action::Announce(Turn::Serving));
        self.run_remembered_reload(now, act);
    }

    // ---- reload

    fn begin_reload(&mut self, now: Moment, act: &mut Vec<Action>) {
        self.newest = self.newest.next();
        self.phase = Phase::Warming { since: now, until: None };
        act.push(Action::Announce(Turn::ReloadBegun { generation: self.newest }));
        self.start_one(act);
    }

    fn remember_reload(&mut self, act: &mut Vec<Action>) {
        if !self.reload_again {
            self.reload_again = true;
            act.push(Action::Note(Note::ReloadRemembered));
        }
    }

    fn run_remembered_reload(&mut self, now: Moment, act: &mut Vec<Action>) {
        if std::mem::take(&mut self.reload_again) {
            self.begin_reload(now, act);
        }
    }

    fn candidate_grows(&mut self, pid: Pid, now: Moment, act: &mut Vec<Action>) {
        self.enrol(pid, Role::Candidate, now, act);
        if self.living(Role::Candidate) < self.policy.workers {
            return self.start_one(act);
        }
        let wait = match self.policy.trust {
            Trust::Lived(Duration::ZERO) => return self.promote(now, act),
            Trust::Lived(wait) => Some(wait),
            Trust::Ready { within } => within,
        };
        if let Phase::Warming { until, .. } = &mut self.phase {
            *until = wait.map(|wait| now.after(wait));
        }
    }

    fn candidate_time_is_over(&mut self, now: Moment, act: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Warming { until: Some(until), .. } if until <= now) {
            match self.policy.trust {
                Trust::Lived(_) => self.promote(now, act),
                Trust::Ready { .. } => self.roll_back(Why::DeadlineMissed, now, act),
            }
        }
    }

    fn promote(&mut self, now: Moment, act: &mut Vec<Action>) {
        for worker in &mut self.workers {
            worker.role = match worker.role {
                Role::Candidate => Role::Current,
                Role::Current | Role::Retiring => Role::Retiring,
            };
        }
        self.outcome = Outcome::Unknown;
        let leader = self.workers.iter().find(|worker| worker.role == Role::Current).map(|leader| leader.pid);
        act.extend(leader.map(|pid| Action::Foreground { pid }));
        // Said before the old one is told: a reader of the log sees the reason before the deed.
        act.push(Action::Note(Note::Current { generation: self.newest }));
        let took = self.warm_for(now);
        self.phase = Phase::Serving;
        let signal = self.policy.stop_signal;
        self.tell(|worker| worker.role == Role::Retiring && worker.told.is_none(), signal, now, act);
        if let Some(pid) = leader {
            let reloaded = Reloaded { generation: self.newest, pid, workers: self.living(Role::Current), took };
            act.push(Action::Announce(Turn::ReloadEnded { generation: self.newest, outcome: Ok(reloaded) }));
        }
        self.run_remembered_reload(now, act);
    }

    fn roll_back(&mut self, why: Why, now: Moment, act: &mut Vec<Action>) {
        let stays = self.workers.iter().find(|worker| worker.role == Role::Current).map_or(self.newest, |worker| worker.generation);
        let failed = FailedReload { generation: self.newest, why, stays };
        act.push(Action::Note(Note::ReloadFailed(failed.clone())));
        for worker in &mut self.workers {
            if worker.role == Role::Candidate {
                worker.role = Role::Retiring;
            }
        }
        self.phase = Phase::Serving;
        let signal = self.policy.stop_signal;
        self.tell(|worker| worker.role == Role::Retiring && worker.told.is_none(), signal, now, act);
        act.push(Action::Announce(Turn::ReloadEnded { generation: self.newest, outcome: Err(failed) }));
        self.run_remembered_reload(now, act);
    }

    fn warm_for(&self, now: Moment) -> Duration {
        match self.phase {
            Phase::Warming { since, .. } => now.since(since),
            Phase::Starting { .. } | Phase::Serving | Phase::Stopping | Phase::Ended => Duration::ZERO,
        }
    }

    fn hear_ready(&mut self, pid: Pid, act: &mut Vec<Action>) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.pid == pid && worker.told.is_none() && !worker.ready) else {
            return;
        };
        worker.ready = true;
        act.push(Action::Note(Note::Ready { generation: worker.generation, pid }));
    }

    fn trust_if_ready(&mut self, now: Moment, act: &mut Vec<Action>) {
        let role = match self.phase {
            Phase::Starting { .. } => Role::Current,
            Phase::Warming { .. } => Role::Candidate,
            Phase::Serving | Phase::Stopping | Phase::Ended => return,
        };
        let ready = self.workers.iter().filter(|worker| worker.role == role && worker.ready).count();
        if matches!(self.policy.trust, Trust::Ready { .. }) && ready == self.policy.workers {
            match role {
                Role::Candidate => self.promote(now, act),
                Role::Current | Role::Retiring => self.serve(now, act),
            }
        }
    }

    // ---- deaths

    fn bury_while_serving(&mut self, pid: Pid, ending: Ending, now: Moment, act: &mut Vec<Action>) {
        if self.bury(pid, ending, now, act).is_some() && self.living(Role::Current) == 0 {
            if !self.workers.is_empty() {
                act.push(Action::Note(Note::OnlyRetiringLeft));
            }
            self.begin_stop(act);
            self.end_if_alone(act);
        }
    }

    fn bury_while_warming(&mut self, pid: Pid, ending: Ending, now: Moment, act: &mut Vec<Action>) {
        match self.bury(pid, ending, now, act) {
            Some(worker) if worker.role == Role::Candidate => {
                let lived = now.since(worker.started);
                self.roll_back(Why::Died { pid, ending, lived }, now, act);
            }
            Some(_) if self.living(Role::Current) == 0 => self.promote(now, act),
            Some(_) | None => {}
        }
    }

    fn bury_while_stopping(&mut self, pid: Pid, ending: Ending, now: Moment, act: &mut Vec<Action>) {
        if self.bury(pid, ending, now, act).is_some() {
            self.end_if_alone(act);
        }
    }

    /// Takes a dead worker from the books; `None` if it was an orphan that fell to the master to reap.
    fn bury(&mut self, pid: Pid, ending: Ending, now: Moment, act: &mut Vec<Action>) -> Option<Worker> {
        let index = self.workers.iter().position(|worker| worker.pid == pid)?;
        let worker = self.workers.swap_remove(index);
        act.push(Action::Note(Note::Gone { generation: worker.generation, pid, ending, lived: now.since(worker.started) }));
        if worker.role == Role::Current && !matches!(self.outcome, Outcome::Own(_)) {
            self.outcome = Outcome::Program(ending);
        }
        Some(worker)
    }

    // ---- stop

    fn stop(&mut self, signal: Signal, now: Moment, act: &mut Vec<Action>) {
        act.push(Action::Note(Note::Stopping { signal }));
        let insists = std::mem::replace(&mut self.stop_asked, true);
        self.reload_again = false;
        self.begin_stop(act);
        // Many servers take the same signal a second time for "at once": who drains already is left to it, unless the operator insists.
        self.tell(|worker| insists || worker.told.as_ref().is_none_or(|told| told.signal != signal), signal, now, act);
        self.end_if_alone(act);
    }

    fn begin_stop(&mut self, act: &mut Vec<Action>) {
        if self.phase != Phase::Stopping {
            self.phase = Phase::Stopping;
            act.push(Action::Announce(Turn::Stopping));
            // First, so that clients are refused once the program has closed its own copy, and do not hang in a queue nobody serves.
            act.push(Action::CloseListeners);
        }
    }

    fn end_if_alone(&mut self, act: &mut Vec<Action>) {
        if self.workers.is_empty() {
            let status = match self.outcome {
                Outcome::Own(status) => status,
                Outcome::Program(ending) if self.policy.ok.contains(&ending.status()) => 0,
                Outcome::Program(ending) => ending.status(),
                Outcome::Unknown => 0,
            };
            self.phase = Phase::Ended;
            act.push(Action::Note(Note::Ended { status }));
            act.push(Action::Exit { status });
        }
    }

    // ---- signals

    fn pass_to_current(&self, signal: Signal, act: &mut Vec<Action>) {
        let current = self.workers.iter().filter(|worker| worker.role == Role::Current);
        act.extend(current.map(|worker| Action::Send { pid: worker.pid, signal }));
    }

    fn pass_to_all(&self, signal: Signal, act: &mut Vec<Action>) {
        act.extend(self.workers.iter().map(|worker| Action::Send { pid: worker.pid, signal }));
    }

    fn suspend(&self, signal: Signal, act: &mut Vec<Action>) {
        self.pass_to_all(signal, act);
        act.push(Action::SuspendMaster);
    }

    fn continue_suspended(&self, pid: Pid, act: &mut Vec<Action>) {
        if let Some(worker) = self.workers.iter().find(|worker| worker.pid == pid) {
            act.push(Action::Continue { pid });
            act.push(Action::Note(Note::Continued { generation: worker.generation, pid }));
        }
    }

    // ---- what several of these need

    fn start_one(&self, act: &mut Vec<Action>) {
        act.push(Action::Start { generation: self.newest });
    }

    fn enrol(&mut self, pid: Pid, role: Role, now: Moment, act: &mut Vec<Action>) {
        self.workers.push(Worker { pid, generation: self.newest, role, started: now, ready: false, told: None });
        act.push(Action::Note(Note::Started { generation: self.newest, pid }));
    }

    fn living(&self, role: Role) -> usize {
        self.workers.iter().filter(|worker| worker.role == role).count()
    }

    fn tell(&mut self, whom: impl Fn(&Worker) -> bool, signal: Signal, now: Moment, act: &mut Vec<Action>) {
        let timeout = self.policy.stop_timeout;
        for worker in self.workers.iter_mut().filter(|worker| whom(worker)) {
            act.push(Action::Send { pid: worker.pid, signal });
            act.push(Action::Note(Note::Told { generation: worker.generation, pid: worker.pid, signal }));
            match &mut worker.told {
                // The first word counts for the timeout: an impatient operator does not prolong it.
                Some(told) => told.signal = signal,
                None => worker.told = Some(Told { signal, at: now, kill_at: timeout.map(|timeout| now.after(timeout)) }),
            }
        }
    }

    fn kill_the_overdue(&mut self, now: Moment, act: &mut Vec<Action>) {
        for worker in &mut self.workers {
            if let Some(told) = &mut worker.told
                && told.kill_at.is_some_and(|kill_at| kill_at <= now)
            {
                told.kill_at = None;
                act.push(Action::Kill { pid: worker.pid });
                act.push(Action::Note(Note::Killed { generation: worker.generation, pid: worker.pid, waited: now.since(told.at) }));
            }
        }
    }
}
