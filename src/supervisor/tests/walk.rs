//! The walk: every order of events in a toy world, every state that can be reached, every promise checked in each; and
//! each promise shown to be able to fail.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::super::*;
use super::{LISTENER, QUIT, START, STOP, STOP_TIMEOUT, booted, loaded, policy, spawn_error};
use crate::types::one_line::OneLine;

/// A promise of the core that a walk found broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Broken {
    SignalledTheDead,
    SignalledOneThatDoesNotRun,
    ToldTwice,
    TwoReloadsAtOnce,
    StartedAfterAStop,
    NobodyServesThoughSomebodyCould,
    ToldTheCurrentWithoutASuccessor,
    ExitWithWorkersAlive,
    AliveWithNothingToWaitFor,
    ADeadlineThatIsNeverMet,
    WaitsForEver,
    ActedAfterTheEnd,
    KilledOneThatWasNotTold,
    ListenersClosedWhileServing,
    TheWrongStatus,
    AStopForgotten,
    AReloadWithoutAnEnd,
    AnnouncedOutOfTurn,
    ASignalLost,
    ToldAndLeftSuspended,
    ACallerForgotten,
    AnsweredTwice,
    AnsweredForAnEarlierReload,
    TheTerminalLost,
    ForgotAGenerationThatLives,
    AGenerationNeverForgotten,
    TrustedThoughItDoesNotAccept,
    LooksForNothing,
    NotLongEnoughSideBySide,
    StartedWithoutItsCheck,
    AWorkerNotReplaced,
}

/// What takes part in a walk: the more, the more orders of events.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Cast {
    policy: Policy,
    terminal: Terminal,
    /// Workers are suspended and continued.
    suspends: bool,
    /// Reloads and stops are asked for by callers, who may go away.
    callers: bool,
    /// SIGKILL may fail, and the configuration may be wrong.
    fails: bool,
    /// As many processes as may live when a reload is asked for.
    crowd: usize,
}

/// A process of the toy world, as the world itself knows it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Process {
    id: WorkerId,
    generation: GenerationNumber,
    is_check: bool,
    stage: Stage,
    suspended: bool,
    killed: bool,
    out_of_reach: bool,
    told: Vec<Signal>,
    /// SIGUSR1 came before it ran.
    waiting: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Spawning,
    Running,
    Leaderless,
}

/// A caller without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Waiting {
    caller: CallerId,
    /// How many reloads had begun when it asked; `None`: it waits for the end.
    after: Option<GenerationNumber>,
}

/// The supervisor under test, and a toy world that believes nothing it says.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    supervisor: Supervisor,
    now: Instant,
    alive: Vec<Process>,
    stop_asked: bool,
    second_stop: bool,
    listeners_open: bool,
    exited: Option<u8>,
    last_of_current: Option<u8>,
    announced: Announced,
    waiting: Vec<Waiting>,
    foreground: Option<WorkerId>,
    kept: Vec<GenerationNumber>,
    /// A generation has become current.
    served: bool,
    /// Generations that have been seen to accept on the listener, and those that could not be looked at.
    accepted: Vec<GenerationNumber>,
    hidden: Vec<GenerationNumber>,
    /// When a candidate that is ready has run beside the current generation for long enough.
    settled_at: Option<Instant>,
    /// The check of the current reload has succeeded.
    checked: bool,
    /// What followed the last event: each thing that can turn out in two ways makes two worlds of one.
    forks: Forks,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Forks {
    killed: bool,
    loaded: bool,
    looked: bool,
}

/// What somebody who looks on has been told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Announced {
    Nothing,
    Serving,
    Reloading(GenerationNumber),
    Stopping,
}

/// How the things turn out that an event leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Luck {
    kills: bool,
    loads: bool,
    sees: Sight,
}

/// What a look shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sight {
    Accepts,
    Nothing,
    Hidden,
}

const LUCKY: Luck = Luck { kills: true, loads: true, sees: Sight::Accepts };

/// A few of them make the longest time that a candidate has.
const REST_OF_A_PAUSE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(2);
const STATUS_OF_A_DEATH: u8 = 3;

type Sabotage = fn(&World, &Event, &mut Vec<Action>);

fn no_sabotage(_: &World, _: &Event, _: &mut Vec<Action>) {}

fn exited(id: WorkerId, group_left: bool) -> Event {
    Event::Exited { id, status: ExitStatus::Exited(STATUS_OF_A_DEATH), group_left }
}

impl World {
    fn new(cast: &Cast) -> World {
        World {
            supervisor: Supervisor::new(cast.terminal),
            now: Instant(Duration::from_secs(1000)),
            alive: vec![],
            stop_asked: false,
            second_stop: false,
            listeners_open: true,
            exited: None,
            last_of_current: None,
            announced: Announced::Nothing,
            waiting: vec![],
            foreground: None,
            kept: vec![],
            served: false,
            accepted: vec![],
            hidden: vec![],
            settled_at: None,
            checked: false,
            forks: Forks::default(),
        }
    }

    fn with_role(&self, role: Role) -> Vec<WorkerId> {
        let generations = self.supervisor.generations.iter().filter(|generation| generation.role == role);
        generations.flat_map(|generation| generation.workers.iter().map(|worker| worker.id)).collect()
    }

    fn process(&mut self, id: WorkerId) -> Result<&mut Process, Broken> {
        self.alive.iter_mut().find(|process| process.id == id).ok_or(Broken::SignalledTheDead)
    }

