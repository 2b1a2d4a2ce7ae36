//! The pure core. It decides, and the runtime acts. It has no clock, no system call and no log; log lines are actions too.
//!
//! ```text
//!   Boot
//!    │
//!    ▼
//!  Starting ── it runs, or is ready ────────► Serving ◄─────────────────────────────────┐
//!    │   ▲                                     │    │                                   │
//!    │   └ a reload is remembered              │    │ no worker is left                 │
//!    │                                  Reload │    ▼                                   │
//!    ├── it failed ──────────────────────────────► Stopping ── no worker left ─► Ended  │
//!    │                                         ▼    ▲                                   │
//!    │                                RollingOver ──┘ Stop (the same from any phase)    │
//!    │                                         │                                        │
//!    │        ready, or the current is gone:   │ the candidate is current,              │
//!    │                                         │ the old one is stopped ────────────────┤
//!    │   it failed: its workers are stopped, the current one is untouched ──────────────┘
//! ```
//!
//! Precedence: a stop precedes everything, an exit precedes a deadline, and the current generation precedes a candidate.
//!
//! The invariant, which the walk in `tests/walk.rs` checks in every reachable state: the current generation is stopped only
//! by a stop, or when its successor is ready; after a stop nothing is started; every request is answered once; the master
//! exits exactly when no worker is left to wait for.
//!
//! `rollover` holds what happens between a reload and its end, `readiness` when a generation is looked at, and `shutdown` what
//! happens between a stop and the exit.

mod check;
mod event;
mod generation;
mod message;
mod readiness;
mod requests;
mod respawn;
mod rollover;
mod shutdown;
#[cfg(test)]
mod tests;
mod timers;

use std::rc::Rc;
use std::time::Duration;

pub use event::{Action, Event, FailedReload, Lifecycle, Program, Reloaded, Reply, Why};
pub use generation::{Generation, Role, StopRequest, Vacancy, Worker, WorkerState};
pub use message::{Importance, Message, Seconds};
pub use rollover::{Rollover, Stage};

use check::Awaited;
use requests::Requests;
use timers::{Timer, Timers};

use crate::types::listener::ListenerLabel;
use crate::types::process::{ExitStatus, GenerationNumber, Pid, SpawnError, WorkerId, WorkerPlace};
use crate::types::request::{CallerId, Request};
use crate::types::settings::{Policy, Terminal, Trust};
use crate::types::signal::Signal;
use crate::types::time::Instant;

/// A program that exits with 0 so soon has probably gone to the background.
const QUICK: Duration = Duration::from_secs(1);

/// The state of one run of the master. All of it is plain data.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Supervisor {
    phase: Phase,
    /// Those with a worker that lives, the oldest first.
    generations: Vec<Generation>,
    /// The generation last asked for.
    newest: GenerationNumber,
    next_worker: WorkerId,
    timers: Timers,
    requests: Requests,
    stop_asked: bool,
    /// Whether [`Lifecycle::Serving`] has been announced.
    announced: bool,
    /// How many workers have replaced another one.
    restarts: u64,
    /// What starts when the check that runs has succeeded.
    awaited: Option<Awaited>,
    outcome: Outcome,
    terminal: Terminal,
    /// Whose process group is the foreground group, where a worker's is.
    foreground: Option<WorkerId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The first generation is not trusted yet.
    Starting,
    /// A generation serves; or none does, while retiring workers finish and a reload may help.
    Serving,
    RollingOver(Rollover),
    Stopping,
    Ended,
}

/// What the master will exit with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Outcome {
    /// No worker of the current generation has exited.
    Unknown,
    /// One has, the latest so far.
    Program { status: ExitStatus, ok: bool, quick: bool },
    /// The first generation could not be started or was never ready.
    Own(u8),
}

/// A worker's process is gone, and perhaps the worker with it.
struct Loss {
    generation: GenerationNumber,
    role: Role,
    pid: Option<Pid>,
    status: ExitStatus,
    lived: Duration,
}

