//! The demonstration of `make run`: puts a steady load on `hello` under socketmaster, reloads it again and again,
//! and counts what fails. Nothing should.
//!
//! It waits for what it can see, with deadlines: for answers of the new generation, and for the old process to be gone.

// The demonstration uses a part of this module; the tests use all of it.
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../tests/harness/load.rs"]
mod load;

use std::collections::VecDeque;
use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use load::{Load, Outcome, Report, Target};

const USAGE: &str = "usage: rollover SOCKETMASTER HELLO [--port N] [--rollovers N] [--rate N] [--keep]";

/// How long a new generation must run before the old one is stopped: -start, in milliseconds.
const START: u64 = 300;
const CLIENTS: usize = 8;
/// For whatever should take less than a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the counts are looked at.
const LOOK: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("rollover: {why}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Interrupted) => ExitCode::from(130),
        Err(Trouble::Other(why)) => {
            eprintln!("rollover: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Trouble> {
    let begin = Instant::now();
    let mut master = Master::start(options)?;
    let target = master.wait("socketmaster to listen", |master| master.target.clone())?;
    let load = Load { clients: CLIENTS, rate: Some(options.rate), ..Load::new(target.clone()) }.start();
    let mut current = master.wait("the first answer", |_| load.so_far().bodies.into_keys().next())?;
    say(format_args!("\n{CLIENTS} clients ask {target} {} times a second,", options.rate));
    say("each time on a new connection. At each HUP, who answers until the old one is gone:\n");
    for number in 1..=options.rollovers {
        current = roll_over(&mut master, &load, current, number, options.rollovers)?;
    }
    let report = load.stop();
    summarize(&report, options.rollovers, begin.elapsed());
    if options.keep && report.failed() == 0 {
        master.play(&target)?;
    }
    let status = master.stop()?;
    say(format_args!("sent SIGTERM to socketmaster, which ended with {status}"));
    match report.failed() {
        0 if status.success() => Ok(()),
        0 => Err(Trouble::Other("that status should be 0".into())),
        failed => Err(Trouble::Other(format!("{failed} requests failed: {report}"))),
    }
}

/// Sends HUP and follows it to its end; returns the new generation's answer.
fn roll_over(master: &mut Master, load: &load::Running, old: String, number: u32, of: u32) -> Result<String, Trouble> {
    let before = load.so_far();
    let begin = Instant::now();
    master.signal(Signal::SIGHUP);
    let new =
        master.wait("the new generation to answer", |_| load.so_far().bodies.into_keys().find(|body| !before.bodies.contains_key(body)))?;
    let old_pid = pid_in(&old)?;
    master.wait("the old generation to be gone", |_| (kill(old_pid, None) == Err(Errno::ESRCH)).then_some(()))?;
    let after = load.so_far();
    let answers = |body: &String| after.bodies.get(body).unwrap_or(&0) - before.bodies.get(body).unwrap_or(&0);
    let failed = after.failed() - before.failed();
    let line = format!(
        "{number:>3}/{of}  {}: {}, {}: {} answers; {failed} failed; {:.2} s",
        short(&old),
        answers(&old),
        short(&new),
        answers(&new),
        begin.elapsed().as_secs_f64()
    );
    say(if failed == 0 { Style::Bold.paint(line) } else { Style::Red.paint(line) });
    Ok(new)
}

/// `pid 812 generation 2` as `812 (gen 2)`.
fn short(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    match words[..] {
        ["pid", pid, "generation", generation] => format!("{pid} (gen {generation})"),
        _ => body.trim_end().to_owned(),
    }
}

fn pid_in(body: &str) -> Result<Pid, Trouble> {
    let number = body.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    number.map(Pid::from_raw).ok_or_else(|| Trouble::Other(format!("no pid in the answer {body:?}")))
}

fn summarize(report: &Report, rollovers: u32, elapsed: Duration) {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let failed = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Ok && report.count(*outcome) > 0);
    let kinds: Vec<String> = failed.map(|outcome| format!("{} {outcome}", report.count(outcome))).collect();
    let failures = format!("{:>8}  {}", report.failed(), kinds.join(", "));
    let style = if report.failed() == 0 { Style::Green } else { Style::Red };
    say("");
    say(format_args!("requests   {:>8}  in {:.1} s", report.requests(), report.elapsed.as_secs_f64()));
    say(format_args!("failures   {}", style.paint(failures.trim_end())));
    say(format_args!("latency    p50 {}, p99 {}, max {}", millis(report.p50), millis(report.p99), millis(report.max)));
    say(format_args!("rollovers  {rollovers:>8}  in {:.1} s all in all", elapsed.as_secs_f64()));
    if let Some(error) = &report.first_error {
        say(format_args!("first      {error}"));
    }
    say("");
}

struct Options {
    socketmaster: PathBuf,
    hello: PathBuf,
    port: u16,
    rollovers: u32,
    rate: f64,
    keep: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut programs = VecDeque::new();
        let (mut port, mut rollovers, mut rate, mut keep) = (0, 10, 400.0, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--port" => port = number(&word, words.next())?,
                "--rollovers" => rollovers = number(&word, words.next())?,
                "--rate" => rate = f64::from(number::<std::num::NonZeroU32>(&word, words.next())?.get()),
                "--keep" => keep = true,
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                program => programs.push_back(PathBuf::from(program)),
            }
        }
        match (programs.pop_front(), programs.pop_front(), programs.pop_front()) {
            (Some(socketmaster), Some(hello), None) => Ok(Self { socketmaster, hello, port, rollovers, rate, keep }),
            _ => Err("two programs are needed".into()),
        }
    }
}

