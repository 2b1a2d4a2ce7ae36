//! A small HTTP/1.1 server on an inherited socket, and a pattern for servers that want to be rolled over politely:
//! after TERM, INT or QUIT it accepts nothing more, answers everything it has accepted, and exits 0.
//!
//! `GET /anything` is answered with pid and generation, `GET /slow?ms=N` with the same after N ms.
//! For demonstrations: HELLO_CRASH=1, or an existing file named by HELLO_CRASH_FILE, makes it exit 7 at once;
//! HELLO_DELAY_MS is start-up work before it accepts. HELLO_STAY=1 makes it deaf: after its last answer it does not exit.
//!
//! `hello --health [HOST:PORT]` asks such a server, exits 0 if it answers, and so is the health check of an image that
//! holds nothing else.

#![allow(unsafe_code, reason = "it takes over the descriptors that it inherits")]

use std::env;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::c_int;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::sockopt::AcceptConn;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockaddrLike, SockaddrStorage, accept4, getsockname, getsockopt, shutdown};

/// How long a kept connection may be idle while we serve.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection accepted before the stop may still take to send its request.
const LAST_REQUEST: Duration = Duration::from_secs(5);
/// How long we read on after the last answer, so that it is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// The longest request head that is read.
const HEAD_LIMIT: usize = 16 * 1024;
/// Interrupts accept(2). It is ignored unless handled, so a late one does no harm.
const KICK: Signal = Signal::SIGURG;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("--health") {
        return match health(&arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("hello: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let listener = match inherited_listener() {
        Ok(listener) => listener,
        Err(why) => {
            eprintln!("hello: {why}; start it with: socketmaster -command=PATH/TO/hello");
            return ExitCode::from(2);
        }
    };
    if told_to_crash() {
        return ExitCode::from(7);
    }
    if let Some(delay) = env::var("HELLO_DELAY_MS").ok().and_then(|text| text.parse().ok()) {
        thread::sleep(Duration::from_millis(delay));
    }
    match serve(listener) {
        Ok(()) if env::var_os("HELLO_STAY").is_some_and(|value| value == "1") => loop {
            thread::park();
        },
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A connection alone would prove nothing: the socket is open whether or not a process accepts.
fn health(address: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(address)?;
    server.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or("nothing");
    if status.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(format!("{address} answers {status}"))) }
}

/// The socket that EINHORN_FDS or LISTEN_FDS speaks of.
fn inherited_listener() -> Result<OwnedFd, String> {
    let fd: c_int = if let Ok(number) = env::var("EINHORN_FDS") {
        number.parse().map_err(|_| format!("EINHORN_FDS={number} is not a number"))?
    } else if env::var("LISTEN_FDS").is_ok_and(|count| count != "0") {
        if env::var("LISTEN_PID").is_ok_and(|pid| pid != process::id().to_string()) {
            return Err("LISTEN_FDS is meant for another process".into());
        }
        3
    } else {
        return Err("no listening socket inherited".into());
    };
    let family = getsockname::<SockaddrStorage>(fd).map_err(|error| format!("fd {fd}: {}", error.desc()))?.family();
    if !matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix)) {
        return Err(format!("fd {fd} is neither a TCP nor a unix socket"));
    }
    // SAFETY: getsockname(2) has shown that the descriptor is open; nothing else in this program owns it.
    let listener = unsafe { OwnedFd::from_raw_fd(fd) };
    if !getsockopt(&listener, AcceptConn).unwrap_or(false) {
        return Err(format!("fd {fd} does not listen"));
    }
    Ok(listener)
}

fn told_to_crash() -> bool {
    env::var_os("HELLO_CRASH").is_some_and(|value| value == "1")
        || env::var_os("HELLO_CRASH_FILE").is_some_and(|path| Path::new(&path).exists())
}

/// Accepts until the stop signal, with one thread for each connection, and returns when every connection has ended.
fn serve(listener: OwnedFd) -> io::Result<()> {
    // Blocked before the first thread exists: all inherit the mask, and one of them waits for these signals.
    let stop_signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT]);
    stop_signals.thread_block()?;
    catch_kick()?;

    // Its write end is closed at the stop: every poll(2) on the read end then returns, in all threads at once.
    let (stop, stop_writer) = io::pipe()?;
    let stop = &Stop(stop);
    let (accepting, accepting_ended) = mpsc::channel();
    // A number, since musl has pointers here, which may not go to another thread.
    let acceptor = pthread_self() as usize;
    thread::spawn(move || {
        let _ = stop_signals.wait();
        drop(stop_writer);
        kick_until_ended(acceptor as Pthread, &accepting_ended);
    });

    // The scope ends when the last connection has.
    thread::scope(|connections| {
        let outcome = accept_until(stop, &listener, |stream| {
            connections.spawn(move || Connection::new(stream, stop).serve());
        });
        drop(accepting);
        // Only our copy: the other generations go on accepting on theirs. No shutdown(2), which would end the socket
        // for all of them.
        drop(listener);
        outcome
    })
}

