//! The running master: one thread, one loop, one call that waits.
//!
//! `boot` does everything that may fail and makes a `Running`. None of its methods returns an error: from then on a
//! failure is an event or a log line. `sources` waits, `perform` does what the supervisor wants done, `reload` reads the
//! configuration again.

mod accepting;
mod boot;
mod perform;
pub mod pid_file;
mod reload;
mod reports;
mod sources;
mod workers;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::config::signal_rules::{SignalAction, SignalTable};
use crate::config::{Config, Invocation};
use crate::control::protocol::Answer;
use crate::control::server::{Call, Server};
use crate::control::status::{LastReloadSeen, ListenerSeen, Snapshot, State, WorkerSeen};
use crate::error::Error;
use crate::listener::set::{HeldSocket, ListenerSet};
use crate::output::log::Log;
use crate::output::relay::Relay;
use crate::report::ack::AckServer;
use crate::report::sender::Namespace;
use crate::supervisor::{Event, Generation, Message, Phase, Supervisor, Worker};
use crate::sys::errno::reason;
use crate::sys::poll::{Interest, Wait};
use crate::sys::signal::{InheritedSignals, Received, SignalFd};
use crate::sys::stdio::StandardStreams;
use crate::sys::wait::ChildChange;
use crate::sys::{clock, reserve, signal, tty, wait};
use crate::systemd::notify::ServiceManager;
use crate::systemd::watchdog::Watchdog;
use crate::types::level::Level;
use crate::types::process::GenerationNumber;
use crate::types::request::{CallerId, Request, Verb};
use crate::types::settings::{Policy, Terminal};
use crate::types::signal::Signal;
use crate::types::time::Instant;
use crate::worker::launch::StartDirectory;
use pid_file::PidFile;
use workers::{Specs, Workers};

/// After so many signals in a row the loop handles due timers.
const MOST_IN_A_ROW: u32 = 64;
/// How long the exit waits for a log that is not read. Each write starts the time anew.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the exit waits for the log altogether, if a reader takes a little now and then.
const ALL_LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs the program until the master exits, and returns the exit status. `config` was loaded from `invocation`, and a reload
/// loads it from there again.
pub fn run(invocation: Invocation, config: Config, signals: InheritedSignals) -> Result<u8, Error> {
    let (running, first) = boot::boot(invocation, config, signals)?;
    Ok(running.live(first))
}

/// The master after its start. Nothing here may fail any more.
struct Running {
    invocation: Invocation,
    inherited_signals: InheritedSignals,
    start_directory: Rc<StartDirectory>,
    streams: StandardStreams,
    supervisor: Supervisor,
    workers: Workers,
    listeners: ListenerSet,
    /// The signal rules of the current generation.
    rules: SignalTable,
    /// The signal rules of the candidate, which apply when the reload succeeds.
    next_rules: Option<SignalTable>,
    signals: SignalFd,
    log: Log,
    relay: Option<Relay>,
    terminal: Terminal,
    /// Whether a worker's process group is the foreground group of a shell's terminal.
    terminal_given: bool,
    service_manager: Option<ServiceManager>,
    /// The service manager's watchdog over the master.
    watchdog: Option<Watchdog>,
    /// How many more descriptors the service manager keeps.
    store_room: usize,
    /// Where einhorn's acknowledgements come in, and the path of the socket for them, once a worker was to get one. It is `None`
    /// if no directory could be written to.
    acks: AckServer,
    ack_path: Option<Option<PathBuf>>,
    /// What can be told from a uid, once a worker reports.
    namespace: Option<Namespace>,
    control: Option<Server>,
    pid_file_path: Option<PathBuf>,
    pid_file: Option<PidFile>,
    begun: Instant,
    last_reload: Option<LastReload>,
    /// How the last worker exited, for the status that the service manager keeps after the end.
    last_exit: Option<String>,
    end: Option<End>,
}

/// How the last reload ended, and when.
struct LastReload {
    ended: Instant,
    ok: bool,
    text: String,
}

/// The exit: no worker is left to wait for.
struct End {
    status: u8,
    /// The callers that wait for the exit.
    callers: Vec<CallerId>,
}

