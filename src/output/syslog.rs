//! The connection to syslogd, which is made anew whenever it is lost. Never blocks.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use syslog::{Facility, LogFormat, Severity};

use super::log::{Blocked, NAME, marked_with};
use crate::sys::errno;
use crate::sys::socket::{self, ConnectWait};
use crate::sys::stderr::NonblockingStderr;
use crate::types::level::Level;
use crate::types::socket_name::SocketName;

const DEV_LOG: &str = "/dev/log";

#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    header: Header,
    connection: Option<Connection>,
    /// Whether the log already says that there is no syslogd.
    absence_told: bool,
    /// The line that is being sent, with its header.
    message: Vec<u8>,
    /// The rest of a line that goes to standard error instead. Never more than one line and a note.
    detour: Vec<u8>,
}

#[derive(Debug)]
enum Connection {
    /// Each line is one datagram.
    Datagram(UnixDatagram),
    /// A stream, as syslog-ng and others use it. Each line ends with a NUL, as glibc's syslog(3) sends it. `sent` bytes of the
    /// current line have been sent.
    Stream { socket: UnixStream, sent: usize },
}

/// RFC 3164's header as a local syslogd accepts it, without a time: syslogd adds the local time, and the crate's formatter
/// knows UTC only. The text after it is bytes and need not be UTF-8.
#[derive(Debug)]
struct Header {
    pid: u32,
}

impl LogFormat<&[u8]> for Header {
    fn format<W: Write>(&self, out: &mut W, severity: Severity, text: &[u8]) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        write!(out, "<{priority}>{NAME}[{}]: ", self.pid).and_then(|()| out.write_all(text)).map_err(syslog::Error::Write)
    }
}

/// As syslog counts it, and the journal.
pub(super) const fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Notice => Severity::LOG_INFO,
        Level::Info => Severity::LOG_DEBUG,
    }
}