    /// Every event that this world could bring about next.
    fn possible(&self, cast: &Cast) -> Vec<Event> {
        let caller = |number| cast.callers.then_some(CallerId(number));
        let ask = |request, caller| Event::Requested { request, caller };
        let mut events = vec![ask(STOP, caller(8)), ask(QUIT, None), ask(Request::Forward(Signal::USR1), None)];
        if self.alive.len() < cast.crowd {
            events.push(ask(Request::Reload, None));
            if cast.callers {
                let free = (1..=2).map(CallerId).find(|caller| self.waiting.iter().all(|waiting| waiting.caller != *caller));
                events.extend(free.map(|caller| ask(Request::Reload, Some(caller))));
            }
        }
        events.retain(|event| match event {
            Event::Requested { caller: Some(caller), .. } => self.waiting.iter().all(|waiting| waiting.caller != *caller),
            _ => true,
        });
        events.extend(self.waiting.iter().map(|waiting| Event::CallerLeft { caller: waiting.caller }));
        if self.supervisor.deadline().is_some() {
            events.push(Event::Tick);
        }
        for process in &self.alive {
            let id = process.id;
            match process.stage {
                Stage::Spawning => {
                    let pid = Pid::new(100 + id.0 as i32).expect("a positive pid");
                    events.extend([Event::Spawned { id, pid }, Event::SpawnFailed { id, error: spawn_error() }]);
                }
                Stage::Running => {
                    events.push(exited(id, false));
                    if process.is_check {
                        events.push(Event::Exited { id, status: ExitStatus::Exited(0), group_left: false });
                        continue;
                    }
                    if cast.policy.group {
                        events.push(exited(id, true));
                    }
                    if matches!(cast.policy.trust, Trust::Ready { .. }) {
                        events.extend([Event::Ready { id }, Event::MoreTime { id, time: 2 * START }]);
                    }
                    if cast.suspends && !process.suspended {
                        let signals: &[Signal] = match cast.terminal {
                            Terminal::None => &[Signal::STOP],
                            Terminal::Leader => &[Signal::STOP, Signal::TSTP],
                            Terminal::Job => &[Signal::TSTP, Signal::TTIN],
                        };
                        let ours = self.foreground.is_none();
                        events.extend(signals.iter().map(|signal| Event::Suspended { id, signal: *signal, terminal_is_ours: ours }));
                    }
                    if process.suspended {
                        events.push(Event::Continued { id });
                    }
                }
                Stage::Leaderless => events.push(Event::GroupGone { id }),
            }
        }
        events
    }

