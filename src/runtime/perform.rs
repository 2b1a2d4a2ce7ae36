//! Carries out the actions of the supervisor, and returns the events that follow from them.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use super::reports::{Reported, Reporting};
use super::{End, LastReload, Running};
use crate::control::protocol::Answer;
use crate::supervisor::{Action, Event, Importance, Lifecycle, Message, Program, Reply, Seconds};
use crate::sys::errno::reason;
use crate::sys::{clock, fd, signal, tty, wait};
use crate::systemd::notify::ServiceManager;
use crate::types::level::Level;
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, SpawnError, WorkerId, WorkerPlace};
use crate::types::request::{CallerId, Request};
use crate::types::settings::Terminal;
use crate::types::signal::Signal;
use crate::worker::launch::{Launched, Progress, Start};

/// How many leftover processes a log line names.
const MOST_NAMED: usize = 10;

impl Running {
    /// Passes an event to the supervisor, carries out its actions, and does the same with the events that follow.
    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.handle(event, clock::now()) {
                events.extend(self.perform(action));
            }
        }
        self.tell_manager(ServiceManager::status);
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Load { generation } => Some(self.load(generation)),
            Action::Spawn { id, what } => self.spawn(id, what),
            Action::Look { generation, workers } => Some(self.look(generation, &workers)),
            Action::ReportAccepting { generation, pid } => {
                self.report_accepting(generation, pid);
                None
            }
            Action::Signal { id, signal, group } => self.signal_worker(id, signal, group),
            Action::Kill { id } => Some(self.kill(id)),
            Action::Continue { id } => self.signal_worker(id, Signal::CONT, true),
            Action::Foreground { id } => self.give_terminal_to(id),
            Action::SuspendMaster => self.suspend(),
            Action::CloseListeners => {
                self.listeners.close(!self.supervisor.generations().is_empty());
                None
            }
            Action::Forget { generation } => {
                self.workers.forget(generation);
                None
            }
            Action::Answer { caller, reply } => {
                self.answer(caller, &reply);
                None
            }
            Action::Log(message) => {
                if let Some(exit) = exit_of_program(&message) {
                    self.last_exit = Some(exit);
                }
                self.log.note(level(&message), message);
                None
            }
            Action::Announce(turn) => {
                self.announce(&turn);
                None
            }
            Action::ReportLeftovers { quick } => {
                self.report_leftovers(quick);
                None
            }
            Action::Exit { status, callers } => {
                self.end = Some(End { status, callers });
                None
            }
        }
    }

    // ---- starts

    fn spawn(&mut self, id: WorkerId, what: Program) -> Option<Event> {
        match self.launch(what) {
            Ok((launched, Reporting { notify, ack })) => {
                self.workers.add(id, launched, notify);
                if let Some(ack) = ack {
                    self.acks.add_worker(id, ack);
                }
                None
            }
            Err(error) => Some(Event::SpawnFailed { id, error }),
        }
    }

    fn launch(&mut self, what: Program) -> Result<(Launched, Reporting), SpawnError> {
        let own = |cause: &str| SpawnError { status: 1, cause: cause.to_owned() };
        let place = match what {
            Program::Worker(place) => place,
            Program::Check { generation } => WorkerPlace { generation, slot: 0 },
        };
        let Some(spec) = self.workers.spec(what) else { return Err(own("this generation has no configuration")) };
        let Reported { reporting, ack_of_worker, variables } = self.report_to(&spec, what).map_err(|cause| own(&cause))?;
        let infos = self.listeners.infos();
        let listeners: Vec<_> = self.listeners.descriptors().chain(ack_of_worker.as_ref().map(AsFd::as_fd)).collect();
        // The first process takes the terminal before its program runs, which may read it at once.
        let foreground =
            self.terminal == Terminal::Leader && what == Program::Worker(WorkerPlace { generation: GenerationNumber::FIRST, slot: 0 });
        let start = Start { place, listeners: &listeners, infos: &infos, own: &variables, output: None, foreground };
        let launched = match &mut self.relay {
            None => spec.launch(&start)?,
            Some(relay) => {
                let pipe = || fd::pipe().map_err(|error| own(&format!("cannot open a pipe for the output: {}", reason(&error))));
                let ((out, out_of_worker), (err, err_of_worker)) = (pipe()?, pipe()?);
                let output = Some((out_of_worker.as_fd(), err_of_worker.as_fd()));
                let launched = spec.launch(&Start { output, ..start })?;
                relay.follow(launched.pid(), out);
                relay.follow(launched.pid(), err);
                launched
            }
        };
        Ok((launched, reporting))
    }

    /// Handles the report about the execution of this worker's program, if it is there.
    pub(super) fn start_progressed(&mut self, id: WorkerId) {
        let (Some(progress), Some(pid)) = (self.workers.progress(id), self.workers.pid(id)) else { return };
        match progress {
            Progress::Pending => {}
            Progress::Executed => self.tell(Event::Spawned { id, pid }),
            Progress::Failed(error) => {
                self.workers.give_up(id);
                self.acks.remove_worker(id);
                self.tell(Event::SpawnFailed { id, error });
            }
        }
    }

    // ---- signals

    pub(super) fn signal_worker(&mut self, id: WorkerId, signal: Signal, group: bool) -> Option<Event> {
        let pid = self.workers.pid(id)?;
        let sent = if group { signal::send_to_group(pid, signal) } else { signal::send(pid, signal) };
        match sent {
            Ok(()) => None,
            Err(error) if signal::is_gone(&error) && self.is_leaderless(id) => Some(self.group_is_gone(id)),
            Err(error) => {
                self.log.note(Level::Warning, format_args!("cannot send {signal} to pid {pid}: {}", cause(&error)));
                None
            }
        }
    }

    /// Sends SIGKILL to the worker's pid and to its group, since it may have joined another group. A reaped pid is not used: it
    /// may belong to another process.
    fn kill(&mut self, id: WorkerId) -> Event {
        let Some(pid) = self.workers.pid(id) else { return Event::Killed { id } };
        let leaderless = self.is_leaderless(id);
        let to_group = signal::send_to_group(pid, Signal::KILL);
        // The result for its own process counts, if it has one; otherwise that for the rest of its group.
        let sent = if leaderless { to_group } else { signal::send(pid, Signal::KILL) };
        match sent {
            Ok(()) => Event::Killed { id },
            Err(error) if signal::is_gone(&error) && leaderless => self.group_is_gone(id),
            // The process is gone. Its exit is reported next.
            Err(error) if signal::is_gone(&error) => Event::Killed { id },
            Err(error) => Event::KillFailed { id, cause: OneLine::from(cause(&error)) },
        }
    }

    /// Whether its process has been reaped while other processes of its group were left.
    pub(super) fn is_leaderless(&self, id: WorkerId) -> bool {
        self.supervisor.leaderless().any(|(known, _)| known == id)
    }

    /// Removes a worker whose process group is empty.
    pub(super) fn group_is_gone(&mut self, id: WorkerId) -> Event {
        self.workers.remove(id);
        self.acks.remove_worker(id);
        Event::GroupGone { id }
    }

    // ---- the terminal

    fn give_terminal_to(&mut self, id: WorkerId) -> Option<Event> {
        let pid = self.workers.pid(id)?;
        let may_be_given = match self.terminal {
            Terminal::None => false,
            Terminal::Leader => true,
            // A shell may have put the job into the background.
            Terminal::Job => tty::is_ours() || tty::foreground().is_some_and(|group| self.workers.leads(group)),
        };
        if may_be_given {
            tty::give_to(pid);
            self.terminal_given |= self.terminal == Terminal::Job;
        }
        // Continue the group, as a shell's fg does: a process that read from the terminal too early was suspended.
        self.signal_worker(id, Signal::CONT, true)
    }

    /// Continues the job at once if there is no shell to do so, provided that it has the terminal. A worker in the background
    /// that was suspended because it used the terminal stays suspended: it would only be suspended again.
    fn suspend(&mut self) -> Option<Event> {
        self.log.flush();
        if self.terminal == Terminal::Job && !tty::is_ours() {
            // The terminal has suspended the worker's group alone; the rest of the job, a script perhaps, is to follow.
            signal::suspend_own_group();
        }
        let in_front = || tty::is_ours() || tty::foreground().is_some_and(|group| self.workers.leads(group));
        let goes_on = !signal::suspend_oneself() && in_front();
        goes_on.then_some(Event::Requested { request: Request::Resume(Signal::CONT), caller: None })
    }

    // ---- callers and the service manager

    fn answer(&mut self, caller: CallerId, reply: &Reply) {
        let answer = match reply {
            Reply::Reloaded(reloaded) => Answer::ok(reloaded.to_string()),
            Reply::ReloadFailed(failed) => Answer::failed(OneLine::from(failed.to_string()).to_string()),
            Reply::Stopping => Answer::failed(Message::ReloadRefused.to_string()),
        };
        if let Some(control) = &mut self.control {
            control.answer(caller, &answer.line());
        }
    }

    fn announce(&mut self, turn: &Lifecycle) {
        match turn {
            Lifecycle::Serving => self.serves(),
            Lifecycle::ReloadBegun { .. } | Lifecycle::Stopping => {}
            Lifecycle::ReloadEnded { generation, outcome } => {
                let text = outcome.as_ref().map_or_else(ToString::to_string, ToString::to_string);
                self.last_reload = Some(LastReload { ended: clock::now(), ok: outcome.is_ok(), text });
                self.reload_ended(*generation, outcome.is_ok());
            }
        }
        self.tell_manager(|manager, line| match turn {
            // systemd has no message for a failed reload. READY=1 ends the reload, and the status holds the reason.
            Lifecycle::Serving | Lifecycle::ReloadEnded { .. } => manager.ready(line),
            Lifecycle::ReloadBegun { .. } => manager.reloading(clock::now(), line),
            Lifecycle::Stopping => manager.stopping(line),
        });
    }

    /// Notifies the service manager, if there is one, with a line about the state of the master.
    pub(super) fn tell_manager(&mut self, tell: impl FnOnce(&mut ServiceManager, String)) {
        if self.service_manager.is_some() {
            let line = self.snapshot().line();
            if let Some(manager) = &mut self.service_manager {
                tell(manager, line);
            }
        }
    }

    // ---- the end

    fn report_leftovers(&mut self, quick: bool) {
        const STAY: &str = "configure it to stay in the foreground (nginx: daemon off;)";
        if wait::has_children() {
            let left: Vec<String> = self.adopted(MOST_NAMED).map(|process| format!("{} ({})", process.pid, process.name)).collect();
            if !left.is_empty() {
                self.log.note(Level::Warning, format_args!("the program exited but left processes running: {}; {STAY}", left.join(", ")));
                return;
            }
        }
        if quick && !self.listeners.is_empty() {
            self.log.note(Level::Warning, format_args!("the program exited with status 0 right after its start; {STAY}"));
        }
    }
}

/// The text of a message about the exit of a program, without the number of its generation.
fn exit_of_program(message: &Message) -> Option<String> {
    match message {
        Message::Exited { pid, status, lived, .. } => {
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            Some(format!("the program{pid} {status} after {}", Seconds(*lived)))
        }
        Message::NotStarted(error) => Some(error.cause.clone()),
        _ => None,
    }
}

fn level(message: &Message) -> Level {
    match message.importance() {
        Importance::Failure => Level::Error,
        Importance::Problem => Level::Warning,
        Importance::Normal => Level::Notice,
    }
}

fn cause(error: &std::io::Error) -> String {
    let cause = reason(error);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!("{cause}; another user's process needs CAP_KILL"),
        _ => cause,
    }
}
