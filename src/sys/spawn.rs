//! fork(2), execve(2) and the steps between them: starts a process without waiting for it.
//!
//! The child carries out a plan that was made before the fork, and only makes system calls. The master continues at once,
//! since a virus scanner, a network file system, or a SIGSTOP from its user may delay the child. A pipe reports the result.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

use super::signal::{self, InheritedSignals};
use super::stdio::BlockingModes;
use super::tty as terminal;
use super::user::IdentityChange;
use crate::types::environment::{Chunk, Variable};
use crate::types::fd_map::{FdMap, FdMove};
use crate::types::listener::FIRST_FD;
use crate::types::process::Pid;

/// The exit status of a child that could not execute the program. The report holds the reason.
const NOT_EXECUTED: c_int = 127;

/// The plan of a process to start.
#[derive(Clone, Copy, Debug)]
pub struct SpawnPlan<'a> {
    /// Paths of the program, tried in turn as execvp(3) does.
    pub programs: &'a [CString],
    /// All arguments, the program's own name first.
    pub args: &'a [CString],
    pub environment: &'a [Variable],
    /// The directory to enter first; `directory` is relative to it.
    pub base: Option<BorrowedFd<'a>>,
    pub directory: Option<&'a CStr>,
    /// The changes of user and groups.
    pub change: Option<&'a IdentityChange>,
    pub signals: InheritedSignals,
    /// The blocking modes of the standard descriptors that are not replaced by `output`.
    pub modes: BlockingModes,
    /// The descriptors that get the numbers from 3 up, in this order.
    pub listeners: &'a [BorrowedFd<'a>],
    /// Becomes standard output and standard error.
    pub output: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// The process becomes the foreground group of the terminal on standard input.
    pub foreground: bool,
}

/// The step of a start that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Step {
    /// There is no child.
    Start,
    Output,
    Listener,
    Directory,
    Groups,
    Group,
    User,
    Execute,
}

impl Step {
    const ALL: [Step; 8] =
        [Step::Start, Step::Output, Step::Listener, Step::Directory, Step::Groups, Step::Group, Step::User, Step::Execute];
}

/// A child that exists. It leads a process group of its own.
#[derive(Debug)]
pub struct Spawned {
    pub pid: Pid,
    pub report: Report,
}

/// The reading end of the pipe on which a child reports its start. It becomes readable when the result is known.
#[derive(Debug)]
pub struct Report(OwnedFd);

/// The progress of the start of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportState {
    /// The child has not executed the program yet.
    Pending,
    /// The child has executed the program, or was killed before it could.
    Executed,
    /// The child could not execute the program and exits.
    Failed { step: Step, errno: i32 },
}

