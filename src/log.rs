//! Where notes and the workers' lines go: standard error or syslog. Writing never blocks: what cannot be written now
//! waits here, and while it waits nothing more is read from the workers.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

use crate::ids::Pid;
use crate::relay::{Line, Sink};
use crate::sys::outlet::Outlet;

const NAME: &str = "socketmaster";
const DEV_LOG: &str = "/dev/log";
/// Above this the workers' output is not read; above as much again, of notes alone, notes are counted instead of kept.
const FULL: usize = 64 * 1024;
/// The queue's memory beyond this is given back once it has been written.
const KEEP: usize = 256 * 1024;

/// Lines on their way out.
#[derive(Debug)]
pub struct Log {
    stderr: Outlet,
    syslog: Option<Syslog>,
    /// "socketmaster[PID]: ", before each note on standard error; syslog has it in its header.
    tag: String,
    line_tag: LineTag,
    queue: Vec<u8>,
    written: usize,
    blocked: Option<Blocked>,
    /// Bytes of notes that were put into a queue already full.
    notes_beyond: usize,
    lost_notes: u64,
}

/// What stands before a worker's line: kept, since the next line is most often the same worker's.
#[derive(Debug, Default)]
struct LineTag {
    of: Option<(Pid, bool)>,
    text: [u8; LineTag::ROOM],
    length: usize,
}

impl LineTag {
    /// For "[2147483647]+ ".
    const ROOM: usize = 16;

    /// Adds `[pid] `, or `[pid]+ ` where the line goes on from a cut.
    fn add_to(&mut self, queue: &mut Vec<u8>, line: &Line) {
        let of = Some((line.pid, line.continued));
        if self.of != of {
            self.of = of;
            let mut rest = self.text.as_mut_slice();
            let _ = write!(rest, "[{}]{} ", line.pid, if line.continued { "+" } else { "" });
            self.length = Self::ROOM - rest.len();
        }
        // All of the room, then cut: so the size is known when this is compiled, and it is one move instead of a memcpy(3),
        // which takes as long for these few bytes as for the line.
        queue.extend(self.text);
        queue.truncate((queue.len() + self.length).saturating_sub(Self::ROOM));
    }
}

/// Which of the two is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blocked {
    Stderr,
    Syslog,
}

impl Log {
    pub fn new(to_syslog: bool) -> Log {
        let pid = std::process::id();
        Log {
            stderr: Outlet::stderr(),
            syslog: to_syslog.then(|| Syslog::new(pid)),
            tag: format!("{NAME}[{pid}]: "),
            line_tag: LineTag::default(),
            queue: Vec::new(),
            written: 0,
            blocked: None,
            notes_beyond: 0,
            lost_notes: 0,
        }
    }

    /// One line of the master's own.
    pub fn note(&mut self, text: impl Display) {
        if !self.is_full() {
            self.notes_beyond = 0;
            self.tell_lost_notes();
            self.put(text);
        } else if self.notes_beyond < FULL {
            // A worker that writes much must not cost the note of its death.
            let before = self.queue.len();
            self.put(text);
            self.notes_beyond += self.queue.len() - before;
        } else {
            self.lost_notes = self.lost_notes.saturating_add(1);
        }
    }

    fn tell_lost_notes(&mut self) {
        let lost = std::mem::take(&mut self.lost_notes);
        if lost > 0 {
            self.put(format_args!("{lost} notes lost while the log was blocked"));
        }
    }

    fn put(&mut self, text: impl Display) {
        let tag = if self.syslog.is_none() { self.tag.as_str() } else { "" };
        // Cannot fail: a Vec takes all.
        let _ = writeln!(self.queue, "{tag}{text}");
    }

    /// Whether the workers must wait with what they write.
    pub fn is_full(&self) -> bool {
        self.blocked.is_some() && self.queue.len() - self.written >= FULL
    }

    /// What to wait for until more can be written; `None` where nothing waits.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match (self.blocked?, &self.syslog) {
            (Blocked::Syslog, Some(Syslog { connection: Some(connection), .. })) => connection.socket(),
            _ => Some(self.stderr.as_fd()),
        }
    }

    /// Writes what can be written now, and then how many notes were lost meanwhile.
    pub fn flush(&mut self) {
        self.write_queue();
        if self.blocked.is_none() && self.lost_notes > 0 {
            self.tell_lost_notes();
            self.write_queue();
        }
    }

    fn write_queue(&mut self) {
        self.blocked = None;
        while let Some(waiting) = self.queue.get(self.written..).filter(|waiting| !waiting.is_empty()) {
            let result = match &mut self.syslog {
                None => self.stderr.write(waiting).map_err(|error| (error, Blocked::Stderr)),
                Some(syslog) => syslog.write(waiting, &mut self.stderr, &self.tag),
            };
            match result {
                Ok(count) => self.written = self.written.saturating_add(count),
                Err((error, whom)) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = Some(whom);
                    break;
                }
                // Nobody reads there any more, and nobody ever will: what is lost, is lost.
                Err(_) => self.written = self.queue.len(),
            }
        }
        if self.written >= self.queue.len() {
            self.queue.clear();
            self.queue.shrink_to(KEEP);
            self.written = 0;
        } else if self.written >= FULL {
            self.queue.drain(..self.written);
            self.written = 0;
        }
    }
}