/// Hands each new connection to `begin` until the stop.
///
/// The listener is shared with other generations, so poll(2) proves nothing: the connection it has seen may be gone
/// when we accept, and accept(2) then blocks. O_NONBLOCK would help, but belongs to the socket and so to all
/// generations: it is not ours to change. So this thread sits in accept(2) and is kicked out of it by a signal. A kick
/// is lost when it comes between the look at `stop` and accept(2); it is therefore repeated until this has returned.
/// An interrupted accept(2) has taken no connection: it looks at the queue first and at signals after.
fn accept_until(stop: &Stop, listener: &OwnedFd, mut begin: impl FnMut(File)) -> io::Result<()> {
    while !stop.is_set() {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4(2) has just made it for us.
            Ok(fd) => begin(unsafe { File::from_raw_fd(fd) }),
            // Someone has made the listener non-blocking. That is fine here, too.
            Err(Errno::EAGAIN) => {
                readable([listener.as_fd(), stop.as_fd()], None);
            }
            // The queue keeps what cannot be taken now.
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                readable([stop.as_fd()], Some(Duration::from_millis(10)));
            }
            Err(error @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP)) => return Err(error.into()),
            // EINTR is the kick. All else befell one connection only, see accept(2).
            Err(_) => {}
        }
    }
    Ok(())
}

/// Makes KICK interrupt system calls: a handler that does nothing, without SA_RESTART.
fn catch_kick() -> nix::Result<()> {
    extern "C" fn nothing(_: c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler touches nothing.
    unsafe { sigaction(KICK, &action) }?;
    SigSet::from(KICK).thread_unblock()
}

fn kick_until_ended(acceptor: Pthread, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        let _ = pthread_kill(acceptor, KICK);
    }
}

/// Becomes readable, for good, at the stop signal.
struct Stop(PipeReader);

impl Stop {
    fn is_set(&self) -> bool {
        readable([self.as_fd()], Some(Duration::ZERO))[0]
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of `fds` can be read (or have ended) within `patience`, all false if none; `None` waits for ever.
fn readable<const N: usize>(fds: [BorrowedFd; N], patience: Option<Duration>) -> [bool; N] {
    let timeout = patience.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while poll(&mut polled, timeout) == Err(Errno::EINTR) {}
    polled.map(|fd| fd.any().unwrap_or(true))
}

struct Connection<'a> {
    stream: File,
    stop: &'a Stop,
    /// Read, but not yet answered.
    unanswered: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn new(stream: File, stop: &'a Stop) -> Self {
        Self { stream, stop, unanswered: Vec::new() }
    }

    /// Answers one request after another. A client that breaks off ends only its own connection.
    fn serve(mut self) {
        let mut answered = false;
        while let Some(head) = self.next_head(answered) {
            let (status, body, client_closes) = answer(&head);
            // A request that has been read as well gets its own answer, and the close is told with that one.
            let closes = client_closes || (self.stop.is_set() && self.unanswered.is_empty());
            let connection = if closes { "close" } else { "keep-alive" };
            let response = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
                body.len()
            );
            if self.stream.write_all(response.as_bytes()).is_err() {
                return;
            }
            if closes {
                return self.linger();
            }
            answered = true;
        }
    }

    /// The next request's head, or nothing when the connection is over: the client has closed it, or was idle for too
    /// long, or we are stopping and owe it nothing.
    fn next_head(&mut self, answered: bool) -> Option<String> {
        let mut give_up = None;
        loop {
            if let Some(end) = find(&self.unanswered, b"\r\n\r\n") {
                let head = self.unanswered.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap_or_default());
            }
            if self.unanswered.len() > HEAD_LIMIT {
                return Some(String::new());
            }
            let [here, stopping] = readable([self.stream.as_fd(), self.stop.as_fd()], Some(IDLE));
            if stopping && !here {
                // A client that has had an answer knows how to ask again elsewhere. One whose connection was accepted
                // and never answered would see a failure: it gets its time.
                let idle = answered && self.unanswered.is_empty();
                let patience = if idle { Duration::ZERO } else { LAST_REQUEST };
                let give_up = *give_up.get_or_insert_with(|| Instant::now() + patience);
                if !readable([self.stream.as_fd()], Some(give_up.saturating_duration_since(Instant::now())))[0] {
                    return None;
                }
            } else if !here {
                return None;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.unanswered.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Says the end and waits for the client's: closing with bytes unread would reset the connection and take the
    /// answer with it.
    fn linger(mut self) {
        let _ = shutdown(self.stream.as_raw_fd(), Shutdown::Write);
        let give_up = Instant::now() + LINGER;
        let mut buffer = [0; 4096];
        while readable([self.stream.as_fd()], Some(give_up.saturating_duration_since(Instant::now())))[0] {
            if !matches!(self.stream.read(&mut buffer), Ok(1..)) {
                return;
            }
        }
    }
}

/// Status, body and whether the connection ends with this answer.
fn answer(head: &str) -> (&'static str, String, bool) {
    let mut lines = head.lines();
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else {
        return ("400 Bad Request", "not a request\n".into(), true);
    };
    if method != "GET" {
        // Its body, if any, is not understood, so nothing after it is either.
        return ("405 Method Not Allowed", "GET only\n".into(), true);
    }
    if let Some(time) = target.strip_prefix("/slow?ms=") {
        let Ok(time) = time.parse() else {
            return ("400 Bad Request", "ms is a number\n".into(), true);
        };
        thread::sleep(Duration::from_millis(time));
    }
    let asked = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .map(|(_, value)| value.trim().to_ascii_lowercase());
    let client_closes = match asked.as_deref() {
        Some("close") => true,
        Some("keep-alive") => false,
        _ => version == "HTTP/1.0",
    };
    let generation = env::var("SERVER_STARTER_GENERATION").unwrap_or_else(|_| "?".into());
    ("200 OK", format!("pid {} generation {generation}\n", process::id()), client_closes)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
