//! Stories: one life each, told in a few lines. And the walk: every order of events in a toy world, every state that can
//! be reached, every promise checked in each; and each promise shown to be able to fail.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::*;

const START: Duration = Duration::from_secs(3);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

fn policy(trust: Trust) -> Policy {
    Policy { trust, workers: 1, stop_signal: Signal::TERM, stop_timeout: None, ok: vec![] }
}

fn pid(raw: i32) -> Pid {
    Pid::new(raw).expect("a positive pid")
}

fn failure() -> Failure {
    Failure { status: 127, cause: "cannot execute app: No such file or directory".into() }
}

// ---- stories

/// A supervisor with a clock, and starts that succeed with pids 1, 2, 3... until told otherwise.
struct Story {
    supervisor: Supervisor,
    now: Moment,
    next_pid: i32,
    starts_fail: bool,
}

impl Story {
    fn new(policy: Policy) -> Story {
        let mut story = Story { supervisor: Supervisor::new(policy), now: Moment(Duration::ZERO), next_pid: 1, starts_fail: false };
        story.tell(Event::Boot);
        story
    }

    /// All but notes and announcements, in the order in which they are asked for.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut events = VecDeque::from([event]);
        let mut seen = Vec::new();
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.handle(event, self.now) {
                if let Action::Start { .. } = action {
                    events.push_back(if self.starts_fail {
                        Event::StartFailed(failure())
                    } else {
                        Event::Started { pid: pid(self.next_pid) }
                    });
                    self.next_pid += i32::from(!self.starts_fail);
                }
                if !matches!(action, Action::Note(_) | Action::Announce(_)) {
                    seen.push(action);
                }
            }
        }
        seen
    }

    fn after(&mut self, wait: Duration, event: Event) -> Vec<Action> {
        self.now = self.now.after(wait);
        self.tell(event)
    }

    fn died(&mut self, raw: i32, status: u8) -> Vec<Action> {
        self.tell(Event::Died { pid: pid(raw), ending: Ending::Exited(status) })
    }
}

fn start(generation: u32) -> Action {
    Action::Start { generation: Generation(generation) }
}

fn send(raw: i32, signal: Signal) -> Action {
    Action::Send { pid: pid(raw), signal }
}

fn front(raw: i32) -> Action {
    Action::Foreground { pid: pid(raw) }
}

fn exit(status: u8) -> [Action; 1] {
    [Action::Exit { status }]
}

#[test]
fn a_reload_starts_a_copy_waits_and_then_tells_the_old_one() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.tell(Event::Reload), [start(2)]);
    assert_eq!(story.supervisor.deadline(), Some(story.now.after(START)));
    assert_eq!(story.after(START / 2, Event::Tick), []);
    assert_eq!(story.after(START / 2, Event::Tick), [front(2), send(1, Signal::TERM)]);
    assert_eq!(story.died(1, 0), []);
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn a_term_in_the_middle_of_a_reload_reaches_both_and_nothing_is_started_after_it() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.tell(Event::Reload);
    story.tell(Event::Reload);
    assert_eq!(story.tell(Event::Stop { signal: Signal::TERM }), [Action::CloseListeners, send(1, Signal::TERM), send(2, Signal::TERM)]);
    assert_eq!(story.tell(Event::Reload), []);
    assert_eq!(story.after(START, Event::Tick), []);
    assert_eq!(story.died(2, 9), []);
    assert_eq!(story.died(1, 0), exit(0));
}

#[test]
fn a_candidate_that_dies_never_reaches_the_current_one() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.tell(Event::Reload);
    assert_eq!(story.died(2, 7), []);
    assert_eq!(story.supervisor.deadline(), None);
    assert_eq!(story.tell(Event::Reload), [start(3)]);
}

#[test]
fn a_candidate_that_cannot_be_executed_is_the_end_of_that_reload_only() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.starts_fail = true;
    assert_eq!(story.tell(Event::Reload), [start(2)]);
    story.starts_fail = false;
    assert_eq!(story.tell(Event::Reload), [start(3)]);
    assert_eq!(story.tell(Event::Stop { signal: Signal::INT }), [Action::CloseListeners, send(1, Signal::INT), send(2, Signal::INT)]);
}

