//! A program under measurement: started as PID 1 of a namespace of its own, so that all below it ends with it.

#![allow(unsafe_code, reason = "it starts what it measures by bare system calls")]

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a program becomes PID 1.
#[derive(Clone, Copy, PartialEq)]
pub enum Isolation {
    Pid,
    UserAndPid,
}

impl Isolation {
    pub fn find() -> Option<Isolation> {
        let works = |isolation: &Isolation| {
            let child = Child::start(&["/bin/true".to_owned()], *isolation, Notes::ToNull);
            child.and_then(Child::wait).is_ok_and(|ended| ended.code == 0)
        };
        [Isolation::Pid, Isolation::UserAndPid].into_iter().find(works)
    }

    fn flags(self) -> c_int {
        match self {
            Isolation::Pid => libc::CLONE_NEWPID,
            Isolation::UserAndPid => libc::CLONE_NEWPID | libc::CLONE_NEWUSER,
        }
    }
}

/// Where its standard error goes.
#[derive(Clone, Copy, PartialEq)]
pub enum Notes {
    ToNull,
    ToPipe,
}

/// stdin and stdout are pipes of ours.
pub struct Child {
    pid: c_int,
    stdin: File,
    stdout: File,
    pub stderr: Option<File>,
    before: &'static Before,
}

/// What the child leaves in shared memory right before it executes.
struct Before {
    executed: AtomicU64,
    faults: AtomicU64,
}

pub struct Ended {
    /// As a shell has it.
    pub code: i32,
    /// Its own CPU time, without that of its children, in nanoseconds.
    pub cpu: u64,
}

pub struct Memory {
    pub resident: u64,
    pub anonymous: u64,
}

impl Child {
    pub fn start(command: &[String], isolation: Isolation, notes: Notes) -> io::Result<Child> {
        let strings: Vec<CString> = command.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
        let mut argv: Vec<*const c_char> = strings.iter().map(|word| word.as_ptr()).collect();
        argv.push(ptr::null());
        let environment = [c"PATH=/usr/local/bin:/usr/bin:/bin".as_ptr(), ptr::null()];
        let (its_stdin, stdin) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout, its_stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr, its_stderr) = match notes {
            Notes::ToNull => (None, OwnedFd::from(File::options().write(true).open("/dev/null")?)),
            Notes::ToPipe => pipe2(OFlag::O_CLOEXEC).map(|(ours, its)| (Some(ours), its))?,
        };
        let numbers: [RawFd; 3] = [its_stdin.as_raw_fd(), its_stdout.as_raw_fd(), its_stderr.as_raw_fd()];
        let before = Before::share()?;

        // SAFETY: as fork(2), no memory is shared, and this process has one thread.
        let pid = unsafe { libc::syscall(libc::SYS_clone, isolation.flags() | libc::SIGCHLD, 0, 0, 0, 0) } as c_int;
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // SAFETY: system calls on plain numbers, and on strings and arrays prepared above, which end as they must.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                for (target, fd) in (0..).zip(numbers) {
                    libc::dup2(fd, target);
                }
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                // Once for the pages that it takes to do so.
                for _ in 0..2 {
                    before.faults.store(own_faults(), Ordering::Relaxed);
                    before.executed.store(now(), Ordering::Relaxed);
                }
                libc::execve(argv[0], argv.as_ptr(), environment.as_ptr());
                libc::_exit(127);
            }
        }
        Ok(Child { pid, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.map(File::from), before })
    }

    pub fn send(&self, signal: c_int) {
        // SAFETY: kill(2) takes plain numbers; the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// What the worker waits for.
    pub fn go(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"g")
    }

    /// The next time that the worker tells.
    pub fn stamp(&mut self) -> io::Result<u64> {
        let mut asked = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        if poll(&mut asked, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::NONE))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the worker did not answer"));
        }
        let mut bytes = [0; 8];
        self.stdout.read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// When it was about to be executed. To be asked after the first stamp.
    pub fn executed(&self) -> u64 {
        self.before.executed.load(Ordering::Relaxed)
    }

    /// Page faults of its own since then, execve(2) included.
    pub fn faults(&self) -> io::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name stands in parentheses; behind it the state is the 3rd field, the minor faults the 10th, the major the 12th.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, fields)| fields.split(' ').collect());
        let number = |index: usize| fields.get(index - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        Ok((number(10) + number(12)).saturating_sub(self.before.faults.load(Ordering::Relaxed)))
    }

    /// Its own CPU time up to now, in nanoseconds.
    pub fn cpu(&self) -> u64 {
        let mut clock: libc::clockid_t = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both pointers are to locals.
        unsafe {
            libc::clock_getcpuclockid(self.pid, &raw mut clock);
            libc::clock_gettime(clock, &raw mut time);
        }
        nanoseconds(time)
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        Ok(Memory { resident: field(&rollup, "Rss:"), anonymous: field(&rollup, "Anonymous:") })
    }

    pub fn threads(&self) -> io::Result<u64> {
        Ok(field(&self.status()?, "Threads:"))
    }

    /// How often it was put on a CPU after it had waited.
    pub fn wake_ups(&self) -> io::Result<u64> {
        Ok(field(&self.status()?, "voluntary_ctxt_switches:"))
    }

    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    fn status(&self) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/status", self.pid))
    }

    /// Waits until it ends by itself.
    pub fn wait(self) -> io::Result<Ended> {
        let mut info: libc::siginfo_t = no_info();
        loop {
            // SAFETY: the pointer is to a local. Its CPU clock lives until it is really waited for, in `drop`.
            let result = unsafe { libc::waitid(libc::P_PID, self.pid as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
            if result == 0 {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        // SAFETY: waitid(2) has filled it.
        let status = unsafe { info.si_status() };
        let code = if info.si_code == libc::CLD_EXITED { status } else { 128 + status };
        Ok(Ended { code, cpu: self.cpu() })
    }
}

impl Drop for Child {
    /// The end of PID 1 is the end of all in its namespace.
    fn drop(&mut self) {
        self.send(libc::SIGKILL);
        // SAFETY: the status is not wanted; the mapping is this child's, and nobody looks at it any more.
        unsafe {
            libc::waitpid(self.pid, ptr::null_mut(), 0);
            libc::munmap(ptr::from_ref(self.before).cast_mut().cast(), size_of::<Before>());
        }
    }
}

impl Before {
    fn share() -> io::Result<&'static Before> {
        // SAFETY: a new mapping, large and aligned enough, of zeros, which are values of these fields.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(ptr::null_mut(), size_of::<Before>(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if memory == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(&*memory.cast::<Before>())
        }
    }
}

/// CLOCK_MONOTONIC in nanoseconds, as the worker tells it.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    nanoseconds(time)
}

fn own_faults() -> u64 {
    // SAFETY: plain numbers, for which zero is a value; the pointer is to a local.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

fn nanoseconds(time: libc::timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn no_info() -> libc::siginfo_t {
    // SAFETY: plain numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// The number behind a name in a file of proc(5); 0 where there is none.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