    /// The world's own books, before the core hears of the event.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Tick => self.now = self.supervisor.deadline().unwrap_or(self.now).max(self.now),
            Event::Spawned { id, .. } => {
                if let Ok(process) = self.process(*id) {
                    process.stage = Stage::Running;
                }
            }
            Event::Exited { id, group_left, status } => {
                if self.with_role(Role::Current).contains(id) {
                    self.last_of_current = Some(STATUS_OF_A_DEATH);
                }
                if let Ok(Process { is_check: true, .. }) = self.process(*id) {
                    self.checked = *status == ExitStatus::Exited(0);
                }
                match self.process(*id) {
                    Ok(process) if *group_left => (process.stage, process.suspended) = (Stage::Leaderless, false),
                    _ => self.alive.retain(|process| process.id != *id),
                }
            }
            Event::SpawnFailed { id, .. } | Event::GroupGone { id } => self.alive.retain(|process| process.id != *id),
            Event::Suspended { id, .. } | Event::Continued { id } => {
                let suspended = matches!(event, Event::Suspended { .. });
                if let Ok(process) = self.process(*id) {
                    process.suspended = suspended;
                }
            }
            Event::CallerLeft { caller } => self.waiting.retain(|waiting| waiting.caller != *caller),
            Event::Requested { request, caller } => {
                if let Request::Stop { .. } = request {
                    self.second_stop = self.stop_asked;
                    self.stop_asked = true;
                }
                let after = (*request == Request::Reload).then_some(self.supervisor.newest);
                self.waiting.extend(caller.map(|caller| Waiting { caller, after }));
            }
            _ => {}
        }
        if self.foreground.is_some_and(|id| self.alive.iter().all(|process| process.id != id)) {
            self.foreground = None;
        }
    }

    /// Lets one event happen, with all that follows from it, and looks whether every promise was kept.
    fn happen(&mut self, event: Event, luck: Luck, sabotage: Sabotage) -> Result<(), Broken> {
        let was_current = self.with_role(Role::Current);
        let had_served = self.served;
        let required = self.required_of_candidate();
        let could_be_trusted = self.candidate_could_be_trusted(&event);
        let settle = self.supervisor_policy().settle;
        let asked = event.clone();
        self.forks = Forks::default();
        self.note(&event);
        let mut events = VecDeque::from([event]);
        let mut forwarded: Vec<WorkerId> = Vec::new();
        let mut continued: Vec<WorkerId> = Vec::new();
        let mut told_suspended: Vec<WorkerId> = Vec::new();
        while let Some(event) = events.pop_front() {
            let mut actions = self.supervisor.handle(event.clone(), self.now);
            sabotage(self, &event, &mut actions);
            for action in actions {
                if self.exited.is_some() {
                    return Err(Broken::ActedAfterTheEnd);
                }
                match action {
                    Action::Load { .. } => {
                        self.checked = false;
                        self.forks.loaded = true;
                        let policy = self.supervisor_policy();
                        events.push_back(match luck.loads {
                            true => loaded(policy),
                            false => Event::LoadFailed { cause: OneLine::from("wrong") },
                        });
                    }
                    Action::Spawn {
                        id,
                        what: what @ (Program::Worker(WorkerPlace { generation, .. }) | Program::Check { generation }),
                    } => {
                        let is_check = matches!(what, Program::Check { .. });
                        let is_unchecked = !is_check && generation != GenerationNumber::FIRST && !self.checked;
                        if is_unchecked && self.served && self.supervisor_policy().check {
                            return Err(Broken::StartedWithoutItsCheck);
                        }
                        if self.stop_asked || !self.listeners_open {
                            return Err(Broken::StartedAfterAStop);
                        }
                        let replaces = self.supervisor.current().is_some_and(|current| current.number == generation);
                        let is_other = |other: &Generation| other.role == Role::Candidate && other.number != generation;
                        if !replaces && self.supervisor.generations.iter().any(is_other) {
                            return Err(Broken::TwoReloadsAtOnce);
                        }
                        if self.supervisor.terminal == Terminal::Leader && self.announced == Announced::Nothing && self.alive.is_empty() {
                            // The very first process takes the terminal by itself.
                            self.foreground = Some(id);
                        }
                        if !self.kept.contains(&generation) {
                            self.kept.push(generation);
                        }
                        self.alive.push(Process {
                            id,
                            generation,
                            is_check,
                            stage: Stage::Spawning,
                            suspended: false,
                            killed: false,
                            out_of_reach: false,
                            told: vec![],
                            waiting: 0,
                        });
                    }
                    Action::Signal { id, signal: Signal::USR1, .. } => {
                        let process = self.process(id)?;
                        if process.stage == Stage::Spawning {
                            return Err(Broken::SignalledOneThatDoesNotRun);
                        }
                        process.waiting = process.waiting.saturating_sub(1);
                        forwarded.push(id);
                    }
                    Action::Signal { id, signal, .. } => {
                        self.check_stop_signal(id, signal, &asked, &was_current, could_be_trusted || !had_served)?;
                        if self.process(id)?.suspended {
                            told_suspended.push(id);
                        }
                    }
                    Action::Kill { id } => {
                        self.forks.killed = true;
                        let process = self.process(id)?;
                        if process.told.is_empty() && process.stage != Stage::Spawning {
                            return Err(Broken::KilledOneThatWasNotTold);
                        }
                        (process.killed, process.out_of_reach) = (luck.kills, !luck.kills);
                        if process.told.is_empty() {
                            process.told.push(Signal::KILL);
                        }
                        events.push_back(match luck.kills {
                            true => Event::Killed { id },
                            false => Event::KillFailed { id, cause: OneLine::from("Operation not permitted") },
                        });
                    }
                    Action::Look { generation, workers } => {
                        self.forks.looked = true;
                        let (listeners, hidden) = match luck.sees {
                            Sight::Accepts => (vec![LISTENER], None),
                            Sight::Nothing => (vec![], None),
                            Sight::Hidden => (vec![], Some(OneLine::from("Permission denied"))),
                        };
                        let accepts = workers.into_iter().map(|id| (id, listeners.clone())).collect();
                        match luck.sees {
                            Sight::Accepts => self.accepted.push(generation),
                            Sight::Nothing => {}
                            Sight::Hidden => self.hidden.push(generation),
                        }
                        events.push_back(Event::Looked { generation, accepts, hidden });
                    }
                    Action::Log(Message::Current { generation }) => {
                        let is_first = !std::mem::replace(&mut self.served, true);
                        // Where nobody serves any more, anything is better than nothing.
                        let matters = is_first || self.alive.iter().any(|process| was_current.contains(&process.id));
                        if required && matters && !self.accepted.contains(&generation) && !self.hidden.contains(&generation) {
                            return Err(Broken::TrustedThoughItDoesNotAccept);
                        }
                        let settled = self.settled_at.take().is_some_and(|at| at <= self.now);
                        if !settle.is_zero() && !is_first && matters && !settled {
                            return Err(Broken::NotLongEnoughSideBySide);
                        }
                    }
                    Action::Log(Message::Settling { .. }) => self.settled_at = Some(self.now.after(settle)),
                    Action::Log(Message::ReloadFailed(_)) => self.settled_at = None,
                    Action::Continue { id } => {
                        self.process(id)?.suspended = false;
                        continued.push(id);
                    }
                    Action::Foreground { id } => {
                        self.process(id)?.suspended = false;
                        self.foreground = Some(id);
                    }
                    Action::CloseListeners => {
                        // Not the phase decides: a core that stops by itself is to be seen.
                        if !self.stop_asked && had_served && !self.alive.is_empty() {
                            return Err(Broken::ListenersClosedWhileServing);
                        }
                        self.listeners_open = false;
                    }
                    Action::Forget { generation } => {
                        if self.alive.iter().any(|process| process.generation == generation) {
                            return Err(Broken::ForgotAGenerationThatLives);
                        }
                        self.kept.retain(|kept| *kept != generation);
                    }
                    Action::Answer { caller, reply } => self.check_answer(caller, &reply)?,
                    Action::Exit { status, callers, .. } => {
                        if self.alive.iter().any(|process| !process.out_of_reach) {
                            return Err(Broken::ExitWithWorkersAlive);
                        }
                        self.waiting.retain(|waiting| !callers.contains(&waiting.caller));
                        self.exited = Some(status);
                    }
                    Action::Announce(turn) => self.hear(turn)?,
                    Action::SuspendMaster | Action::ReportLeftovers { .. } | Action::ReportAccepting { .. } | Action::Log(_) => {}
                }
            }
        }
        if let Event::Requested { request: Request::Forward(_), .. } = asked {
            self.check_forwarded(&forwarded)?;
        }
        if let Event::Spawned { id, .. } = asked
            && self.alive.iter().any(|process| process.id == id && process.waiting > 0 && process.told.is_empty())
        {
            return Err(Broken::ASignalLost);
        }
        if told_suspended.iter().any(|id| !continued.contains(id)) {
            return Err(Broken::ToldAndLeftSuspended);
        }
        self.check_state(&asked)
    }

    /// The rules are the same for every generation of a walk.
    fn supervisor_policy(&self) -> Policy {
        POLICY.with(|policy| policy.borrow().clone()).expect("the walk has laid them down")
    }

    fn hear(&mut self, turn: Lifecycle) -> Result<(), Broken> {
        self.announced = match (self.announced, turn) {
            (Announced::Nothing, Lifecycle::Serving) => Announced::Serving,
            (Announced::Serving, Lifecycle::ReloadBegun { generation }) => Announced::Reloading(generation),
            (Announced::Reloading(begun), Lifecycle::ReloadEnded { generation, .. }) if generation == begun => Announced::Serving,
            (Announced::Nothing | Announced::Serving | Announced::Reloading(_), Lifecycle::Stopping) => Announced::Stopping,
            _ => return Err(Broken::AnnouncedOutOfTurn),
        };
        Ok(())
    }

    fn check_stop_signal(
        &mut self,
        id: WorkerId,
        signal: Signal,
        asked: &Event,
        was_current: &[WorkerId],
        may_be_told: bool,
    ) -> Result<(), Broken> {
        let second_stop = self.second_stop && matches!(asked, Event::Requested { request: Request::Stop { .. }, .. });
        let process = self.process(id)?;
        if process.stage == Stage::Spawning {
            return Err(Broken::SignalledOneThatDoesNotRun);
        }
        if process.told.contains(&signal) && !second_stop {
            return Err(Broken::ToldTwice);
        }
        if !process.told.contains(&signal) {
            process.told.push(signal);
            process.told.sort();
        }
        if was_current.contains(&id) && !self.stop_asked && !may_be_told {
            return Err(Broken::ToldTheCurrentWithoutASuccessor);
        }
        Ok(())
    }

    fn check_answer(&mut self, caller: CallerId, reply: &Reply) -> Result<(), Broken> {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.caller == caller) else {
            return Err(Broken::AnsweredTwice);
        };
        let waiting = self.waiting.remove(at);
        let generation = match reply {
            Reply::Reloaded(reloaded) => reloaded.generation,
            Reply::ReloadFailed(failed) => failed.generation,
            Reply::Stopping => return Ok(()),
        };
        match waiting.after {
            Some(after) if generation > after => Ok(()),
            _ => Err(Broken::AnsweredForAnEarlierReload),
        }
    }

    /// Every worker of the current generation and of the candidate has the signal, or gets it as soon as it runs.
    fn check_forwarded(&mut self, forwarded: &[WorkerId]) -> Result<(), Broken> {
        let due = [self.with_role(Role::Current), self.with_role(Role::Candidate)].concat();
        for process in self.alive.iter_mut().filter(|process| due.contains(&process.id)) {
            let times = forwarded.iter().filter(|id| **id == process.id).count();
            match process.stage {
                Stage::Spawning => process.waiting = 1,
                Stage::Running | Stage::Leaderless if times != 1 => return Err(Broken::ASignalLost),
                Stage::Running | Stage::Leaderless => {}
            }
        }
        Ok(())
    }

    /// Whether this event is one by which a candidate may come to be trusted.
    fn candidate_could_be_trusted(&self, event: &Event) -> bool {
        let Some(policy) = self.supervisor.candidate().map(|candidate| candidate.policy.clone()) else { return false };
        if !policy.settle.is_zero() {
            return self.settled_at.is_some() && *event == Event::Tick;
        }
        match (Some(policy.trust), event) {
            // With no wait the start itself is enough.
            (Some(Trust::Lived(Duration::ZERO)), Event::Spawned { .. }) => true,
            (Some(Trust::LivedAndAccepts { lived: Duration::ZERO, .. }), Event::Spawned { .. }) => true,
            (Some(Trust::Lived(_) | Trust::LivedAndAccepts { .. } | Trust::Accepts { .. }), Event::Tick) => true,
            (Some(Trust::Ready { .. }), Event::Ready { .. }) => true,
            _ => false,
        }
    }

    /// Whether the generation that is about to be trusted must accept, by the world's own books.
    fn required_of_candidate(&self) -> bool {
        let seen = |role| {
            let generations = self.supervisor.generations.iter().filter(move |generation| generation.role == role);
            generations.map(|generation| generation.number).any(|number| self.accepted.contains(&number))
        };
        match self.supervisor_policy().trust {
            Trust::LivedAndAccepts { lived, .. } => !lived.is_zero() && seen(Role::Current),
            Trust::Accepts { .. } => true,
            Trust::Lived(_) | Trust::Ready { .. } => false,
        }
    }

    fn check_state(&self, asked: &Event) -> Result<(), Broken> {
        if let Some(status) = self.exited {
            if !self.waiting.is_empty() {
                return Err(Broken::ACallerForgotten);
            }
            return match (self.last_of_current, self.supervisor.outcome) {
                (Some(program), Outcome::Program { .. }) if status != program => Err(Broken::TheWrongStatus),
                // Killed before it ran, it has the status of a program that does not handle the signal.
                _ if status == 0 => Err(Broken::TheWrongStatus),
                _ => Ok(()),
            };
        }
        let vacancies = self.supervisor.current().map_or(0, |current| current.vacancies.len());
        if self.alive.is_empty() && vacancies == 0 {
            return Err(Broken::AliveWithNothingToWaitFor);
        }
        if matches!(self.announced, Announced::Reloading(_)) != matches!(self.supervisor.phase, Phase::RollingOver(_)) {
            return Err(Broken::AReloadWithoutAnEnd);
        }
        let candidate_runs = self.supervisor.candidate().is_some_and(Generation::runs);
        if self.listeners_open && !self.supervisor.is_served() && candidate_runs {
            return Err(Broken::NobodyServesThoughSomebodyCould);
        }
        if self.listeners_open
            && self.supervisor.current().is_none()
            && self.alive.iter().any(|process| process.told.is_empty() && process.stage != Stage::Spawning && !process.is_check)
            && self.supervisor.candidate().is_none()
        {
            return Err(Broken::NobodyServesThoughSomebodyCould);
        }
        if self.stop_asked && self.alive.iter().any(|process| process.told.is_empty()) {
            return Err(Broken::AStopForgotten);
        }
        if *asked == Event::Tick && self.supervisor.deadline().is_some_and(|deadline| deadline <= self.now) {
            return Err(Broken::ADeadlineThatIsNeverMet);
        }
        let policy = self.supervisor_policy();
        let serving = self.with_role(Role::Current);
        let there = self.alive.iter().filter(|process| serving.contains(&process.id)).count() + vacancies;
        let is_served =
            self.supervisor.current().is_some() && self.announced != Announced::Nothing && !self.stop_asked && self.listeners_open;
        if policy.respawn && is_served && there != policy.workers {
            return Err(Broken::AWorkerNotReplaced);
        }
        let has_time = |process: &Process| !process.told.is_empty() && !process.killed && !process.out_of_reach;
        let to_be_killed = policy.stop_timeout.is_some() && self.alive.iter().any(has_time);
        let has_deadline = !matches!(policy.trust, Trust::Ready { within: None }) || self.settled_at.is_some();
        let to_be_judged = self.listeners_open && candidate_runs && has_deadline;
        let to_be_judged = to_be_judged || self.supervisor.awaited.is_some();
        let to_be_announced = self.supervisor.phase == Phase::Serving && self.announced == Announced::Nothing;
        let looks = self.supervisor.timers.0.iter().any(|(timer, _)| *timer == Timer::Look);
        if looks && !matches!(self.supervisor.phase, Phase::Starting | Phase::RollingOver(_)) && !to_be_announced {
            return Err(Broken::LooksForNothing);
        }
        if (to_be_killed || to_be_judged || to_be_announced || vacancies > 0) && self.supervisor.deadline().is_none() {
            return Err(Broken::WaitsForEver);
        }
        let waits_for_a_reload = self.waiting.iter().any(|waiting| waiting.after.is_some());
        if waits_for_a_reload && !matches!(self.supervisor.phase, Phase::Starting | Phase::RollingOver(_)) {
            return Err(Broken::ACallerForgotten);
        }
        if self.supervisor.terminal == Terminal::Leader
            && let current = self.with_role(Role::Current)
            && self.alive.iter().any(|process| current.contains(&process.id) && process.stage != Stage::Spawning)
            && self.foreground.is_none_or(|id| !current.contains(&id))
        {
            return Err(Broken::TheTerminalLost);
        }
        let waits = |number: GenerationNumber| {
            self.supervisor.generations.iter().any(|generation| generation.number == number && !generation.vacancies.is_empty())
        };
        if self.kept.iter().any(|kept| self.alive.iter().all(|process| process.generation != *kept) && !waits(*kept)) {
            return Err(Broken::AGenerationNeverForgotten);
        }
        Ok(())
    }

    /// The same world with workers, generations and instants counted from its own beginning: two lives that will go on alike are one.
    fn canonical(&self) -> World {
        let mut world = self.clone();
        let mut order: Vec<WorkerId> = world.alive.iter().map(|process| process.id).collect();
        order.sort();
        let rename = |old: WorkerId| WorkerId(order.iter().position(|known| *known == old).map_or(0, |index| index as u32 + 1));
        let mut generations: Vec<GenerationNumber> = world.alive.iter().map(|process| process.generation).collect();
        generations.push(world.supervisor.newest);
        generations.extend(world.supervisor.generations.iter().map(|generation| generation.number));
        generations.sort();
        generations.dedup();
        let renumber = |old: GenerationNumber| {
            GenerationNumber(generations.iter().position(|known| *known >= old).map_or(0, |index| index as u32 + 1))
        };
        let now = self.now;
        for process in &mut world.alive {
            process.id = rename(process.id);
            process.generation = renumber(process.generation);
        }
        world.alive.sort_by_key(|process| process.id);
        let newest = self.supervisor.newest;
        let supervisor = &mut world.supervisor;
        for generation in &mut supervisor.generations {
            generation.number = renumber(generation.number);
            for vacancy in &mut generation.vacancies {
                // A pause is a pause, however much of it is left: its exact rest would make worlds without end.
                vacancy.due = Instant(if vacancy.due > now { REST_OF_A_PAUSE } else { Duration::ZERO });
                vacancy.failures = vacancy.failures.min(2);
            }
            for worker in &mut generation.workers {
                worker.id = rename(worker.id);
                worker.started = Instant(Duration::ZERO);
                worker.failures = worker.failures.min(2);
                // Only a replacement needs to know its slot.
                worker.slot = if generation.policy.respawn { worker.slot } else { 0 };
                if let WorkerState::Running { pid } | WorkerState::Leaderless { pid, .. } = &mut worker.state {
                    *pid = Pid::new(100 + worker.id.0 as i32).expect("a positive pid");
                }
                if let Some(stop) = &mut worker.stop {
                    stop.at = Instant(Duration::ZERO);
                }
            }
        }
        supervisor.restarts = 0;
        supervisor.newest = renumber(supervisor.newest);
        supervisor.next_worker = WorkerId(order.len() as u32 + 1);
        supervisor.foreground = supervisor.foreground.map(rename);
        for (timer, at) in &mut supervisor.timers.0 {
            *at = match timer {
                Timer::Respawn if *at > now => Instant(REST_OF_A_PAUSE),
                _ => Instant(at.since(now)),
            };
            if let Timer::Kill(id) = timer {
                *id = rename(*id);
            }
        }
        if let Phase::RollingOver(rollover) = &mut supervisor.phase {
            rollover.since = Instant(Duration::ZERO);
        }
        world.settled_at = world.settled_at.map(|at| Instant(at.since(now)));
        if let Announced::Reloading(generation) = &mut world.announced {
            *generation = renumber(*generation);
        }
        let alive: Vec<GenerationNumber> = self.alive.iter().map(|process| process.generation).collect();
        for seen in [&mut world.accepted, &mut world.hidden] {
            seen.retain(|generation| alive.contains(generation));
            seen.iter_mut().for_each(|generation| *generation = renumber(*generation));
            seen.sort();
            seen.dedup();
        }
        let looks = supervisor.timers.0.iter().any(|(timer, _)| *timer == Timer::Look);
        for generation in &mut supervisor.generations {
            // The pauses grow no more after that.
            generation.looks = if looks { generation.looks.min(5) } else { 0 };
        }
        for kept in &mut world.kept {
            *kept = renumber(*kept);
        }
        world.kept.sort();
        for waiting in &mut world.waiting {
            // All that matters is whether the reload under way may answer it.
            waiting.after = waiting.after.map(|after| GenerationNumber(u32::from(after == newest)));
        }
        world.waiting.sort_by_key(|waiting| waiting.caller);
        world.foreground = world.foreground.map(rename);
        world.now = Instant(Duration::ZERO);
        world.forks = Forks::default();
        world
    }

    /// Undoes what `canonical` does to the callers, so that the world can go on.
    fn revived(&self) -> World {
        let mut world = self.clone();
        let newest = world.supervisor.newest;
        for waiting in &mut world.waiting {
            waiting.after = waiting.after.map(|after| if after.0 == 1 { newest } else { GenerationNumber(newest.0.saturating_sub(1)) });
        }
        world
    }
}