impl Sink for Log {
    fn line(&mut self, line: Line) {
        self.line_tag.add_to(&mut self.queue, &line);
        self.queue.extend_from_slice(line.bytes);
        self.queue.push(b'\n');
    }

    fn takes_more(&mut self) -> bool {
        if self.queue.len() - self.written >= FULL {
            self.flush();
        }
        !self.is_full()
    }
}

/// The connection to syslogd, made anew whenever it is lost.
#[derive(Debug)]
struct Syslog {
    pid: u32,
    connection: Option<Connection>,
    /// It has been said that there is no syslogd.
    absence_told: bool,
    datagram: Vec<u8>,
    /// The part of a line that goes to standard error instead and did not fit.
    detour: Vec<u8>,
}

struct Connection(Logger<LoggerBackend, Header>);

/// RFC 3164's header as a local syslogd takes it: without a time, since the crate's own formatter can only give UTC where
/// local time is meant, and the receiver's clock is right. The text behind it is bytes: it need not be UTF-8.
struct Header {
    pid: u32,
}

impl LogFormat<&[u8]> for Header {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, text: &[u8]) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        write!(out, "<{priority}>{NAME}[{}]: ", self.pid).and_then(|()| out.write_all(text)).map_err(syslog::Error::Write)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(DEV_LOG)
    }
}

impl Connection {
    fn open(pid: u32) -> io::Result<Connection> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(DEV_LOG)?;
        Ok(Connection(Logger::new(LoggerBackend::Unix(socket), Header { pid })))
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.backend {
            LoggerBackend::Unix(socket) => Some(socket.as_fd()),
            LoggerBackend::UnixStream(_) | LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => None,
        }
    }

    /// One line as one datagram, put together in `datagram`.
    fn send(&mut self, text: &[u8], datagram: &mut Vec<u8>) -> io::Result<()> {
        datagram.clear();
        self.0.formatter.format(datagram, Severity::LOG_INFO, text).map_err(|error| io::Error::other(error.to_string()))?;
        self.0.backend.write(datagram).map(drop)
    }
}

impl Syslog {
    fn new(pid: u32) -> Syslog {
        Syslog { pid, connection: None, absence_told: false, datagram: Vec::new(), detour: Vec::new() }
    }

    /// Takes one line from the front of `waiting`; how many bytes it took.
    fn write(&mut self, waiting: &[u8], stderr: &mut Outlet, tag: &str) -> Result<usize, (io::Error, Blocked)> {
        let (text, length) = match waiting.iter().position(|byte| *byte == b'\n') {
            Some(end) => (waiting.get(..end).unwrap_or_default(), end + 1),
            None => (waiting, waiting.len()),
        };
        if self.detour.is_empty() {
            match self.send(text) {
                Ok(()) => return Ok(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err((error, Blocked::Syslog)),
                Err(error) => {
                    if !std::mem::replace(&mut self.absence_told, true) {
                        let _ = writeln!(self.detour, "{tag}cannot reach syslog at {DEV_LOG}: {error}; standard error instead");
                    }
                    self.detour.extend_from_slice(tag.as_bytes());
                    self.detour.extend_from_slice(text);
                    self.detour.push(b'\n');
                }
            }
        }
        while !self.detour.is_empty() {
            match stderr.write(&self.detour) {
                Ok(count) => drop(self.detour.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err((error, Blocked::Stderr)),
                Err(_) => self.detour.clear(),
            }
        }
        Ok(length)
    }

    /// Once more over a new connection where the old one is dead: syslogd may have been restarted.
    fn send(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(connection) = &mut self.connection {
            match connection.send(text, &mut self.datagram) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => self.connection = None,
                sent_or_blocked => return sent_or_blocked,
            }
        }
        let mut connection = Connection::open(self.pid)?;
        let sent = connection.send(text, &mut self.datagram);
        self.connection = Some(connection);
        self.absence_told &= sent.is_err();
        sent
    }
}
