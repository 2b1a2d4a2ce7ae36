//! Stories: each a short sequence of events with the expected actions.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::*;
use super::{LISTENER, QUIT, START, STOP, STOP_TIMEOUT, asked, booted, loaded, policy, spawn_error};
use crate::types::listener::ListenerId;
use crate::types::one_line::OneLine;

/// A supervisor with a clock. Workers run at once, with pids 101, 102... for ids 1, 2..., until told otherwise.
struct Story {
    supervisor: Supervisor,
    policy: Policy,
    now: Instant,
    runs: Runs,
    load_fails: bool,
    kill_fails: bool,
    /// The generations that accept on the listener, and those that nobody may look at.
    accepting: Vec<u32>,
    hidden: Vec<u32>,
    /// Workers that do not accept, whatever their generation does.
    idle: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Runs {
    AtOnce,
    Never,
    /// The story says when.
    Later,
}

impl Story {
    fn on(terminal: Terminal, policy: Policy) -> Story {
        let mut story = Story {
            supervisor: Supervisor::new(terminal),
            policy: policy.clone(),
            now: Instant(Duration::ZERO),
            runs: Runs::AtOnce,
            load_fails: false,
            kill_fails: false,
            accepting: vec![],
            hidden: vec![],
            idle: vec![],
        };
        story.tell(booted(policy));
        story
    }

    fn new(policy: Policy) -> Story {
        Story::on(Terminal::None, policy)
    }

    /// All actions but log lines, announcements, loads and what is forgotten, in the order in which they are asked for.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut events = VecDeque::from([event]);
        let mut seen = Vec::new();
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.handle(event, self.now) {
                match (&action, self.runs) {
                    (Action::Spawn { id, .. }, Runs::AtOnce) => events.push_back(Event::Spawned { id: *id, pid: pid_of(*id) }),
                    (Action::Spawn { id, .. }, Runs::Never) => events.push_back(Event::SpawnFailed { id: *id, error: spawn_error() }),
                    (Action::Load { .. }, _) if self.load_fails => {
                        events.push_back(Event::LoadFailed { cause: OneLine::from("app.conf:3: no such option") });
                    }
                    (Action::Load { .. }, _) => events.push_back(loaded(self.policy.clone())),
                    (Action::Kill { id }, _) if self.kill_fails => {
                        events.push_back(Event::KillFailed { id: *id, cause: OneLine::from("Operation not permitted") });
                    }
                    (Action::Kill { id }, _) => events.push_back(Event::Killed { id: *id }),
                    (Action::Look { generation, workers }, _) => {
                        let seen = |id: &WorkerId| self.accepting.contains(&generation.0) && !self.idle.contains(&id.0);
                        let accepts = workers.iter().map(|id| (*id, if seen(id) { vec![LISTENER] } else { vec![] })).collect();
                        let hidden = self.hidden.contains(&generation.0).then(|| OneLine::from("Permission denied"));
                        events.push_back(Event::Looked { generation: *generation, accepts, hidden });
                    }
                    _ => {}
                }
                let quiet = matches!(
                    action,
                    Action::Log(_)
                        | Action::Announce(_)
                        | Action::Load { .. }
                        | Action::Look { .. }
                        | Action::Forget { .. }
                        | Action::ReportAccepting { .. }
                        | Action::ReportLeftovers { .. }
                );
                if !quiet {
                    seen.push(action);
                }
            }
        }
        seen
    }

    fn ask(&mut self, request: Request) -> Vec<Action> {
        self.tell(asked(request))
    }

    fn after(&mut self, wait: Duration) -> Vec<Action> {
        self.now = self.now.after(wait);
        self.tell(Event::Tick)
    }

    fn exits(&mut self, id: u32, status: u8) -> Vec<Action> {
        self.tell(Event::Exited { id: WorkerId(id), status: ExitStatus::Exited(status), group_left: false })
    }

    /// Lets timers come due, one after the other, until this time has passed or something is done.
    fn within(&mut self, wait: Duration) -> Vec<Action> {
        let end = self.now.after(wait);
        while let Some(due) = self.supervisor.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let seen = self.tell(Event::Tick);
            if !seen.is_empty() {
                return seen;
            }
        }
        self.now = end;
        vec![]
    }

    fn runs(&mut self, id: u32) -> Vec<Action> {
        self.tell(Event::Spawned { id: WorkerId(id), pid: pid_of(WorkerId(id)) })
    }
}

fn pid_of(id: WorkerId) -> Pid {
    Pid::new(100 + id.0 as i32).expect("a positive pid")
}

fn spawn(id: u32, generation: u32) -> Action {
    Action::Spawn { id: WorkerId(id), what: Program::Worker(WorkerPlace { generation: GenerationNumber(generation), slot: 0 }) }
}

fn send(id: u32, signal: Signal) -> Action {
    Action::Signal { id: WorkerId(id), signal, group: false }
}

fn front(id: u32) -> Action {
    Action::Foreground { id: WorkerId(id) }
}

fn kill(id: u32) -> Action {
    Action::Kill { id: WorkerId(id) }
}

fn go_on(id: u32) -> Action {
    Action::Continue { id: WorkerId(id) }
}

fn exit(status: u8) -> [Action; 1] {
    [Action::Exit { status, callers: vec![] }]
}

#[test]
fn a_reload_starts_a_copy_waits_and_then_tells_the_old_one() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.supervisor.deadline(), Some(story.now.after(START)));
    assert_eq!(story.after(START / 2), []);
    assert_eq!(story.after(START / 2), [send(1, Signal::TERM)]);
    assert_eq!(story.exits(1, 0), []);
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn the_time_of_a_candidate_counts_from_when_it_runs() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.after(START), [], "a slow exec is waited for");
    assert_eq!(story.runs(2), []);
    assert_eq!(story.supervisor.deadline(), Some(story.now.after(START)));
}

