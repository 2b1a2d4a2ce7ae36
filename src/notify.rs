//! What the service manager is told, sd_notify(3): systemd, or whoever has set NOTIFY_SOCKET. Of the master only: what
//! workers say of themselves comes in by a socket of their generation, and is not passed on here.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use crate::handoff;
use crate::ids::Moment;
use crate::sys::notify::NotifySocket;

/// A manager that reads so slowly gets the latest.
const MOST_WAITING: usize = 64;
/// systemd ignores a longer datagram, and READY=1 with it.
const LONGEST_DATAGRAM: usize = 4096;

/// The way up.
#[derive(Debug)]
pub struct Manager {
    address: OsString,
    socket: NotifySocket,
    waiting: VecDeque<String>,
    blocked: bool,
    status: String,
}

impl Manager {
    /// The manager that NOTIFY_SOCKET names, if it names one.
    pub fn find(environment: &[(OsString, OsString)]) -> Option<io::Result<Manager>> {
        handoff::variable(environment, "NOTIFY_SOCKET").map(Manager::connect)
    }

    fn connect(address: &OsStr) -> io::Result<Manager> {
        Ok(Manager {
            address: address.to_owned(),
            socket: NotifySocket::connect(address)?,
            waiting: VecDeque::new(),
            blocked: false,
            status: String::new(),
        })
    }

    /// The first start or a reload is over, and a generation serves.
    pub fn ready(&mut self, status: String) {
        self.say("READY=1\n", status);
    }

    /// A reload has begun. With the time in the same datagram: without it systemd does not take it for the answer to its
    /// own request.
    pub fn reloading(&mut self, now: Moment, status: String) {
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.0.as_micros()), status);
    }

    pub fn stopping(&mut self, status: String) {
        self.say("STOPPING=1\n", status);
    }

    /// One line on how things are, said again only when it has changed.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            self.say("", status);
        }
    }

    fn say(&mut self, turn: &str, status: String) {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        let mut text = format!("{turn}STATUS={status}");
        let mut end = text.len().min(LONGEST_DATAGRAM);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.waiting.push_back(text);
        self.status = status;
    }

    /// Has this descriptor kept under this name beyond the master's life. FDPOLL=0, lest an error that a datagram socket
    /// reports counts as its end.
    pub fn keep(&self, name: &str, fd: BorrowedFd) -> io::Result<()> {
        self.socket.send_patiently(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(fd))
    }

    /// Has all descriptors of these names closed, and returns when they are.
    pub fn forget(&self, names: &[&str]) -> io::Result<()> {
        for name in names {
            self.socket.send_patiently(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)?;
        }
        self.socket.barrier()
    }

    /// What to wait for until more can be said; `None` where nothing waits.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        self.blocked.then(|| self.socket.as_fd())
    }

    /// Says what can be said now. An error means that something was lost.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocked = false;
        while let Some(text) = self.waiting.front() {
            match self.socket.send(text) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                // It may have made its socket anew.
                Err(_) => {
                    let again = NotifySocket::connect(&self.address).and_then(|socket| {
                        self.socket = socket;
                        self.socket.send(text)
                    });
                    self.waiting.pop_front();
                    again?;
                }
                Ok(()) => drop(self.waiting.pop_front()),
            }
        }
        Ok(())
    }
}