#[test]
fn three_reloads_at_once_are_two() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.tell(Event::Reload), [start(2)]);
    assert_eq!(story.tell(Event::Reload), []);
    assert_eq!(story.tell(Event::Reload), []);
    assert_eq!(story.after(START, Event::Tick), [front(2), send(1, Signal::TERM), start(3)]);
    assert_eq!(story.after(START, Event::Tick), [front(3), send(2, Signal::TERM)]);
}

#[test]
fn one_that_drains_is_told_once_however_many_reloads_follow() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    assert_eq!(story.tell(Event::Reload), [start(2), front(2), send(1, Signal::TERM)]);
    assert_eq!(story.tell(Event::Reload), [start(3), front(3), send(2, Signal::TERM)]);
    assert_eq!(story.tell(Event::Stop { signal: Signal::TERM }), [Action::CloseListeners, send(3, Signal::TERM)]);
    // The operator says it again: now all hear it again.
    assert_eq!(story.tell(Event::Stop { signal: Signal::TERM }).len(), 3);
}

#[test]
fn another_stop_signal_than_they_were_told_reaches_those_that_drain_too() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    story.tell(Event::Reload);
    assert_eq!(story.tell(Event::Stop { signal: Signal::QUIT }), [Action::CloseListeners, send(1, Signal::QUIT), send(2, Signal::QUIT)]);
}

#[test]
fn when_the_current_dies_the_candidate_takes_over_at_once() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.tell(Event::Reload);
    assert_eq!(story.died(1, 1), [front(2)]);
    assert_eq!(story.supervisor.deadline(), None);
    assert_eq!(story.died(2, 4).last(), Some(&Action::Exit { status: 4 }));
}

#[test]
fn a_bad_copy_while_an_older_one_drains_leaves_the_current_one_alone() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.tell(Event::Reload);
    story.after(START, Event::Tick);
    story.tell(Event::Reload);
    assert_eq!(story.died(3, 1), []);
    assert_eq!(story.died(1, 0), []);
    assert_eq!(story.tell(Event::Pass { signal: Signal::USR1 }), [send(2, Signal::USR1)]);
}

#[test]
fn when_only_retiring_ones_are_left_the_listeners_are_closed_and_the_status_is_the_current_ones() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    story.tell(Event::Reload);
    assert_eq!(story.died(2, 5), [Action::CloseListeners]);
    assert_eq!(story.tell(Event::Reload), []);
    assert_eq!(story.died(1, 0), exit(5));
}

#[test]
fn the_first_start_ends_with_the_status_of_its_failure() {
    let mut supervisor = Supervisor::new(policy(Trust::Lived(START)));
    supervisor.handle(Event::Boot, Moment(Duration::ZERO));
    let actions = supervisor.handle(Event::StartFailed(failure()), Moment(Duration::ZERO));
    assert_eq!(actions.last(), Some(&Action::Exit { status: 127 }));
}

#[test]
fn statuses_named_ok_are_reported_as_0_and_no_others() {
    for (ending, status) in [
        (Ending::Exited(3), 0),
        (Ending::Exited(4), 4),
        (Ending::Killed { signal: Signal::TERM, core: false }, 0),
        (Ending::Killed { signal: Signal::KILL, core: false }, 137),
    ] {
        let mut story = Story::new(Policy { ok: vec![3, 143], ..policy(Trust::Lived(START)) });
        assert_eq!(story.tell(Event::Died { pid: pid(1), ending }).last(), Some(&Action::Exit { status }), "{ending}");
    }
}

#[test]
fn one_that_does_not_stop_is_killed_once() {
    let mut story = Story::new(Policy { stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(Duration::ZERO)) });
    story.tell(Event::Reload);
    assert_eq!(story.supervisor.deadline(), Some(story.now.after(STOP_TIMEOUT)));
    assert_eq!(story.after(STOP_TIMEOUT, Event::Tick), [Action::Kill { pid: pid(1) }]);
    assert_eq!(story.after(STOP_TIMEOUT, Event::Tick), []);
}