#[test]
fn a_program_that_is_never_executed_fails_its_reload() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.after(Duration::from_secs(60)), [kill(2)]);
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.ask(Request::Reload), [spawn(3, 3)], "the next one begins afresh");
}

#[test]
fn a_term_in_the_middle_of_a_reload_reaches_both_and_nothing_is_started_after_it() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    story.ask(Request::Reload);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::TERM), send(2, Signal::TERM)]);
    assert_eq!(story.ask(Request::Reload), []);
    assert_eq!(story.after(START), []);
    assert_eq!(story.exits(2, 9), []);
    assert_eq!(story.exits(1, 0), [Action::Exit { status: 0, callers: vec![] }]);
}

#[test]
fn a_candidate_that_exits_never_reaches_the_current_one() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    assert_eq!(story.exits(2, 7), []);
    assert_eq!(story.supervisor.deadline(), None);
    assert_eq!(story.ask(Request::Reload), [spawn(3, 3)]);
}

#[test]
fn a_candidate_that_cannot_be_executed_is_the_end_of_that_reload_only() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Never;
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    story.runs = Runs::AtOnce;
    assert_eq!(story.ask(Request::Reload), [spawn(3, 3)]);
    assert_eq!(story.ask(QUIT), [Action::CloseListeners, send(1, Signal::QUIT), send(3, Signal::QUIT)]);
}

#[test]
fn a_configuration_that_cannot_be_loaded_starts_nothing() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.load_fails = true;
    assert_eq!(story.ask(Request::Reload), []);
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    story.load_fails = false;
    assert_eq!(story.ask(Request::Reload), [spawn(2, 3)]);
}

#[test]
fn three_reloads_at_once_are_two() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.ask(Request::Reload), []);
    assert_eq!(story.ask(Request::Reload), []);
    assert_eq!(story.after(START), [send(1, Signal::TERM), spawn(3, 3)]);
    assert_eq!(story.after(START), [send(2, Signal::TERM)]);
}

#[test]
fn a_draining_worker_gets_the_stop_signal_once_however_many_reloads_follow() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2), send(1, Signal::TERM)]);
    assert_eq!(story.ask(Request::Reload), [spawn(3, 3), send(2, Signal::TERM)]);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(3, Signal::TERM)]);
    // The operator says it again: now all hear it again.
    assert_eq!(story.ask(STOP).len(), 3);
}

#[test]
fn the_first_stop_sends_the_stop_signal_and_a_second_one_is_forwarded() {
    let mut story = Story::new(Policy { stop_signal: Signal::QUIT, ..policy(Trust::Lived(START)) });
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::QUIT)]);
    assert_eq!(story.ask(STOP), [send(1, Signal::TERM)]);
    assert_eq!(story.ask(Request::Stop { with: Some(Signal::INT), again: Some(Signal::INT) }), [send(1, Signal::INT)]);
}

#[test]
fn each_generation_is_stopped_by_its_own_rules() {
    let mut story = Story::new(Policy { stop_signal: Signal::QUIT, ..policy(Trust::Lived(START)) });
    story.policy = Policy { stop_signal: Signal::INT, stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(START)) };
    story.ask(Request::Reload);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::QUIT), send(2, Signal::INT)]);
    assert_eq!(story.after(STOP_TIMEOUT), [kill(2)]);
}

#[test]
fn a_different_stop_signal_also_reaches_workers_that_drain_already() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    story.ask(Request::Reload);
    assert_eq!(story.ask(QUIT), [Action::CloseListeners, send(1, Signal::QUIT), send(2, Signal::QUIT)]);
}

#[test]
fn when_the_current_generation_is_gone_the_candidate_takes_over_at_once() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    assert_eq!(story.exits(1, 1), []);
    assert_eq!(story.supervisor.deadline(), None);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(2)));
    assert_eq!(story.exits(2, 4), [Action::CloseListeners, Action::Exit { status: 4, callers: vec![] }]);
}

#[test]
fn when_the_current_generation_is_gone_a_candidate_that_does_not_run_yet_takes_over_when_it_does() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    story.ask(Request::Reload);
    assert_eq!(story.exits(1, 1), []);
    assert_eq!(story.supervisor.current(), None);
    assert_eq!(story.runs(2), []);
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(2)));
}

#[test]
fn when_no_worker_is_left_and_the_candidate_cannot_start_the_master_exits() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    story.ask(Request::Reload);
    story.exits(1, 6);
    let last = story.tell(Event::SpawnFailed { id: WorkerId(2), error: spawn_error() });
    assert_eq!(last, [Action::CloseListeners, Action::Exit { status: 6, callers: vec![] }]);
}

#[test]
fn while_retiring_workers_finish_a_reload_makes_a_crashed_service_serve_again() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    story.after(START);
    assert_eq!(story.exits(2, 9), [], "the listeners stay open");
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.ask(Request::Reload), [spawn(3, 3)]);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(3)), "at once");
    assert_eq!(story.exits(1, 0), []);
    assert_eq!(story.exits(3, 5), [Action::CloseListeners, Action::Exit { status: 5, callers: vec![] }]);
}

#[test]
fn a_crashed_service_ends_when_the_last_retiring_worker_has_finished() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    story.ask(Request::Reload);
    assert_eq!(story.exits(2, 5), []);
    assert_eq!(story.exits(1, 0), [Action::CloseListeners, Action::Exit { status: 5, callers: vec![] }]);
}

