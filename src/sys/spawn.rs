//! clone(2), execve(2) and all that happens between them: how a worker is started.
//!
//! The child shares the master's memory until it executes (CLONE_VM), and the master waits for that (CLONE_VFORK), so a
//! start costs the same however large the master is. That is sound because the child runs on a stack of its own, makes
//! only system calls, writes only into memory prepared for it, and has no signal handler that could run: the master has none.

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

use super::identity::Identity;
use super::signals::Found;
use super::{children, program, terminal};
use crate::handoff::{Chunk, Variable, path_in};
use crate::ids::Pid;
use crate::supervisor::Failure;

/// Room for the few frames below `set_up`, in a debug build too.
const STACK_SIZE: usize = 64 * 1024;
/// What the master ends with when something other than the program stood in the way.
const OWN_FAILURE: u8 = 1;

/// What is the same at every start.
#[derive(Debug)]
pub struct Launcher {
    pub command: OsString,
    pub args: Vec<OsString>,
    /// Entered at each start, in turn; the later may be relative to the earlier, and symlinks are followed anew.
    pub directories: Vec<PathBuf>,
    pub identity: Option<Identity>,
    pub found: Found,
    /// Made inheritable in the child: 3 up to here, without it.
    pub listeners_end: RawFd,
}

/// What is particular to one start.
#[derive(Debug)]
pub struct Launch<'a> {
    pub environment: &'a [Variable],
    /// Becomes standard output and standard error.
    pub output: Option<(&'a OwnedFd, &'a OwnedFd)>,
    /// Becomes the foreground group of the terminal on standard input.
    pub foreground: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Step {
    Start,
    Output,
    Listener,
    Directory,
    Groups,
    Group,
    User,
    Execute,
}

impl Launcher {
    /// Starts one worker. When this returns a pid the program has been executed.
    pub fn launch(&self, launch: &Launch) -> Result<Pid, Failure> {
        let path = path_in(launch.environment);
        let failed = |(step, errno)| self.failure(step, errno, path);
        let cannot_start = |errno| failed((Step::Start, errno));

        let strings =
            |texts: &mut dyn Iterator<Item = &OsStr>| texts.map(|text| CString::new(text.as_bytes())).collect::<Result<Vec<_>, _>>();
        let invalid = |_| failed((Step::Start, Errno::EINVAL));
        let found = program::candidates(&self.command, path);
        let programs = strings(&mut found.iter().map(OsString::as_os_str)).map_err(invalid)?;
        let args =
            strings(&mut std::iter::once(self.command.as_os_str()).chain(self.args.iter().map(OsString::as_os_str))).map_err(invalid)?;
        let directories = strings(&mut self.directories.iter().map(|directory| directory.as_os_str())).map_err(invalid)?;

        // The blocks are written once more, in the child: its own pid goes where it is wanted.
        let mut blocks: Vec<Vec<u8>> = launch.environment.iter().map(block).collect();
        let mut environment: Vec<*const c_char> = blocks.iter().map(|block| block.as_ptr().cast()).collect();
        environment.push(ptr::null());
        let mut argv: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(ptr::null());

        let (report, report_in_child) = pipe2(OFlag::O_CLOEXEC).map_err(cannot_start)?;
        let mut plan = Plan {
            programs: &programs,
            argv: &argv,
            variables: launch.environment,
            blocks: &mut blocks,
            environment: &environment,
            directories: &directories,
            identity: self.identity.as_ref(),
            found: self.found,
            listeners_end: self.listeners_end,
            output: launch.output.map(|(out, err)| (out.as_raw_fd(), err.as_raw_fd())),
            foreground: launch.foreground,
            report: report_in_child.as_raw_fd(),
        };
        // Not on the master's own stack: there the compiler touches every page of it, and they stay for good.
        let mut stack = Box::<[u128]>::new_uninit_slice(STACK_SIZE / size_of::<u128>());
        // SAFETY: the stack grows down from its end, which is aligned for every ABI; `child` gets a pointer to a plan that
        // outlives it, as this thread does not go on before the child has executed or ended (CLONE_VFORK).
        let pid = unsafe {
            libc::clone(
                child,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                (&raw mut plan).cast(),
            )
        };
        let pid = Errno::result(pid).map_err(cannot_start)?;
        drop(report_in_child);
        // Closed by a successful execve. Where vfork is emulated by fork, as under qemu-user, this is where the master waits.
        match read_report(&report) {
            None => Pid::new(pid).ok_or_else(|| failed((Step::Start, Errno::ECHILD))),
            Some(step_and_errno) => {
                if let Some(pid) = Pid::new(pid) {
                    children::reap(pid);
                }
                Err(failed(step_and_errno))
            }
        }
    }

    fn failure(&self, step: Step, errno: Errno, path: Option<&OsStr>) -> Failure {
        let own = |what: String| Failure { status: OWN_FAILURE, cause: format!("cannot {what}: {}", errno.desc()) };
        let directory = || self.directories.iter().fold(PathBuf::new(), |base, directory| base.join(directory));
        let identity = self.identity.as_ref();
        match step {
            Step::Start => own(format!("start {}", self.command.display())),
            Step::Output => own("hand over the output pipes".to_owned()),
            Step::Listener => own("hand over the listeners".to_owned()),
            Step::Directory => own(format!("enter {}", directory().display())),
            Step::Groups => own(format!("take the groups of uid {}", identity.map_or(0, |identity| identity.uid))),
            Step::Group => own(format!("become gid {}", identity.map_or(0, |identity| identity.gid))),
            Step::User => own(format!("become uid {}", identity.map_or(0, |identity| identity.uid))),
            Step::Execute => Failure {
                status: program::status(errno),
                cause: format!(
                    "cannot execute {}: {}",
                    self.command.display(),
                    program::cause(errno, &self.command, path, Some(&directory()))
                ),
            },
        }
    }
}

