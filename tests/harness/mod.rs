//! Helpers for tests: a socketmaster under observation, conditions with deadlines, temporary directories, and facts about
//! processes. No helper waits for a fixed time: each waits for a condition, up to a deadline.

pub mod basics;
pub mod load;
pub mod manager;
pub mod phrase;
pub mod pre_exec;
pub mod pty;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Debug, Display};
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::c_int;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};

pub use basics::{FreeDir, free_dir, make_program, skip};
use load::Target;

/// The deadline for everything that takes no time unless something is wrong.
pub const SOON: Duration = Duration::from_secs(20);

/// How much of a log a failing test prints: so many lines from its start and from its end, and so many characters of each.
const SHOWN: usize = 200;
const LONG: usize = 300;

/// The interval at which a condition is checked.
const LOOK: Duration = Duration::from_millis(2);

/// The socketmaster under test: the one that cargo has built, or what SOCKETMASTER names, such as an installed one.
pub fn binary() -> PathBuf {
    hear_keyboard();
    env::var_os("SOCKETMASTER").map_or_else(|| env!("CARGO_BIN_EXE_socketmaster").into(), PathBuf::from)
}

/// Restores the default actions of these signals. They may be ignored if nohup(1) runs the tests, or a shell without job control
/// in the background, and each program under test would inherit that.
fn hear_keyboard() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: the default action runs no code of this process.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.expect("these can be set");
        }
    });
}

/// A program that cargo has built from the `[[example]]` of that name.
#[track_caller]
pub fn fixture(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this test has a path");
    let path = test.parent().and_then(Path::parent).expect("it is TARGET/PROFILE/deps/NAME").join("examples").join(name);
    assert!(path.exists(), "{} is missing: build it with `cargo build --examples`", path.display());
    path
}

/// The result of one check of a condition: `bool`, `Option<T>`, or `Result<T, E>` whose error describes the state found.
pub trait Look {
    type Seen;
    fn seen(self) -> Result<Self::Seen, String>;
}

impl Look for bool {
    type Seen = ();
    fn seen(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".into()) }
    }
}