#[test]
fn a_bad_copy_while_an_older_one_drains_leaves_the_current_one_alone() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    story.after(START);
    story.ask(Request::Reload);
    assert_eq!(story.exits(3, 1), []);
    assert_eq!(story.exits(1, 0), []);
    assert_eq!(story.ask(Request::Forward(Signal::USR1)), [send(2, Signal::USR1)]);
}

#[test]
fn a_signal_reaches_the_current_generation_and_the_candidate() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    story.ask(Request::Reload);
    story.policy = policy(Trust::Lived(START));
    story.ask(Request::Reload);
    assert_eq!(story.ask(Request::Forward(Signal::USR1)), [send(2, Signal::USR1), send(3, Signal::USR1)], "not one that retires");
}

#[test]
fn a_signal_waits_for_a_worker_that_does_not_run_yet() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    story.ask(Request::Reload);
    assert_eq!(story.ask(Request::Forward(Signal::USR1)), [send(1, Signal::USR1)]);
    assert_eq!(story.ask(Request::Forward(Signal::USR2)), [send(1, Signal::USR2)]);
    assert_eq!(story.runs(2), [send(2, Signal::USR1), send(2, Signal::USR2)]);
}

#[test]
fn a_stop_kills_a_worker_that_does_not_run_yet_and_reports_it_as_stopped() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    story.runs = Runs::Later;
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::TERM), kill(2)]);
    assert_eq!(story.ask(STOP), [send(1, Signal::TERM)], "once");
    assert_eq!(story.runs(2), []);
    assert_eq!(story.exits(1, 0), []);
    story.tell(Event::Exited { id: WorkerId(2), status: ExitStatus::Killed { signal: Signal::KILL, core: false }, group_left: false });
    assert_eq!(story.supervisor.phase(), Phase::Ended);

    let mut first = Supervisor::new(Terminal::None);
    let now = Instant(Duration::ZERO);
    first.handle(booted(policy(Trust::Lived(START))), now);
    first.handle(asked(STOP), now);
    let killed = ExitStatus::Killed { signal: Signal::KILL, core: false };
    let last = first.handle(Event::Exited { id: WorkerId(1), status: killed, group_left: false }, now);
    assert_eq!(last.last(), Some(&Action::Exit { status: 143, callers: vec![] }));
}

#[test]
fn the_first_start_ends_with_the_status_of_its_failure() {
    let mut supervisor = Supervisor::new(Terminal::None);
    let now = Instant(Duration::ZERO);
    supervisor.handle(booted(policy(Trust::Lived(START))), now);
    let actions = supervisor.handle(Event::SpawnFailed { id: WorkerId(1), error: spawn_error() }, now);
    assert_eq!(actions.last(), Some(&Action::Exit { status: 127, callers: vec![] }));
}

#[test]
fn statuses_named_ok_are_reported_as_0_and_no_others() {
    for (status, reported) in [
        (ExitStatus::Exited(3), 0),
        (ExitStatus::Exited(4), 4),
        (ExitStatus::Killed { signal: Signal::TERM, core: false }, 0),
        (ExitStatus::Killed { signal: Signal::KILL, core: false }, 137),
    ] {
        let mut story = Story::new(Policy { ok: vec![3, 143], ..policy(Trust::Lived(START)) });
        let last = story.tell(Event::Exited { id: WorkerId(1), status, group_left: false });
        assert_eq!(last.last(), Some(&exit(reported)[0]), "{status}");
    }
}

#[test]
fn a_first_generation_that_was_never_ready_has_failed_whatever_its_status() {
    for (status, reported) in [(0, 1), (3, 1), (4, 4)] {
        let mut story = Story::new(Policy { ok: vec![3], ..policy(Trust::Ready { within: None }) });
        assert_eq!(story.exits(1, status).last(), Some(&exit(reported)[0]), "{status}");
    }
}

#[test]
fn a_program_that_ends_well_at_once_is_noticed() {
    let quick = |wait: Duration, status: u8| {
        let mut story = Story::new(policy(Trust::Lived(START)));
        story.now = story.now.after(wait);
        let event = Event::Exited { id: WorkerId(1), status: ExitStatus::Exited(status), group_left: false };
        story.supervisor.handle(event, story.now).contains(&Action::ReportLeftovers { quick: true })
    };
    assert!(quick(QUICK / 2, 0));
    assert!(!quick(QUICK, 0));
    assert!(!quick(QUICK / 2, 1));
}

#[test]
fn a_worker_that_does_not_stop_is_killed_once() {
    let mut story = Story::new(Policy { stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(Duration::ZERO)) });
    story.ask(Request::Reload);
    assert_eq!(story.supervisor.deadline(), Some(story.now.after(STOP_TIMEOUT)));
    assert_eq!(story.after(STOP_TIMEOUT), [kill(1)]);
    assert_eq!(story.after(STOP_TIMEOUT), []);
}

#[test]
fn a_worker_that_cannot_be_killed_does_not_hold_up_the_exit() {
    let mut story = Story::new(Policy { stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(START)) });
    story.kill_fails = true;
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::TERM)]);
    assert_eq!(story.after(STOP_TIMEOUT), [kill(1), Action::Exit { status: 1, callers: vec![] }], "never 0");
}

