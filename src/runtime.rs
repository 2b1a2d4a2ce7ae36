//! The only loop: wait -> event -> supervisor -> action -> done. One thread, one place that waits.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Output};
use crate::control::server::{Call, Server};
use crate::control::{Verb, answer};
use crate::error::Error;
use crate::handoff::{FIRST_FD, Handoff, path_in};
use crate::ids::{Generation, Moment, Pid, Signal};
use crate::log::Log;
use crate::notify::Manager;
use crate::relay::Relay;
use crate::signals::{Meaning, SignalTable};
use crate::status::{LastReload, Status};
use crate::supervisor::{Action, Event, Failure, Note, Phase, Supervisor, Turn};
use crate::sys::children::Change;
use crate::sys::identity::Identity;
use crate::sys::poll::Wait;
use crate::sys::signals::{Found, Received, SignalGate};
use crate::sys::sockets::HeldSocket;
use crate::sys::spawn::{Launch, Launcher};
use crate::sys::terminal::Terminal;
use crate::sys::{self, children, clock, descriptors, program, sockets};
use crate::{activation, store};

/// Lines above this are cut: in a pipe, and in a datagram to syslog.
const LONGEST_LINE: usize = 1024 * 1024;
const LONGEST_SYSLOG_LINE: usize = 8 * 1024;
/// How long a log that nobody reads may hold up the end, counted anew whenever it takes something.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the program until its end; the status to exit with.
/// `found` is how signals stood at the start, `environment` the master's own.
pub fn run(config: Config, found: Found, environment: Vec<(OsString, OsString)>) -> Result<u8, Error> {
    Ok(Runtime::prepare(config, found, environment)?.live())
}

/// What who wants a reload hears at a stop: what the log says.
fn refusal() -> String {
    answer(false, &Note::ReloadRefused.to_string(), "")
}

struct Runtime {
    supervisor: Supervisor,
    signals: SignalTable,
    group: bool,
    handoff: Handoff,
    launcher: Launcher,
    sockets: Vec<HeldSocket>,
    gate: SignalGate,
    log: Log,
    relay: Option<Relay>,
    terminal: Option<Terminal>,
    stop_signal: Signal,
    manager: Option<Manager>,
    control: Option<Server>,
    begun: Moment,
    last_reload: Option<LastReload>,
}

impl Runtime {
    /// All that may fail, in an order in which nothing has been opened when a name is wrong.
    fn prepare(config: Config, found: Found, environment: Vec<(OsString, OsString)>) -> Result<Runtime, Error> {
        descriptors::fill_standard()?;
        let begun = clock::now();
        let identity = config.user.as_ref().map(Identity::look_up).transpose()?;
        let offered = activation::offered(&environment, std::process::id());
        let listen = activation::expand(config.listen, &offered)?;
        let offered = offered.unwrap_or_default();
        if let Some((key, name)) = config.env.iter().find_map(|(key, template)| Some((key, template.missing_name(&listen)?))) {
            return Err(Error::cannot(
                "fill in",
                format!("-env={}", key.display()),
                format!("no socket unit offers a socket named {name}"),
            ));
        }
        let resolved = sockets::resolve(&listen)?;

        // Where the master was started is kept as a path, and the master itself moves to /, so that it holds no mount.
        let first_directory = std::env::current_dir().ok();
        let directories: Vec<PathBuf> = first_directory.iter().cloned().chain(config.dir).collect();
        let start = directories.iter().fold(PathBuf::new(), |base, directory| base.join(directory));
        let unopened = Handoff::new(environment.iter().cloned(), Vec::new(), config.handoff.clone(), config.env.clone(), Vec::new());
        program::check(&config.command, path_in(&unopened.environment(Generation::FIRST)), Some(&start))?;

        let mut notes = Vec::new();
        let kept = store::take(&resolved, &offered);
        if let Err(error) = store::tidy(&offered, &kept, &environment) {
            notes.push(format!("cannot remove old listeners from the descriptor store: {}", sockets::reason(&error)));
        }
        let mut sockets = sockets::open(&resolved, &kept)?;
        // From here on what is opened stays open: all that was inherited has been closed.
        let manager = Manager::find(&environment).and_then(|found| {
            found.map_err(|error| notes.push(format!("cannot reach the service manager: {}", sockets::reason(&error)))).ok()
        });
        if let Some(manager) = &manager {
            notes.extend(store::keep(&mut sockets, &listen, manager, store::room(&environment)).err());
        }
        let untaken = activation::untaken(&listen, &offered).into_iter();
        notes.extend(
            untaken
                .map(|name| format!("a socket unit offers a socket named {name}, and no listener takes it: -listen=systemd:{name} would")),
        );
        let control = config.control.as_ref().map(Server::open).transpose()?;
        let gate = SignalGate::open()?;
        if first_directory.is_some() {
            std::env::set_current_dir("/").map_err(|error| Error::cannot("enter", "/", error))?;
        }
        children::become_subreaper();

        let mut log = Log::new(config.output == Output::Syslog);
        for note in notes {
            log.note(note);
        }
        let listeners = sockets.iter().map(|socket| socket.listener.clone()).collect();
        let user = identity.as_ref().map_or_else(Vec::new, |identity| identity.environment.clone());
        let relay = match config.output {
            Output::Untouched => None,
            Output::Prefixed => Some(Relay::new(LONGEST_LINE)),
            Output::Syslog => Some(Relay::new(LONGEST_SYSLOG_LINE)),
        };
        Ok(Runtime {
            handoff: Handoff::new(environment, user, config.handoff, config.env, listeners),
            launcher: Launcher {
                command: config.command,
                args: config.args,
                directories,
                identity,
                found,
                listeners_end: sockets.iter().map(|socket| socket.listener.fd + 1).max().unwrap_or(FIRST_FD),
            },
            log,
            relay,
            terminal: Terminal::of_our_session(),
            stop_signal: config.policy.stop_signal,
            supervisor: Supervisor::new(config.policy),
            signals: config.signals,
            group: config.group,
            sockets,
            gate,
            manager,
            control,
            begun,
            last_reload: None,
        })
    }