impl<T> Look for Option<T> {
    type Seen = T;
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".into())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Seen = T;
    fn seen(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Looks until `condition` gives something; panics at the deadline with what was awaited and what was seen last.
#[track_caller]
pub fn eventually<L: Look>(what: &str, deadline: Duration, mut condition: impl FnMut() -> L) -> L::Seen {
    let end = Instant::now() + deadline;
    loop {
        match condition().seen() {
            Ok(seen) => return seen,
            Err(last) if Instant::now() >= end => panic!("not within {deadline:?}: {what}; last seen: {last}"),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// A plan for workers: words in a file, which each of them reads at its start and carries out.
pub struct Planned {
    directory: FreeDir,
}

impl Planned {
    pub fn new(words: &str) -> Planned {
        let planned = Planned { directory: free_dir() };
        planned.becomes(words);
        planned
    }

    /// Holds the plan, and is gone with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file that is not there until the test writes it.
    pub fn gate(&self) -> PathBuf {
        self.directory.join("gate")
    }

    /// Changes the plan. `{gate}` in it stands for the path of [`Planned::gate`].
    pub fn becomes(&self, words: &str) {
        fs::write(self.plan(), words.replace("{gate}", &self.gate().display().to_string())).expect("a file of our own");
    }

    pub fn spawn(&self, setup: Setup) -> Master {
        setup.program(fixture("worker"), ["plan".as_ref(), self.plan().as_os_str()]).spawn()
    }

    /// The same, and waits until generation 1 has read its plan, so that it may be changed.
    #[track_caller]
    pub fn start(&self, setup: Setup) -> Master {
        let master = self.spawn(setup);
        master.wait_current(1);
        master.wait_output("ready", SOON);
        master
    }

    pub fn plan(&self) -> PathBuf {
        self.directory.join("plan")
    }
}

/// The master below strace(1), which holds up a system call of each child. The master keeps its pid.
#[track_caller]
pub fn held_up(inject: &str) -> Option<Setup> {
    // Not below ptrace(2) of others, nor where it is not allowed.
    let possible = Command::new("strace").args(["-DDD", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        skip("strace(1) cannot hold up a system call here");
        return None;
    }
    let call = inject.split(':').next().unwrap_or_default();
    let (trace, inject) = (format!("trace={call}"), format!("inject={inject}"));
    Some(Setup::new().through(["strace", "-DDD", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]))
}

/// A directory that holds `/socketmaster`, `/worker` and nothing else, to be made root with chroot(1); otherwise why not.
pub fn bare_root() -> Result<FreeDir, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root may change its root directory".into());
    }
    if !cfg!(target_env = "musl") {
        return Err("only static programs run in an empty root directory, and these are not".into());
    }
    let root = free_dir();
    for (file, name) in [(binary(), "socketmaster"), (fixture("worker"), "worker")] {
        make_program(&root.join(name), fs::read(file).expect("it is built"));
    }
    Ok(root)
}

/// The state letter and parent of a process, from proc_pid_stat(5).
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// `R`, `S`, `T`, `Z`, ... as ps(1) shows it; nothing once it has been reaped.
pub fn state_of(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// Children, the zombies among them.
pub fn children_of(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Its only child, whichever that is after a while.
#[track_caller]
pub fn only_child(pid: u32) -> u32 {
    eventually("an only child", SOON, || match children_of(pid)[..] {
        [child] => Ok(child),
        ref others => Err(others.to_vec()),
    })
}

/// Children, their children, and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children = children_of(pid);
    let further: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    children.into_iter().chain(further).collect()
}

/// Whether a signal has been sent to this process that it has not taken yet.
pub fn has_pending(pid: u32, signal: c_int) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

/// The open descriptors of a process, with what they are.
#[track_caller]
pub fn open_fds(pid: u32) -> BTreeMap<c_int, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors of a process of ours");
    let described = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
    });
    described.collect()
}

/// Sends a signal, real-time ones included. Returns false if the process is gone, and panics after any other error.
#[track_caller]
pub fn send(pid: u32, signal: impl Into<AnySignal>) -> bool {
    let AnySignal(signal) = signal.into();
    // Zero and negative numbers would mean whole groups.
    let pid = c_int::try_from(pid).ok().filter(|pid| *pid > 0).expect("a pid");
    // SAFETY: kill(2) takes two numbers.
    match Errno::result(unsafe { nix::libc::kill(pid, signal) }) {
        Ok(_) => true,
        Err(Errno::ESRCH) => false,
        Err(error) => panic!("signal {signal} to {pid}: {error}"),
    }
}

/// A signal by nix's name or by number; nix has no names for real-time ones.
pub struct AnySignal(c_int);

impl From<Signal> for AnySignal {
    fn from(signal: Signal) -> Self {
        Self(signal as c_int)
    }
}

impl From<c_int> for AnySignal {
    fn from(signal: c_int) -> Self {
        Self(signal)
    }
}

/// What the fixture's verb `report` has written.
#[derive(Debug)]
pub struct Inherited {
    lines: Vec<(String, String)>,
}

impl Inherited {
    /// Waits for the file, which appears whole.
    #[track_caller]
    pub fn wait(path: &Path) -> Self {
        let what = format!("a report in {}", path.display());
        let text = eventually(&what, SOON, || fs::read_to_string(path));
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self { lines: lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        let Some((_, value)) = self.lines.iter().find(|(name, _)| name == key) else { panic!("no {key} in {self:#?}") };
        value
    }

    #[track_caller]
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> T {
        let value = self.get(key);
        let Ok(number) = value.parse() else { panic!("{key}={value} is not a number") };
        number
    }

    /// All entries of the environment as they were, in order, escaped.
    pub fn environment(&self) -> Vec<&str> {
        self.lines.iter().filter(|(key, _)| key == "env").map(|(_, entry)| entry.as_str()).collect()
    }

    /// The value of a variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.environment().into_iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Open descriptors, each as `cloexec=0 nonblock=0 TARGET`.
    pub fn fds(&self) -> BTreeMap<c_int, &str> {
        let descriptors = self.lines.iter().filter_map(|(key, value)| Some((key.strip_prefix("fd.")?.parse().ok()?, value.as_str())));
        descriptors.collect()
    }
}

/// Whether tests may run socketmaster as PID 1 here; otherwise why not.
pub fn pid_namespaces() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| match unshare(None).arg("true").output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("no PID namespace: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("no unshare(1): {error}")),
        })
        .clone()
}

/// unshare(1), to be followed by the program that becomes PID 1 and dies with it.
fn unshare(user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    if let Some((uid, gid)) = user {
        command.arg(format!("--setuid={uid}")).arg(format!("--setgid={gid}"));
    } else if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--");
    command
}

type Tune = Box<dyn FnOnce(&mut Command)>;

/// How a master is to be started.
///
/// ```ignore
/// let master = Setup::new().arg("-start=100").program(fixture("worker"), ["signals"]).spawn();
/// ```
pub struct Setup {
    options: Vec<OsString>,
    program: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    user: Option<(u32, u32)>,
    in_pid_namespace: bool,
    through: Vec<OsString>,
    binary: PathBuf,
    stdin: bool,
    tune: Option<Tune>,
}

impl Setup {
    /// One listener on a free loopback port, until `arg` or SOCKETMASTER_LISTEN names another.
    pub fn new() -> Self {
        Self {
            options: Vec::new(),
            program: Vec::new(),
            variables: Vec::new(),
            user: None,
            in_pid_namespace: false,
            through: Vec::new(),
            binary: binary(),
            stdin: false,
            tune: None,
        }
    }