#[test]
fn only_a_suspended_worker_that_is_being_stopped_is_continued() {
    let mut story = Story::new(policy(Trust::Lived(Duration::ZERO)));
    let suspended = |id| Event::Suspended { id: WorkerId(id), signal: Signal::STOP, terminal_is_ours: false };
    assert_eq!(story.tell(suspended(1)), []);
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2), send(1, Signal::TERM), go_on(1)]);
    story.tell(suspended(2));
    story.tell(Event::Continued { id: WorkerId(2) });
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(2, Signal::TERM)]);
}

#[test]
fn with_group_a_worker_is_gone_when_its_group_is() {
    let mut story = Story::new(Policy { group: true, stop_timeout: Some(STOP_TIMEOUT), ..policy(Trust::Lived(START)) });
    let to_group = |signal| Action::Signal { id: WorkerId(1), signal, group: true };
    assert_eq!(story.ask(STOP), [Action::CloseListeners, to_group(Signal::TERM)]);
    let leader = Event::Exited { id: WorkerId(1), status: ExitStatus::Exited(7), group_left: true };
    assert_eq!(story.tell(leader), [], "the rest of the group drains");
    assert_eq!(story.supervisor.leaderless().count(), 1);
    assert_eq!(story.ask(STOP), [to_group(Signal::TERM)]);
    assert_eq!(story.after(STOP_TIMEOUT), [kill(1)]);
    assert_eq!(story.tell(Event::GroupGone { id: WorkerId(1) }), exit(7), "the status is the first process's");
}

#[test]
fn without_group_the_rest_of_a_group_is_not_waited_for() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    let leader = Event::Exited { id: WorkerId(1), status: ExitStatus::Exited(7), group_left: true };
    assert_eq!(story.tell(leader).last(), Some(&exit(7)[0]));
}

#[test]
fn readiness_is_the_word_of_every_worker_and_counts_once() {
    let mut story = Story::new(Policy { workers: 2, ..policy(Trust::Ready { within: Some(START) }) });
    let ready = |id| Event::Ready { id: WorkerId(id) };
    assert_eq!(story.ask(Request::Reload), [], "the first generation is not trusted yet: remembered");
    assert_eq!(story.tell(ready(1)), []);
    assert_eq!(story.tell(ready(1)), []);
    assert_eq!(story.tell(ready(2)).len(), 2, "the remembered reload starts two");
    story.tell(ready(3));
    assert_eq!(story.tell(ready(4)), [send(1, Signal::TERM), send(2, Signal::TERM)]);
}

#[test]
fn a_missed_deadline_ends_the_first_generation_with_1_and_a_later_one_alone() {
    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    assert_eq!(story.after(START), [Action::CloseListeners, send(1, Signal::TERM)]);
    assert_eq!(story.exits(1, 0), exit(1));

    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    story.tell(Event::Ready { id: WorkerId(1) });
    story.ask(Request::Reload);
    assert_eq!(story.after(START), [send(2, Signal::TERM)]);
    assert_eq!(story.exits(2, 0), []);
}

#[test]
fn a_candidate_that_asks_for_more_time_gets_it_and_never_less_than_it_has() {
    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    story.tell(Event::Ready { id: WorkerId(1) });
    story.ask(Request::Reload);
    let more = |id, time| Event::MoreTime { id: WorkerId(id), time };
    story.tell(more(1, 100 * START));
    story.tell(more(2, START / 2));
    assert_eq!(story.after(START / 2), []);
    story.tell(more(2, START));
    assert_eq!(story.after(START / 2), [], "the first deadline was moved");
    assert_eq!(story.after(START / 2), [send(2, Signal::TERM)]);
    assert_eq!(story.supervisor.deadline(), None);

    let mut story = Story::new(policy(Trust::Ready { within: Some(START) }));
    story.tell(more(1, 2 * START));
    assert_eq!(story.after(START), []);
    assert_eq!(story.after(START), [Action::CloseListeners, send(1, Signal::TERM)]);

    let mut story = Story::new(policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    story.tell(more(2, 2 * START));
    assert_eq!(story.after(START), [send(1, Signal::TERM)], "nobody has asked for reports");

    let mut story = Story::new(Policy { settle: START, ..policy(Trust::Ready { within: Some(START) }) });
    story.tell(Event::Ready { id: WorkerId(1) });
    story.ask(Request::Reload);
    story.tell(Event::Ready { id: WorkerId(2) });
    story.tell(more(2, 2 * START));
    story.tell(more(1, 2 * START));
    assert_eq!(story.after(START), [send(1, Signal::TERM)], "it was ready, and -settle has a time of its own");
}

#[test]
fn a_worker_that_does_not_start_takes_its_generation_with_it() {
    let mut supervisor = Supervisor::new(Terminal::None);
    let now = Instant(Duration::ZERO);
    supervisor.handle(booted(Policy { workers: 2, ..policy(Trust::Lived(START)) }), now);
    supervisor.handle(Event::Spawned { id: WorkerId(1), pid: pid_of(WorkerId(1)) }, now);
    let actions = supervisor.handle(Event::SpawnFailed { id: WorkerId(2), error: spawn_error() }, now);
    assert!(actions.contains(&send(1, Signal::TERM)), "{actions:?}");
}

// ---- the terminal

fn suspended(id: u32, signal: Signal, terminal_is_ours: bool) -> Event {
    Event::Suspended { id: WorkerId(id), signal, terminal_is_ours }
}

#[test]
fn without_a_shell_above_a_worker_that_the_terminal_suspends_is_continued() {
    let mut story = Story::on(Terminal::Leader, policy(Trust::Lived(START)));
    assert_eq!(story.tell(suspended(1, Signal::TSTP, false)), [go_on(1)]);
    assert_eq!(story.tell(suspended(1, Signal::STOP, false)), [], "that was meant");
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.tell(suspended(1, Signal::TSTP, false)), []);
}