/// So short that a walk takes few looks to the end of a wait.
const AUTO: Trust = Trust::LivedAndAccepts { lived: Duration::from_millis(6), within: Duration::from_millis(20) };
const ACCEPT: Trust = Trust::Accepts { within: Some(Duration::from_millis(20)), unseen: Duration::from_millis(10) };

thread_local! {
    /// The rules of the walk that this thread is on.
    static POLICY: std::cell::RefCell<Option<Policy>> = const { std::cell::RefCell::new(None) };
}

#[derive(Default, Debug)]
struct Visited {
    worlds: usize,
    steps: usize,
    ends: usize,
}

/// Visits every world that can be reached from a boot; stops at the first broken promise, with the events that led to it.
/// Workers and generations in the story are those of the world they happen in, counted from its oldest.
fn walk(cast: &Cast, sabotage: Sabotage) -> Result<Visited, (Broken, Vec<String>)> {
    POLICY.with(|policy| *policy.borrow_mut() = Some(cast.policy.clone()));
    let mut visited = Visited::default();
    let nothing = World::new(cast);
    let mut known: HashSet<World> = HashSet::from([nothing.canonical()]);
    // Each world with the way to it: the index of the one before and what happened there.
    let mut worlds = vec![(nothing, 0, String::new())];
    let mut at = 0;
    while let Some((world, _, _)) = worlds.get(at).cloned() {
        let world = world.revived();
        let events = if at == 0 { vec![booted(cast.policy.clone())] } else { world.possible(cast) };
        for event in events {
            let mut lucks = vec![LUCKY];
            while let Some(luck) = lucks.pop() {
                let mut next = world.clone();
                visited.steps += 1;
                if let Err(broken) = next.happen(event.clone(), luck, sabotage) {
                    let mut story = vec![format!("{event:?}, {luck:?}")];
                    let mut back = at;
                    while back != 0 {
                        story.push(worlds[back].2.clone());
                        back = worlds[back].1;
                    }
                    story.reverse();
                    return Err((broken, story));
                }
                if cast.fails && luck == LUCKY {
                    lucks.extend(next.forks.killed.then_some(Luck { kills: false, ..LUCKY }));
                    lucks.extend(next.forks.loaded.then_some(Luck { loads: false, ..LUCKY }));
                }
                if next.forks.looked && luck == LUCKY {
                    lucks.extend([Sight::Nothing, Sight::Hidden].map(|sees| Luck { sees, ..LUCKY }));
                }
                let next = next.canonical();
                if next.exited.is_some() {
                    visited.ends += 1;
                } else if known.insert(next.clone()) {
                    worlds.push((next, at, format!("{event:?}, {luck:?}")));
                }
            }
        }
        at += 1;
    }
    visited.worlds = worlds.len();
    Ok(visited)
}

