//! What runs below a socketmaster that the kernel has started as /init, in the machine that `scripts/test-arm` boots.
//!
//! As the program it answers each connection with a line on itself. Its first copy raises the loopback interface and
//! starts a driver, which does to PID 1 what an administrator would, looks at what comes of it, and says so on the
//! console. There is nothing else in that machine: no shell, no /proc until the driver mounts it.

#![allow(unsafe_code, reason = "it brings up the loopback interface by bare system calls")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::SigSet;
use nix::sys::time::TimeSpec;
use nix::unistd::{ForkResult, fork};

/// What the command line of the kernel has SOCKETMASTER_LISTEN say.
const PORT: u16 = 8080;
/// Of the last generation, and so of PID 1.
const STATUS: u8 = 7;
/// Ordinary, and of each end of the range that musl leaves to programs.
const PASSED_ON: [c_int; 4] = [libc::SIGUSR1, 35, 50, 64];
const ROLLOVERS: u32 = 5;
const ORPHANS: u32 = 200;
/// Emulated machines are slow.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut words = std::env::args();
    let app = words.next().unwrap_or_default();
    let done = if words.next().as_deref() == Some("drive") { drive(Path::new(&app)).map(|()| 0) } else { serve(&app) };
    match done {
        Ok(status) => status.into(),
        Err(why) => {
            println!("boot: FAILED: {why}");
            // Nothing else would end the machine.
            kill(1, libc::SIGTERM);
            ExitCode::FAILURE
        }
    }
}

/// Bits of the signals that have come.
static COME: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(signal: c_int) {
    COME.fetch_or(bit(signal), Ordering::Relaxed);
}

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

fn kill(pid: c_int, signal: c_int) {
    // SAFETY: two numbers.
    unsafe { libc::kill(pid, signal) };
}

/// The program: signals come in only while it waits, so that it never ends with an answer half given.
fn serve(app: &str) -> Result<u8, String> {
    let generation: u32 = std::env::var("SERVER_STARTER_GENERATION").ok().and_then(|text| text.parse().ok()).ok_or("no generation")?;
    block_all()?;
    for signal in PASSED_ON.into_iter().chain([libc::SIGTERM]) {
        // SAFETY: the handler touches nothing but an atomic number.
        let before = unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(format!("signal {signal}: {}", Errno::last()));
        }
    }
    if generation == 1 {
        raise_loopback().map_err(|error| format!("lo: {error}"))?;
        Command::new(app).arg("drive").spawn().map_err(|error| format!("the driver: {error}"))?;
    }
    // SAFETY: fd 3 is what socketmaster has handed over, and belongs to nobody else here.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    // The other generation may be faster.
    listener.set_nonblocking(true).map_err(|error| format!("fd 3: {error}"))?;
    loop {
        // Where a client always waits already, ppoll(2) returns without a look at signals: this one waits for nothing else.
        let _ = ppoll(&mut [], Some(TimeSpec::new(0, 0)), Some(SigSet::empty()));
        let waited = ppoll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], None, Some(SigSet::empty()));
        let come = COME.load(Ordering::Relaxed);
        if come & bit(libc::SIGTERM) != 0 {
            return Ok(STATUS);
        }
        if waited.is_ok()
            && let Ok((mut client, _)) = listener.accept()
        {
            let _ = writeln!(client, "{generation} {} {} {come}", process::id(), parent_id());
        }
    }
}

/// By a raw call: the C library's own leaves out signals that it uses itself.
fn block_all() -> Result<(), String> {
    let all = u64::MAX;
    // SAFETY: the kernel reads eight bytes.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const all, 0, size_of_val(&all)) };
    Errno::result(result).map(drop).map_err(|error| format!("the signal mask: {error}"))
}

fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: a struct of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: the request lives during the call, and is the struct that the kernel expects.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })?;
    Ok(())
}

/// What a copy of the program says of itself.
struct Answer {
    generation: u32,
    pid: u32,
    parent: u32,
    come: u64,
}

fn ask() -> Result<Answer, String> {
    let told = |error: io::Error| error.to_string();
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], PORT))).map_err(told)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(told)?;
    let mut line = String::new();
    stream.read_to_string(&mut line).map_err(told)?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [generation, pid, parent, come] => Ok(Answer { generation: generation as u32, pid: pid as u32, parent: parent as u32, come }),
        _ => Err(format!("answered {line:?}")),
    }
}

/// Asks without a pause until it is stopped, and counts.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    thread: thread::JoinHandle<Vec<String>>,
}

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU32::new(0));
        let (stopped, count) = (stop.clone(), answered.clone());
        let thread = thread::spawn(move || {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match ask() {
                    Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => failures.push(why),
                }
            }
            failures
        });
        Self { stop, answered, thread }
    }

    /// Not before it has been answered: on a slow machine what it was to watch may be over before its first request.
    fn stop(self) -> Result<u32, String> {
        let waited = eventually("an answer", || if self.answered.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err("none".into()) });
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.thread.join().map_err(|_| "the load has panicked")?;
        let answered = self.answered.load(Ordering::Relaxed);
        if waited.is_ok() && failures.is_empty() { Ok(answered) } else { Err(format!("{answered} answered, {failures:?}")) }
    }
}