#[test]
fn a_suspend_from_the_terminal_suspends_all_and_the_master() {
    let mut story = Story::new(policy(Trust::Lived(START)));
    assert_eq!(story.ask(Request::Suspend(Signal::TSTP)), [send(1, Signal::TSTP), Action::SuspendMaster]);
    assert_eq!(story.ask(Request::Resume(Signal::CONT)), [send(1, Signal::CONT)]);
}

#[test]
fn the_terminal_follows_the_current_generation_and_then_any_remaining_one() {
    let mut story = Story::on(Terminal::Leader, policy(Trust::Lived(START)));
    story.ask(Request::Reload);
    assert_eq!(story.after(START), [front(2), send(1, Signal::TERM)]);
    assert_eq!(story.exits(2, 130), [front(1)], "Ctrl-C must reach somebody");
}

#[test]
fn a_job_gets_the_terminal_when_a_worker_wants_it() {
    let mut story = Story::on(Terminal::Job, policy(Trust::Lived(START)));
    assert_eq!(story.tell(suspended(1, Signal::TTIN, true)), [front(1)]);
    assert_eq!(story.tell(suspended(1, Signal::TSTP, false)), [Action::SuspendMaster], "the shell is to see it");
    assert_eq!(story.ask(Request::Resume(Signal::CONT)), [send(1, Signal::CONT), front(1)]);
    story.tell(Event::Continued { id: WorkerId(1) });
    story.ask(Request::Reload);
    assert_eq!(story.tell(suspended(2, Signal::TTIN, false)), [], "a candidate waits until it serves");
    assert_eq!(story.after(START), [front(2), send(1, Signal::TERM)]);
}

#[test]
fn a_job_in_the_background_that_wants_the_terminal_is_suspended_as_a_whole() {
    let mut story = Story::on(Terminal::Job, policy(Trust::Lived(START)));
    assert_eq!(story.tell(suspended(1, Signal::TTIN, false)), [Action::SuspendMaster]);
}

// ---- callers and announcements

#[test]
fn callers_hear_how_their_own_reload_ended() {
    let [first, second, third] = [1, 2, 3].map(CallerId);
    let mut story = Story::new(policy(Trust::Lived(START)));
    let reload = |caller| Event::Requested { request: Request::Reload, caller: Some(caller) };
    let replies = |actions: Vec<Action>| {
        let reply = |action| match action {
            Action::Answer { caller, reply } => Some((caller, reply)),
            _ => None,
        };
        actions.into_iter().filter_map(reply).collect::<Vec<_>>()
    };
    assert_eq!(replies(story.tell(reload(first))), []);
    assert_eq!(replies(story.tell(reload(second))), []);
    assert_eq!(replies(story.tell(reload(third))), []);
    story.tell(Event::CallerLeft { caller: third });
    let reloaded = replies(story.after(START));
    assert!(
        matches!(reloaded.as_slice(), [(caller, Reply::Reloaded(Reloaded { generation: GenerationNumber(2), .. }))] if *caller == first)
    );
    let failed = replies(story.exits(3, 1));
    assert!(matches!(failed.as_slice(), [(caller, Reply::ReloadFailed(_))] if *caller == second), "{failed:?}");
    story.tell(reload(first));
    assert_eq!(replies(story.tell(Event::Requested { request: STOP, caller: Some(second) })), [(first, Reply::Stopping)]);
    assert_eq!(replies(story.tell(reload(third))), [(third, Reply::Stopping)]);
    story.exits(4, 0);
    story.exits(1, 0);
    assert_eq!(story.exits(2, 0), [Action::Exit { status: 0, callers: vec![second] }]);
}

#[test]
fn a_reload_is_announced_from_its_beginning_to_its_end() {
    let mut supervisor = Supervisor::new(Terminal::None);
    let announced = |supervisor: &mut Supervisor, event, seconds| {
        let actions = supervisor.handle(event, Instant(Duration::from_secs(seconds)));
        let turns = actions.into_iter().filter_map(|action| if let Action::Announce(turn) = action { Some(turn) } else { None });
        turns.collect::<Vec<_>>()
    };
    let [second, third] = [2, 3].map(GenerationNumber);
    let lived = policy(Trust::Lived(START));
    let runs = |id: u32| Event::Spawned { id: WorkerId(id), pid: pid_of(WorkerId(id)) };
    assert_eq!(announced(&mut supervisor, booted(lived.clone()), 0), []);
    assert_eq!(announced(&mut supervisor, runs(1), 0), []);
    assert_eq!(announced(&mut supervisor, Event::Tick, 3), [Lifecycle::Serving]);
    assert_eq!(announced(&mut supervisor, asked(Request::Reload), 10), [Lifecycle::ReloadBegun { generation: second }]);
    assert_eq!(announced(&mut supervisor, loaded(lived.clone()), 10), []);
    assert_eq!(announced(&mut supervisor, runs(2), 10), []);
    assert_eq!(announced(&mut supervisor, asked(Request::Reload), 11), []);
    let reloaded = Reloaded { generation: second, pid: Some(pid_of(WorkerId(2))), workers: 1, took: START };
    assert_eq!(
        announced(&mut supervisor, Event::Tick, 13),
        [Lifecycle::ReloadEnded { generation: second, outcome: Ok(reloaded) }, Lifecycle::ReloadBegun { generation: third }]
    );
    announced(&mut supervisor, loaded(lived), 13);
    let failed = FailedReload { generation: third, why: Why::NotStarted(spawn_error()), stays: Some(second) };
    assert_eq!(
        announced(&mut supervisor, Event::SpawnFailed { id: WorkerId(3), error: spawn_error() }, 13),
        [Lifecycle::ReloadEnded { generation: third, outcome: Err(failed) }]
    );
    assert_eq!(announced(&mut supervisor, asked(STOP), 14), [Lifecycle::Stopping]);
    assert_eq!(announced(&mut supervisor, asked(STOP), 15), []);
}

