//! The endurance test behind `make soak`: a steady load on `hello` under socketmaster, half of it on new connections and
//! half on kept ones, and rollover after rollover, half of them to a program that is bad, each time in another way.
//!
//! No request may fail, every reload must have its expected outcome, and no process or descriptor may be left. One line
//! reports the result.

// This program uses a part of the module; the tests use all of it.
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../tests/harness/load.rs"]
mod load;

use std::collections::VecDeque;
use std::env;
use std::fmt::{self, Display};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use load::{Load, Outcome, Report, Running, Target};

const USAGE: &str = "usage: soak SOCKETMASTER HELLO [--rollovers N] [--minutes N] [--rate N] [--broken]";

/// How long a new generation must live before it is trusted, -start: so long that a bad one has died by then on a busy
/// machine, too. How long a retired one may take, -stop-timeout. In milliseconds.
const START: u32 = 500;
const STOP_TIMEOUT: u32 = 1_000;
/// Of each of the two loads.
const CLIENTS: usize = 8;
/// A request that has no answer by then is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// For whatever should take less than a second or two.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// By then every buffer has its size.
const WARM_UP: u32 = 100;
/// Lines of the master's log that a failure prints.
const SHOWN: usize = 60;

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("soak: {why}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(result) => {
            println!("{result}");
            if options.broken && result.failed() == 0 {
                eprintln!("soak: requests must fail where a generation is trusted at once, and none is seen to");
                return ExitCode::FAILURE;
            }
            if options.broken || result.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What the program is at a start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Serves, and answers all accepted requests at the stop signal, but does not exit: -stop-timeout ends it.
    Deaf,
    ExitsAtOnce,
    ExitsAfterAMoment,
    CannotBeExecuted,
    KilledInWarmUp,
}

impl Kind {
    const BAD: [Kind; 4] = [Kind::ExitsAtOnce, Kind::ExitsAfterAMoment, Kind::CannotBeExecuted, Kind::KilledInWarmUp];

    /// By turns: a good one, a bad one, a deaf one, a bad one.
    fn of(rollover: u32) -> Kind {
        match rollover % 4 {
            0 => Kind::Good,
            2 => Kind::Deaf,
            _ => Kind::BAD[rollover as usize / 2 % Kind::BAD.len()],
        }
    }

    fn is_bad(self) -> bool {
        Kind::BAD.contains(&self)
    }

    /// What the answer to the reload holds.
    fn outcome(self) -> &'static str {
        match self {
            Kind::Good | Kind::Deaf => "is current after",
            Kind::ExitsAtOnce => "exited with status 3",
            Kind::ExitsAfterAMoment => "exited with status 4",
            Kind::CannotBeExecuted => "cannot execute",
            Kind::KilledInWarmUp => "killed by SIGKILL",
        }
    }

    /// Puts such a program there, in one step.
    fn install(self, hello: &Path, app: &Path) -> io::Result<()> {
        let next = app.with_extension("next");
        let script = match self {
            Kind::Good => {
                symlink(hello, &next)?;
                return fs::rename(next, app);
            }
            Kind::Deaf => format!("HELLO_STAY=1 exec '{}'", hello.display()),
            Kind::ExitsAtOnce => "exit 3".to_owned(),
            Kind::ExitsAfterAMoment => "sleep 0.02; exit 4".to_owned(),
            Kind::CannotBeExecuted => String::new(),
            Kind::KilledInWarmUp => "kill -KILL $$".to_owned(),
        };
        fs::write(&next, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&next, fs::Permissions::from_mode(if self == Kind::CannotBeExecuted { 0o644 } else { 0o755 }))?;
        fs::rename(next, app)
    }
}

fn run(options: &Options) -> Result<Soak, String> {
    let mut master = Master::start(options)?;
    let target = master.wait("socketmaster to listen", |master| master.target.clone())?;
    let loads = Loads::start(&target, options.rate);
    master.wait("the first answers", |_| loads.have_begun().then_some(()))?;
    // From then on nothing is open that only the start has needed.
    let current = |master: &Master| master.lines().iter().any(|line| line.ends_with("generation 1 is current"));
    let fresh = master.wait("generation 1 to be current", |master| current(master).then(|| master.stand()))?;
    let mut soak = Soak { before: fresh, after: fresh, ..Soak::default() };
    let warm_up = WARM_UP.min(options.rollovers / 2);
    let begin = Instant::now();
    while soak.rollovers < options.rollovers || begin.elapsed() < options.time {
        if let Err(why) = soak.roll_over(&mut master) {
            soak.odd(&why);
            // After a bad generation has become current no request is served, so further results would mean nothing.
            if master.has_ended() || soak.is_lost {
                break;
            }
        }
        if soak.rollovers == warm_up {
            soak.before = Stand { memory: master.stand().memory, ..soak.before };
        }
        if soak.rollovers.is_multiple_of(100) {
            eprintln!("soak: {} rollovers after {:.1} s", soak.rollovers, begin.elapsed().as_secs_f64());
        }
    }
    if options.broken {
        // Until the clients have noticed.
        let end = Instant::now() + DEADLINE;
        while !loads.have_failed() && Instant::now() < end {
            thread::sleep(LOOK);
        }
    }
    // The last one exits at TERM, and so does the master, with its status.
    soak.elapsed = begin.elapsed();
    if !master.has_ended() {
        if let Err(why) = soak.to(&mut master, Kind::Good) {
            soak.odd(&why);
        }
        let clean = |stand: &Stand| stand.children == 1 && stand.descriptors <= fresh.descriptors;
        let rest = master.wait("nothing to be left but the last generation", |master| Some(master.stand()).filter(clean));
        soak.after = rest.unwrap_or_else(|_| master.stand());
    }
    soak.loads = Some(loads.stop());
    let status = master.stop()?;
    if !status.success() {
        soak.odd(&format!("socketmaster ended with {status}"));
    }
    if !soak.is_clean() && !options.broken {
        eprintln!("soak: the end of socketmaster's log:\n{}", master.last_lines());
    }
    Ok(soak)
}

