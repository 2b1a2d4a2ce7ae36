//! The socket to which one worker sends the messages of sd_notify(3).
//!
//! Each worker has a socket of its own. So a message is known to be of this worker, whoever of its processes has sent it,
//! and even if that process has exited. The socket has an abstract name: no directory must be writable for the worker's user.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::message::{LONGEST_MESSAGE, Message, Watchdog};
use super::sender::{Namespace, Subject};
use crate::sys::notify::NotifyReceiver;
use crate::sys::random;
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, Pid};
use crate::types::time::Instant;

/// How many names are tried: somebody else may have taken one.
const MOST_NAMES: usize = 8;

/// The socket of one worker.
#[derive(Debug)]
pub struct NotifySocket {
    receiver: NotifyReceiver,
    address: String,
    namespace: Namespace,
    /// The user as which the worker starts, unless it is the master's own.
    uid: Option<u32>,
    watchdog: WorkerWatchdog,
    /// The last STATUS.
    pub status: Option<OneLine>,
    /// A refused message was logged. More of them say nothing new.
    told: bool,
}

/// What has come.
#[derive(Debug)]
pub enum Heard {
    /// A message and its descriptors, which are closed when this is dropped.
    Message(Message, Vec<OwnedFd>),
    /// A message that counts for nothing, and why.
    Refused(String),
    /// A further one.
    RefusedAgain,
}

impl NotifySocket {
    /// Opens a socket for a worker of this generation that starts as the user `uid`, or as the master's own. `watchdog` is the
    /// time within which the worker must report again, once it has.
    pub fn open(
        generation: GenerationNumber,
        namespace: Namespace,
        uid: Option<u32>,
        watchdog: Option<Duration>,
    ) -> io::Result<NotifySocket> {
        let master = std::process::id();
        let mut failure = io::Error::from(ErrorKind::AddrInUse);
        for _ in 0..MOST_NAMES {
            // Nobody else can take a name that nobody can guess.
            let name = format!("socketmaster/{master}/{generation}/{:016x}", random::number());
            match NotifyReceiver::bind(name.as_bytes()) {
                Ok(receiver) => {
                    let address = format!("@{name}");
                    let watchdog = WorkerWatchdog::new(watchdog);
                    return Ok(NotifySocket { receiver, address, namespace, uid, watchdog, status: None, told: false });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// The value of NOTIFY_SOCKET.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next message; `None` if there is none now. The worker has this pid.
    pub fn next(&mut self, pid: Pid) -> Option<Heard> {
        let mut buffer = [0; LONGEST_MESSAGE];
        let datagram = self.receiver.receive(&mut buffer).ok()?;
        let worker = Subject { pid, uid: self.uid };
        let refused = match datagram.sender {
            None => "its sender is unknown".to_owned(),
            Some(sender) if !self.namespace.trusts(sender, worker) => {
                format!("its sender (pid {}, uid {}) does not belong to the worker", sender.pid, sender.uid)
            }
            Some(_) if datagram.is_cut => format!("it is longer than {LONGEST_MESSAGE} bytes"),
            Some(_) => {
                let bytes = buffer.get(..datagram.length).unwrap_or_default();
                return Some(Heard::Message(Message::read(bytes), datagram.fds));
            }
        };
        let again = std::mem::replace(&mut self.told, true);
        Some(if again { Heard::RefusedAgain } else { Heard::Refused(refused) })
    }

    pub fn watchdog(&mut self) -> &mut WorkerWatchdog {
        &mut self.watchdog
    }

    /// When the worker must have reported.
    pub fn deadline(&self) -> Option<Instant> {
        self.watchdog.due
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// The watchdog of a worker. It begins with the first WATCHDOG=1: a program that sends none is not watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerWatchdog {
    time: Option<Duration>,
    due: Option<Instant>,
    /// How often the worker has been late in a row.
    late: u32,
}

/// The worker has not reported in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Late {
    pub time: Duration,
    /// It was late before, and has not ended since.
    pub again: bool,
}

impl WorkerWatchdog {
    fn new(time: Option<Duration>) -> WorkerWatchdog {
        WorkerWatchdog { time: time.filter(|time| !time.is_zero()), due: None, late: 0 }
    }

    /// A message has come.
    pub fn hear(&mut self, message: &Message, now: Instant) {
        if let Some(time) = message.watchdog_time {
            self.time = Some(time).filter(|time| !time.is_zero());
            self.due = self.due.and(self.time).map(|time| now.after(time));
        }
        match message.watchdog {
            Some(Watchdog::Alive) => {
                self.late = 0;
                self.due = self.time.map(|time| now.after(time));
            }
            Some(Watchdog::Trigger) if self.time.is_some() => self.due = Some(now),
            Some(Watchdog::Trigger) | None => {}
        }
    }

    /// Takes the watchdog off duty: the worker is suspended or told to stop.
    pub fn rest(&mut self) {
        self.due = None;
    }

    /// Whether the worker is late now. It is given the same time again before it counts as late once more.
    pub fn check(&mut self, now: Instant) -> Option<Late> {
        let time = self.time?;
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = Some(now.after(time));
        self.late = self.late.saturating_add(1);
        Some(Late { time, again: self.late > 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Instant {
        Instant(Duration::from_secs(seconds))
    }

    fn hear(watchdog: &mut WorkerWatchdog, text: &str, second: u64) {
        watchdog.hear(&Message::read(text.as_bytes()), at(second));
    }

    #[test]
    fn a_worker_is_late_only_after_it_has_reported_once() {
        let mut watchdog = WorkerWatchdog::new(Some(TIME));
        assert_eq!(watchdog.check(at(100)), None);
        hear(&mut watchdog, "WATCHDOG=1", 100);
        assert_eq!(watchdog.check(at(101)), None);
        hear(&mut watchdog, "STATUS=x", 101);
        assert_eq!(watchdog.check(at(102)), Some(Late { time: TIME, again: false }));
        assert_eq!(watchdog.check(at(103)), None);
        assert_eq!(watchdog.check(at(104)), Some(Late { time: TIME, again: true }));
        hear(&mut watchdog, "WATCHDOG=1", 105);
        assert_eq!(watchdog.check(at(107)), Some(Late { time: TIME, again: false }));
        watchdog.rest();
        assert_eq!(watchdog.check(at(200)), None);
    }

    #[test]
    fn a_worker_may_change_its_time_and_trigger_its_watchdog() {
        let mut watchdog = WorkerWatchdog::new(None);
        hear(&mut watchdog, "WATCHDOG=1", 1);
        hear(&mut watchdog, "WATCHDOG=trigger", 1);
        assert_eq!(watchdog.check(at(100)), None, "nobody asked for it");
        hear(&mut watchdog, "WATCHDOG_USEC=5000000\nWATCHDOG=1", 100);
        assert_eq!(watchdog.check(at(104)), None);
        hear(&mut watchdog, "WATCHDOG_USEC=1000000", 104);
        assert!(watchdog.check(at(105)).is_some());
        hear(&mut watchdog, "WATCHDOG_USEC=0", 105);
        assert_eq!(watchdog.check(at(1000)), None);
        let mut watchdog = WorkerWatchdog::new(Some(TIME));
        hear(&mut watchdog, "WATCHDOG=trigger", 1);
        assert_eq!(watchdog.check(at(1)), Some(Late { time: TIME, again: false }));
    }
}