    // ------------------------------------------------------------------------------------------------------------
    // From here on nothing may fail: a failure is an event or a note. No `?`, no unwrap, no index that could be out
    // of bounds: a panic of PID 1 is the end of its container.
    // ------------------------------------------------------------------------------------------------------------

    fn live(mut self) -> u8 {
        for socket in &self.sockets {
            self.log.note(format_args!("listening on {} (fd {})", socket.listener.uri, socket.listener.fd));
        }
        let mut ended = self.tell(Event::Boot);
        // Whether there may be somebody to reap: a SIGCHLD says so, but not of those whom the program before this has left.
        let mut changed = true;
        loop {
            if let Some(status) = ended {
                self.say_the_last_words(status);
                return status;
            }
            // One death at a time: as soon as a pid is reaped the kernel may give it to another, so all that follows from
            // one is done before the next.
            if changed {
                match children::next_change() {
                    Some(change) => ended = self.child_changed(change),
                    None => changed = false,
                }
                continue;
            }
            // Who waits for an answer finds in log and status what it is about.
            self.log.flush();
            self.flush_manager();
            if let Some(control) = &mut self.control {
                control.flush();
                if let Some(call) = control.next_call() {
                    ended = self.obey(call);
                    // However much is asked, signals are heard in between.
                    if ended.is_none()
                        && let Some(received) = self.gate.next()
                    {
                        changed = received.signal == Signal::CHLD;
                        ended = self.signal_came(received);
                    }
                    continue;
                }
            }
            // Time comes last: who died in time was not trusted, and a stop overtakes a trust.
            ended = if let Some(received) = self.wait() {
                changed = received.signal == Signal::CHLD;
                self.signal_came(received)
            } else if self.supervisor.deadline().is_some_and(|deadline| deadline <= clock::now()) {
                self.tell(Event::Tick)
            } else {
                None
            };
        }
    }