#[test]
fn readiness_is_the_word_of_every_worker_and_counts_once() {
    let mut story = Story::new(Policy { workers: 2, ..policy(Trust::Ready { within: Some(START) }) });
    assert_eq!(story.tell(Event::Reload), [], "the first generation is not trusted yet: remembered");
    assert_eq!(story.tell(Event::Ready { pid: pid(1) }), []);
    assert_eq!(story.tell(Event::Ready { pid: pid(1) }), []);
    assert_eq!(story.tell(Event::Ready { pid: pid(2) }), [start(2), start(2)]);
    story.tell(Event::Ready { pid: pid(3) });
    assert_eq!(story.tell(Event::Ready { pid: pid(4) }), [front(3), send(1, Signal::TERM), send(2, Signal::TERM)]);
}

#[test]
fn a_missed_deadline_ends_the_first_generation_with_1_and_a_later_one_alone() {
    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    assert_eq!(story.after(START, Event::Tick), [Action::CloseListeners, send(1, Signal::TERM)]);
    assert_eq!(story.died(1, 0), exit(1));

    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    story.tell(Event::Ready { pid: pid(1) });
    story.tell(Event::Reload);
    assert_eq!(story.after(START, Event::Tick), [send(2, Signal::TERM)]);
    assert_eq!(story.died(2, 0), []);
}

#[test]
fn a_worker_that_does_not_start_takes_its_generation_with_it() {
    let mut supervisor = Supervisor::new(Policy { workers: 2, ..policy(Trust::Lived(START)) });
    let now = Moment(Duration::ZERO);
    supervisor.handle(Event::Boot, now);
    supervisor.handle(Event::Started { pid: pid(1) }, now);
    let actions = supervisor.handle(Event::StartFailed(failure()), now);
    assert!(actions.contains(&send(1, Signal::TERM)), "{actions:?}");
}

#[test]
fn a_suspended_worker_is_continued_and_a_strange_process_is_left_alone() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.tell(Event::Suspended { pid: pid(1) }), [Action::Continue { pid: pid(1) }]);
    assert_eq!(story.tell(Event::Suspended { pid: pid(77) }), []);
    assert_eq!(story.tell(Event::Suspend { signal: Signal::TSTP }), [send(1, Signal::TSTP), Action::SuspendMaster]);
    assert_eq!(story.tell(Event::Resume { signal: Signal::CONT }), [send(1, Signal::CONT)]);
    assert_eq!(story.died(77, 1), []);
}

#[test]
fn a_reload_is_announced_from_its_beginning_to_its_end() {
    let mut supervisor = Supervisor::new(policy(Trust::Lived(START)));
    let announced = |supervisor: &mut Supervisor, event, seconds| {
        let actions = supervisor.handle(event, Moment(Duration::from_secs(seconds)));
        let turns = actions.into_iter().filter_map(|action| if let Action::Announce(turn) = action { Some(turn) } else { None });
        turns.collect::<Vec<_>>()
    };
    let [second, third] = [2, 3].map(Generation);
    assert_eq!(announced(&mut supervisor, Event::Boot, 0), []);
    assert_eq!(announced(&mut supervisor, Event::Started { pid: pid(1) }, 0), [Turn::Serving]);
    assert_eq!(supervisor.next_generation(), second);
    assert_eq!(announced(&mut supervisor, Event::Reload, 10), [Turn::ReloadBegun { generation: second }]);
    assert_eq!(announced(&mut supervisor, Event::Started { pid: pid(2) }, 10), []);
    assert_eq!(supervisor.next_generation(), third, "a reload asked for now follows the one under way");
    assert_eq!(announced(&mut supervisor, Event::Reload, 11), []);
    let reloaded = Reloaded { generation: second, pid: pid(2), workers: 1, took: START };
    assert_eq!(
        announced(&mut supervisor, Event::Tick, 13),
        [Turn::ReloadEnded { generation: second, outcome: Ok(reloaded) }, Turn::ReloadBegun { generation: third }]
    );
    let failed = FailedReload { generation: third, why: Why::NotStarted(failure()), stays: second };
    assert_eq!(
        announced(&mut supervisor, Event::StartFailed(failure()), 13),
        [Turn::ReloadEnded { generation: third, outcome: Err(failed) }]
    );
    assert_eq!(announced(&mut supervisor, Event::Stop { signal: Signal::TERM }, 14), [Turn::Stopping]);
    assert_eq!(announced(&mut supervisor, Event::Stop { signal: Signal::TERM }, 15), []);
}