fn casts() -> Vec<(&'static str, Cast)> {
    let plain = |policy| Cast { policy, terminal: Terminal::None, suspends: false, callers: false, fails: false, crowd: 3 };
    let lived = policy(Trust::Lived(START));
    let ready = policy(Trust::Ready { within: Some(START) });
    let settle = |policy| Policy { settle: SETTLE, ..policy };
    let kill = |policy| Policy { stop_timeout: Some(STOP_TIMEOUT), ..policy };
    vec![
        ("trusted after 3 s", plain(lived.clone())),
        ("trusted after 3 s, KILL after 5 s", plain(kill(lived.clone()))),
        ("trusted at once, KILL after 5 s", plain(kill(policy(Trust::Lived(Duration::ZERO))))),
        ("trusted when ready within 3 s, KILL after 5 s", plain(kill(ready))),
        ("trusted when ready, however late", plain(policy(Trust::Ready { within: None }))),
        ("two workers, trusted after 3 s", plain(Policy { workers: 2, ..lived.clone() })),
        ("two workers, trusted when ready", plain(Policy { workers: 2, ..policy(Trust::Ready { within: None }) })),
        (
            "two workers, trusted when ready, 2 s side by side",
            plain(settle(Policy { workers: 2, ..policy(Trust::Ready { within: None }) })),
        ),
        ("callers that ask and go away", Cast { callers: true, ..plain(lived.clone()) }),
        ("process groups, KILL after 5 s", plain(Policy { group: true, ..kill(lived.clone()) })),
        ("nothing can be killed, no configuration is sure", Cast { fails: true, ..plain(kill(lived.clone())) }),
        ("suspended by an operator", Cast { suspends: true, ..plain(lived.clone()) }),
        ("on a terminal, without a shell", Cast { suspends: true, terminal: Terminal::Leader, ..plain(lived.clone()) }),
        ("on a terminal, as a shell's job", Cast { suspends: true, terminal: Terminal::Job, ..plain(lived.clone()) }),
        ("replaced when it exits, trusted after 3 s", Cast { crowd: 2, ..plain(Policy { respawn: true, ..lived.clone() }) }),
        ("checked, trusted after 3 s", plain(Policy { check: true, ..lived.clone() })),
        (
            "callers and checks, trusted at once",
            Cast { callers: true, crowd: 2, ..plain(Policy { check: true, ..policy(Trust::Lived(Duration::ZERO)) }) },
        ),
        ("trusted after 3 s, 2 s side by side", plain(settle(lived.clone()))),
        ("trusted after 6 ms where the current one accepts", plain(policy(AUTO))),
        ("trusted when it accepts, within 20 ms", plain(policy(ACCEPT))),
        ("callers, trusted where the current one accepts", Cast { callers: true, crowd: 2, ..plain(policy(AUTO)) }),
    ]
}

