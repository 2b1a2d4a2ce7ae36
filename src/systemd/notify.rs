//! Notifies the service manager, sd_notify(3): systemd, or another program that sets NOTIFY_SOCKET. The messages describe
//! the master. A few messages of workers are passed on.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::notify::NotifySocket;
use crate::types::environment;
use crate::types::time::Instant;

/// The most messages that wait. Beyond this a manager that reads slowly gets fewer messages about reloads.
const MOST_WAITING: usize = 64;
/// The most messages of workers among them.
const MOST_PASSED_ON: usize = 16;
/// systemd ignores a longer datagram, and READY=1 with it.
const LONGEST_DATAGRAM: usize = 4096;

/// The connection to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    address: OsString,
    socket: NotifySocket,
    waiting: Waiting,
    blocked: bool,
    status: String,
}

/// A step of the master's life cycle that the service manager is notified of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transition {
    Ready,
    Reloading,
    Stopping,
}

/// What a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Transition(Transition),
    /// Nothing but the status.
    Status,
    /// WATCHDOG=1.
    Alive,
    /// The message of a worker.
    PassedOn,
}

/// A message and its descriptors.
#[derive(Debug)]
struct Message {
    subject: Subject,
    text: String,
    fds: Vec<OwnedFd>,
}

/// Messages that have not been sent yet, the oldest first.
///
/// Each message about the master holds the status, so a later message replaces one that holds nothing else. READY=1 of the
/// start, the last reload and STOPPING=1 are sent however slowly the manager reads. A reload in between may be left out,
/// RELOADING=1 and READY=1 together: a manager that waits for them finds both in the next reload.
#[derive(Debug, Default)]
struct Waiting(VecDeque<Message>);

impl Waiting {
    fn add(&mut self, subject: Subject, text: String) {
        match subject {
            Subject::Transition(_) | Subject::Status => self.0.retain(|message| message.subject != Subject::Status),
            Subject::Alive => self.0.retain(|message| message.subject != Subject::Alive),
            Subject::PassedOn => {}
        }
        if self.0.len() >= MOST_WAITING {
            self.leave_out_a_reload();
        }
        self.0.push_back(Message { subject, text, fds: Vec::new() });
    }

    /// Whether there was room for the message of a worker.
    fn pass_on(&mut self, text: String, fds: Vec<OwnedFd>) -> bool {
        let has_room = self.0.iter().filter(|message| message.subject == Subject::PassedOn).count() < MOST_PASSED_ON;
        if has_room {
            self.0.push_back(Message { subject: Subject::PassedOn, text, fds });
        }
        has_room
    }

    fn leave_out_a_reload(&mut self) {
        let transitions = || {
            self.0.iter().enumerate().filter_map(|(index, message)| match message.subject {
                Subject::Transition(transition) => Some((index, transition)),
                Subject::Status | Subject::Alive | Subject::PassedOn => None,
            })
        };
        let whole = transitions().zip(transitions().skip(1)).find_map(|pair| match pair {
            ((begin, Transition::Reloading), (end, Transition::Ready)) => Some((begin, end)),
            _ => None,
        });
        if let Some((begin, end)) = whole {
            self.0.remove(end);
            self.0.remove(begin);
        }
    }

    fn first(&self) -> Option<&Message> {
        self.0.front()
    }

    fn remove_first(&mut self) {
        self.0.pop_front();
    }
}

impl ServiceManager {
    /// The manager that NOTIFY_SOCKET names, if it names one.
    pub fn find(environment: &[(OsString, OsString)]) -> Option<io::Result<ServiceManager>> {
        environment::variable(environment, "NOTIFY_SOCKET").map(ServiceManager::connect)
    }

    fn connect(address: &OsStr) -> io::Result<ServiceManager> {
        Ok(ServiceManager {
            address: address.to_owned(),
            socket: NotifySocket::connect(address)?,
            waiting: Waiting::default(),
            blocked: false,
            status: String::new(),
        })
    }

    /// The first start or a reload is over, and a generation serves.
    pub fn ready(&mut self, status: String) {
        self.say(Subject::Transition(Transition::Ready), "READY=1\n", status);
    }

    /// A reload has begun. The datagram holds the time too; without it systemd does not accept the message as the answer to
    /// its own reload request.
    pub fn reloading(&mut self, now: Instant, status: String) {
        self.say(Subject::Transition(Transition::Reloading), &format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.0.as_micros()), status);
    }

    pub fn stopping(&mut self, status: String) {
        self.say(Subject::Transition(Transition::Stopping), "STOPPING=1\n", status);
    }

    /// Sends one line about the state of the master, if it has changed since the last message.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            self.say(Subject::Status, "", status);
        }
    }

    fn say(&mut self, subject: Subject, words: &str, status: String) {
        self.waiting.add(subject, datagram(words, &status));
        self.status = status;
    }

    /// The master runs, sd_watchdog_enabled(3).
    pub fn alive(&mut self) {
        self.waiting.add(Subject::Alive, "WATCHDOG=1".to_owned());
    }

    /// Passes on a message of a worker. Returns whether there was room for it: the manager may not read.
    pub fn pass_on(&mut self, text: String, fds: Vec<OwnedFd>) -> bool {
        self.waiting.pass_on(text, fds)
    }

    /// Asks the manager to keep a copy of this descriptor under this name after the master has exited. With FDPOLL=0 the
    /// manager keeps a datagram socket even after the socket has reported an error.
    pub fn keep(&self, name: &str, fd: BorrowedFd) -> io::Result<()> {
        self.socket.send_patiently(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(fd))
    }

    /// Asks the manager to close all descriptors kept under these names, and returns when they are closed.
    pub fn forget(&self, names: &[&str]) -> io::Result<()> {
        for name in names {
            self.socket.send_patiently(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)?;
        }
        self.socket.barrier()
    }

    /// The socket to wait for if the manager does not read; `None` if no message waits.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        self.blocked.then(|| self.socket.as_fd())
    }

    /// Sends as many messages as the manager accepts now. An error means that a message was lost.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocked = false;
        while let Some(Message { text, fds, .. }) = self.waiting.first() {
            match self.socket.send(text, fds) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                // The manager may have created its socket anew.
                Err(_) => {
                    let again = NotifySocket::connect(&self.address).and_then(|socket| {
                        self.socket = socket;
                        self.socket.send(text, fds)
                    });
                    self.waiting.remove_first();
                    again?;
                }
                Ok(()) => self.waiting.remove_first(),
            }
        }
        Ok(())
    }
}

