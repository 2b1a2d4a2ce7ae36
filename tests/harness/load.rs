//! A load generator: clients on threads that ask a server over HTTP, and count what becomes of each request.
//!
//! It talks to loopback addresses and unix sockets only. Every request ends as one [`Outcome`]; a kept connection that
//! the server closes before the first byte of an answer is no failure, since clients retry that: it is counted apart.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getpeername, getsockname, setsockopt, socket,
};
use nix::sys::time::TimeVal;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A unix socket in the abstract namespace, by its name without the `@`.
    Abstract(String),
}

impl Target {
    /// From a listen URI such as `tcp://127.0.0.1:80`, `unix:///run/a` or `unix://@a`. A wildcard address is asked over
    /// loopback; anything that would leave this machine is an error.
    pub fn from_uri(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| format!("{uri}: not a URI"))?;
        match scheme {
            "unix" => Ok(match rest.strip_prefix('@') {
                Some(name) => Self::Abstract(name.into()),
                None => Self::Unix(rest.into()),
            }),
            "tcp" | "tcp4" | "tcp6" => {
                let mut address: SocketAddr = rest.parse().map_err(|_| format!("{uri}: no numeric address"))?;
                if address.ip().is_unspecified() {
                    address.set_ip(match address.ip() {
                        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                    });
                }
                if address.ip().is_loopback() { Ok(Self::Tcp(address)) } else { Err(format!("{uri}: not a loopback address")) }
            }
            _ => Err(format!("{uri}: no stream socket")),
        }
    }

    /// A connection, made within this time.
    pub fn connect(&self, timeout: Duration) -> nix::Result<File> {
        match self {
            Self::Tcp(address) => {
                let stream = connected(&SockaddrStorage::from(*address), timeout)?;
                // With nobody listening on a port of the ephemeral range, a client may be given that very port and then
                // connects to itself. That is a refusal.
                let own = getsockname::<SockaddrStorage>(stream.as_raw_fd())?;
                let peer = getpeername::<SockaddrStorage>(stream.as_raw_fd())?;
                if own == peer { Err(Errno::ECONNREFUSED) } else { Ok(stream) }
            }
            Self::Unix(path) => connected(&UnixAddr::new(path)?, timeout),
            Self::Abstract(name) => connected(&UnixAddr::new_abstract(name.as_bytes())?, timeout),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "tcp://{address}"),
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
            Self::Abstract(name) => write!(out, "unix://@{name}"),
        }
    }
}

/// One way for both families, because std cannot bound the time that connecting to a unix socket takes.
fn connected(address: &dyn SockaddrLike, timeout: Duration) -> nix::Result<File> {
    let family = address.family().unwrap_or(AddressFamily::Unix);
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, SendTimeout, &time_val(timeout))?;
    connect(socket.as_raw_fd(), address)?;
    Ok(File::from(socket))
}

/// Never zero, which would mean "wait for ever".
fn time_val(time: Duration) -> TimeVal {
    let micros = time.as_micros().max(1);
    TimeVal::new((micros / 1_000_000) as _, (micros % 1_000_000) as _)
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with status 200 and a body that was expected.
    Ok,
    /// No process listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// Not done within [`Load::timeout`].
    Timeout,
    /// The connection ended before the answer did.
    Short,
    /// Answered, but not as expected.
    Wrong,
    /// The client had no descriptor, port or memory: says nothing about the server.
    Client,
}

impl Outcome {
    pub const ALL: [Self; 7] = [Self::Ok, Self::Refused, Self::Reset, Self::Timeout, Self::Short, Self::Wrong, Self::Client];
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Short => "short",
            Self::Wrong => "wrong",
            Self::Client => "client",
        })
    }
}

/// What to ask, and how much of it. `Load::new(target)` is four clients without pause, each request on a connection of
/// its own, until they are stopped.
#[derive(Clone, Debug)]
pub struct Load {
    pub target: Target,
    pub clients: usize,
    /// Keep each connection for as long as the server does.
    pub keep_alive: bool,
    /// Path and query of each request.
    pub path: String,
    /// Requests a second, all clients together; none: each asks again at once.
    pub rate: Option<f64>,
    /// Ends after so many requests, all clients together.
    pub count: Option<u64>,
    /// Ends after so much time.
    pub time: Option<Duration>,
    /// Bounds each request, connecting included.
    pub timeout: Duration,
    /// Whether an answer's body is right.
    pub expect: fn(&str) -> bool,
}