#[test]
fn every_order_of_events_keeps_every_promise() {
    let mut all = Visited::default();
    for (name, cast) in casts() {
        match walk(&cast, no_sabotage) {
            Ok(visited) => {
                println!("{name}: {} worlds, {} steps, {} ends", visited.worlds, visited.steps, visited.ends);
                assert!(visited.ends > 0, "{name}: no sequence of events reached the exit");
                all.worlds += visited.worlds;
                all.steps += visited.steps;
            }
            Err((broken, story)) => panic!("{name}: {broken:?} after\n  {}", story.join("\n  ")),
        }
    }
    println!("in all: {} worlds, {} steps", all.worlds, all.steps);
    assert!(all.worlds > 38_773, "the walk has become a stroll: {all:?}");
}

/// Breaks the core from outside, once for each promise, and says what the walk must catch.
#[test]
fn every_promise_can_be_seen_broken() {
    let sabotages: &[(Broken, Sabotage)] = &[
        (Broken::SignalledTheDead, |_, event, actions| {
            if let Event::Exited { id, group_left: false, .. } = event {
                actions.insert(0, Action::Signal { id: *id, signal: Signal::TERM, group: false });
            }
        }),
        (Broken::SignalledOneThatDoesNotRun, |_, _, actions| {
            if let Some(Action::Spawn { id, .. }) = actions.iter().find(|action| matches!(action, Action::Spawn { .. })).cloned() {
                actions.push(Action::Signal { id, signal: Signal::TERM, group: false });
            }
        }),
        (Broken::ToldTwice, |_, _, actions| {
            if let Some(told) = actions.iter().find(|action| matches!(action, Action::Signal { signal: Signal::TERM, .. })).cloned() {
                actions.push(told);
            }
        }),
        (Broken::TwoReloadsAtOnce, |world, event, actions| {
            if matches!(event, Event::Requested { request: Request::Reload, .. }) && world.supervisor.candidate().is_some() {
                let what = Program::Worker(WorkerPlace { generation: world.supervisor.newest.next(), slot: 0 });
                actions.push(Action::Spawn { id: WorkerId(99), what });
            }
        }),
        (Broken::StartedAfterAStop, |world, event, actions| {
            if let Event::Requested { request: Request::Stop { .. }, .. } = event {
                let what = Program::Worker(WorkerPlace { generation: world.supervisor.newest, slot: 0 });
                actions.push(Action::Spawn { id: WorkerId(99), what });
            }
        }),
        (Broken::ToldTheCurrentWithoutASuccessor, |world, event, actions| {
            if let (Event::SpawnFailed { .. }, Phase::Serving, Some(current)) =
                (event, world.supervisor.phase, world.with_role(Role::Current).first())
            {
                actions.push(Action::Signal { id: *current, signal: Signal::TERM, group: false });
            }
        }),
        (Broken::ExitWithWorkersAlive, |_, event, actions| {
            if let Event::Requested { request: Request::Stop { .. }, .. } = event {
                actions.push(Action::Exit { status: 1, callers: vec![] });
            }
        }),
        (Broken::AliveWithNothingToWaitFor, |_, _, actions| actions.retain(|action| !matches!(action, Action::Exit { .. }))),
        (Broken::ActedAfterTheEnd, |_, _, actions| {
            if actions.iter().any(|action| matches!(action, Action::Exit { .. })) {
                actions.push(Action::SuspendMaster);
            }
        }),
        (Broken::KilledOneThatWasNotTold, |world, event, actions| {
            if let (Event::Requested { request: Request::Forward(_), .. }, Some(id)) = (event, world.with_role(Role::Current).first()) {
                actions.push(Action::Kill { id: *id });
            }
        }),
        (Broken::ListenersClosedWhileServing, |world, event, actions| {
            if let (Event::Requested { request: Request::Reload, .. }, true) = (event, world.served) {
                actions.push(Action::CloseListeners);
            }
        }),
        (Broken::TheWrongStatus, |_, _, actions| {
            for action in actions {
                if let Action::Exit { status, .. } = action {
                    *status = 0;
                }
            }
        }),
        (Broken::AStopForgotten, |_, event, actions| {
            if let Event::Requested { request: Request::Stop { .. }, .. } = event {
                actions.retain(|action| !matches!(action, Action::Signal { .. }));
            }
        }),
        (Broken::AReloadWithoutAnEnd, |_, _, actions| {
            actions.retain(|action| !matches!(action, Action::Announce(Lifecycle::ReloadEnded { outcome: Err(_), .. })));
        }),
        (Broken::AnnouncedOutOfTurn, |_, event, actions| {
            if let Event::Requested { request: Request::Stop { .. }, .. } = event {
                actions.push(Action::Announce(Lifecycle::Stopping));
            }
        }),
        (Broken::ASignalLost, |world, event, actions| {
            if let Event::Requested { request: Request::Forward(_), .. } = event {
                let candidate = world.with_role(Role::Candidate);
                actions.retain(|action| !matches!(action, Action::Signal { id, .. } if candidate.contains(id)));
            }
        }),
        (Broken::ToldAndLeftSuspended, |_, _, actions| actions.retain(|action| !matches!(action, Action::Continue { .. }))),
        (Broken::ACallerForgotten, |_, _, actions| {
            actions.retain(|action| !matches!(action, Action::Answer { reply: Reply::ReloadFailed(_), .. }));
        }),
        (Broken::AnsweredTwice, |_, _, actions| {
            if let Some(answer) = actions.iter().find(|action| matches!(action, Action::Answer { .. })).cloned() {
                actions.push(answer);
            }
        }),
        (Broken::AnsweredForAnEarlierReload, |world, event, actions| {
            if let (Event::Requested { request: Request::Reload, caller: Some(caller) }, Phase::RollingOver(_)) =
                (event, world.supervisor.phase)
            {
                let generation = GenerationNumber(world.supervisor.newest.0.saturating_sub(1));
                let reloaded = Reloaded { generation, pid: None, workers: 1, took: START };
                actions.push(Action::Answer { caller: *caller, reply: Reply::Reloaded(reloaded) });
            }
        }),
        (Broken::TheTerminalLost, |_, _, actions| actions.retain(|action| !matches!(action, Action::Foreground { .. }))),
        (Broken::ForgotAGenerationThatLives, |_, event, actions| {
            if let Event::Spawned { .. } = event {
                actions.push(Action::Forget { generation: GenerationNumber::FIRST });
            }
        }),
        (Broken::AGenerationNeverForgotten, |_, _, actions| actions.retain(|action| !matches!(action, Action::Forget { .. }))),
        (Broken::NotLongEnoughSideBySide, |world, event, actions| {
            if let (
                Event::Requested { request: Request::Forward(_), .. },
                Phase::RollingOver(Rollover { stage: super::super::Stage::Settling, .. }),
            ) = (event, world.supervisor.phase)
            {
                actions.push(Action::Log(Message::Current { generation: world.supervisor.newest }));
            }
        }),
        (Broken::AWorkerNotReplaced, |world, event, actions| {
            if matches!(event, Event::Exited { .. }) && !world.alive.is_empty() {
                actions.retain(|action| !matches!(action, Action::Spawn { .. }));
            }
        }),
        (Broken::StartedWithoutItsCheck, |world, event, actions| {
            if let Event::SpawnFailed { id, .. } = event
                && actions.iter().any(|action| matches!(action, Action::Log(Message::ReloadFailed(_))))
            {
                let generation = world.supervisor.newest;
                actions.push(Action::Spawn { id: *id, what: Program::Worker(WorkerPlace { generation, slot: 0 }) });
            }
        }),
        (Broken::TrustedThoughItDoesNotAccept, |world, event, actions| {
            if let Event::Looked { accepts, hidden: None, .. } = event
                && accepts.iter().all(|(_, listeners)| listeners.is_empty())
                && world.supervisor.candidate().is_some_and(Generation::runs)
            {
                actions.push(Action::Log(Message::Current { generation: world.supervisor.newest }));
            }
        }),
    ];
    for (expected, sabotage) in sabotages {
        // The small walks first: most promises are broken there. Only where workers are replaced one may be missing.
        let is_fit = |(_, cast): &(&str, Cast)| cast.policy.respawn == (*expected == Broken::AWorkerNotReplaced);
        let (mut tried, rest): (Vec<_>, Vec<_>) = casts().into_iter().rev().partition(is_fit);
        tried.extend(rest);
        let found = tried.into_iter().find_map(|(_, cast)| walk(&cast, *sabotage).err().filter(|(broken, _)| broken == expected));
        assert!(found.is_some(), "{expected:?} was not caught");
    }
}