/// The lines of a transition and the status, cut to the length that systemd accepts.
fn datagram(words: &str, status: &str) -> String {
    let mut text = format!("{words}STATUS={status}");
    let end = (0..=text.len().min(LONGEST_DATAGRAM)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(waiting: &Waiting) -> Vec<&str> {
        waiting.0.iter().map(|message| message.text.as_str()).collect()
    }

    fn transition(waiting: &mut Waiting, transition: Transition, number: usize) {
        waiting.add(Subject::Transition(transition), format!("{transition:?} {number}"));
    }

    fn status(waiting: &mut Waiting, text: &str) {
        waiting.add(Subject::Status, text.to_owned());
    }

    #[test]
    fn only_the_latest_status_waits_and_every_turn() {
        let mut waiting = Waiting::default();
        status(&mut waiting, "a");
        transition(&mut waiting, Transition::Ready, 1);
        status(&mut waiting, "b");
        status(&mut waiting, "c");
        assert_eq!(told(&waiting), ["Ready 1", "c"]);
        transition(&mut waiting, Transition::Reloading, 2);
        assert_eq!(told(&waiting), ["Ready 1", "Reloading 2"]);
        assert_eq!(waiting.first().map(|message| message.text.as_str()), Some("Ready 1"));
        waiting.remove_first();
        assert_eq!(told(&waiting), ["Reloading 2"]);
    }

    #[test]
    fn a_slow_manager_still_gets_the_start_the_last_reload_and_the_stop() {
        let mut waiting = Waiting::default();
        transition(&mut waiting, Transition::Ready, 1);
        for number in 2..1000 {
            transition(&mut waiting, Transition::Reloading, number);
            status(&mut waiting, "status");
            transition(&mut waiting, Transition::Ready, number);
            assert!(waiting.0.len() <= MOST_WAITING);
        }
        transition(&mut waiting, Transition::Reloading, 1000);
        transition(&mut waiting, Transition::Stopping, 1000);
        let told = told(&waiting);
        assert!(told.len() <= MOST_WAITING);
        assert_eq!(told[0], "Ready 1");
        assert_eq!(told[told.len() - 4..], ["Reloading 999", "Ready 999", "Reloading 1000", "Stopping 1000"]);
        for pair in told[1..told.len() - 2].chunks(2) {
            assert_eq!(pair[0].replace("Reloading", ""), pair[1].replace("Ready", ""), "{told:#?}");
        }
    }

    #[test]
    fn no_status_replaces_a_sign_of_life_and_messages_of_workers_are_bounded() {
        let mut waiting = Waiting::default();
        let alive = |waiting: &mut Waiting| waiting.add(Subject::Alive, "alive".to_owned());
        status(&mut waiting, "a");
        alive(&mut waiting);
        status(&mut waiting, "b");
        alive(&mut waiting);
        assert_eq!(told(&waiting), ["b", "alive"]);
        let passed: Vec<bool> = (0..=MOST_PASSED_ON).map(|number| waiting.pass_on(number.to_string(), Vec::new())).collect();
        assert_eq!(passed.iter().filter(|passed| **passed).count(), MOST_PASSED_ON);
        assert_eq!(passed.last(), Some(&false));
        for number in 0..1000 {
            transition(&mut waiting, Transition::Reloading, number);
            alive(&mut waiting);
            transition(&mut waiting, Transition::Ready, number);
        }
        assert!(waiting.0.len() <= MOST_WAITING + 1, "{}", waiting.0.len());
        assert!(
            told(&waiting).contains(&"0") && told(&waiting).ends_with(&["Reloading 999", "alive", "Ready 999"]),
            "{:?}",
            told(&waiting)
        );
    }

    #[test]
    fn a_status_of_any_length_leaves_room_for_the_turn() {
        let long = "\u{e9}".repeat(LONGEST_DATAGRAM);
        let text = datagram("READY=1\n", &long);
        assert!(text.starts_with("READY=1\nSTATUS=\u{e9}") && text.len() <= LONGEST_DATAGRAM && text.len() > LONGEST_DATAGRAM - 2);
        assert_eq!(datagram("", "x"), "STATUS=x");
    }
}