    /// An option of socketmaster.
    pub fn arg(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_owned());
        self
    }

    /// The program and its arguments: what stands after `--`.
    pub fn program(mut self, path: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.program = vec![path.as_ref().to_owned()];
        self.program.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs the master with these ids and no supplementary groups; needs root.
    pub fn run_as(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Runs the master as PID 1 of a namespace of its own, with its own /proc. See [`pid_namespaces`].
    pub fn in_pid_namespace(mut self) -> Self {
        self.in_pid_namespace = true;
        self
    }

    /// Has the master executed by these words, which get its path and arguments as their last ones and must not fork:
    /// `setsid --ctty`, `chroot DIR`, `sh -c 'mount ... && exec "$@"' sh`.
    pub fn through(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.through.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Where the binary under test lies for this one; its name stays.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = path.into();
        self
    }

    /// Gives it a pipe as stdin ([`Master::stdin`]) instead of /dev/null.
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Whatever else std can do to a command, such as a directory or `pre_exec`.
    pub fn tune(mut self, tune: impl FnOnce(&mut Command) + 'static) -> Self {
        self.tune = Some(Box::new(tune));
        self
    }

    #[track_caller]
    pub fn spawn(self) -> Master {
        let mut words = self.through.iter().map(OsString::as_os_str).chain([self.binary.as_os_str()]);
        // unshare(1) needs root, and becomes the user when it is done.
        let mut command = if self.in_pid_namespace { unshare(self.user) } else { Command::new(words.next().unwrap_or_default()) };
        command.args(words);
        if let Some((uid, gid)) = self.user.filter(|_| !self.in_pid_namespace) {
            command.uid(uid).gid(gid);
        }
        let by_option = self.options.iter().any(|option| option.to_string_lossy().trim_start_matches('-').starts_with("listen"));
        if !by_option && !self.variables.iter().any(|(name, _)| name == "SOCKETMASTER_LISTEN") {
            command.arg("-listen=tcp://127.0.0.1:0");
        }
        command.args(&self.options);
        if !self.program.is_empty() {
            command.arg("--").args(&self.program);
        }
        // The tests themselves may run in a worker or a service.
        for (name, _) in env::vars_os() {
            let foreign = ["SOCKETMASTER_", "EINHORN_", "LISTEN_", "SERVER_STARTER_", "NOTIFY_SOCKET", "FDSTORE", "WATCHDOG_"];
            if foreign.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
                command.env_remove(name);
            }
        }
        command.envs(self.variables);
        let log = Arc::new(Log::new());
        command.stdin(if self.stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(log.capture(Stream::Out)).stderr(log.capture(Stream::Err));
        if let Some(tune) = self.tune {
            tune(&mut command);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?}: {error}"),
        };
        // The command holds the write ends of the pipes, which only the master and its workers may keep.
        drop(command);
        let stdin = child.stdin.take();
        let mut master = Master { pid: child.id(), child, stdin, log, ended: None };
        if self.in_pid_namespace {
            master.pid = master.wait_for_pid_1();
        }
        master
    }
}

/// A running socketmaster. Dropping it kills it and what descends from it, by pid; after a failure its log is printed.
pub struct Master {
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    log: Arc<Log>,
    ended: Option<ExitStatus>,
}

impl Master {
    /// As seen from here, also where it is PID 1 for itself.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Only with [`Setup::with_stdin`]. Take it and drop it to close it.
    pub fn stdin(&mut self) -> &mut Option<ChildStdin> {
        &mut self.stdin
    }