impl Load {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            clients: 4,
            keep_alive: false,
            path: "/".into(),
            rate: None,
            count: None,
            time: None,
            timeout: Duration::from_secs(30),
            expect: |_| true,
        }
    }

    /// Begins to ask.
    pub fn start(self) -> Running {
        let tally = Arc::new(Tally::new());
        let schedule = Arc::new(Schedule::new(&self));
        let clients = (0..self.clients)
            .map(|_| {
                let mut client = Client { load: self.clone(), tally: tally.clone(), schedule: schedule.clone(), kept: None };
                thread::spawn(move || client.run())
            })
            .collect();
        Running { tally, schedule, clients }
    }

    /// Asks to the end of `count` or `time`.
    pub fn run(self) -> Report {
        assert!(self.count.is_some() || self.time.is_some(), "a load that is not started needs an end");
        self.start().wait()
    }
}

/// A load under way. Dropping it stops it, too.
pub struct Running {
    tally: Arc<Tally>,
    schedule: Arc<Schedule>,
    clients: Vec<JoinHandle<()>>,
}

impl Running {
    /// The counts so far.
    pub fn so_far(&self) -> Report {
        self.tally.report()
    }

    /// Lets each client finish its request, and reports.
    pub fn stop(self) -> Report {
        self.schedule.stop();
        self.wait()
    }

    /// Waits for the end of `count` or `time`, and reports.
    pub fn wait(mut self) -> Report {
        for client in self.clients.drain(..) {
            client.join().expect("a client of the load panicked");
        }
        self.tally.report()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.schedule.stop();
    }
}

/// Says when the next request is due, to all clients.
struct Schedule {
    begin: Instant,
    next: AtomicU64,
    rate: Option<f64>,
    count: u64,
    end: Option<Instant>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Schedule {
    fn new(load: &Load) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            next: AtomicU64::new(0),
            rate: load.rate,
            count: load.count.unwrap_or(u64::MAX),
            end: load.time.map(|time| begin + time),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        }
    }

    /// Waits for the next request's turn; nothing at the end. Its time counts from the moment returned: from when it was
    /// due if all clients were busy then, so that a server that stalls them does not look fast.
    fn next(&self) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let due = self.rate.map_or(now, |rate| self.begin + Duration::from_secs_f64(number as f64 / rate));
        if number >= self.count || self.end.is_some_and(|end| due.max(now) >= end) {
            return None;
        }
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = due.saturating_duration_since(now);
        let (stopped, _) = self.stop.wait_timeout_while(stopped, pause, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return None;
        }
        Some(if pause.is_zero() { due } else { Instant::now() })
    }

    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }
}

struct Client {
    load: Load,
    tally: Arc<Tally>,
    schedule: Arc<Schedule>,
    kept: Option<File>,
}

impl Client {
    fn run(&mut self) {
        while let Some(begun) = self.schedule.next() {
            let answer = self.ask(begun + self.load.timeout);
            self.tally.count(begun.elapsed(), answer, self.load.expect);
        }
    }