/// What has happened. Its Display is one line.
#[derive(Default)]
struct Soak {
    rollovers: u32,
    bad: u32,
    /// Reloads that did not end as they should have, and whatever else went wrong with the master.
    unexpected: u32,
    /// A bad generation has been trusted.
    is_lost: bool,
    elapsed: Duration,
    loads: Option<[Report; 2]>,
    before: Stand,
    after: Stand,
}

impl Soak {
    /// The next rollover; an error says what went wrong.
    fn roll_over(&mut self, master: &mut Master) -> Result<(), String> {
        let kind = Kind::of(self.rollovers);
        self.rollovers += 1;
        self.bad += u32::from(kind.is_bad());
        self.to(master, kind)
    }

    fn to(&mut self, master: &mut Master, kind: Kind) -> Result<(), String> {
        kind.install(&master.hello, &master.app).map_err(|error| format!("cannot write {}: {error}", master.app.display()))?;
        let (ok, text) = master.reload()?;
        if ok && kind.is_bad() {
            self.is_lost = true;
            return Err(format!("rollover {}: a bad one is trusted, maybe because the machine is too busy: {text}", self.rollovers));
        }
        if ok == kind.is_bad() || !text.contains(kind.outcome()) {
            return Err(format!("rollover {}: not {:?}, but {text:?}", self.rollovers, kind.outcome()));
        }
        Ok(())
    }

    fn odd(&mut self, why: &str) {
        self.unexpected += 1;
        eprintln!("soak: {why}");
    }

    fn count(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.loads.iter().flatten().map(of).sum()
    }

    /// Requests that a server's client would call failed: refused and stuck ones among them. Those for which this process
    /// had no port or descriptor are told apart.
    fn failed(&self) -> u64 {
        self.count(|report| report.failed() - report.count(Outcome::Client))
    }

    fn leaked_descriptors(&self) -> usize {
        self.after.descriptors.saturating_sub(self.before.descriptors)
    }

    fn leaked_children(&self) -> usize {
        self.after.children.saturating_sub(1)
    }

    fn is_clean(&self) -> bool {
        let some = self.count(Report::ok) > 0;
        some && self.failed() == 0 && self.unexpected == 0 && self.leaked_descriptors() == 0 && self.leaked_children() == 0
    }
}

impl Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let of = |outcome| self.count(|report| report.count(outcome));
        write!(f, "soak: {} rollovers, {} of them bad, in {:.1} s: ", self.rollovers, self.bad, self.elapsed.as_secs_f64())?;
        write!(f, "{} requests, {} failed, ", self.count(Report::requests) - of(Outcome::Client), self.failed())?;
        write!(f, "{} refused, {} stuck; {} unexpected; ", of(Outcome::Refused), of(Outcome::Timeout), self.unexpected)?;
        write!(f, "leaked: {} descriptors, {} children; ", self.leaked_descriptors(), self.leaked_children())?;
        let (before, after) = (self.before.memory, self.after.memory);
        write!(f, "memory grown by {} kB ({before} -> {after}); ", after.saturating_sub(before))?;
        write!(f, "{} retried, {} not asked for want of a port", self.count(|report| report.retried), of(Outcome::Client))?;
        match self.loads.iter().flatten().find_map(|report| report.first_error.as_ref()) {
            Some(error) => write!(f, "; first error: {error}"),
            None => Ok(()),
        }
    }
}

/// What the master has: open descriptors, children, and anonymous memory in kB.
#[derive(Clone, Copy, Default)]
struct Stand {
    descriptors: usize,
    children: usize,
    memory: u64,
}

/// New connections, and kept ones.
struct Loads([Running; 2]);