const LATEST: Duration = Duration::from_secs(60);

fn auto() -> Policy {
    policy(Trust::LivedAndAccepts { lived: START, within: LATEST })
}

fn accept() -> Policy {
    policy(Trust::Accepts { within: Some(LATEST), unseen: START })
}

#[test]
fn a_program_that_was_never_seen_to_accept_is_judged_by_time() {
    let mut story = Story::new(auto());
    story.within(LATEST);
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.within(START), [send(1, Signal::TERM)]);
}

#[test]
fn one_that_accepts_is_replaced_by_one_that_accepts_when_it_has_lived_long_enough() {
    let mut story = Story::new(auto());
    story.accepting = vec![1, 2];
    story.within(LATEST);
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.within(START.saturating_sub(Duration::from_millis(1))), []);
    assert_eq!(story.within(Duration::from_millis(1)), [send(1, Signal::TERM)]);
}

#[test]
fn one_that_accepts_is_not_replaced_by_one_that_does_not() {
    let mut story = Story::new(auto());
    story.accepting = vec![1];
    story.within(LATEST);
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.within(LATEST.saturating_sub(Duration::from_millis(1))), []);
    assert_eq!(story.within(Duration::from_millis(1)), [send(2, Signal::TERM)]);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber::FIRST));
    assert_eq!(story.supervisor.deadline(), None, "nothing is looked at after a reload");
}

#[test]
fn a_current_generation_that_was_not_seen_at_its_start_is_looked_at_when_a_reload_begins() {
    let mut story = Story::new(auto());
    story.within(LATEST);
    story.accepting = vec![1];
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.within(LATEST), [send(2, Signal::TERM)]);
}

#[test]
fn one_that_accepts_late_is_trusted_as_soon_as_it_is_seen() {
    let mut story = Story::new(auto());
    story.accepting = vec![1];
    story.within(LATEST);
    story.ask(Request::Reload);
    assert_eq!(story.within(Duration::from_secs(10)), []);
    story.accepting = vec![1, 2];
    assert_eq!(story.within(Duration::from_millis(40)), [send(1, Signal::TERM)]);
}

#[test]
fn what_nobody_may_look_at_is_judged_by_time() {
    for rules in [auto(), accept()] {
        let mut story = Story::new(Policy { ..rules });
        story.accepting = vec![1];
        story.within(LATEST);
        story.hidden = vec![2];
        assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
        assert_eq!(story.within(START.saturating_sub(Duration::from_millis(1))), []);
        assert_eq!(story.within(Duration::from_millis(1)), [send(1, Signal::TERM)]);
    }
}

#[test]
fn with_accept_a_generation_is_trusted_as_soon_as_it_accepts_and_never_before() {
    let mut story = Story::new(accept());
    story.within(Duration::from_secs(1));
    assert_eq!(story.supervisor.phase(), Phase::Starting);
    story.accepting = vec![1];
    story.within(Duration::from_millis(40));
    assert_eq!((story.supervisor.phase(), story.supervisor.deadline()), (Phase::Serving, None));
    assert_eq!(story.ask(Request::Reload), [spawn(2, 2)]);
    assert_eq!(story.within(Duration::from_secs(10)), []);
    story.accepting = vec![1, 2];
    assert_eq!(story.within(Duration::from_millis(40)), [send(1, Signal::TERM)]);
    story.exits(1, 0);
    story.ask(Request::Reload);
    assert_eq!(story.within(LATEST), [send(3, Signal::TERM)], "it never accepts");
}

#[test]
fn a_first_generation_that_must_accept_and_does_not_ends_the_master() {
    let mut story = Story::new(accept());
    assert_eq!(story.within(LATEST), [Action::CloseListeners, send(1, Signal::TERM)]);
    assert_eq!(story.exits(1, 0), exit(1));
}

#[test]
fn the_first_generation_is_announced_when_it_accepts_or_has_lived_long_enough() {
    let serving = |actions: &[Action]| actions.contains(&Action::Announce(Lifecycle::Serving));
    let at = |millis| Instant(Duration::from_millis(millis));
    let runs = Event::Spawned { id: WorkerId(1), pid: pid_of(WorkerId(1)) };
    let looked = |accepts: &[ListenerId]| Event::Looked {
        generation: GenerationNumber(1),
        accepts: vec![(WorkerId(1), accepts.to_vec())],
        hidden: None,
    };
    let mut supervisor = Supervisor::new(Terminal::None);
    supervisor.handle(booted(auto()), at(0));
    assert!(!serving(&supervisor.handle(runs.clone(), at(0))));
    assert_eq!(supervisor.handle(Event::Tick, at(5)), [Action::Look { generation: GenerationNumber(1), workers: vec![WorkerId(1)] }]);
    assert!(!serving(&supervisor.handle(looked(&[]), at(5))));
    let mut other = supervisor.clone();
    assert!(serving(&supervisor.handle(looked(&[LISTENER]), at(15))));
    assert_eq!(supervisor.deadline(), None);
    let late = other.handle(Event::Tick, at(3000));
    assert!(serving(&late), "{late:?}");
    let warned = |action: &Action| matches!(action, Action::Log(Message::NobodyAcceptsOn { .. }));
    assert!(late.iter().any(warned), "{late:?}");
    // One that exits before that has never been announced.
    let mut failed = Supervisor::new(Terminal::None);
    failed.handle(booted(auto()), at(0));
    failed.handle(runs, at(0));
    let exited = Event::Exited { id: WorkerId(1), status: ExitStatus::Exited(0), group_left: false };
    assert!(!serving(&failed.handle(exited, at(200))));
}