    /// Tells the core, and does what it wants done, and what follows from that; the status, where that was the end.
    fn tell(&mut self, event: Event) -> Option<u8> {
        let mut events = VecDeque::from([event]);
        let mut ended = None;
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.handle(event, clock::now()) {
                match action {
                    Action::Start { generation } => events.push_back(self.start(generation)),
                    Action::Send { pid, signal } => self.send(pid, signal),
                    Action::Kill { pid } => self.report(sys::signals::send_to_group(pid, Signal::KILL), pid, Signal::KILL),
                    Action::Continue { pid } => self.report(sys::signals::send_to_group(pid, Signal::CONT), pid, Signal::CONT),
                    Action::Foreground { pid } => {
                        if let Some(terminal) = self.terminal {
                            terminal.give_to(pid);
                            // As a shell's fg does it: who wanted to read the terminal before it was its own has been stopped.
                            self.report(sys::signals::send_to_group(pid, Signal::CONT), pid, Signal::CONT);
                        }
                    }
                    Action::SuspendMaster => {
                        self.log.flush();
                        sys::signals::stop_oneself();
                    }
                    Action::CloseListeners => self.sockets.iter_mut().for_each(HeldSocket::close),
                    Action::Note(note) => self.log.note(note),
                    Action::Announce(turn) => self.announce(turn),
                    Action::Exit { status } => ended = Some(status),
                }
            }
        }
        if self.manager.is_some() {
            let line = self.status().line();
            if let Some(manager) = &mut self.manager {
                manager.status(line);
            }
        }
        ended
    }

    fn status(&self) -> Status<'_> {
        Status {
            pid: std::process::id(),
            begun: self.begun,
            now: clock::now(),
            supervisor: &self.supervisor,
            listeners: self.sockets.iter().filter(|socket| socket.held().is_some()).map(|socket| &socket.listener).collect(),
            last_reload: self.last_reload.as_ref(),
        }
    }

    fn announce(&mut self, turn: Turn) {
        match &turn {
            Turn::Serving | Turn::ReloadBegun { .. } => {}
            Turn::ReloadEnded { generation, outcome } => {
                let last = self.last_reload.insert(LastReload { ended: clock::now(), outcome: outcome.clone() });
                if let Some(control) = &mut self.control {
                    control.reload_ended(*generation, &answer(last.outcome.is_ok(), &last.text(), ""));
                }
            }
            Turn::Stopping => {
                if let Some(control) = &mut self.control {
                    control.stopping(&refusal());
                }
            }
        }
        if self.manager.is_some() {
            let line = self.status().line();
            if let Some(manager) = &mut self.manager {
                match &turn {
                    // systemd knows no reload that has failed: it is over, and the status says how.
                    Turn::Serving | Turn::ReloadEnded { .. } => manager.ready(line),
                    Turn::ReloadBegun { .. } => manager.reloading(clock::now(), line),
                    Turn::Stopping => manager.stopping(line),
                }
            }
        }
    }

    fn flush_manager(&mut self) {
        if let Some(Err(error)) = self.manager.as_mut().map(Manager::flush) {
            self.log.note(format_args!("cannot tell the service manager: {error}"));
            self.log.flush();
        }
    }

    /// Does what was asked for at the control socket.
    fn obey(&mut self, call: Call) -> Option<u8> {
        let Call { caller, peer, verb } = call;
        let stopping = matches!(self.supervisor.phase(), Phase::Stopping | Phase::Ended);
        match (verb, self.control.as_mut()) {
            (Verb::Reload, Some(control)) if !stopping => {
                control.hold_for_reload(caller, self.supervisor.next_generation());
                self.log.note(format_args!("told to reload by pid {}, uid {}", peer.pid, peer.uid));
                self.tell(Event::Reload)
            }
            (Verb::Reload, Some(control)) => {
                control.answer(caller, &refusal());
                None
            }
            (Verb::Stop, Some(control)) => {
                control.hold_for_end(caller);
                self.log.note(format_args!("told to stop by pid {}, uid {}", peer.pid, peer.uid));
                let signal = match self.signals.meaning(Signal::TERM) {
                    Meaning::Stop(with) => with,
                    _ => self.stop_signal,
                };
                self.tell(Event::Stop { signal })
            }
            (Verb::Status, _) => {
                let line = self.status().answer();
                if let Some(control) = &mut self.control {
                    control.answer(caller, &line);
                }
                None
            }
            (Verb::Reload | Verb::Stop, None) => None,
        }
    }

    fn start(&mut self, generation: Generation) -> Event {
        match self.launch(generation) {
            Ok(pid) => Event::Started { pid },
            Err(failure) => Event::StartFailed(failure),
        }
    }

    fn launch(&mut self, generation: Generation) -> Result<Pid, Failure> {
        let environment = self.handoff.environment(generation);
        let foreground = self.terminal.is_some() && generation == Generation::FIRST;
        let Some(relay) = &mut self.relay else {
            return self.launcher.launch(&Launch { environment: &environment, output: None, foreground });
        };
        // The two `?` here and the one below answer with an event: a start may fail.
        let no_pipe = |error: std::io::Error| Failure { status: 1, cause: format!("cannot open a pipe for the output: {error}") };
        let (out, out_of_worker): (OwnedFd, OwnedFd) = descriptors::pipe().map_err(no_pipe)?;
        let (err, err_of_worker): (OwnedFd, OwnedFd) = descriptors::pipe().map_err(no_pipe)?;
        let output = Some((&out_of_worker, &err_of_worker));
        let pid = self.launcher.launch(&Launch { environment: &environment, output, foreground })?;
        relay.follow(pid, out);
        relay.follow(pid, err);
        Ok(pid)
    }

    fn send(&mut self, pid: Pid, signal: Signal) {
        let sent = if self.group { sys::signals::send_to_group(pid, signal) } else { sys::signals::send(pid, signal) };
        self.report(sent, pid, signal);
    }

    fn report(&mut self, sent: std::io::Result<()>, pid: Pid, signal: Signal) {
        if let Err(error) = sent {
            self.log.note(format_args!("cannot send {signal} to pid {pid}: {error}"));
        }
    }

    fn child_changed(&mut self, change: Change) -> Option<u8> {
        match change {
            Change::Died(pid, ending) => {
                if let Some(relay) = &mut self.relay {
                    relay.drain(pid, &mut self.log);
                }
                self.tell(Event::Died { pid, ending })
            }
            // Only Ctrl-Z, and only where we stand in for the shell: who reads the terminal from the background must wait.
            Change::Stopped(pid, Signal::TSTP) if self.terminal.is_some() => self.tell(Event::Suspended { pid }),
            Change::Stopped(..) => None,
        }
    }

    fn signal_came(&mut self, received: Received) -> Option<u8> {
        let Received { signal, by_kernel, by_itself } = received;
        let meaning = self.signals.meaning(signal);
        match meaning {
            Meaning::Reap | Meaning::Ignore | Meaning::LeaveAlone => None,
            Meaning::Pass(_) if by_itself => None,
            Meaning::Reload if by_kernel && signal == Signal::HUP => self.tell(Event::Stop { signal: self.stop_signal }),
            Meaning::Reload => self.tell(Event::Reload),
            Meaning::Stop(with) => self.tell(Event::Stop { signal: with }),
            Meaning::Pass(with) => self.tell(Event::Pass { signal: with }),
            Meaning::Suspend => self.tell(Event::Suspend { signal }),
            Meaning::Resume => self.tell(Event::Resume { signal }),
        }
    }

    /// Waits until there is a signal, a line, room in the log, or something due; takes the lines, and the signal.
    fn wait(&mut self) -> Option<Received> {
        let due = self.supervisor.deadline().map(|deadline| deadline.since(clock::now()));
        let outlets = [self.log.blocked_on(), self.manager.as_ref().and_then(Manager::blocked_on)];
        if self.relay.as_ref().is_none_or(Relay::is_idle) && outlets.iter().all(Option::is_none) && self.control.is_none() {
            return self.gate.wait(due);
        }
        let mut wait = Wait::default();
        wait.readable([self.gate.as_fd()]);
        wait.writable(outlets.into_iter().flatten());
        let callers = wait.count();
        if let Some(control) = &self.control {
            control.add_to(&mut wait);
        }
        let sources = wait.count();
        if let Some(relay) = self.relay.as_ref().filter(|_| !self.log.is_full()) {
            wait.readable(relay.sources());
        }
        let ready = wait.ready(due);
        let of = |range: std::ops::Range<usize>| ready.get(range).filter(|some| some.contains(&true));
        if let (Some(relay), Some(sources)) = (&mut self.relay, of(sources..ready.len())) {
            relay.read(sources, &mut self.log);
        }
        if let Some(control) = &mut self.control {
            control.serve(of(callers..sources).unwrap_or_default());
        }
        if ready.first() == Some(&true) { self.gate.next() } else { None }
    }

    /// Writes what is left, unless nobody reads it, and removes what was made before who waits for the end hears of it.
    fn say_the_last_words(&mut self, status: u8) {
        if let Some(relay) = &mut self.relay {
            relay.drain_all(&mut self.log);
        }
        loop {
            self.log.flush();
            let Some(log) = self.log.blocked_on() else { break };
            let mut wait = Wait::default();
            wait.writable([log]);
            if !wait.ready(Some(LAST_WORDS)).contains(&true) {
                break;
            }
        }
        self.flush_manager();
        self.sockets.clear();
        if let Some(control) = self.control.take() {
            control.end(&answer(true, &format!("ended with status {status}"), ""));
        }
    }
}