// ---- the walk

/// A promise of the core that a walk found broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Broken {
    SignalledTheDead,
    ToldTwice,
    TwoReloadsAtOnce,
    StartedAfterAStop,
    NoCurrentGeneration,
    ToldTheCurrentWithoutASuccessor,
    ExitWithWorkersAlive,
    AliveWithNothingToWaitFor,
    ADeadlineThatIsNeverMet,
    ActedAfterTheEnd,
    KilledOneThatWasNotTold,
    ListenersClosedWhileServing,
    TheWrongStatus,
    AStopForgotten,
    AReloadWithoutAnEnd,
    AnnouncedOutOfTurn,
}

/// A process of the toy world, as the world itself knows it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Process {
    pid: Pid,
    generation: Generation,
    told: Vec<Signal>,
}

/// The supervisor under test, and a toy world that believes nothing it says.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    supervisor: Supervisor,
    now: Moment,
    alive: Vec<Process>,
    next_pid: i32,
    stop_asked: bool,
    second_stop: bool,
    listeners_open: bool,
    exited: Option<u8>,
    last_of_current: Option<(Generation, u8)>,
    announced: Announced,
    /// The last event led to a start: what becomes of it makes two worlds of one.
    started: bool,
}

/// What one who looks on has been told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Announced {
    Nothing,
    Serving,
    Reloading(Generation),
    Stopping,
}

/// What the walker lets happen to the starts that an event leads to, in turn; the last goes on for ever.
type Starts = &'static [bool];

const WORKERS_AT_ONCE: usize = 4;
const STATUS_OF_A_DEATH: u8 = 3;

type Sabotage = fn(&World, &Event, &mut Vec<Action>);

impl World {
    fn new(policy: Policy) -> World {
        World {
            supervisor: Supervisor::new(policy),
            now: Moment(Duration::from_secs(1000)),
            alive: vec![],
            next_pid: 1,
            stop_asked: false,
            second_stop: false,
            listeners_open: true,
            exited: None,
            last_of_current: None,
            announced: Announced::Nothing,
            started: false,
        }
    }

    fn current(&self) -> Vec<Pid> {
        let current = self.supervisor.workers.iter().filter(|worker| worker.role == Role::Current);
        current.map(|worker| worker.pid).collect()
    }

    /// Every event that this world could bring about next.
    fn possible(&self) -> Vec<Event> {
        let mut events = vec![
            Event::Stop { signal: Signal::TERM },
            Event::Stop { signal: Signal::QUIT },
            Event::Pass { signal: Signal::USR1 },
            Event::Died { pid: pid(9999), ending: Ending::Exited(0) },
        ];
        if self.alive.len() < WORKERS_AT_ONCE {
            events.push(Event::Reload);
        }
        if self.supervisor.deadline().is_some() {
            events.push(Event::Tick);
        }
        for process in &self.alive {
            events.push(Event::Died { pid: process.pid, ending: Ending::Exited(STATUS_OF_A_DEATH) });
            events.push(Event::Ready { pid: process.pid });
        }
        events
    }