// ---- side by side

fn settling() -> Policy {
    Policy { settle: Duration::from_secs(2), ..policy(Trust::Lived(START)) }
}

#[test]
fn with_settle_the_old_generation_is_stopped_only_after_both_have_run_side_by_side() {
    let mut story = Story::new(settling());
    story.ask(Request::Reload);
    assert_eq!(story.after(START), []);
    assert_eq!(story.after(Duration::from_millis(1999)), []);
    assert_eq!(story.after(Duration::from_millis(1)), [send(1, Signal::TERM)]);
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn a_generation_that_exits_side_by_side_has_failed_its_reload() {
    let mut story = Story::new(settling());
    story.ask(Request::Reload);
    assert_eq!(story.after(START), []);
    story.exits(2, 3);
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(1)));
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn side_by_side_the_new_generation_takes_over_at_once_when_the_old_one_is_gone() {
    let mut story = Story::new(settling());
    story.ask(Request::Reload);
    assert_eq!(story.after(START), []);
    story.exits(1, 0);
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(2)));
}

#[test]
fn a_second_report_that_it_is_ready_does_not_begin_the_time_side_by_side_again() {
    let mut story = Story::new(Policy { trust: Trust::Ready { within: None }, ..settling() });
    story.tell(Event::Ready { id: WorkerId(1) });
    story.ask(Request::Reload);
    story.tell(Event::Ready { id: WorkerId(2) });
    assert_eq!(story.after(Duration::from_secs(1)), []);
    assert_eq!(story.tell(Event::Ready { id: WorkerId(2) }), []);
    assert_eq!(story.after(Duration::from_secs(1)), [send(1, Signal::TERM)]);
}

// ---- a check

fn checked() -> Policy {
    Policy { check: true, ..policy(Trust::Lived(START)) }
}

fn check(id: u32, generation: u32) -> Action {
    Action::Spawn { id: WorkerId(id), what: Program::Check { generation: GenerationNumber(generation) } }
}

/// The reload has failed, and the first generation serves.
#[track_caller]
fn assert_untouched(story: &Story) {
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(1)));
}

#[test]
fn a_candidate_starts_when_its_check_has_succeeded() {
    let mut story = Story::new(checked());
    assert_eq!(story.ask(Request::Reload), [check(2, 2)]);
    assert_eq!(story.exits(2, 0), [spawn(3, 2)]);
    assert_eq!(story.after(START), [send(1, Signal::TERM)]);
}

#[test]
fn nothing_starts_after_a_check_that_failed_and_the_next_reload_is_checked_anew() {
    let mut story = Story::new(checked());
    story.ask(Request::Reload);
    assert_eq!(story.exits(2, 1), []);
    assert_untouched(&story);
    assert_eq!(story.supervisor.deadline(), None);
    assert_eq!(story.ask(Request::Reload), [check(3, 3)]);
    story.tell(Event::Exited { id: WorkerId(3), status: ExitStatus::Killed { signal: Signal::SEGV, core: false }, group_left: false });
    assert_untouched(&story);
}

#[test]
fn a_check_that_cannot_run_or_does_not_end_fails_the_reload() {
    let mut story = Story::new(checked());
    story.runs = Runs::Never;
    assert_eq!(story.ask(Request::Reload), [check(2, 2)]);
    assert_untouched(&story);

    story.runs = Runs::AtOnce;
    assert_eq!(story.ask(Request::Reload), [check(3, 3)]);
    assert_eq!(story.after(Duration::from_secs(60)), [send(3, Signal::TERM)]);
    assert_untouched(&story);
    // Late success starts nothing, and the check is killed before long although workers are not.
    assert_eq!(story.after(Duration::from_secs(5)), [Action::Kill { id: WorkerId(3) }]);
    assert_eq!(story.exits(3, 0), []);
    assert_eq!(story.ask(Request::Reload), [check(4, 4)]);
}

#[test]
fn the_late_end_of_an_earlier_check_says_nothing_of_the_current_one() {
    let mut story = Story::new(checked());
    story.runs = Runs::Later;
    story.runs(1);
    story.ask(Request::Reload);
    story.after(Duration::from_secs(60));
    assert_eq!(story.ask(Request::Reload), [check(3, 3)]);
    story.tell(Event::SpawnFailed { id: WorkerId(2), error: spawn_error() });
    assert!(matches!(story.supervisor.phase(), Phase::RollingOver(_)));
    story.runs(3);
    assert_eq!(story.exits(3, 0), [spawn(4, 3)]);
}

#[test]
fn a_stop_ends_the_check_too() {
    let mut story = Story::new(checked());
    story.ask(Request::Reload);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(1, Signal::TERM), send(2, Signal::TERM)]);
    assert_eq!(story.exits(2, 0), []);
    assert_eq!(story.exits(1, 0).len(), 1);
}

#[test]
fn a_generation_that_exits_during_the_check_is_replaced_when_the_check_succeeds() {
    let mut story = Story::new(checked());
    story.ask(Request::Reload);
    assert_eq!(story.exits(1, 3), []);
    assert_eq!(story.exits(2, 0), [spawn(3, 2)]);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(2)));
}