impl Report {
    /// The progress so far. Never blocks. After any value but `Pending` the report must not be read again.
    pub fn read(&self) -> ReportState {
        let mut bytes = [0; 2];
        loop {
            match nix::unistd::read(&self.0, &mut bytes) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return ReportState::Pending,
                Ok(2) => {
                    let [step, errno] = bytes;
                    let step = Step::ALL.into_iter().find(|known| *known as u8 == step).unwrap_or(Step::Start);
                    return ReportState::Failed { step, errno: errno.into() };
                }
                Ok(_) | Err(_) => return ReportState::Executed,
            }
        }
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a child that executes the program, and returns at once. The error is an errno.
pub fn spawn(plan: &SpawnPlan) -> Result<Spawned, i32> {
    spawn_child(plan).map_err(|errno| errno as i32)
}

fn spawn_child(plan: &SpawnPlan) -> Result<Spawned, Errno> {
    // The blocks are written once more, in the child: its own pid goes where it is wanted.
    let mut blocks: Vec<Vec<u8>> = plan.environment.iter().map(block).collect();
    let mut environment: Vec<*const c_char> = blocks.iter().map(|block| block.as_ptr().cast()).collect();
    environment.push(ptr::null());
    let mut argv: Vec<*const c_char> = plan.args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(ptr::null());

    let (report, report_in_child) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let sources: Vec<RawFd> = plan.listeners.iter().map(AsRawFd::as_raw_fd).collect();
    let needed = [Some(report_in_child.as_raw_fd()), plan.base.map(|base| base.as_raw_fd())];
    let fds = FdMap::plan(&sources, FIRST_FD, &needed.iter().flatten().copied().collect::<Vec<_>>());
    let mut child = Child {
        plan,
        argv: &argv,
        blocks: &mut blocks,
        environment: &environment,
        fds: &fds,
        report: report_in_child.as_raw_fd(),
        base: plan.base.map(|base| base.as_raw_fd()),
    };
    // By the system call, as all that the child does: a libc's fork(3) takes the locks of its allocator along and runs
    // handlers, for children that go on in the C library. This one does not. No flag but the signal at its end, so the
    // memory is the child's own and nobody waits.
    const NONE: libc::c_long = 0;
    // SAFETY: all arguments are plain numbers; the child has a copy of this memory and leaves it by execve(2) or _exit(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_long, NONE, NONE, NONE, NONE) };
    let pid = Errno::result(pid)?;
    if pid == 0 {
        child.run();
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::new).ok_or(Errno::ECHILD)?;
    // The child does the same. Whichever call comes first, a signal to the group reaches the child from here on.
    // SAFETY: setpgid(2) takes plain numbers. It fails where the child has executed, and so has done it itself.
    unsafe { libc::setpgid(pid.as_raw(), pid.as_raw()) };
    Ok(Spawned { pid, report: Report(report) })
}

/// "KEY=value\0" with room for a pid of ten digits in each place of one.
fn block(variable: &Variable) -> Vec<u8> {
    let mut block = Vec::new();
    write_block(&mut block, variable, u32::MAX);
    block
}

/// Writes the pid into the reserved space, which is wide enough for every pid. The child may not allocate memory.
fn write_block(block: &mut Vec<u8>, variable: &Variable, pid: u32) {
    block.clear();
    block.extend_from_slice(variable.key.as_bytes());
    block.push(b'=');
    for chunk in &variable.value {
        match chunk {
            Chunk::Bytes(bytes) => block.extend_from_slice(bytes),
            Chunk::Pid => {
                let mut place = 1;
                while place <= pid / 10 {
                    place *= 10;
                }
                while place > 0 {
                    block.push(b'0' + (pid / place % 10) as u8);
                    place /= 10;
                }
            }
        }
    }
    block.push(0);
}

/// The plan as the child carries it out.
struct Child<'a> {
    plan: &'a SpawnPlan<'a>,
    argv: &'a [*const c_char],
    blocks: &'a mut [Vec<u8>],
    environment: &'a [*const c_char],
    fds: &'a FdMap,
    report: RawFd,
    base: Option<RawFd>,
}

type Failed = (Step, Errno);

fn checked(step: Step, result: c_int) -> Result<(), Failed> {
    Errno::result(result).map(drop).map_err(|errno| (step, errno))
}