    fn ask(&mut self, deadline: Instant) -> Result<Answer, Failure> {
        if let Some(stream) = self.kept.take() {
            match self.ask_on(stream, deadline) {
                Err(failure) if failure.before_answer && matches!(failure.outcome, Outcome::Short | Outcome::Reset) => {
                    self.tally.retried.fetch_add(1, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let stream = self.load.target.connect(left(deadline)).map_err(Failure::connecting)?;
        self.ask_on(stream, deadline)
    }

    fn ask_on(&mut self, mut stream: File, deadline: Instant) -> Result<Answer, Failure> {
        let connection = if self.load.keep_alive { "keep-alive" } else { "close" };
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n", self.load.path);
        stream.write_all(request.as_bytes()).map_err(|error| Failure::talking(&error, true))?;
        let answer = Answer::read(&mut stream, deadline)?;
        if self.load.keep_alive && answer.keeps {
            self.kept = Some(stream);
        }
        Ok(answer)
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

struct Answer {
    status: String,
    body: String,
    /// The server keeps the connection.
    keeps: bool,
}

impl Answer {
    fn read(stream: &mut File, deadline: Instant) -> Result<Self, Failure> {
        let mut text = Vec::new();
        loop {
            if let Some(answer) = Self::parse(&text, false)? {
                return Ok(answer);
            }
            let before_answer = text.is_empty();
            setsockopt(stream, ReceiveTimeout, &time_val(left(deadline))).map_err(Failure::connecting)?;
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(0) => {
                    return Self::parse(&text, true)?.ok_or_else(|| Failure {
                        outcome: Outcome::Short,
                        before_answer,
                        text: format!("closed after {} bytes of the answer", text.len()),
                    });
                }
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(error) => return Err(Failure::talking(&error, before_answer)),
            }
        }
    }

    /// The answer, once `text` holds all of it. Without a length it is whole when the connection has `ended`.
    fn parse(text: &[u8], ended: bool) -> Result<Option<Self>, Failure> {
        let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&text[..end]);
        let body = &text[end + 4..];
        let status = head
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1))
            .ok_or_else(|| Failure::wrong(format!("no HTTP: {head}")))?;
        let length = match header(&head, "content-length") {
            Some(length) => Some(length.parse::<usize>().map_err(|_| Failure::wrong(format!("length {length}")))?),
            None => None,
        };
        let chunked = header(&head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let whole = if chunked { body.ends_with(b"0\r\n\r\n") } else { length.map_or(ended, |length| body.len() >= length) };
        if !whole {
            return Ok(None);
        }
        let keeps = (length.is_some() || chunked) && !header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = String::from_utf8_lossy(&body[..length.unwrap_or(body.len())]).into_owned();
        Ok(Some(Self { status: status.into(), body, keeps }))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

struct Failure {
    outcome: Outcome,
    /// Not one byte of the answer had come.
    before_answer: bool,
    text: String,
}

impl Failure {
    fn connecting(errno: Errno) -> Self {
        let outcome = match errno {
            Errno::ECONNREFUSED | Errno::ENOENT => Outcome::Refused,
            Errno::ECONNRESET => Outcome::Reset,
            // What connect(2) says when SO_SNDTIMEO is over: the first over TCP, the second on a unix socket.
            Errno::EINPROGRESS | Errno::EAGAIN | Errno::ETIMEDOUT => Outcome::Timeout,
            _ => Outcome::Client,
        };
        let text = if outcome == Outcome::Timeout { "not connected in time".into() } else { format!("connecting: {}", errno.desc()) };
        Self { outcome, before_answer: true, text }
    }

    fn talking(error: &io::Error, before_answer: bool) -> Self {
        let outcome = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::Timeout,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Outcome::Reset,
            _ => Outcome::Client,
        };
        let when = if before_answer { "before the answer" } else { "within the answer" };
        let text = if outcome == Outcome::Timeout { when.into() } else { format!("{when}: {error}") };
        Self { outcome, before_answer, text }
    }

    fn wrong(text: String) -> Self {
        Self { outcome: Outcome::Wrong, before_answer: false, text }
    }
}

/// The counts, shared by all clients.
struct Tally {
    begin: Instant,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    retried: AtomicU64,
    latency: Histogram,
    bodies: Mutex<BTreeMap<String, u64>>,
    first_error: Mutex<Option<String>>,
}

impl Tally {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            outcomes: Default::default(),
            retried: AtomicU64::new(0),
            latency: Histogram::new(),
            bodies: Mutex::default(),
            first_error: Mutex::default(),
        }
    }

    fn count(&self, latency: Duration, answer: Result<Answer, Failure>, expect: fn(&str) -> bool) {
        let answer = answer.and_then(|answer| {
            let right = answer.status == "200" && expect(&answer.body);
            if right { Ok(answer) } else { Err(Failure::wrong(format!("{} {:?}", answer.status, answer.body))) }
        });
        let outcome = match answer {
            Ok(answer) => {
                self.latency.add(latency);
                let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
                *bodies.entry(answer.body).or_default() += 1;
                Outcome::Ok
            }
            Err(failure) => {
                let text = format!("{} at {:.3} s, {}", failure.outcome, self.begin.elapsed().as_secs_f64(), failure.text);
                self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
                failure.outcome
            }
        };
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self) -> Report {
        Report {
            elapsed: self.begin.elapsed(),
            outcomes: self.outcomes.each_ref().map(|count| count.load(Ordering::Relaxed)),
            retried: self.retried.load(Ordering::Relaxed),
            p50: self.latency.quantile(0.50),
            p99: self.latency.quantile(0.99),
            max: self.latency.max(),
            bodies: self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            first_error: self.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Latencies in microseconds: 32 steps to each power of two, so that any number of them is kept in 8 KiB, off by at
/// most 3 %.
struct Histogram {
    steps: [AtomicU64; Self::STEPS * Self::POWERS],
    max: AtomicU64,
}

impl Histogram {
    const STEPS: usize = 32;
    const POWERS: usize = 32;

    fn new() -> Self {
        Self { steps: [const { AtomicU64::new(0) }; Self::STEPS * Self::POWERS], max: AtomicU64::new(0) }
    }

    fn add(&self, latency: Duration) {
        let micros = latency.as_micros() as u64;
        self.steps[Self::step(micros)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    fn max(&self) -> Duration {
        Duration::from_micros(self.max.load(Ordering::Relaxed))
    }

    /// The latency that `share` of all do not exceed; zero if there are none.
    fn quantile(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self.steps.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(Self::value(step));
            }
        }
        self.max()
    }

    /// Values below 32 have a step each; above, the five bits after the leading one choose it.
    fn step(micros: u64) -> usize {
        let steps = Self::STEPS as u64;
        if micros < steps {
            return micros as usize;
        }
        let power = micros.ilog2() - steps.ilog2();
        let within = (micros >> power) - steps;
        ((u64::from(power) + 1) * steps + within).min(steps * Self::POWERS as u64 - 1) as usize
    }

    /// The smallest value of a step.
    fn value(step: usize) -> u64 {
        let (power, within) = (step / Self::STEPS, (step % Self::STEPS) as u64);
        if power == 0 { within } else { (Self::STEPS as u64 + within) << (power - 1) }
    }
}

/// What a load has seen. Its Display is one line.
#[derive(Clone, Debug)]
pub struct Report {
    pub elapsed: Duration,
    outcomes: [u64; Outcome::ALL.len()],
    /// Kept connections that were closed before an answer had begun; the requests were asked again on new ones.
    pub retried: u64,
    /// Of the requests that went well, as are `p99` and `max`.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// How often each body was the answer.
    pub bodies: BTreeMap<String, u64>,
    pub first_error: Option<String>,
}

impl Report {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    pub fn ok(&self) -> u64 {
        self.count(Outcome::Ok)
    }

    pub fn failed(&self) -> u64 {
        self.requests() - self.ok()
    }

    #[track_caller]
    pub fn assert_no_failure(&self) {
        assert!(self.ok() > 0 && self.failed() == 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} requests in {:.1} s, {} failed", self.requests(), self.elapsed.as_secs_f64(), self.failed())?;
        let failures: Vec<String> = Outcome::ALL
            .into_iter()
            .filter(|outcome| *outcome != Outcome::Ok && self.count(*outcome) > 0)
            .map(|outcome| format!("{} {outcome}", self.count(outcome)))
            .collect();
        if !failures.is_empty() {
            write!(out, " ({})", failures.join(", "))?;
        }
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(|time| time.as_secs_f64() * 1000.0);
        write!(out, ", {} retried, p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms", self.retried)?;
        match &self.first_error {
            Some(error) => write!(out, ", first: {error}"),
            None => Ok(()),
        }
    }
}