    /// Whether no process is left that has the master's standard input open, as all that descend from it have.
    /// Only with [`Setup::with_stdin`].
    pub fn left_nobody(&mut self) -> bool {
        let stdin = self.stdin.as_mut().expect("a pipe as standard input");
        stdin.write_all(b"?").is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    #[track_caller]
    pub fn signal(&self, signal: impl Into<AnySignal>) {
        assert!(self.ended.is_none() && send(self.pid, signal), "the master has ended already");
    }

    /// Its processes, zombies too; grandchildren count once they are orphans.
    pub fn children(&self) -> Vec<u32> {
        children_of(self.pid)
    }

    /// Waits until this generation is the current one.
    #[track_caller]
    pub fn wait_current(&self, generation: impl Display) {
        self.wait_note(&phrase::current(generation), SOON);
    }

    /// Waits until the program of this generation runs, and gives its pid.
    #[track_caller]
    pub fn started_pid(&self, generation: impl Display) -> u32 {
        phrase::pid_in(&self.wait_note(&phrase::started(generation), SOON))
    }

    /// Waits until the stop signal was sent to this generation, and gives the log line.
    #[track_caller]
    pub fn wait_stop_sent(&self, generation: impl Display) -> String {
        self.wait_note(&phrase::stop_sent(generation), SOON)
    }

    /// Waits until a process of this generation has exited, and gives the log line.
    #[track_caller]
    pub fn wait_exited(&self, generation: impl Display) -> String {
        self.wait_note(&phrase::exited(generation), SOON)
    }

    /// Waits until the reload that started this generation has failed, and gives the log line.
    #[track_caller]
    pub fn reload_failed(&self, generation: impl Display) -> String {
        self.wait_note(&phrase::reload_failed(generation), SOON)
    }

    /// Waits for a log line of the master's own that matches `pattern`, and gives it. See [`phrase`].
    #[track_caller]
    pub fn wait_note(&self, pattern: &str, deadline: Duration) -> String {
        self.wait_notes(pattern, 1, deadline).remove(0)
    }

    /// Waits for `count` such lines.
    #[track_caller]
    pub fn wait_notes(&self, pattern: &str, count: usize, deadline: Duration) -> Vec<String> {
        let wanted = |line: &Line| line.is_note() && phrase::matches(&line.text(), pattern);
        self.wait_lines(&format!("{count} note(s) with {pattern:?}"), wanted, count, deadline)
    }

    /// How many of the master's log lines so far match `pattern`.
    pub fn count_notes(&self, pattern: &str) -> usize {
        self.notes().iter().filter(|note| phrase::matches(note, pattern)).count()
    }

    pub fn has_note(&self, pattern: &str) -> bool {
        self.count_notes(pattern) > 0
    }

    /// Waits for a line that is no note, on stdout or stderr, that holds `text`: what a worker says.
    #[track_caller]
    pub fn wait_output(&self, text: &str, deadline: Duration) -> String {
        self.wait_outputs(text, 1, deadline).remove(0)
    }

    /// Waits for `count` such lines.
    #[track_caller]
    pub fn wait_outputs(&self, text: &str, count: usize, deadline: Duration) -> Vec<String> {
        let wanted = |line: &Line| !line.is_note() && line.text().contains(text);
        self.wait_lines(&format!("{count} line(s) of output with {text:?}"), wanted, count, deadline)
    }

    #[track_caller]
    fn wait_lines(&self, what: &str, wanted: impl Fn(&Line) -> bool, count: usize, deadline: Duration) -> Vec<String> {
        let found = |lines: &[Line]| {
            let texts: Vec<String> = lines.iter().filter(|line| wanted(line)).map(Line::text).take(count).collect();
            (texts.len() == count).then_some(texts)
        };
        let Some(lines) = self.log.wait(found, deadline) else { panic!("not within {deadline:?}: {what}") };
        lines
    }

    /// The master's notes so far.
    pub fn notes(&self) -> Vec<String> {
        self.lines().iter().filter(|line| line.is_note()).map(Line::text).collect()
    }

    /// All that was written so far by master and workers. After [`Master::wait_exit`] that is everything.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lines()
    }

