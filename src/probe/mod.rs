//! `-probe`: asks one server of this host whether it is healthy.
//!
//! It must not serve an intruder as a way to other hosts, or to read what a server sends. Therefore it connects only to addresses
//! of this host and prints nothing of an answer but its status line.

pub mod http;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use self::http::Answer;
use crate::config::Probe;
use crate::config::probe_url::{HttpRequest, Target};
use crate::sys::errno::{self, reason};
use crate::sys::poll::{Interest, Wait};
use crate::sys::signal::InheritedSignals;
use crate::sys::socket::{self, ConnectWait};
use crate::sys::stderr::NonblockingStderr;
use crate::sys::{clock, fd};
use crate::types::one_line::OneLine;
use crate::types::time::Instant;

/// The most bytes in which the status line must be complete.
const LONGEST_HEAD: usize = 16 * 1024;
/// How much of the rest of an answer is read and thrown away, and for how long: a server that is cut off would log an error.
const LONGEST_REST: usize = 64 * 1024;
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Asks, prints one line, on standard error if the server is not healthy, and returns the status to exit with.
pub fn run(probe: &Probe, found: InheritedSignals) -> u8 {
    // The probe is no master: Ctrl-C and other signals must end it.
    found.restore();
    let url = &probe.url.written;
    // The status is the answer; nobody has to read the line.
    match ask(probe) {
        Ok(how) => {
            let _ = writeln!(io::stdout(), "healthy: {url}: {}", OneLine::from(how));
            0
        }
        Err(cause) => {
            let _ = writeln!(io::stderr(), "{}unhealthy: {url}: {}", NonblockingStderr::error_tag(), OneLine::from(cause));
            1
        }
    }
}

/// How the server has answered. The error says why it is not healthy.
fn ask(probe: &Probe) -> Result<String, String> {
    let limit = Limit { within: probe.within, end: clock::now().after(probe.within) };
    let stream = match &probe.url.target {
        Target::Inet(addresses) => connect_to_one_of(addresses, &limit)?,
        Target::Unix(name) => {
            let connected = socket::connect_stream(name, ConnectWait::Until(limit.within));
            connected.map(OwnedFd::from).map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => limit.over("no connection"),
                _ => cannot_connect(&error),
            })?
        }
    };
    match &probe.url.request {
        None => Ok("connected".to_owned()),
        Some(request) => exchange(&stream, request, &limit),
    }
}

/// The time in which everything must be over.
struct Limit {
    within: Duration,
    end: Instant,
}

impl Limit {
    /// Waits until the descriptor is ready, and no longer than until the end; false then.
    fn wait(&self, stream: &OwnedFd, interest: Interest) -> bool {
        loop {
            let left = self.end.since(clock::now());
            let mut wait = Wait::default();
            wait.add(stream.as_fd(), interest);
            match wait.ready(Some(left)).contains(&true) {
                true => return true,
                false if left.is_zero() => return false,
                false => {}
            }
        }
    }

    fn over(&self, missing: &str) -> String {
        format!("{missing} within {} ms", self.within.as_millis())
    }
}

fn cannot_connect(error: &io::Error) -> String {
    format!("cannot connect: {}", reason(error))
}

/// The cause is that of the first address: the others are guesses.
fn connect_to_one_of(addresses: &[SocketAddr], limit: &Limit) -> Result<OwnedFd, String> {
    let mut first = None;
    for address in addresses {
        match connect(*address, limit) {
            Ok(stream) => return Ok(stream),
            Err(cause) => first = first.or(Some(cause)),
        }
    }
    Err(first.unwrap_or_default())
}

/// Connects to an address of this host. The socket is bound to the same address first: bind(2) refuses the address of another
/// host, and where a setting of the system allows it, no connection can come of it, since its answer would not arrive here.
fn connect(address: SocketAddr, limit: &Limit) -> Result<OwnedFd, String> {
    let stream = socket::inet(address.is_ipv6(), socket::Kind::Stream).map_err(|error| cannot_connect(&error))?;
    let prepared = fd::set_nonblocking(&stream, true).and_then(|()| {
        // Without it bind(2) takes a port that nothing else uses, and a busy server may have none left.
        let _ = socket::set_bind_address_no_port(&stream);
        socket::bind_inet(&stream, SocketAddr::new(address.ip(), 0))
    });
    prepared.map_err(|error| match errno::is(&error, errno::EADDRNOTAVAIL) {
        true => format!("{} is not an address of this host, and a probe connects to no other", address.ip()),
        false => cannot_connect(&error),
    })?;
    let connected = match socket::connect_inet(&stream, address) {
        Err(error) if errno::is(&error, errno::EINPROGRESS) => match limit.wait(&stream, Interest::Writable) {
            true => socket::pending_error(&stream),
            false => return Err(limit.over("no connection")),
        },
        at_once => at_once,
    };
    // Where nobody listens, TCP connects a socket to itself if it has the same port.
    match connected.map_err(|error| cannot_connect(&error)) {
        Ok(()) if socket::is_connected_to_itself(&stream) => Err(cannot_connect(&io::Error::from_raw_os_error(errno::ECONNREFUSED))),
        Ok(()) => Ok(stream),
        Err(cause) => Err(cause),
    }
}

/// Sends the request and reads the status of the answer.
fn exchange(stream: &OwnedFd, request: &HttpRequest, limit: &Limit) -> Result<String, String> {
    let late = || limit.over("connected, but no answer");
    let request = http::request(request);
    let mut left = request.as_bytes();
    while !left.is_empty() {
        if !limit.wait(stream, Interest::Writable) {
            return Err(late());
        }
        match socket::send(stream, left) {
            Ok(sent) => left = left.get(sent..).unwrap_or_default(),
            Err(error) if is_passing(&error) => {}
            // A server may answer and close before it has read everything. Its answer is there all the same.
            Err(_) => break,
        }
    }
    let mut head = Vec::new();
    let mut buffer = vec![0; LONGEST_HEAD];
    let (status, reason) = loop {
        if !limit.wait(stream, Interest::Readable) {
            return Err(if head.is_empty() { late() } else { limit.over("only a part of an answer") });
        }
        match fd::read_some(stream, &mut buffer) {
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(format!("connected, but no answer: {}", reason(&error))),
            Ok(0) if head.is_empty() => return Err("it closed the connection without an answer".to_owned()),
            Ok(0) => return Err("it closed the connection in the middle of its answer".to_owned()),
            Ok(count) => head.extend(buffer.iter().take(count)),
        }
        match http::read(&head) {
            Answer::Status(status, reason) => break (status, reason),
            Answer::Nonsense => return Err("the answer is not HTTP".to_owned()),
            Answer::Incomplete if head.len() >= LONGEST_HEAD => return Err("the answer is too long".to_owned()),
            Answer::Incomplete => {}
        }
    };
    read_the_rest(stream, &mut buffer, limit);
    let answered = format!("{status} {reason}");
    let answered = answered.trim_end();
    if (200..400).contains(&status) { Ok(answered.to_owned()) } else { Err(format!("it answered {answered}")) }
}

/// An error after which the same call may succeed.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Lets the server finish its answer, which is not looked at.
fn read_the_rest(stream: &OwnedFd, buffer: &mut [u8], limit: &Limit) {
    let limit = Limit { within: LAST_WAIT, end: limit.end.min(clock::now().after(LAST_WAIT)) };
    let mut count = 0;
    while count < LONGEST_REST && limit.wait(stream, Interest::Readable) {
        match fd::read_some(stream, buffer) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if is_passing(&error) => {}
            Err(_) => break,
        }
    }
}
