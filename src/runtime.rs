//! The only loop: wait -> event -> supervisor -> action -> done. One thread, one place that waits.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Output};
use crate::error::Error;
use crate::handoff::{FIRST_FD, Handoff, path_in};
use crate::ids::{Generation, Pid, Signal};
use crate::log::Log;
use crate::relay::Relay;
use crate::signals::{Meaning, SignalTable};
use crate::supervisor::{Action, Event, Failure, Supervisor};
use crate::sys::children::Change;
use crate::sys::identity::Identity;
use crate::sys::poll::Wait;
use crate::sys::signals::{Found, Received, SignalGate};
use crate::sys::sockets::HeldSocket;
use crate::sys::spawn::{Launch, Launcher};
use crate::sys::terminal::Terminal;
use crate::sys::{self, children, clock, descriptors, program, sockets};

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
}

impl Runtime {
    /// All that may fail, in an order in which nothing has been opened when a name is wrong.
    fn prepare(config: Config, found: Found, environment: Vec<(OsString, OsString)>) -> Result<Runtime, Error> {
        descriptors::fill_standard()?;
        let identity = config.user.as_ref().map(Identity::look_up).transpose()?;
        let resolved = sockets::resolve(&config.listen)?;

        // Where the master was started is kept as a path, and the master itself moves to /, so that it holds no mount.
        let first_directory = std::env::current_dir().ok();
        let directories: Vec<PathBuf> = first_directory.iter().cloned().chain(config.dir).collect();
        let start = directories.iter().fold(PathBuf::new(), |base, directory| base.join(directory));
        let unopened = Handoff::new(environment.iter().cloned(), Vec::new(), config.handoff.clone(), config.env.clone(), Vec::new());
        program::check(&config.command, path_in(&unopened.environment(Generation::FIRST)), Some(&start))?;

        let sockets = sockets::open(&resolved)?;
        let gate = SignalGate::open()?;
        if first_directory.is_some() {
            std::env::set_current_dir("/").map_err(|error| Error::cannot("enter", "/", error))?;
        }
        children::become_subreaper();

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
            log: Log::new(config.output == Output::Syslog),
            relay,
            terminal: Terminal::of_our_session(),
            stop_signal: config.policy.stop_signal,
            supervisor: Supervisor::new(config.policy),
            signals: config.signals,
            group: config.group,
            sockets,
            gate,
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
                self.say_the_last_words();
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
            self.log.flush();
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
                    Action::Announce(_) => {}
                    Action::Exit { status } => ended = Some(status),
                }
            }
        }
        ended
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
        if self.relay.as_ref().is_none_or(Relay::is_idle) && self.log.blocked_on().is_none() {
            return self.gate.wait(due);
        }
        let mut wait = Wait::default();
        wait.readable([self.gate.as_fd()]);
        wait.writable(self.log.blocked_on());
        let others = 1 + usize::from(self.log.blocked_on().is_some());
        if let Some(relay) = self.relay.as_ref().filter(|_| !self.log.is_full()) {
            wait.readable(relay.sources());
        }
        let ready = wait.ready(due);
        if let (Some(relay), Some(sources)) = (&mut self.relay, ready.get(others..).filter(|sources| sources.contains(&true))) {
            relay.read(sources, &mut self.log);
        }
        if ready.first() == Some(&true) { self.gate.next() } else { None }
    }

    /// Writes what is left, unless nobody reads it.
    fn say_the_last_words(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.drain_all(&mut self.log);
        }
        loop {
            self.log.flush();
            let Some(log) = self.log.blocked_on() else { return };
            let mut wait = Wait::default();
            wait.writable([log]);
            if !wait.ready(Some(LAST_WORDS)).contains(&true) {
                return;
            }
        }
    }
}