impl Loads {
    fn start(target: &Target, rate: f64) -> Loads {
        Loads([false, true].map(|keep_alive| {
            let load = Load { clients: CLIENTS, rate: Some(rate / 2.0), keep_alive, timeout: STUCK, ..Load::new(target.clone()) };
            load.start()
        }))
    }

    fn have_begun(&self) -> bool {
        self.0.iter().all(|load| load.so_far().ok() > 0)
    }

    fn have_failed(&self) -> bool {
        self.0.iter().any(|load| load.so_far().failed() > 0)
    }

    fn stop(self) -> [Report; 2] {
        self.0.map(Running::stop)
    }
}

struct Options {
    socketmaster: PathBuf,
    hello: PathBuf,
    rollovers: u32,
    time: Duration,
    rate: f64,
    /// Trusts at once: the negative control, in which requests must fail.
    broken: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut programs = VecDeque::new();
        let (mut rollovers, mut minutes, mut rate, mut broken) = (1_000, 0, 500, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--rollovers" => rollovers = number(&word, words.next())?,
                "--minutes" => minutes = number(&word, words.next())?,
                "--rate" => rate = number(&word, words.next())?.max(2),
                "--broken" => broken = true,
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                program => programs.push_back(fs::canonicalize(program).map_err(|error| format!("no {program}: {error}"))?),
            }
        }
        let time = Duration::from_secs(60 * u64::from(minutes));
        match (programs.pop_front(), programs.pop_front(), programs.pop_front()) {
            (Some(socketmaster), Some(hello), None) => Ok(Self { socketmaster, hello, rollovers, time, rate: f64::from(rate), broken }),
            _ => Err("two programs are needed".into()),
        }
    }
}

fn number(option: &str, value: Option<String>) -> Result<u32, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    value.parse().map_err(|_| format!("{option}: {value:?} is not a number that it takes"))
}

/// The socketmaster under test. It does not outlive this.
struct Master {
    child: Child,
    binary: PathBuf,
    hello: PathBuf,
    directory: PathBuf,
    /// What it runs.
    app: PathBuf,
    control: String,
    target: Option<Target>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Master {
    fn start(options: &Options) -> Result<Self, String> {
        let directory = env::temp_dir().join(format!("soak-{}", process::id()));
        fs::create_dir(&directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let app = directory.join("app");
        Kind::Good.install(&options.hello, &app).map_err(|error| format!("cannot write {}: {error}", app.display()))?;
        let control = format!("@soak-{}", process::id());
        let mut child = Command::new(&options.socketmaster)
            .arg("-listen=tcp://127.0.0.1:0")
            .arg(format!("-start={}", if options.broken { 0 } else { START }))
            .arg(format!("-stop-timeout={STOP_TIMEOUT}"))
            .arg(format!("-control={control}"))
            .arg(format!("-command={}", app.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", options.socketmaster.display()))?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let lines = lines.clone();
            thread::spawn(move || keep_last_lines(stderr, &lines));
        }
        let (binary, hello) = (options.socketmaster.clone(), options.hello.clone());
        Ok(Self { child, binary, hello, directory, app, control, target: None, lines })
    }

    /// Waits for the end of a reload. Returns whether it succeeded, and the log line about it.
    fn reload(&self) -> Result<(bool, String), String> {
        let output = Command::new(&self.binary).arg(format!("-control={}", self.control)).arg("-s=reload").output();
        let output = output.map_err(|error| format!("cannot start {}: {error}", self.binary.display()))?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned();
        Ok((output.status.success(), text))
    }

    /// Looks until `found` gives something.
    fn wait<T>(&mut self, what: &str, found: impl Fn(&Self) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + DEADLINE;
        loop {
            if self.target.is_none() {
                self.target = self.lines().iter().find_map(|line| {
                    let (_, rest) = line.split_once("listening on ")?;
                    Target::from_uri(rest.split(' ').next()?).ok()
                });
            }
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if self.has_ended() || Instant::now() > end {
                return Err(format!("waited in vain for {what}; its log:\n{}", self.last_lines()));
            }
            thread::sleep(LOOK);
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn stand(&self) -> Stand {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let text = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
        let status = text("status");
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        Stand {
            descriptors: fs::read_dir(proc.join("fd")).map_or(0, Iterator::count),
            children: text(&format!("task/{}/children", self.pid())).split_whitespace().count(),
            memory: memory.unwrap_or(0),
        }
    }

    fn lines(&self) -> VecDeque<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last_lines(&self) -> String {
        self.lines().into_iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Tells it to stop, if it still runs, and waits for its end.
    fn stop(&mut self) -> Result<ExitStatus, String> {
        if !self.has_ended() {
            // It is our child and not yet waited for, so the pid is its own.
            let _ = kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM);
        }
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
        Err("socketmaster did not stop at SIGTERM".into())
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn keep_last_lines(stderr: impl Read, lines: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == SHOWN {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
    }
}