// Nothing from here on may allocate, take a lock or panic: it runs between fork(2) and execve(2).
impl Child<'_> {
    fn run(&mut self) -> ! {
        let (step, errno) = match self.set_up() {
            Ok(()) => self.execute(),
            Err(failed) => failed,
        };
        let report = [step as u8, errno as u8];
        // SAFETY: the pointer and the length are those of one array. _exit(2), since nothing of the master's may be run here.
        unsafe {
            libc::write(self.report, report.as_ptr().cast(), report.len());
            libc::_exit(NOT_EXECUTED);
        }
    }

    fn set_up(&mut self) -> Result<(), Failed> {
        let plan = self.plan;
        // SAFETY: a system call on plain numbers.
        unsafe { libc::setpgid(0, 0) };
        // These signals were sent to the master's process group, to which this child belonged for a moment. The master has them too.
        signal::discard_pending();
        if plan.foreground {
            terminal::give(0);
        }
        if let Some((out, err)) = plan.output {
            // SAFETY: system calls on plain numbers; the copies are not close-on-exec.
            checked(Step::Output, unsafe { libc::dup2(out.as_raw_fd(), libc::STDOUT_FILENO) })?;
            // SAFETY: as above.
            checked(Step::Output, unsafe { libc::dup2(err.as_raw_fd(), libc::STDERR_FILENO) })?;
        }
        self.map_descriptors()?;
        // Some directories only root may reach, and some only the user.
        let entered = self.enter_directory();
        match plan.change {
            Some(change) => {
                become_user(change)?;
                if entered.is_err() {
                    self.enter_directory()?;
                }
            }
            None => entered?,
        }
        plan.modes.restore(plan.output.is_some());
        let pid = std::process::id();
        for (block, variable) in self.blocks.iter_mut().zip(plan.environment) {
            if variable.value.contains(&Chunk::Pid) {
                write_block(block, variable, pid);
            }
        }
        plan.signals.restore();
        Ok(())
    }

    fn map_descriptors(&mut self) -> Result<(), Failed> {
        let fds = self.fds;
        fds.saves.iter().try_for_each(carry_out)?;
        // From here on the numbers that they had may be a listener's.
        let mut others = fds.others.iter().copied();
        self.report = others.next().unwrap_or(self.report);
        self.base = others.next().or(self.base);
        fds.moves.iter().try_for_each(carry_out)
    }

    fn enter_directory(&self) -> Result<(), Failed> {
        if let Some(base) = self.base {
            // SAFETY: a system call on a plain number.
            checked(Step::Directory, unsafe { libc::fchdir(base) })?;
        }
        if let Some(directory) = self.plan.directory {
            // SAFETY: a NUL-terminated string that outlives the call.
            checked(Step::Directory, unsafe { libc::chdir(directory.as_ptr()) })?;
        }
        Ok(())
    }

    /// Returns only if the program cannot be executed.
    fn execute(&self) -> Failed {
        let mut verdict = Errno::ENOENT;
        for program in self.plan.programs {
            // SAFETY: NUL-terminated strings, and arrays of such that end with a null pointer; all outlive the call.
            unsafe { libc::execve(program.as_ptr(), self.argv.as_ptr(), self.environment.as_ptr()) };
            match Errno::last() {
                // As execvp(3): look further; a file that may not be executed is remembered.
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => verdict = Errno::EACCES,
                other => return (Step::Execute, other),
            }
        }
        (Step::Execute, verdict)
    }
}

fn carry_out(step: &FdMove) -> Result<(), Failed> {
    let result = match *step {
        // SAFETY: dup3(2) takes plain numbers. Of the child's own table, whatever it closes.
        FdMove::Save { from, to } => unsafe { libc::dup3(from, to, libc::O_CLOEXEC) },
        // SAFETY: dup2(2) takes plain numbers.
        FdMove::Copy { from, to } => unsafe { libc::dup2(from, to) },
        // SAFETY: F_SETFD takes plain numbers.
        FdMove::Keep { fd } => unsafe { libc::fcntl(fd, libc::F_SETFD, 0) },
    };
    checked(Step::Listener, result)
}

/// Uses raw system calls: the libc's functions would change the ids of other threads too.
fn become_user(change: &IdentityChange) -> Result<(), Failed> {
    #[cfg(not(target_arch = "arm"))]
    use nix::libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
    #[cfg(target_arch = "arm")]
    use nix::libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};
    let checked = |step, result: libc::c_long| Errno::result(result).map(drop).map_err(|errno| (step, errno));
    if let Some(groups) = &change.groups {
        // SAFETY: the pointer and the length are those of one slice.
        checked(Step::Groups, unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) })?;
    }
    if let Some(gid) = change.gid {
        // SAFETY: system call on plain numbers.
        checked(Step::Group, unsafe { libc::syscall(SETRESGID, gid, gid, gid) })?;
    }
    if let Some(uid) = change.uid {
        // SAFETY: as above.
        checked(Step::User, unsafe { libc::syscall(SETRESUID, uid, uid, uid) })?;
    }
    Ok(())
}