    /// Lets one event happen, with all that follows from it, and looks whether every promise was kept.
    fn happen(&mut self, event: Event, starts: Starts, sabotage: Sabotage) -> Result<(), Broken> {
        let was_current = self.current();
        let was_candidate_trusted = self.candidate_could_be_trusted(&event);
        if event == Event::Tick {
            self.now = self.supervisor.deadline().unwrap_or(self.now).max(self.now);
        }
        if let Event::Died { pid, ending } = event
            && let Some(dead) = self.alive.iter().position(|process| process.pid == pid)
        {
            let dead = self.alive.remove(dead);
            if was_current.contains(&pid) {
                self.last_of_current = Some((dead.generation, ending.status()));
            }
        }
        if matches!(event, Event::Stop { .. }) {
            self.second_stop = self.stop_asked;
            self.stop_asked = true;
        }
        let asked = event.clone();
        self.started = false;
        let mut starts = starts.iter();
        let mut will_start = true;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut actions = self.supervisor.handle(event.clone(), self.now);
            sabotage(self, &event, &mut actions);
            for action in actions {
                if self.exited.is_some() {
                    return Err(Broken::ActedAfterTheEnd);
                }
                match action {
                    Action::Start { generation } => {
                        if self.stop_asked || !self.listeners_open {
                            return Err(Broken::StartedAfterAStop);
                        }
                        let warming: HashSet<Generation> = self
                            .supervisor
                            .workers
                            .iter()
                            .filter(|worker| worker.role == Role::Candidate)
                            .map(|worker| worker.generation)
                            .collect();
                        if warming.iter().any(|other| *other != generation) {
                            return Err(Broken::TwoReloadsAtOnce);
                        }
                        self.started = true;
                        will_start = starts.next().copied().unwrap_or(will_start);
                        if will_start {
                            let pid = pid(self.next_pid);
                            self.next_pid += 1;
                            self.alive.push(Process { pid, generation, told: vec![] });
                            events.push_back(Event::Started { pid });
                        } else {
                            events.push_back(Event::StartFailed(failure()));
                        }
                    }
                    Action::Send { pid, signal } => self.check_send(pid, signal, &asked, &was_current, was_candidate_trusted)?,
                    Action::Kill { pid } => match self.alive.iter().find(|process| process.pid == pid) {
                        None => return Err(Broken::SignalledTheDead),
                        Some(process) if process.told.is_empty() => return Err(Broken::KilledOneThatWasNotTold),
                        Some(_) => {}
                    },
                    Action::CloseListeners => {
                        if !self.stop_asked && !self.current().is_empty() && self.supervisor.phase != Phase::Stopping {
                            return Err(Broken::ListenersClosedWhileServing);
                        }
                        self.listeners_open = false;
                    }
                    Action::Exit { status } => {
                        if !self.alive.is_empty() {
                            return Err(Broken::ExitWithWorkersAlive);
                        }
                        self.exited = Some(status);
                    }
                    Action::Announce(turn) => self.hear(turn)?,
                    Action::Foreground { .. } | Action::Continue { .. } | Action::SuspendMaster | Action::Note(_) => {}
                }
            }
        }
        self.check_state(&asked)
    }

    fn hear(&mut self, turn: Turn) -> Result<(), Broken> {
        self.announced = match (self.announced, turn) {
            (Announced::Nothing, Turn::Serving) => Announced::Serving,
            (Announced::Serving, Turn::ReloadBegun { generation }) => Announced::Reloading(generation),
            (Announced::Reloading(begun), Turn::ReloadEnded { generation, .. }) if generation == begun => Announced::Serving,
            (Announced::Nothing | Announced::Serving | Announced::Reloading(_), Turn::Stopping) => Announced::Stopping,
            _ => return Err(Broken::AnnouncedOutOfTurn),
        };
        Ok(())
    }

    fn check_send(&mut self, pid: Pid, signal: Signal, asked: &Event, was_current: &[Pid], trusted: bool) -> Result<(), Broken> {
        let second_stop = self.second_stop && matches!(asked, Event::Stop { .. });
        let Some(process) = self.alive.iter_mut().find(|process| process.pid == pid) else {
            return Err(Broken::SignalledTheDead);
        };
        if signal == Signal::USR1 {
            return Ok(());
        }
        if process.told.contains(&signal) && !second_stop {
            return Err(Broken::ToldTwice);
        }
        if !process.told.contains(&signal) {
            process.told.push(signal);
            process.told.sort();
        }
        let first_failed = self.supervisor.phase == Phase::Stopping;
        if was_current.contains(&pid) && !self.stop_asked && !trusted && !first_failed {
            return Err(Broken::ToldTheCurrentWithoutASuccessor);
        }
        Ok(())
    }

    /// Whether this event is one by which a candidate may come to be trusted.
    fn candidate_could_be_trusted(&self, event: &Event) -> bool {
        match (&self.supervisor.policy.trust, event) {
            // With no wait the start itself is enough.
            (Trust::Lived(Duration::ZERO), Event::Reload | Event::Tick | Event::Died { .. }) => true,
            (Trust::Lived(_), Event::Tick) => true,
            (Trust::Ready { .. }, Event::Ready { .. }) => true,
            _ => false,
        }
    }

    fn check_state(&self, asked: &Event) -> Result<(), Broken> {
        if let Some(status) = self.exited {
            let own = self.supervisor.outcome;
            return match self.last_of_current {
                Some((_, program)) if matches!(own, Outcome::Program(_)) && status != program => Err(Broken::TheWrongStatus),
                _ if status == 0 => Err(Broken::TheWrongStatus),
                _ => Ok(()),
            };
        }
        if self.alive.is_empty() {
            return Err(Broken::AliveWithNothingToWaitFor);
        }
        if matches!(self.announced, Announced::Reloading(_)) != matches!(self.supervisor.phase, Phase::Warming { .. }) {
            return Err(Broken::AReloadWithoutAnEnd);
        }
        if self.listeners_open && self.current().is_empty() {
            return Err(Broken::NoCurrentGeneration);
        }
        if self.stop_asked && self.alive.iter().any(|process| process.told.is_empty()) {
            return Err(Broken::AStopForgotten);
        }
        if *asked == Event::Tick && self.supervisor.deadline().is_some_and(|deadline| deadline <= self.now) {
            return Err(Broken::ADeadlineThatIsNeverMet);
        }
        Ok(())
    }

    /// The same world with pids, generations and moments counted from its own beginning: two lives that will go on alike are one.
    fn canonical(&self) -> World {
        let mut world = self.clone();
        let mut order: Vec<Pid> = world.alive.iter().map(|process| process.pid).collect();
        order.sort();
        let rename = |old: Pid| order.iter().position(|known| *known == old).map_or(old, |index| pid(index as i32 + 1));
        let mut generations: Vec<Generation> = world.alive.iter().map(|process| process.generation).collect();
        generations.sort();
        generations.dedup();
        let newest = generations.len() + usize::from(!generations.contains(&world.supervisor.newest));
        let regenerate =
            |old: Generation| Generation(generations.iter().position(|known| *known == old).map_or(newest, |index| index + 1) as u32);
        let now = self.now;
        let rebase = |moment: Moment| Moment(moment.since(now));
        for process in &mut world.alive {
            process.pid = rename(process.pid);
            process.generation = regenerate(process.generation);
        }
        world.alive.sort_by_key(|process| process.pid);
        for worker in &mut world.supervisor.workers {
            worker.pid = rename(worker.pid);
            worker.generation = regenerate(worker.generation);
            worker.started = Moment(Duration::ZERO);
            if let Some(told) = &mut worker.told {
                told.at = Moment(Duration::ZERO);
                told.kill_at = told.kill_at.map(rebase);
            }
        }
        world.supervisor.workers.sort_by_key(|worker| worker.pid);
        world.supervisor.newest = regenerate(world.supervisor.newest);
        world.supervisor.phase = match world.supervisor.phase {
            Phase::Starting { until } => Phase::Starting { until: until.map(rebase) },
            Phase::Warming { until, .. } => Phase::Warming { since: Moment(Duration::ZERO), until: until.map(rebase) },
            other => other,
        };
        if let Announced::Reloading(generation) = &mut world.announced {
            *generation = regenerate(*generation);
        }
        world.last_of_current = world.last_of_current.map(|(_, status)| (Generation::FIRST, status));
        world.next_pid = world.alive.len() as i32 + 1;
        world.now = Moment(Duration::ZERO);
        world.started = false;
        world
    }
}