impl Supervisor {
    /// The state before the first generation. `terminal` is what the master is to the terminal on its standard input.
    pub fn new(terminal: Terminal) -> Supervisor {
        Supervisor {
            phase: Phase::Starting,
            generations: Vec::new(),
            newest: GenerationNumber::FIRST,
            next_worker: WorkerId(1),
            timers: Timers::default(),
            requests: Requests::default(),
            stop_asked: false,
            announced: false,
            restarts: 0,
            awaited: None,
            outcome: Outcome::Unknown,
            terminal,
            foreground: None,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Those with a worker that lives, the oldest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// The generation last asked for.
    pub fn newest(&self) -> GenerationNumber {
        self.newest
    }

    /// How many workers have replaced one of the current generation that had exited.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The generation that serves, if one does.
    pub fn current(&self) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.role == Role::Current)
    }

    /// Workers whose first process is gone and whose process group is not.
    pub fn leaderless(&self) -> impl Iterator<Item = (WorkerId, Pid)> {
        self.workers().filter_map(|(_, worker)| match worker.state {
            WorkerState::Leaderless { pid, .. } => Some((worker.id, pid)),
            WorkerState::Spawning | WorkerState::Running { .. } => None,
        })
    }

    /// Whether a worker of the current generation is there, or starts.
    fn is_served(&self) -> bool {
        self.current().is_some_and(|current| !current.workers.is_empty())
    }