impl Running {
    fn live(mut self, first: FirstGeneration) -> u8 {
        for listener in self.listeners.infos() {
            self.log.note(Level::Notice, format_args!("listening on {} (fd {})", listener.uri, listener.fd));
        }
        self.workers.lay_down(GenerationNumber::FIRST, first.specs);
        let listeners = self.listeners.labels();
        self.tell(Event::Boot { policy: first.policy, listeners });
        let mut signals_in_a_row = 0;
        loop {
            self.reap();
            if let Some(end) = self.end.take() {
                return self.finish(end);
            }
            self.flush();
            let received = match self.next_call() {
                Some(call) => {
                    self.handle_request(call);
                    // Take a signal after each request, however many requests come.
                    if self.end.is_none() { self.signals.next() } else { None }
                }
                None => self.wait(),
            };
            match received {
                Some(received) => {
                    if received.signal != Signal::CHLD {
                        // Handle the state changes of children first: they precede the signal.
                        self.reap();
                    }
                    self.signal_came(received);
                    signals_in_a_row += 1;
                }
                None => signals_in_a_row = 0,
            }
            // Handle timers last, but do not let a flood of signals keep them from being handled.
            if signals_in_a_row == 0 || signals_in_a_row >= MOST_IN_A_ROW {
                signals_in_a_row = 0;
                self.time_passes();
            }
        }
    }

    /// Handles all state changes of children, one at a time. The kernel may reuse a pid as soon as it is reaped, so every
    /// consequence of one exit is handled before the next child is reaped.
    fn reap(&mut self) {
        while self.end.is_none()
            && let Some(change) = wait::next_change()
        {
            self.child_changed(change);
        }
    }

    /// Writes the log, the status and the answers as far as possible. The log comes first, so that it already describes an event
    /// when a caller gets the answer about it.
    fn flush(&mut self) {
        if let Some(notice) = reserve::notice() {
            self.log.note(Level::Error, notice);
        }
        self.log.flush();
        if let Some(Err(error)) = self.service_manager.as_mut().map(ServiceManager::flush) {
            self.log.note(Level::Warning, format_args!("cannot notify the service manager: {}", reason(&error)));
        }
        if let Some(control) = &mut self.control {
            control.flush();
            if let Some(note) = control.next_note() {
                self.log.note(Level::Warning, note);
            }
        }
        self.log.flush();
    }

    // ---- what comes

    fn child_changed(&mut self, change: ChildChange) {
        let (ChildChange::Exited(pid, _) | ChildChange::Suspended(pid, _) | ChildChange::Continued(pid)) = change;
        if let Some(id) = self.workers.id(pid) {
            // Find out first whether its program was executed.
            self.start_progressed(id);
        }
        let id = self.workers.id(pid);
        match (change, id) {
            // An orphan: perhaps it was the last of a worker's group.
            (ChildChange::Exited(..), None) => {
                self.workers.reaped(pid);
                self.look_at_groups();
            }
            (ChildChange::Exited(_, status), Some(id)) => {
                if let Some(relay) = &mut self.relay {
                    relay.drain(pid, &mut self.log);
                }
                self.hear_last_words(id);
                let group_left = signal::group_exists(pid);
                self.tell(Event::Exited { id, status, group_left });
                // Only with -group the master waits for the rest of a group.
                if !self.is_leaderless(id) {
                    self.workers.remove(id);
                    self.acks.remove_worker(id);
                }
            }
            (ChildChange::Suspended(_, signal), Some(id)) => {
                let terminal_is_ours = self.terminal == Terminal::Job && tty::is_ours();
                self.tell(Event::Suspended { id, signal, terminal_is_ours });
            }
            (ChildChange::Continued(_), Some(id)) => self.tell(Event::Continued { id }),
            (ChildChange::Suspended(..) | ChildChange::Continued(_), None) => {}
        }
    }

    fn look_at_groups(&mut self) {
        let gone: Vec<_> = self.supervisor.leaderless().filter(|(_, pid)| !signal::group_exists(*pid)).map(|(id, _)| id).collect();
        for id in gone {
            let gone = self.group_is_gone(id);
            self.tell(gone);
        }
    }

    fn signal_came(&mut self, received: Received) {
        let Received { signal, by_kernel, by_itself } = received;
        let hangup = signal == Signal::HUP && by_kernel;
        let request = match self.rules.action(signal) {
            // Under nohup(1) a closed terminal is ignored.
            _ if hangup && signal::is_ignored(Signal::HUP) => return,
            SignalAction::Reap | SignalAction::Ignore => return,
            // The master caused the signal itself, such as SIGPIPE by a write.
            SignalAction::Forward(_) | SignalAction::JobControl if by_itself => return,
            SignalAction::Request(Request::Reload) if hangup => Request::Stop { with: None, again: None },
            SignalAction::Request(request) => request,
            SignalAction::Forward(signal) => Request::Forward(signal),
            SignalAction::JobControl if by_kernel => Request::Suspend(signal),
            SignalAction::JobControl => Request::Forward(signal),
            SignalAction::Continue => Request::Resume(signal),
        };
        // A master that is stopping refuses the request and says so.
        if request == Request::Reload && self.supervisor.phase() != Phase::Stopping {
            self.log.note(Level::Notice, format_args!("received reload request by {signal}"));
        }
        self.tell(Event::Requested { request, caller: None });
    }