#[derive(Default, Debug)]
struct Visited {
    worlds: usize,
    steps: usize,
    ends: usize,
}

/// Visits every world that can be reached from a boot; stops at the first broken promise, with the events that led to it.
/// Pids and generations in the story are those of the world they happen in, counted from its oldest.
fn walk(policy: Policy, sabotage: Sabotage) -> Result<Visited, (Broken, Vec<String>)> {
    const OUTCOMES: [Starts; 3] = [&[true], &[false], &[true, false]];
    let mut visited = Visited::default();
    let nothing = World::new(policy);
    let mut known: HashSet<World> = HashSet::from([nothing.clone()]);
    // Each world with the way to it: the index of the one before and what happened there.
    let mut worlds = vec![(nothing, 0, String::new())];
    let mut at = 0;
    while let Some((world, _, _)) = worlds.get(at).cloned() {
        let events = if at == 0 { vec![Event::Boot] } else { world.possible() };
        let mut led_to_a_start = true;
        for (event, starts) in events.iter().flat_map(|event| OUTCOMES.map(|starts| (event, starts))) {
            if !led_to_a_start && starts != OUTCOMES[0] {
                continue;
            }
            let mut next = world.clone();
            visited.steps += 1;
            if let Err(broken) = next.happen(event.clone(), starts, sabotage) {
                let mut story = vec![format!("{event:?}, starts {starts:?}")];
                let mut back = at;
                while back != 0 {
                    story.push(worlds[back].2.clone());
                    back = worlds[back].1;
                }
                story.reverse();
                return Err((broken, story));
            }
            led_to_a_start = next.started;
            let next = next.canonical();
            if next.exited.is_some() {
                visited.ends += 1;
            } else if known.insert(next.clone()) {
                worlds.push((next, at, format!("{event:?}, starts {starts:?}")));
            }
        }
        at += 1;
    }
    visited.worlds = worlds.len();
    Ok(visited)
}

