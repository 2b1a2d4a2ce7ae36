//! The sources of events that the loop waits for. Each has a token, so that a new source does not affect the others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::Running;
use crate::control::server::{ControlToken, Server};
use crate::output::relay::{OutputId, Relay};
use crate::report::ack::AckToken;
use crate::supervisor::Event;
use crate::sys::clock;
use crate::sys::poll::{Interest, Wait};
use crate::sys::signal::Received;
use crate::systemd::notify::ServiceManager;
use crate::systemd::watchdog::Watchdog;
use crate::types::process::WorkerId;

/// A source of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// Signals to the master.
    Signals,
    /// The log takes more.
    Log,
    /// The service manager takes more.
    ServiceManager,
    /// A connection at the control socket, or a new one.
    Control(ControlToken),
    /// A worker has written something.
    Output(OutputId),
    /// A report on the execution of a worker's program.
    Report(WorkerId),
    /// A worker has sent a message to its NOTIFY_SOCKET.
    Notify(WorkerId),
    /// A message of einhorn's protocol, or a connection for one.
    Ack(AckToken),
    /// A unix path may have disappeared.
    Paths,
}

impl Running {
    /// Waits until a source is ready or a timer is due, and handles the ready sources. Returns a signal, because the caller
    /// first handles everything that happened before it.
    pub(super) fn wait(&mut self) -> Option<Received> {
        let now = clock::now();
        let deadlines =
            [self.supervisor.deadline(), self.control.as_ref().and_then(Server::retry_at), self.watchdog.as_ref().map(Watchdog::due)];
        let workers = self.workers.reporting().filter_map(|(_, notify)| notify.deadline());
        let within = deadlines.into_iter().flatten().chain(workers).min().map(|deadline| deadline.since(now));
        let ready = match self.sources() {
            // With no other source, waiting for signals alone halves the number of system calls.
            sources if sources.is_empty() => return self.signals.wait(within),
            sources => ready(sources, self.signals.as_fd(), within),
        };
        let mut received = None;
        for token in ready {
            match token {
                Token::Signals => received = self.signals.next(),
                // They are flushed before each wait.
                Token::Log | Token::ServiceManager => {}
                Token::Control(token) => {
                    if let Some(control) = &mut self.control {
                        control.ready(token, clock::now());
                    }
                }
                Token::Output(id) => {
                    if let Some(relay) = &mut self.relay {
                        relay.read(id, &mut self.log);
                    }
                }
                Token::Report(id) => {
                    self.reap();
                    self.start_progressed(id);
                }
                Token::Notify(id) => {
                    // A worker that has exited is not ready, whatever it has sent before.
                    self.reap();
                    self.start_progressed(id);
                    self.hear_worker(id);
                }
                Token::Ack(token) => {
                    self.reap();
                    if let Some(ack) = self.acks.ready(token) {
                        self.hear_ack(ack);
                    }
                }
                Token::Paths => self.paths_changed(),
            }
        }
        received
    }

    /// All sources to wait for, except signals.
    fn sources(&self) -> Vec<(Token, BorrowedFd<'_>, Interest)> {
        let mut sources = Vec::new();
        let mut add = |token, fd, interest| sources.push((token, fd, interest));
        if let Some(fd) = self.log.blocked_on() {
            add(Token::Log, fd, Interest::Writable);
        }
        if let Some(fd) = self.service_manager.as_ref().and_then(ServiceManager::blocked_on) {
            add(Token::ServiceManager, fd, Interest::Writable);
        }
        if let Some(fd) = self.listeners.watch() {
            add(Token::Paths, fd, Interest::Readable);
        }
        for (id, launched) in self.workers.starting() {
            add(Token::Report(id), launched.as_fd(), Interest::Readable);
        }
        for (id, notify) in self.workers.reporting() {
            add(Token::Notify(id), notify.as_fd(), Interest::Readable);
        }
        for (token, fd) in self.acks.sources() {
            add(Token::Ack(token), fd, Interest::Readable);
        }
        for (token, fd, interest) in self.control.iter().flat_map(Server::sources) {
            add(Token::Control(token), fd, interest);
        }
        for (id, fd) in self.relay.iter().filter(|_| !self.log.is_full()).flat_map(Relay::sources) {
            add(Token::Output(id), fd, Interest::Readable);
        }
        sources
    }

    /// Handles the timers that are due, after everything else: a worker that exits just before the deadline is not trusted, and a
    /// stop precedes a promotion.
    pub(super) fn time_passes(&mut self) {
        let now = clock::now();
        if let Some(control) = &mut self.control
            && control.retry_at().is_some_and(|at| at <= now)
        {
            control.retry(now);
        }
        if let (Some(watchdog), Some(manager)) = (&mut self.watchdog, &mut self.service_manager)
            && watchdog.take_due(now)
        {
            manager.alive();
        }
        self.check_workers(now);
        if self.supervisor.deadline().is_some_and(|deadline| deadline <= now) {
            self.tell(Event::Tick);
        }
    }
}

/// The tokens of those sources that are ready, or gone.
fn ready(sources: Vec<(Token, BorrowedFd, Interest)>, signals: BorrowedFd, within: Option<Duration>) -> Vec<Token> {
    let mut wait = Wait::default();
    wait.add(signals, Interest::Readable);
    let mut tokens = vec![Token::Signals];
    for (token, fd, interest) in sources {
        wait.add(fd, interest);
        tokens.push(token);
    }
    tokens.into_iter().zip(wait.ready(within)).filter(|(_, ready)| *ready).map(|(token, _)| token).collect()
}