/// The promises that no false action can break, only a false state: the core itself is damaged on its way.
#[test]
fn a_damaged_state_is_seen_too() {
    let (_, cast) = casts().remove(0);
    POLICY.with(|policy| *policy.borrow_mut() = Some(cast.policy.clone()));
    let lucky = LUCKY;
    let runs = |id: u32| Event::Spawned { id: WorkerId(id), pid: Pid::new(100 + id as i32).expect("a positive pid") };
    let mut world = World::new(&cast);
    let ask = |request| Event::Requested { request, caller: None };
    for event in [booted(cast.policy.clone()), runs(1), ask(Request::Reload), runs(2)] {
        world.happen(event, lucky, no_sabotage).expect("a reload is under way");
    }
    let mut orphaned = world.clone();
    orphaned.supervisor.generations.retain(|generation| generation.role != Role::Current);
    orphaned.alive.retain(|process| process.id == WorkerId(2));
    orphaned.kept = vec![GenerationNumber(2)];
    assert_eq!(orphaned.happen(ask(Request::Forward(Signal::USR1)), lucky, no_sabotage), Err(Broken::NobodyServesThoughSomebodyCould));

    // A core that takes itself back to its start, and so gives up when a candidate exits.
    let mut confused = world.clone();
    confused.supervisor.phase = Phase::Starting;
    assert_eq!(confused.happen(exited(WorkerId(2), false), lucky, no_sabotage), Err(Broken::ListenersClosedWhileServing));

    let mut forgetful = world.clone();
    forgetful.supervisor.timers.stop(Timer::Trust);
    assert_eq!(forgetful.happen(ask(Request::Forward(Signal::USR1)), lucky, no_sabotage), Err(Broken::WaitsForEver));

    let mut curious = world.clone();
    curious.happen(Event::Tick, lucky, no_sabotage).expect("the candidate is trusted");
    curious.supervisor.timers.set(Timer::Look, curious.now.after(START));
    assert_eq!(curious.happen(ask(Request::Forward(Signal::USR1)), lucky, no_sabotage), Err(Broken::LooksForNothing));

    let mut stuck = world;
    stuck.happen(ask(STOP), lucky, no_sabotage).expect("a stop");
    stuck.supervisor.timers.set(Timer::Trust, stuck.now);
    assert_eq!(stuck.happen(Event::Tick, lucky, no_sabotage), Err(Broken::ADeadlineThatIsNeverMet));
}