fn policies() -> Vec<(&'static str, Policy)> {
    let lived = policy(Trust::Lived(START));
    let ready = policy(Trust::Ready { within: Some(START) });
    vec![
        ("trusted after 3 s", lived.clone()),
        ("trusted after 3 s, KILL after 5 s", Policy { stop_timeout: Some(STOP_TIMEOUT), ..lived.clone() }),
        ("trusted at once, KILL after 5 s", Policy { stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(Duration::ZERO)) }),
        ("trusted when ready within 3 s, KILL after 5 s", Policy { stop_timeout: Some(STOP_TIMEOUT), ..ready.clone() }),
        ("trusted when ready, however late", policy(Trust::Ready { within: None })),
        ("two workers, trusted after 3 s", Policy { workers: 2, ..lived }),
        ("two workers, trusted when ready within 3 s", Policy { workers: 2, ..ready }),
    ]
}

#[test]
fn every_order_of_events_keeps_every_promise() {
    let mut all = Visited::default();
    for (name, policy) in policies() {
        match walk(policy, |_, _, _| {}) {
            Ok(visited) => {
                println!("{name}: {} worlds, {} steps, {} ends", visited.worlds, visited.steps, visited.ends);
                assert!(visited.ends > 0, "{name}: no life came to its end");
                all.worlds += visited.worlds;
                all.steps += visited.steps;
            }
            Err((broken, story)) => panic!("{name}: {broken:?} after\n  {}", story.join("\n  ")),
        }
    }
    println!("in all: {} worlds, {} steps", all.worlds, all.steps);
    assert!(all.worlds > 1_000, "the walk has become a stroll: {all:?}");
}