#[test]
fn the_master_exits_when_a_check_fails_and_no_generation_is_left() {
    let mut story = Story::new(checked());
    story.ask(Request::Reload);
    story.exits(1, 3);
    assert_eq!(story.exits(2, 1), [Action::CloseListeners, Action::Exit { status: 3, callers: vec![] }]);
}

// ---- several workers

fn two_workers(trust: Trust) -> Policy {
    Policy { workers: 2, ..policy(trust) }
}

#[test]
fn a_generation_accepts_when_each_of_its_workers_does() {
    let mut story = Story::new(two_workers(accept().trust));
    story.accepting = vec![1, 2];
    story.within(Duration::from_secs(1));
    assert_eq!(story.supervisor.phase(), Phase::Serving);
    story.idle = vec![4];
    story.ask(Request::Reload);
    story.within(Duration::from_secs(1));
    assert!(matches!(story.supervisor.phase(), Phase::RollingOver(_)), "the second worker does not accept");
    story.idle.clear();
    assert_eq!(story.within(Duration::from_secs(1)), [send(1, Signal::TERM), send(2, Signal::TERM)]);
}

#[test]
fn by_default_too_each_worker_must_accept() {
    let mut story = Story::new(two_workers(auto().trust));
    story.accepting = vec![1, 2];
    story.within(Duration::from_secs(1));
    story.idle = vec![4];
    story.ask(Request::Reload);
    let failed = story.within(Duration::from_secs(300));
    assert_eq!(failed, [send(3, Signal::TERM), send(4, Signal::TERM)]);
    assert_untouched(&story);
}

// ---- workers that are replaced

fn respawning() -> Policy {
    Policy { respawn: true, ..policy(Trust::Lived(START)) }
}

fn serving(policy: Policy) -> Story {
    let mut story = Story::new(policy);
    story.after(START);
    story
}

#[test]
fn a_worker_that_exits_is_replaced_at_once_and_then_with_growing_pauses() {
    let mut story = serving(respawning());
    assert_eq!(story.exits(1, 0), [spawn(2, 1)]);
    assert_eq!(story.exits(2, 1), []);
    assert_eq!(story.after(Duration::from_millis(999)), []);
    assert_eq!(story.after(Duration::from_millis(1)), [spawn(3, 1)]);
    assert_eq!(story.exits(3, 1), []);
    assert_eq!(story.after(Duration::from_millis(1499)), []);
    assert_eq!(story.after(Duration::from_millis(1)), [spawn(4, 1)]);
    // It has proven itself, so the next one starts at once.
    assert_eq!(story.after(START), []);
    assert_eq!(story.exits(4, 1), [spawn(5, 1)]);
    assert_eq!(story.supervisor.restarts(), 4);
}

#[test]
fn a_replacement_that_cannot_start_is_tried_again_and_the_master_lives() {
    let mut story = serving(respawning());
    story.runs = Runs::Never;
    assert_eq!(story.exits(1, 0), [spawn(2, 1)]);
    assert_eq!(story.after(Duration::from_secs(1)), [spawn(3, 1)]);
    story.runs = Runs::AtOnce;
    assert_eq!(story.after(Duration::from_millis(1500)), [spawn(4, 1)]);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, send(4, Signal::TERM)]);
    assert_eq!(story.exits(4, 7), [Action::Exit { status: 7, callers: vec![] }]);
}

#[test]
fn a_first_generation_that_exits_before_it_is_ready_is_not_replaced() {
    let mut story = Story::new(respawning());
    assert_eq!(story.exits(1, 5), [Action::CloseListeners, Action::Exit { status: 5, callers: vec![] }]);
}

#[test]
fn a_stop_while_nobody_runs_ends_the_master() {
    let mut story = serving(respawning());
    story.exits(1, 0);
    assert_eq!(story.exits(2, 6), []);
    assert_eq!(story.ask(STOP), [Action::CloseListeners, Action::Exit { status: 6, callers: vec![] }]);
    assert_eq!(story.supervisor.deadline(), None);
}

#[test]
fn a_candidate_that_runs_takes_over_while_the_current_generation_waits_for_its_replacement() {
    let mut story = serving(respawning());
    story.ask(Request::Reload);
    assert_eq!(story.exits(1, 0), [spawn(3, 1)]);
    assert!(matches!(story.supervisor.phase(), Phase::RollingOver(_)), "a worker of the current generation is on its way");
    assert_eq!(story.exits(3, 1), []);
    assert_eq!(story.supervisor.current().map(|current| current.number), Some(GenerationNumber(2)));
    assert_eq!(story.supervisor.deadline(), None, "nobody is replaced in the old generation");
}

#[test]
fn a_worker_that_was_told_to_stop_is_not_replaced() {
    let mut story = serving(respawning());
    story.ask(Request::Reload);
    assert_eq!(story.after(START), [send(1, Signal::TERM)]);
    assert_eq!(story.exits(1, 0), []);
    assert_eq!(story.exits(2, 0), [spawn(3, 2)]);
}

#[test]
fn each_slot_has_its_own_pause() {
    let mut story = serving(Policy { respawn: true, ..two_workers(Trust::Lived(START)) });
    let slot = |id, slot| Action::Spawn { id: WorkerId(id), what: Program::Worker(WorkerPlace { generation: GenerationNumber(1), slot }) };
    assert_eq!(story.exits(2, 0), [slot(3, 1)]);
    assert_eq!(story.exits(3, 0), []);
    assert_eq!(story.exits(1, 0), [slot(4, 0)]);
    assert_eq!(story.after(Duration::from_secs(1)), [slot(5, 1)]);
}