/// "KEY=value\0" with room for a pid of ten digits in each place of one.
fn block(variable: &Variable) -> Vec<u8> {
    let mut block = Vec::new();
    write_block(&mut block, variable, u32::MAX);
    block
}

/// Writes it into the space there is; in the child nothing may be allocated, and the widest pid has made the room.
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

/// All that the child needs, made before it is.
struct Plan<'a> {
    programs: &'a [CString],
    argv: &'a [*const c_char],
    variables: &'a [Variable],
    blocks: &'a mut [Vec<u8>],
    environment: &'a [*const c_char],
    directories: &'a [CString],
    identity: Option<&'a Identity>,
    found: Found,
    listeners_end: RawFd,
    output: Option<(RawFd, RawFd)>,
    foreground: bool,
    report: RawFd,
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `launch` passes its plan, and waits while it is used here.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    let (step, errno) = set_up(plan);
    let report = [step as u8, errno as u8];
    // SAFETY: the pointer and the length are those of one array. _exit(2), since nothing of the master's may be run down here.
    unsafe {
        libc::write(plan.report, report.as_ptr().cast(), report.len());
        libc::_exit(program::NOT_FOUND.into());
    }
}

/// Comes back only where a step failed. Nothing here may allocate, take a lock or panic.
fn set_up(plan: &mut Plan) -> (Step, Errno) {
    let checked = |step, result: c_int| Errno::result(result).map_err(|errno| (step, errno));
    // SAFETY: system calls on plain numbers.
    unsafe { libc::setpgid(0, 0) };
    if plan.foreground {
        terminal::give(0);
    }
    if let Err(failed) = (|| {
        if let Some((out, err)) = plan.output {
            // SAFETY: system calls on plain numbers; the copies are not close-on-exec.
            checked(Step::Output, unsafe { libc::dup2(out, libc::STDOUT_FILENO) })?;
            checked(Step::Output, unsafe { libc::dup2(err, libc::STDERR_FILENO) })?;
        }
        for fd in crate::handoff::FIRST_FD..plan.listeners_end {
            // SAFETY: system call on plain numbers; the flag is of this process's own table.
            checked(Step::Listener, unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
        }
        for directory in plan.directories {
            // SAFETY: a NUL-terminated string that outlives the call.
            checked(Step::Directory, unsafe { libc::chdir(directory.as_ptr()) })?;
        }
        plan.identity.map_or(Ok(()), become_user)
    })() {
        return failed;
    }
    let pid = std::process::id();
    for (block, variable) in plan.blocks.iter_mut().zip(plan.variables) {
        if variable.value.contains(&Chunk::Pid) {
            write_block(block, variable, pid);
        }
    }
    plan.found.restore();
    let mut verdict = Errno::ENOENT;
    for program in plan.programs {
        // SAFETY: NUL-terminated strings, and arrays of such that end with a null pointer; all outlive the call.
        unsafe { libc::execve(program.as_ptr(), plan.argv.as_ptr(), plan.environment.as_ptr()) };
        match Errno::last() {
            // As execvp(3): look further; a file that may not be executed is remembered.
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => verdict = Errno::EACCES,
            other => return (Step::Execute, other),
        }
    }
    (Step::Execute, verdict)
}

/// By raw system calls: a libc's own would look for threads to take along, in memory that is the master's.
fn become_user(identity: &Identity) -> Result<(), (Step, Errno)> {
    #[cfg(not(target_arch = "arm"))]
    use nix::libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
    #[cfg(target_arch = "arm")]
    use nix::libc::{SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};
    let checked = |step, result: libc::c_long| Errno::result(result).map(drop).map_err(|errno| (step, errno));
    let (uid, gid) = (identity.uid, identity.gid);
    // SAFETY: the pointer and the length are those of one slice.
    checked(Step::Groups, unsafe { libc::syscall(SETGROUPS, identity.groups.len(), identity.groups.as_ptr()) })?;
    // SAFETY: system calls on plain numbers.
    checked(Step::Group, unsafe { libc::syscall(SETRESGID, gid, gid, gid) })?;
    checked(Step::User, unsafe { libc::syscall(SETRESUID, uid, uid, uid) })
}

/// Which step failed, and how; `None` where the child has executed and so closed its end.
fn read_report(report: &OwnedFd) -> Option<(Step, Errno)> {
    const STEPS: [Step; 8] =
        [Step::Start, Step::Output, Step::Listener, Step::Directory, Step::Groups, Step::Group, Step::User, Step::Execute];
    let mut bytes = [0; 2];
    loop {
        match nix::unistd::read(report, &mut bytes) {
            Err(Errno::EINTR) => {}
            Ok(2) => {
                let [step, errno] = bytes;
                let step = STEPS.into_iter().find(|known| *known as u8 == step).unwrap_or(Step::Start);
                return Some((step, Errno::from_raw(errno.into())));
            }
            Ok(_) | Err(_) => return None,
        }
    }
}