    fn next_call(&mut self) -> Option<Call> {
        while let Some(caller) = self.control.as_mut().and_then(Server::next_departure) {
            self.tell(Event::CallerLeft { caller });
        }
        self.control.as_mut().and_then(Server::next_call)
    }

    /// Handles a request at the control socket.
    fn handle_request(&mut self, call: Call) {
        let Call { caller, peer, verb } = call;
        let (request, what) = match verb {
            Verb::Status => {
                let line = self.snapshot().report().line();
                if let Some(control) = &mut self.control {
                    control.answer(caller, &line);
                }
                return;
            }
            Verb::Reload => (Request::Reload, "reload"),
            Verb::Stop => (self.rules.stop(), "stop"),
        };
        if self.supervisor.phase() != Phase::Stopping || verb == Verb::Stop {
            self.log.note(Level::Notice, format_args!("received {what} request from pid {}, uid {}", peer.pid, peer.uid));
        }
        self.tell(Event::Requested { request, caller: Some(caller) });
    }

    fn paths_changed(&mut self) {
        for note in self.listeners.paths_changed() {
            self.log.note(Level::Warning, note);
        }
    }

    // ---- how things are

    fn snapshot(&self) -> Snapshot {
        let now = clock::now();
        let seen = |generation: &Generation, worker: &Worker| {
            Some(WorkerSeen {
                pid: worker.pid().or_else(|| self.workers.pid(worker.id))?,
                generation: generation.number,
                role: generation.role,
                age: now.since(worker.started),
                told: worker.stop.as_ref().map(|stop| (stop.signal, now.since(stop.at))),
            })
        };
        let generations = self.supervisor.generations().iter();
        Snapshot {
            pid: std::process::id(),
            uptime: now.since(self.begun),
            state: match self.supervisor.phase() {
                Phase::Starting => State::Starting,
                Phase::Serving => State::Serving,
                Phase::RollingOver(_) => State::Reloading,
                Phase::Stopping => State::Stopping,
                Phase::Ended => State::Ended,
            },
            newest: self.supervisor.newest(),
            workers: generations
                .flat_map(|generation| generation.workers.iter().filter_map(move |worker| seen(generation, worker)))
                .collect(),
            listeners: self.listeners.sockets().iter().filter(|socket| socket.held().is_some()).map(listener_seen).collect(),
            last_reload: self.last_reload.as_ref().map(|last| LastReloadSeen {
                ok: last.ok,
                text: last.text.clone(),
                ago: now.since(last.ended),
            }),
            last_exit: self.last_exit.clone(),
            reported: self.reported_status(),
        }
    }

    // ---- the end

    /// Ends the master: writes the rest of the log unless it is not read, removes sockets and files, and then answers the callers
    /// that wait for the exit.
    fn finish(mut self, end: End) -> u8 {
        if let Some(relay) = &mut self.relay {
            relay.drain_all(&mut self.log);
        }
        let begun = clock::now();
        loop {
            self.log.flush();
            let Some(log) = self.log.blocked_on() else { break };
            let left = ALL_LAST_WORDS.saturating_sub(clock::now().since(begun));
            let mut wait = Wait::default();
            wait.add(log, Interest::Writable);
            if !wait.ready(Some(LAST_WORDS.min(left))).contains(&true) || left.is_zero() {
                break;
            }
        }
        self.flush();
        if self.terminal_given {
            // Give the terminal back to the script that started the master.
            tty::take_back();
        }
        let Running { listeners, control, pid_file, streams, .. } = self;
        drop((listeners, pid_file, streams));
        if let Some(control) = control {
            let line = Answer::ok(Message::Ended { status: end.status }.to_string()).line();
            control.end(end.callers.into_iter().map(|caller| (caller, line.clone())));
        }
        end.status
    }
}

/// The settings of the first generation.
struct FirstGeneration {
    specs: Specs,
    policy: Policy,
}

fn listener_seen(socket: &HeldSocket) -> ListenerSeen {
    let listener = socket.listener();
    ListenerSeen { fd: listener.fd, uri: listener.uri.clone(), name: listener.name.clone(), queue: None }
}