/// Looks until `seen` says yes.
fn eventually(what: &str, mut seen: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let end = Instant::now() + DEADLINE;
    loop {
        match seen() {
            Ok(()) => return Ok(()),
            Err(last) if Instant::now() >= end => return Err(format!("{what}; last seen: {last}")),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn passed(what: &str) {
    println!("boot: ok: {what}");
}

/// Pid, state and parent of all processes that are not the kernel's own.
fn processes() -> Vec<(u32, char, u32)> {
    const KTHREADD: u32 = 2;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let described = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        Some((pid, fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
    });
    described.filter(|(pid, _, parent)| *pid != KTHREADD && *parent != KTHREADD).collect()
}

/// Fails if there is any process but PID 1, this one and the current copy, zombies included.
fn nobody_left() -> Result<(), String> {
    let current = ask()?.pid;
    let mut expected = [1, process::id(), current];
    expected.sort_unstable();
    let mut seen = processes();
    seen.sort_unstable();
    if seen.iter().map(|(pid, _, _)| *pid).eq(expected) { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn drive(app: &Path) -> Result<(), String> {
    let first = ask()?;
    if (first.generation, first.parent) != (1, 1) {
        return Err(format!("generation {} below {} answers", first.generation, first.parent));
    }
    passed("without /proc, generation 1 answers, and its parent is PID 1");

    // SAFETY: strings that end with NUL, and no data.
    let mounted = unsafe { libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, std::ptr::null()) };
    Errno::result(mounted).map_err(|error| format!("/proc: {error}"))?;
    let init = fs::read_link("/proc/1/exe").unwrap_or_default();
    if init != Path::new("/init") {
        return Err(format!("PID 1 is {}", init.display()));
    }
    passed("PID 1 is /init");

    let load = Load::start();
    for generation in 2..2 + ROLLOVERS {
        kill(1, libc::SIGHUP);
        eventually(&format!("generation {generation}, and it alone"), || {
            let answer = ask()?;
            if answer.generation == generation { nobody_left() } else { Err(format!("generation {}", answer.generation)) }
        })?;
    }
    let answered = load.stop()?;
    passed(&format!("{ROLLOVERS} rollovers, {answered} requests meanwhile, 0 failures"));
    if parent_id() != 1 {
        return Err(format!("an orphan's parent is {}", parent_id()));
    }
    passed("PID 1 has adopted what its first worker has left behind");

    let away = PathBuf::from("/away");
    let current = ask()?.generation;
    fs::rename(app, &away).map_err(|error| error.to_string())?;
    let load = Load::start();
    kill(1, libc::SIGHUP);
    // Handled after the reload has failed.
    kill(1, libc::SIGUSR1);
    eventually("the signal behind the reload", || if ask()?.come & bit(libc::SIGUSR1) != 0 { Ok(()) } else { Err("nothing".into()) })?;
    let answered = load.stop()?;
    if ask()?.generation != current {
        return Err("another generation answers".into());
    }
    fs::rename(&away, app).map_err(|error| error.to_string())?;
    passed(&format!("a program that is not there: the old one stays, {answered} requests meanwhile, 0 failures"));

    for signal in PASSED_ON {
        kill(1, signal);
    }
    let all = PASSED_ON.into_iter().map(bit).sum::<u64>();
    eventually("signals are passed on", || {
        let come = ask()?.come;
        if come == all { Ok(()) } else { Err(format!("{come:#x}")) }
    })?;
    passed(&format!("signals {PASSED_ON:?} are passed on, under their numbers"));

    make_orphans()?;
    eventually("the orphans are gone", nobody_left)?;
    passed(&format!("{ORPHANS} orphans reaped; PID 1, one worker and this are all there is"));

    println!("boot: all passed");
    kill(1, libc::SIGTERM);
    Ok(())
}

/// Children of a child that ends at once; they end, too, and PID 1 inherits them.
fn make_orphans() -> Result<(), String> {
    // SAFETY: no other thread runs any more, and the children only fork and end.
    match unsafe { fork() }.map_err(|error| error.to_string())? {
        ForkResult::Child => {
            let born = (0..ORPHANS).take_while(|_| {
                // SAFETY: as above.
                match unsafe { fork() } {
                    // SAFETY: ends the process without the parent's exit handlers.
                    Ok(ForkResult::Child) => unsafe { libc::_exit(0) },
                    result => result.is_ok(),
                }
            });
            let status = c_int::from(born.count() < ORPHANS as usize);
            // SAFETY: as above.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok(()),
            other => Err(format!("making orphans: {other:?}")),
        },
    }
}