/// Breaks the core from outside, once for each promise, and says what the walk must catch.
#[test]
fn every_promise_can_be_seen_broken() {
    let sabotages: &[(Broken, Sabotage)] = &[
        (Broken::SignalledTheDead, |_, event, actions| {
            if let Event::Died { pid, .. } = event {
                actions.insert(0, Action::Send { pid: *pid, signal: Signal::TERM });
            }
        }),
        (Broken::ToldTwice, |_, _, actions| {
            if let Some(Action::Send { pid, signal: Signal::TERM }) =
                actions.iter().find(|action| matches!(action, Action::Send { signal: Signal::TERM, .. })).cloned()
            {
                actions.push(Action::Send { pid, signal: Signal::TERM });
            }
        }),
        (Broken::TwoReloadsAtOnce, |world, event, actions| {
            if *event == Event::Reload
                && matches!(world.supervisor.phase, Phase::Warming { .. })
                && actions.iter().all(|action| matches!(action, Action::Note(_)))
            {
                actions.push(Action::Start { generation: world.supervisor.newest.next() });
            }
        }),
        (Broken::StartedAfterAStop, |world, event, actions| {
            if matches!(event, Event::Stop { .. }) {
                actions.push(Action::Start { generation: world.supervisor.newest });
            }
        }),
        (Broken::ToldTheCurrentWithoutASuccessor, |world, event, actions| {
            if let (Event::StartFailed(_), Phase::Serving, Some(current)) = (event, world.supervisor.phase, world.current().first()) {
                actions.push(Action::Send { pid: *current, signal: Signal::TERM });
            }
        }),
        (Broken::ExitWithWorkersAlive, |_, event, actions| {
            if matches!(event, Event::Stop { .. }) {
                actions.push(Action::Exit { status: 1 });
            }
        }),
        (Broken::AliveWithNothingToWaitFor, |_, _, actions| actions.retain(|action| !matches!(action, Action::Exit { .. }))),
        (Broken::ActedAfterTheEnd, |_, _, actions| {
            if actions.iter().any(|action| matches!(action, Action::Exit { .. })) {
                actions.push(Action::SuspendMaster);
            }
        }),
        (Broken::KilledOneThatWasNotTold, |world, event, actions| {
            if let (Event::Pass { .. }, Some(pid)) = (event, world.current().first()) {
                actions.push(Action::Kill { pid: *pid });
            }
        }),
        (Broken::ListenersClosedWhileServing, |_, event, actions| {
            if *event == Event::Reload {
                actions.push(Action::CloseListeners);
            }
        }),
        (Broken::TheWrongStatus, |_, _, actions| {
            for action in actions {
                if let Action::Exit { status } = action {
                    *status = 0;
                }
            }
        }),
        (Broken::AReloadWithoutAnEnd, |_, _, actions| {
            actions.retain(|action| !matches!(action, Action::Announce(Turn::ReloadEnded { outcome: Err(_), .. })));
        }),
        (Broken::AnnouncedOutOfTurn, |_, event, actions| {
            if matches!(event, Event::Stop { .. }) {
                actions.push(Action::Announce(Turn::Stopping));
            }
        }),
        (Broken::AStopForgotten, |_, event, actions| {
            if matches!(event, Event::Stop { .. }) {
                actions.retain(|action| !matches!(action, Action::Send { .. }));
            }
        }),
    ];
    for (expected, sabotage) in sabotages {
        let found: HashSet<Broken> =
            policies().into_iter().filter_map(|(_, policy)| walk(policy, *sabotage).err()).map(|(broken, _)| broken).collect();
        println!("{expected:?}: the walk caught {found:?}");
        assert!(found.contains(expected), "{expected:?} was not caught; instead {found:?}");
    }
}

/// The two promises that no false action can break, only a false state: the core itself is damaged on its way.
#[test]
fn a_damaged_state_is_seen_too() {
    let mut world = World::new(policy(Trust::Lived(START)));
    world.happen(Event::Boot, &[true], |_, _, _| {}).expect("a boot");
    world.happen(Event::Reload, &[true], |_, _, _| {}).expect("a reload");
    let mut orphaned = world.clone();
    orphaned.supervisor.workers.iter_mut().for_each(|worker| worker.role = Role::Retiring);
    assert_eq!(orphaned.happen(Event::Pass { signal: Signal::USR1 }, &[true], |_, _, _| {}), Err(Broken::NoCurrentGeneration));

    let mut stuck = world;
    stuck.supervisor.policy.trust = Trust::Lived(START);
    stuck.supervisor.phase = Phase::Stopping;
    stuck.announced = Announced::Stopping;
    let told = Told { signal: Signal::TERM, at: stuck.now, kill_at: Some(stuck.now) };
    stuck.supervisor.workers[0].told = Some(told);
    assert!(stuck.supervisor.deadline().is_some());
    let mut frozen = stuck.clone();
    assert_eq!(frozen.check_state(&Event::Tick), Err(Broken::ADeadlineThatIsNeverMet));
    frozen.alive[0].told.push(Signal::TERM);
    assert_eq!(frozen.happen(Event::Tick, &[true], |_, _, _| {}), Ok(()));
}