fn number<T: std::str::FromStr>(option: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    value.parse().map_err(|_| format!("{option}: {value:?} is not a number that it takes"))
}

/// Why the demonstration ends early.
enum Trouble {
    /// Ctrl-C: no explanation needed.
    Interrupted,
    Other(String),
}

enum Event {
    /// A line from socketmaster's stderr, to which its workers write as well.
    Line(String),
    Interrupt,
}

/// The socketmaster under demonstration. It does not outlive this.
struct Master {
    child: Child,
    events: Receiver<Event>,
    target: Option<Target>,
    /// While it exists, new copies of `hello` exit at once.
    crash_file: PathBuf,
}

impl Master {
    fn start(options: &Options) -> Result<Self, Trouble> {
        let hello = options.hello.canonicalize();
        let hello = hello.map_err(|error| Trouble::Other(format!("no {}: {error}", options.hello.display())))?;
        let crash_file = env::temp_dir().join(format!("rollover-{}-crash", process::id()));
        let (sender, events) = mpsc::channel();
        // Before any other thread exists, so that no thread is killed by them.
        report_interrupts(sender.clone())?;
        let mut child = Command::new(&options.socketmaster)
            .arg(format!("-listen=tcp://127.0.0.1:{}", options.port))
            .arg(format!("-start={START}"))
            .arg(format!("-command={}", hello.display()))
            .env("HELLO_CRASH_FILE", &crash_file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for us, and we stop it in our own time.
            .process_group(0)
            .spawn()
            .map_err(|error| Trouble::Other(format!("cannot start {}: {error}", options.socketmaster.display())))?;
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || report_lines(stderr, &sender));
        }
        Ok(Self { child, events, target: None, crash_file })
    }

    fn signal(&self, signal: Signal) {
        // It is our child and not yet waited for, so the pid is its own. It may have ended, which is seen elsewhere.
        let _ = kill(self.pid(), signal);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Looks until `found` gives something, showing notes as they come.
    fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> Result<T, Trouble> {
        let end = Instant::now() + DEADLINE;
        loop {
            self.take_event()?;
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                while self.take_event()? {}
                return Err(Trouble::Other(format!("waited for {what}, but socketmaster ended with {status}")));
            }
            if Instant::now() > end {
                return Err(Trouble::Other(format!("waited in vain for {what}, {} s", DEADLINE.as_secs())));
            }
        }
    }

    /// Waits a little for something to happen; false if nothing did.
    fn take_event(&mut self) -> Result<bool, Trouble> {
        match self.events.recv_timeout(LOOK) {
            Ok(Event::Line(line)) => {
                self.note(&line);
                Ok(true)
            }
            Ok(Event::Interrupt) => Err(Trouble::Interrupted),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(false),
        }
    }

    fn note(&mut self, line: &str) {
        let note = line.strip_prefix("socketmaster[").and_then(|rest| rest.split_once("]: "));
        let shown = match note {
            Some((_, note)) => format!("  master | {note}"),
            None => format!("  stderr | {line}"),
        };
        say(Style::Dim.paint(shown));
        let listening = note.and_then(|(_, note)| note.strip_prefix("listening on "));
        if let Some(uri) = listening.and_then(|rest| rest.split(' ').next()) {
            self.target = Target::from_uri(uri).ok();
        }
    }

    /// Leaves it to the visitor until Ctrl-C, or until it has been stopped.
    fn play(&mut self, target: &Target) -> Result<(), Trouble> {
        let (pid, crash_file) = (self.child.id(), self.crash_file.display());
        let address = target.to_string().replace("tcp://", "");
        let things = [
            (format!("curl http://{address}/"), "who answers"),
            (format!("curl http://{address}/slow?ms=5000"), "a request to roll over"),
            (format!("kill -HUP {pid}"), "roll over"),
            (format!("touch {crash_file}"), "a bad deploy: at the next HUP"),
            (format!("rm {crash_file}"), "the old one stays, until this"),
            (format!("kill -TERM {pid}"), "stop it; or Ctrl-C here"),
        ];
        say("It is still running. Try in another terminal:\n");
        for (command, what) in things {
            say(format_args!("  {command:<46}{what}"));
        }
        say("");
        loop {
            match self.take_event() {
                Ok(_) if matches!(self.child.try_wait(), Ok(None)) => {}
                Ok(_) | Err(Trouble::Interrupted) => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Tells it to stop, if it still runs, and waits for its end.
    fn stop(&mut self) -> Result<ExitStatus, Trouble> {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
        }
        let end = Instant::now() + DEADLINE;
        loop {
            self.take_event()?;
            if Instant::now() > end {
                return Err(Trouble::Other("socketmaster did not stop at SIGTERM".into()));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                while self.take_event()? {}
                return Ok(status);
            }
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.crash_file);
        if self.stop().is_err() {
            // Asked for before its parent is gone; without that file of the kernel's they have to end by themselves.
            let pid = self.pid();
            let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let _ = self.child.kill();
            let _ = self.child.wait();
            for worker in workers.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
            }
        }
    }
}

/// Makes INT and TERM events. They stay blocked in every thread that comes after; std unblocks them in children.
fn report_interrupts(events: Sender<Event>) -> Result<(), Trouble> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(|error| Trouble::Other(format!("cannot block signals: {error}")))?;
    thread::spawn(move || while signals.wait().is_ok() && events.send(Event::Interrupt).is_ok() {});
    Ok(())
}

fn report_lines(stderr: impl Read, events: &Sender<Event>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        if events.send(Event::Line(String::from_utf8_lossy(&line).into_owned())).is_err() {
            return;
        }
    }
}

/// Prints a line. A closed standard output is ignored: a panic would leave socketmaster running.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Green,
    Red,
}

impl Style {
    /// Coloured on a terminal, unless NO_COLOR is set.
    fn paint(self, text: impl Display) -> String {
        let code = match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Green => 32,
            Self::Red => 31,
        };
        let plain = env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
        if plain { text.to_string() } else { format!("\x1b[{code}m{text}\x1b[0m") }
    }
}