impl Connection {
    fn open(path: &Path) -> io::Result<Connection> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match socket.connect(path) {
            Ok(()) => Ok(Connection::Datagram(socket)),
            Err(error) if errno::is(&error, errno::EPROTOTYPE) => {
                let connected = socket::connect_stream(&SocketName::Path(path.to_owned()), ConnectWait::None);
                let socket = connected.map_err(|error| match error.kind() {
                    // Without a syslogd there would be nothing to wait for.
                    ErrorKind::WouldBlock => io::Error::other("it does not accept connections"),
                    _ => error,
                })?;
                Ok(Connection::Stream { socket, sent: 0 })
            }
            Err(error) => Err(error),
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Connection::Datagram(socket) => socket.as_fd(),
            Connection::Stream { socket, .. } => socket.as_fd(),
        }
    }

    /// Sends the text. After `WouldBlock` the caller tries again with the same text, of which a part may have been sent.
    fn send(&mut self, header: &Header, level: Level, text: &[u8], message: &mut Vec<u8>) -> io::Result<()> {
        message.clear();
        header.format(message, severity(level), text).map_err(|error| io::Error::other(error.to_string()))?;
        match self {
            Connection::Datagram(socket) => socket.send(message).map(drop),
            Connection::Stream { socket, sent } => {
                end_with_nul(message);
                while let Some(rest) = message.get(*sent..).filter(|rest| !rest.is_empty()) {
                    match socket.write(rest) {
                        Ok(count) => *sent = sent.saturating_add(count),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                *sent = 0;
                Ok(())
            }
        }
    }
}

/// Escapes NUL as rsyslog does, because it would end the message too soon.
fn end_with_nul(message: &mut Vec<u8>) {
    if memchr::memchr(0, message).is_some() {
        *message = message.split(|byte| *byte == 0).collect::<Vec<_>>().join(&b"#000"[..]);
    }
    message.push(0);
}

impl Syslog {
    pub fn new(pid: u32) -> Syslog {
        Syslog::at(Path::new(DEV_LOG), pid)
    }

    fn at(path: &Path, pid: u32) -> Syslog {
        Syslog {
            path: path.to_owned(),
            header: Header { pid },
            connection: None,
            absence_told: false,
            message: Vec::new(),
            detour: Vec::new(),
        }
    }

    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(Connection::socket)
    }

    /// Sends the first line of `waiting`, which begins with the mark of its level. Returns the length of that line.
    pub fn write(&mut self, waiting: &[u8], stderr: &mut NonblockingStderr, tag: &str) -> Result<usize, (io::Error, Blocked)> {
        let (line, length) = match memchr::memchr(b'\n', waiting) {
            Some(end) => (waiting.get(..end).unwrap_or_default(), end + 1),
            None => (waiting, waiting.len()),
        };
        let (level, text) = line.split_first().map_or((Level::Notice, line), |(mark, text)| (marked_with(*mark), text));
        if self.detour.is_empty() {
            match self.send(level, text) {
                Ok(()) => return Ok(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err((error, Blocked::Syslog)),
                Err(error) => {
                    if !std::mem::replace(&mut self.absence_told, true) {
                        let path = self.path.display();
                        let _ =
                            writeln!(self.detour, "{tag}cannot reach syslog at {path}: {}; standard error instead", errno::reason(&error));
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

    /// Sends the line, over a new connection if the old one is dead: syslogd may have been restarted.
    fn send(&mut self, level: Level, text: &[u8]) -> io::Result<()> {
        if let Some(connection) = &mut self.connection {
            match connection.send(&self.header, level, text, &mut self.message) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => self.connection = None,
                sent_or_blocked => return sent_or_blocked,
            }
        }
        let mut connection = Connection::open(&self.path)?;
        let sent = connection.send(&self.header, level, text, &mut self.message);
        self.connection = Some(connection);
        self.absence_told &= sent.is_err();
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A path for a socket of this test's own; the file goes away with it.
    struct Free(PathBuf);

    impl Free {
        fn path(name: &str) -> Free {
            let path = std::env::temp_dir().join(format!("socketmaster-syslog-{}-{name}", std::process::id()));
            let _ = fs::remove_file(&path);
            Free(path)
        }
    }

    impl Drop for Free {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn stderr() -> (NonblockingStderr, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("a socket");
        (NonblockingStderr::over(OwnedFd::from(ours)), theirs)
    }

    fn said(mut source: &UnixStream) -> String {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn datagrams_carry_the_severity_of_their_line() {
        let at = Free::path("datagram");
        let syslogd = UnixDatagram::bind(&at.0).expect("a path of our own");
        let (mut err, _reader) = stderr();
        let mut syslog = Syslog::at(&at.0, 7);
        for (line, datagram) in [
            ("ereload failed\n", "<27>socketmaster[7]: reload failed"),
            ("wlost\n", "<28>socketmaster[7]: lost"),
            ("nstarted\nrest", "<30>socketmaster[7]: started"),
            ("idetail\n", "<31>socketmaster[7]: detail"),
            ("n\n", "<30>socketmaster[7]: "),
        ] {
            let taken = syslog.write(line.as_bytes(), &mut err, "tag: ").map_err(|(error, _)| error.kind());
            assert_eq!(taken, Ok(line.find('\n').expect("an end") + 1));
            let mut bytes = [0; 100];
            let count = syslogd.recv(&mut bytes).expect("a datagram");
            assert_eq!(&bytes[..count], datagram.as_bytes());
        }
    }

    #[test]
    fn a_stream_gets_each_line_whole_however_it_is_cut_up_and_a_new_one_after_a_restart() {
        const LINES: usize = 500;
        let at = Free::path("stream");
        let listener = UnixListener::bind(&at.0).expect("a path of our own");
        let (mut err, _reader) = stderr();
        let mut syslog = Syslog::at(&at.0, 7);
        let line = |number: usize| [format!("n{number} ").as_bytes(), &[b'x'; 3000], b"\0y\n"].concat();
        let mut taken = 0;
        // Until nothing more fits: the last line is under way, and a part of it may have gone.
        while syslog.write(&line(taken), &mut err, "tag: ").is_ok() {
            taken += 1;
        }
        assert!(taken > 0 && taken < LINES, "{taken}");
        let (mut connection, _) = listener.accept().expect("it has connected");
        connection.set_nonblocking(true).expect("a socket");
        let mut bytes = Vec::new();
        while taken < LINES {
            let _ = connection.read_to_end(&mut bytes);
            if syslog.write(&line(taken), &mut err, "tag: ").is_ok() {
                taken += 1;
            }
        }
        let _ = connection.read_to_end(&mut bytes);
        let messages: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        assert_eq!((messages.len(), messages[LINES]), (LINES + 1, &b""[..]));
        for (number, message) in messages[..LINES].iter().enumerate() {
            let whole = [format!("<30>socketmaster[7]: {number} ").as_bytes(), &[b'x'; 3000], b"#000y"].concat();
            assert_eq!(*message, whole, "{number}");
        }

        drop(connection);
        assert!(syslog.write(b"nagain\n", &mut err, "tag: ").is_ok());
        let (mut connection, _) = listener.accept().expect("it has connected anew");
        let mut bytes = [0; 100];
        let count = connection.read(&mut bytes).expect("a message");
        assert_eq!(&bytes[..count], b"<30>socketmaster[7]: again\0");
    }

    #[test]
    fn without_syslogd_lines_go_to_standard_error_and_one_note_says_so() {
        let at = Free::path("nobody");
        let (mut err, reader) = stderr();
        let mut syslog = Syslog::at(&at.0, 7);
        for _ in 0..2 {
            assert!(syslog.write(b"nline\n", &mut err, "tag: ").is_ok());
        }
        let text = said(&reader);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("tag: cannot reach syslog at ") && lines[0].ends_with("; standard error instead"), "{text}");
        assert_eq!(lines[1..], ["tag: line", "tag: line"]);
        assert!(syslog.detour.is_empty());
    }

    #[test]
    fn a_detour_that_is_blocked_keeps_one_line_and_loses_none() {
        let at = Free::path("blocked");
        let (mut err, reader) = stderr();
        let mut syslog = Syslog::at(&at.0, 7);
        let line = |number: usize| [format!("n{number} ").as_bytes(), &[b'x'; 3000], b"\n"].concat();
        let mut taken = 0;
        let blocked = loop {
            match syslog.write(&line(taken), &mut err, "") {
                Ok(_) => taken += 1,
                Err((error, whom)) => break (error.kind(), whom),
            }
        };
        assert_eq!(blocked, (ErrorKind::WouldBlock, Blocked::Stderr));
        for _ in 0..100 {
            assert!(syslog.write(&line(taken), &mut err, "").is_err());
        }
        assert!(syslog.detour.len() < 5000, "{}", syslog.detour.len());
        let mut text = said(&reader);
        assert!(syslog.write(&line(taken), &mut err, "").is_ok());
        text.push_str(&said(&reader));
        let numbers: Vec<usize> = text.lines().skip(1).filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        assert_eq!(numbers, (0..=taken).collect::<Vec<_>>());
    }
}