    /// Everything on one stream so far, byte for byte.
    pub fn bytes(&self, stream: Stream) -> Vec<u8> {
        let lines = self.lines().into_iter().filter(|line| line.stream == stream);
        lines.flat_map(|line| line.bytes).collect()
    }

    /// The URI of the first listener as it is really bound.
    #[track_caller]
    pub fn uri(&self) -> String {
        let note = self.wait_note(phrase::LISTENING, SOON);
        let (_, rest) = note.split_once(phrase::LISTENING).expect("it was waited for");
        rest.split(' ').next().unwrap_or(rest).to_owned()
    }

    /// The same, to be asked by a [`load::Load`].
    #[track_caller]
    pub fn address(&self) -> Target {
        Target::from_uri(&self.uri()).expect("an address for clients")
    }

    /// Waits until the master has ended and all that it wrote is in the log.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let status = eventually("the master's end", deadline, || self.child.try_wait().expect("it is our child"));
        self.ended = Some(status);
        status
    }

    /// Sends the signal and waits for the end.
    #[track_caller]
    pub fn stop(&mut self, signal: impl Into<AnySignal>) -> ExitStatus {
        self.signal(signal);
        self.wait_exit(SOON)
    }

    /// unshare(1) forks, mounts and executes; a signal before that would go to unshare itself.
    #[track_caller]
    fn wait_for_pid_1(&mut self) -> u32 {
        let binary = binary();
        // The kernel keeps 15 bytes of the name.
        let name = binary.file_name().map_or(&[][..], OsStr::as_bytes);
        let name = &name[..name.len().min(15)];
        eventually("socketmaster as PID 1", SOON, || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                // It was too short-lived to be seen. Its status and log tell all there is.
                self.ended = Some(status);
                return Some(self.child.id());
            }
            let child = children_of(self.child.id()).first().copied()?;
            let running = fs::read(format!("/proc/{child}/comm")).ok()?;
            (running.trim_ascii_end() == name).then_some(child)
        })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Listed before the master is gone, since its children lose their parent with it.
            let left = descendants(self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            for pid in left {
                send(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        if thread::panicking() {
            eprintln!("--- log of socketmaster {}:\n{}---", self.pid, self.log);
        }
    }
}

/// `exited(3)` and `killed(9)` make assertions on how a master ended readable.
pub fn exited(status: u8) -> ExitStatus {
    ExitStatus::from_raw(c_int::from(status) << 8)
}

/// Asserts that a program ended properly at SIGTERM: by itself, or by the signal if it came before its handler was set.
#[track_caller]
pub fn assert_ended_at_term(status: ExitStatus) {
    assert!([exited(0), exited(143)].contains(&status), "{status}");
}

/// See [`exited`].
pub fn killed(signal: impl Into<AnySignal>) -> ExitStatus {
    ExitStatus::from_raw(signal.into().0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// A line, or the start of one if nothing has ended it yet.
#[derive(Clone, Debug)]
pub struct Line {
    /// When its first byte was read, counted from the start.
    pub at: Duration,
    pub stream: Stream,
    /// With its newline, if it has one.
    pub bytes: Vec<u8>,
}

impl Line {
    /// Without its newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes)).into_owned()
    }

    /// Whether the line is a log line of the master.
    pub fn is_note(&self) -> bool {
        self.stream == Stream::Err && self.bytes.starts_with(b"socketmaster[")
    }
}

/// What master and workers write, read by a thread for each stream.
///
/// The threads only announce that there is something: the first reader to take the lock reads. So a test
/// that looks after the master's end sees all of it, without waiting for an end of file that a surviving grandchild may
/// hold back.
struct Log {
    begin: Instant,
    captured: Mutex<Captured>,
    grown: Condvar,
}

#[derive(Default)]
struct Captured {
    lines: Vec<Line>,
    sources: Vec<(Stream, Arc<PipeReader>)>,
}

impl Log {
    fn new() -> Self {
        Self { begin: Instant::now(), captured: Mutex::default(), grown: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pipe whose other end is read into this log until its end.
    fn capture(self: &Arc<Self>, stream: Stream) -> PipeWriter {
        let (source, writer) = io::pipe().expect("a pipe");
        // Not shared with the write end, which is another open file.
        fcntl(&source, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("O_NONBLOCK");
        let source = Arc::new(source);
        self.lock().sources.push((stream, source.clone()));
        let log = Arc::downgrade(self);
        thread::spawn(move || {
            loop {
                let _ = poll(&mut [PollFd::new(source.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                let Some(log) = log.upgrade() else { return };
                let open = log.lock().read(stream, &source, log.begin);
                log.grown.notify_all();
                if !open {
                    return;
                }
            }
        });
        writer
    }

    fn lines(&self) -> Vec<Line> {
        let mut captured = self.lock();
        captured.read_all(self.begin);
        captured.lines.clone()
    }

    /// What `found` finds in the log, nothing at the deadline.
    fn wait<T>(&self, found: impl Fn(&[Line]) -> Option<T>, deadline: Duration) -> Option<T> {
        let end = Instant::now() + deadline;
        let mut captured = self.lock();
        loop {
            captured.read_all(self.begin);
            let left = end.saturating_duration_since(Instant::now());
            if let Some(found) = found(&captured.lines) {
                return Some(found);
            }
            if left.is_zero() {
                return None;
            }
            (captured, _) = self.grown.wait_timeout(captured, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let lines = self.lines();
        let unshown = lines.len().saturating_sub(2 * SHOWN);
        for (index, line) in lines.iter().enumerate().filter(|(index, _)| (*index < SHOWN) || *index >= SHOWN + unshown) {
            let stream = if line.stream == Stream::Out { "out" } else { "err" };
            let text = line.text();
            let (text, more) = text.char_indices().nth(LONG).map_or((&*text, ""), |(end, _)| (&text[..end], "..."));
            writeln!(out, "{:8.3} {stream} {text}{more}", line.at.as_secs_f64())?;
            if index + 1 == SHOWN && unshown > 0 {
                writeln!(out, "         ... {unshown} lines ...")?;
            }
        }
        Ok(())
    }
}

impl Captured {
    fn read_all(&mut self, begin: Instant) {
        for (stream, source) in self.sources.clone() {
            self.read(stream, &source, begin);
        }
    }

    /// Reads what there is; false at the end of the file.
    fn read(&mut self, stream: Stream, mut source: &PipeReader, begin: Instant) -> bool {
        let mut buffer = [0; 64 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.add(stream, &buffer[..length], begin.elapsed()),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn add(&mut self, stream: Stream, bytes: &[u8], at: Duration) {
        let mut parts = bytes.split_inclusive(|byte| *byte == b'\n');
        let unended = self.lines.iter_mut().rfind(|line| line.stream == stream).filter(|line| !line.bytes.ends_with(b"\n"));
        if let Some(line) = unended {
            line.bytes.extend(parts.next().unwrap_or_default());
        }
        self.lines.extend(parts.map(|part| Line { at, stream, bytes: part.to_vec() }));
    }
}