    /// When [`Event::Tick`] is due next.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What is to be done, in this order, now that this has happened.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut act = Vec::new();
        self.transition(event, now, &mut act);
        // A master that is kept busy by other events must not forget whom it has given a time.
        self.kill_the_overdue(now, &mut act);
        self.follow_with_the_terminal(&mut act);
        act
    }

    /// The table: each event in each phase, a line a case, and no wildcard among the events.
    #[rustfmt::skip]
    fn transition(&mut self, event: Event, now: Instant, act: &mut Vec<Action>) {
        use Event::*;
        use Phase::*;
        match (self.phase, event) {
            (Starting,       Boot { policy, listeners })            => self.start_first_generation(policy, listeners, now, act),
            (Starting,       Spawned { id, pid })                   => self.first_generation_grows(id, pid, now, act),
            (Starting,       SpawnFailed { id, error })             => self.first_generation_cannot_start(id, error, now, act),
            (Starting,       Ready { id })                          => self.first_generation_is_ready(id, now, act),
            (Starting | RollingOver(_), MoreTime { id, time })      => self.give_more_time(id, time, now),
            (Starting,       Exited { id, status, group_left })     => self.first_generation_lost_one(id, status, group_left, now, act),
            (Starting,       Looked { generation, accepts, hidden }) => { self.note_look(generation, &accepts, hidden.is_some()); self.first_generation_looked_at(generation, hidden, now, act) }
            (Starting,       Tick)                                  => { self.first_generation_is_late(now, act); self.look(now, act) }

            (Serving,        Exited { id, status, group_left })     => { let loss = self.worker_exited(id, status, group_left, now, act); self.lost_while_serving(loss, act) }
            (Serving,        GroupGone { id })                      => { let loss = self.group_gone(id, now, act); self.lost_while_serving(loss, act) }

            (Serving,        Looked { generation, accepts, hidden }) => { self.note_look(generation, &accepts, hidden.is_some()); self.current_looked_at(generation, now, act) }
            (Serving,        Tick)                                  => { self.announce_by_time(now, act); self.look(now, act); self.fill_vacancies(now, act) }

            (RollingOver(_), Loaded { policy, listeners })          => self.start_check_or_candidate(policy, listeners, now, act),
            (RollingOver(_), LoadFailed { cause })                  => self.roll_back(Why::NotLoaded(cause), now, act),
            (RollingOver(_), Spawned { id, pid })                   => self.candidate_grows(id, pid, now, act),
            (RollingOver(_), SpawnFailed { id, error })             => self.candidate_cannot_start(id, error, now, act),
            (RollingOver(_), Ready { id })                          => self.candidate_is_ready(id, now, act),
            (RollingOver(_), Exited { id, status, group_left })     => { let loss = self.worker_exited(id, status, group_left, now, act); self.lost_while_rolling_over(loss, now, act) }
            (RollingOver(_), GroupGone { id })                      => { let loss = self.group_gone(id, now, act); self.lost_while_rolling_over(loss, now, act) }
            (RollingOver(_), Looked { generation, accepts, hidden }) => { self.note_look(generation, &accepts, hidden.is_some()); self.looked_while_rolling_over(generation, hidden, now, act) }
            (RollingOver(_), Tick)                                  => { self.candidate_time_is_over(now, act); self.look(now, act); self.fill_vacancies(now, act) }

            (Stopping,       Exited { id, status, group_left })     => { self.worker_exited(id, status, group_left, now, act); self.end_if_alone(act) }
            (Stopping,       GroupGone { id })                      => { self.group_gone(id, now, act); self.end_if_alone(act) }

            // What was killed before it ran may have run all the same.
            (Serving | Stopping, Spawned { id, pid })               => { self.worker_runs(id, pid, now, act); }
            (Serving,            SpawnFailed { id, error })         => { self.worker_never_ran(id, error, now, act); self.end_if_nobody_is_left(act) }
            (Stopping,           SpawnFailed { id, error })         => { self.worker_never_ran(id, error, now, act); self.end_if_alone(act) }

            (Starting | Serving | RollingOver(_) | Stopping, Requested { request, caller })   => self.requested(request, caller, now, act),
            (Starting | Serving | RollingOver(_) | Stopping, CallerLeft { caller })           => self.requests.forget(caller),
            (Starting | Serving | RollingOver(_) | Stopping, Suspended { id, signal, terminal_is_ours }) => self.worker_suspended(id, signal, terminal_is_ours, act),
            (Starting | Serving | RollingOver(_) | Stopping, Continued { id })                => self.worker_continued(id),
            (Starting | Serving | RollingOver(_) | Stopping, Killed { id })                   => self.worker_killed(id, now, act),
            (Starting | Serving | RollingOver(_) | Stopping, KillFailed { id, cause })        => self.worker_cannot_be_killed(id, cause, act),

            // Ready means nothing from a worker that is trusted already or told to stop; nothing is loaded, begun or due there.
            (Starting,           Loaded { .. } | LoadFailed { .. } | GroupGone { .. }) => {}
            (Serving,            Boot { .. } | Loaded { .. } | LoadFailed { .. } | Ready { .. } | MoreTime { .. }) => {}
            (Stopping,           Boot { .. } | Loaded { .. } | LoadFailed { .. } | Ready { .. } | MoreTime { .. } | Looked { .. } | Tick) => {}
            (RollingOver(_),     Boot { .. }) => {}
            (Ended, Boot { .. } | Loaded { .. } | LoadFailed { .. } | Spawned { .. } | SpawnFailed { .. } | Ready { .. } | MoreTime { .. } | Looked { .. } | Exited { .. }
                  | GroupGone { .. } | Suspended { .. } | Continued { .. } | Killed { .. } | KillFailed { .. } | Requested { .. }
                  | CallerLeft { .. } | Tick) => {}
        }
    }

    /// What an operator can ask for, in each phase.
    fn requested(&mut self, request: Request, caller: Option<CallerId>, now: Instant, act: &mut Vec<Action>) {
        match (request, self.phase) {
            (Request::Reload, Phase::Serving) => self.begin_reload(caller, now, act),
            (Request::Reload, Phase::Starting | Phase::RollingOver(_)) => {
                if self.requests.remember_reload(caller) {
                    act.push(Action::Log(Message::ReloadRemembered));
                }
            }
            (Request::Reload, Phase::Stopping | Phase::Ended) => {
                act.push(Action::Log(Message::ReloadRefused));
                act.extend(caller.map(|caller| Action::Answer { caller, reply: Reply::Stopping }));
            }
            (Request::Stop { with, again }, _) => {
                self.requests.end.extend(caller);
                self.stop(with, again, now, act);
            }
            (Request::Forward(signal), _) => self.forward(signal, &[Role::Current, Role::Candidate], act),
            (Request::Suspend(signal), _) => {
                self.forward(signal, &[Role::Current, Role::Candidate, Role::Retiring, Role::Check], act);
                act.push(Action::SuspendMaster);
            }
            (Request::Resume(signal), _) => {
                self.forward(signal, &[Role::Current, Role::Candidate, Role::Retiring, Role::Check], act);
                // A shell has taken the terminal meanwhile, and has given it to the master's group if it lets it go on in the foreground.
                if self.terminal == Terminal::Job {
                    act.extend(self.foreground.map(|id| Action::Foreground { id }));
                }
            }
        }
    }

    // ---- the first generation

    fn start_first_generation(&mut self, policy: Policy, listeners: Rc<[ListenerLabel]>, now: Instant, act: &mut Vec<Action>) {
        if let Trust::Ready { within: Some(within) } | Trust::Accepts { within: Some(within), .. } = policy.trust {
            self.timers.set(Timer::Trust, now.after(within));
        }
        if self.terminal == Terminal::Leader {
            // Its process takes the foreground by itself, before it runs.
            self.foreground = Some(self.next_worker);
        }
        self.start_generation(policy, listeners, Role::Current, now, act);
    }

    fn first_generation_grows(&mut self, id: WorkerId, pid: Pid, now: Instant, act: &mut Vec<Action>) {
        self.worker_runs(id, pid, now, act);
        let Some(current) = self.current().filter(|current| current.runs()) else { return };
        match current.policy.trust {
            Trust::Lived(_) | Trust::LivedAndAccepts { .. } => self.serve(now, act),
            Trust::Accepts { .. } => self.look_from_now_on(now),
            Trust::Ready { .. } => {}
        }
    }

    fn first_generation_is_ready(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) {
        self.hear_ready(id, act);
        if self.current().is_some_and(|current| current.is_ready() && matches!(current.policy.trust, Trust::Ready { .. })) {
            self.serve(now, act);
        }
    }

    fn serve(&mut self, now: Instant, act: &mut Vec<Action>) {
        self.phase = Phase::Serving;
        self.stop_judging();
        act.push(Action::Log(Message::Current { generation: self.newest }));
        self.wait_to_announce(now, act);
        self.run_remembered_reload(now, act);
    }

    // ---- workers

    fn workers(&self) -> impl Iterator<Item = (&Generation, &Worker)> {
        self.generations.iter().flat_map(|generation| generation.workers.iter().map(move |worker| (generation, worker)))
    }

    fn generation_mut(&mut self, number: GenerationNumber) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.number == number)
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.generations.iter_mut().find_map(|generation| generation.worker_mut(id))
    }

    fn worker(&self, id: WorkerId) -> Option<(&Generation, &Worker)> {
        self.workers().find(|(_, worker)| worker.id == id)
    }

    fn role_of(&self, id: WorkerId) -> Option<Role> {
        self.worker(id).map(|(generation, _)| generation.role)
    }

    /// Asks for all workers of the newest generation.
    fn start_generation(&mut self, policy: Policy, listeners: Rc<[ListenerLabel]>, role: Role, now: Instant, act: &mut Vec<Action>) {
        let mut workers = Vec::new();
        for slot in 0..policy.workers {
            let id = self.new_id();
            workers.push(Worker::new(id, slot, 0, now));
            act.push(Action::Spawn {
                id,
                what: match role {
                    Role::Check => Program::Check { generation: self.newest },
                    Role::Candidate | Role::Current | Role::Retiring => Program::Worker(WorkerPlace { generation: self.newest, slot }),
                },
            });
        }
        self.generations.push(Generation {
            number: self.newest,
            role,
            policy,
            listeners,
            accepts: Vec::new(),
            hidden: false,
            looks: 0,
            workers,
            vacancies: Vec::new(),
        });
    }

    fn new_id(&mut self) -> WorkerId {
        let id = self.next_worker;
        self.next_worker = WorkerId(id.0.wrapping_add(1));
        id
    }

    /// The worker's program has been executed: what had to wait for that is sent.
    fn worker_runs(&mut self, id: WorkerId, pid: Pid, now: Instant, act: &mut Vec<Action>) -> Option<Role> {
        let generation = self.generations.iter_mut().find(|generation| generation.workers.iter().any(|worker| worker.id == id))?;
        let (number, role, group) = (generation.number, generation.role, generation.policy.group);
        let worker = generation.worker_mut(id)?;
        worker.state = WorkerState::Running { pid };
        worker.started = now;
        if worker.stop.is_none() {
            act.push(Action::Log(match role {
                Role::Check => Message::CheckStarted { generation: number, pid },
                Role::Candidate | Role::Current | Role::Retiring => Message::Started { generation: number, pid },
            }));
            act.extend(worker.held.drain(..).map(|signal| Action::Signal { id, signal, group }));
        }
        Some(role)
    }

    /// The worker's program could not be executed, whether or not the worker was told to stop meanwhile.
    fn worker_never_ran(&mut self, id: WorkerId, error: SpawnError, now: Instant, act: &mut Vec<Action>) {
        if self.role_of(id) == Some(Role::Current) {
            if !self.is_replaced(id) {
                self.outcome = Outcome::Own(error.status);
            }
            act.push(Action::Log(Message::NotStarted(error)));
        }
        self.remove_worker(id, now, act);
    }

    fn hear_ready(&mut self, id: WorkerId, act: &mut Vec<Action>) {
        for generation in &mut self.generations {
            let number = generation.number;
            if let Some(worker) = generation.worker_mut(id)
                && let (false, None, Some(pid)) = (worker.ready, &worker.stop, worker.pid())
            {
                worker.ready = true;
                act.push(Action::Log(Message::Ready { generation: number, pid }));
            }
        }
    }

    /// The worker's process is gone. With `-group` the worker is not, as long as others of its group are left.
    fn worker_exited(&mut self, id: WorkerId, status: ExitStatus, group_left: bool, now: Instant, act: &mut Vec<Action>) -> Option<Loss> {
        let (generation, worker) = self.worker(id)?;
        let (number, role, group) = (generation.number, generation.role, generation.policy.group);
        // Killed because it did not run yet: it ends as a program ends that does not handle the signal.
        let status = match (&worker.stop, status) {
            (Some(StopRequest { unexecuted: true, signal, .. }), ExitStatus::Killed { signal: Signal::KILL, core }) => {
                ExitStatus::Killed { signal: *signal, core }
            }
            _ => status,
        };
        let (pid, lived) = (worker.pid(), now.since(worker.started));
        let ok = generation.policy.ok.contains(&status.code());
        let quick = status == ExitStatus::Exited(0) && lived < QUICK && worker.stop.is_none();
        if role == Role::Current && !matches!(self.outcome, Outcome::Own(_)) {
            self.outcome = Outcome::Program { status, ok, quick };
        }
        if role != Role::Check || !self.is_awaited(number) {
            act.push(Action::Log(Message::Exited { generation: number, pid, status, lived }));
        }
        match (group && group_left, pid, self.worker_mut(id)) {
            (true, Some(pid), Some(worker)) => {
                worker.state = WorkerState::Leaderless { pid, status };
                act.push(Action::Log(Message::GroupLeft { generation: number, pid }));
            }
            (_, pid, _) => {
                // A shell that did not exec its program is gone, and the program is not.
                act.extend(pid.filter(|_| !group && role != Role::Check).map(|pid| Action::ReportAccepting { generation: number, pid }));
                self.remove_worker(id, now, act);
            }
        }
        Some(Loss { generation: number, role, pid, status, lived })
    }

    /// The rest of a worker's process group is gone, and with it the worker.
    fn group_gone(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) -> Option<Loss> {
        let (generation, worker) = self.worker(id)?;
        let WorkerState::Leaderless { pid, status } = worker.state else { return None };
        let loss = Loss { generation: generation.number, role: generation.role, pid: Some(pid), status, lived: now.since(worker.started) };
        act.push(Action::Log(Message::GroupGone { generation: loss.generation, pid }));
        self.remove_worker(id, now, act);
        Some(loss)
    }

    /// Takes a worker from the books, and its generation if that was the last. One that is replaced leaves a vacancy.
    fn remove_worker(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) {
        self.timers.stop(Timer::Kill(id));
        if self.is_replaced(id) {
            self.leave_vacancy(id, now, act);
        }
        for generation in &mut self.generations {
            generation.workers.retain(|worker| worker.id != id);
        }
        self.forget_the_gone(act);
        self.fill_vacancies(now, act);
    }

    /// Drops the generations that have no worker, and get none.
    fn forget_the_gone(&mut self, act: &mut Vec<Action>) {
        // After a check a candidate may start with the same settings.
        let is_kept = |generation: &Generation| generation.role == Role::Check && self.is_awaited(generation.number);
        let gone = self.generations.iter().filter(|generation| generation.is_gone() && !is_kept(generation));
        act.extend(gone.map(|generation| Action::Forget { generation: generation.number }));
        self.generations.retain(|generation| !generation.is_gone());
    }

    fn lost_while_serving(&mut self, loss: Option<Loss>, act: &mut Vec<Action>) {
        if let Some(Loss { generation, role: Role::Current, .. }) = loss
            && self.current().is_none()
            && !self.generations.is_empty()
        {
            act.push(Action::Log(Message::NobodyAccepts { generation, retiring: self.workers().count() }));
        }
        self.end_if_nobody_is_left(act);
    }

    // ---- signals

    /// Sends a signal to every worker of these roles; to one that does not run yet, as soon as it does.
    fn forward(&mut self, signal: Signal, roles: &[Role], act: &mut Vec<Action>) {
        for generation in self.generations.iter_mut().filter(|generation| roles.contains(&generation.role)) {
            let group = generation.policy.group;
            for worker in &mut generation.workers {
                match worker.state {
                    WorkerState::Spawning if worker.stop.is_none() => worker.hold(signal),
                    WorkerState::Spawning => {}
                    WorkerState::Running { .. } | WorkerState::Leaderless { .. } => {
                        act.push(Action::Signal { id: worker.id, signal, group });
                    }
                }
            }
        }
    }

    // ---- the terminal

    fn worker_suspended(&mut self, id: WorkerId, signal: Signal, terminal_is_ours: bool, act: &mut Vec<Action>) {
        let Some((generation, worker)) = self.worker(id) else { return };
        let (number, role, pid) = (generation.number, generation.role, worker.pid());
        let wants_terminal = matches!(signal, Signal::TTIN | Signal::TTOU);
        match self.terminal {
            // Ctrl-Z, and no shell above that would continue it.
            Terminal::Leader if signal == Signal::TSTP => {
                act.push(Action::Continue { id });
                act.extend(pid.map(|pid| Action::Log(Message::Continued { generation: number, pid })));
                return;
            }
            // It reads the terminal, or sets it, and the master's group has it: given away on demand, so that the rest of
            // a pipeline keeps the terminal while nobody else needs it.
            Terminal::Job if wants_terminal && role == Role::Current && terminal_is_ours => {
                self.foreground = Some(id);
                act.push(Action::Foreground { id });
                return;
            }
            // It reads the terminal from a job in the background: the shell is to see the job suspended.
            Terminal::Job if wants_terminal && role == Role::Current && self.foreground.is_none() => act.push(Action::SuspendMaster),
            // Ctrl-Z reached the worker's group alone: the shell is to see the job suspended.
            Terminal::Job if signal == Signal::TSTP && self.foreground == Some(id) => act.push(Action::SuspendMaster),
            Terminal::None | Terminal::Leader | Terminal::Job => {}
        }
        if let Some(worker) = self.worker_mut(id) {
            worker.suspended = true;
        }
    }

    fn worker_continued(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.suspended = false;
        }
    }

    /// Where a worker has the terminal, it is one of the generation that serves, or else of the newest one that is left:
    /// otherwise Ctrl-C would reach nobody.
    fn follow_with_the_terminal(&mut self, act: &mut Vec<Action>) {
        let Some(holder) = self.foreground else { return };
        let serving = self.current().or_else(|| self.generations.iter().rfind(|generation| generation.role == Role::Retiring));
        let Some(serving) = serving else { return };
        if serving.workers.iter().any(|worker| worker.id == holder) {
            return;
        }
        let next = serving.workers.iter().find(|worker| worker.state != WorkerState::Spawning).map(|worker| worker.id);
        if let Some(id) = next {
            self.foreground = Some(id);
            act.push(Action::Foreground { id });
        }
    }
}
