//! sigprocmask(2), signalfd(2), kill(2): signals as data, read from one place.
//! They are raw system calls where the libc's functions leave out the real-time signals that it reserves.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;
use std::{io, mem, ptr};

use nix::errno::Errno;
use nix::libc;

use super::clock::timeout;
use crate::error::Error;
use crate::types::process::Pid;
use crate::types::signal::Signal;

/// The kernel's signal set: bit n-1 is signal n.
type Mask = u64;
const MASK_SIZE: usize = size_of::<Mask>();

/// The signal mask and dispositions that the master inherited. Every worker gets them back.
#[derive(Clone, Copy, Debug)]
pub struct InheritedSignals {
    mask: Mask,
    child_ignored: bool,
}

const fn bit(signal: Signal) -> Mask {
    1 << (signal.as_raw() - 1)
}

/// Faults are among them: what kill(2) sends as SIGSEGV is for the program. A fault of this process still kills it, since
/// the kernel forces that signal through.
const ALL: Mask = !0;

/// Blocks all signals and sets SIGCHLD to its default, so that children can be waited for. Must be called before anything
/// else: a signal that comes earlier is lost.
pub fn block_all() -> InheritedSignals {
    let wanted = ALL;
    let mut mask: Mask = 0;
    // SAFETY: both pointers are to sets of the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const wanted, &raw mut mask, MASK_SIZE) };
    // SAFETY: sets a default disposition; no handler is involved.
    let child_ignored = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } == libc::SIG_IGN;
    InheritedSignals { mask, child_ignored }
}

impl InheritedSignals {
    /// Whether workers will inherit this signal blocked.
    pub fn blocks(&self, signal: Signal) -> bool {
        self.mask & bit(signal) != 0
    }

    /// Restores the inherited mask and dispositions: in a child right before execve(2), or in a process that is no master.
    pub fn restore(&self) {
        if self.child_ignored {
            // SAFETY: sets a disposition; no handler is involved.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
        // SAFETY: the pointer is to a set of the size that is passed; the old set is not asked for.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut::<Mask>(), MASK_SIZE) };
    }
}

/// Discards all signals that are pending for this process. Async-signal-safe.
pub(super) fn discard_pending() {
    let all = ALL;
    // Of two longs on every platform, as the kernel's old call has it.
    let at_once: [libc::c_long; 2] = [0; 2];
    // SAFETY: the pointers are to a set of the size that is passed and to a whole timespec; no record is asked for.
    while unsafe {
        libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, ptr::null_mut::<libc::siginfo_t>(), at_once.as_ptr(), MASK_SIZE)
    } > 0
    {}
}

/// A signal that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    pub signal: Signal,
    /// The kernel sent it, as it does with HUP when the terminal goes away.
    pub by_kernel: bool,
    /// The master caused it itself, as it does SIGPIPE by a write. It is not forwarded.
    pub by_itself: bool,
}

/// Receives all blocked signals: with signalfd(2) while the master waits for other events too, and otherwise with
/// sigtimedwait(2), which needs half the system calls.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
    own_pid: u32,
}

impl SignalFd {
    pub fn open() -> Result<SignalFd, Error> {
        let all = ALL;
        // SAFETY: the pointer is to a set of the size that is passed. KILL and STOP in it are ignored by the kernel.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const all, MASK_SIZE, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        let fd = Errno::result(fd as i32).map_err(|errno| Error::cannot("receive", "signals", errno.desc()))?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(SignalFd { fd: unsafe { OwnedFd::from_raw_fd(fd) }, own_pid: std::process::id() })
    }

    /// The next pending signal, if there is one. Never blocks.
    pub fn next(&self) -> Option<Received> {
        // SAFETY: the structure is plain numbers, for which zero is a value.
        let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
        // SAFETY: the buffer is a whole record, and its size is passed.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size_of_val(&info)) };
        if usize::try_from(read) != Ok(size_of_val(&info)) {
            return None;
        }
        let by_user = info.ssi_code == libc::SI_USER;
        Some(Received {
            signal: Signal::new(info.ssi_signo as i32)?,
            by_kernel: info.ssi_code == libc::SI_KERNEL,
            by_itself: by_user && info.ssi_pid == self.own_pid,
        })
    }

    /// Waits for the next signal, for this long at most. `None` also where the wait was interrupted.
    pub fn wait(&self, within: Option<Duration>) -> Option<Received> {
        // SAFETY: both structures are plain numbers, for which zero is a value.
        let (mut all, mut info): (libc::sigset_t, libc::siginfo_t) = unsafe { mem::zeroed() };
        // By bits: a libc's sigfillset(3) leaves out the real-time signals that it keeps for itself.
        // SAFETY: a libc's set begins with the kernel's, and is larger.
        unsafe { (&raw mut all).cast::<Mask>().write_unaligned(ALL) };
        let timeout = within.map(timeout);
        let timeout = timeout.as_ref().map_or(ptr::null(), |timeout| ptr::from_ref(timeout.as_ref()));
        // SAFETY: all three pointers are to locals that outlive the call, or null where that is allowed.
        let signal = unsafe { libc::sigtimedwait(&raw const all, &raw mut info, timeout) };
        // SAFETY: the kernel has filled in the sender for SI_USER, and only then is it looked at.
        let own = info.si_code == libc::SI_USER && u32::try_from(unsafe { info.si_pid() }) == Ok(self.own_pid);
        Some(Received { signal: Signal::new(signal)?, by_kernel: info.si_code == libc::SI_KERNEL, by_itself: own })
    }
}

/// Waits until one of these blocked signals comes, which is taken, or until this time is over.
pub fn wait_for(signals: &[Signal], within: Duration) -> Option<Signal> {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    let mask = signals.iter().fold(0, |mask, signal| mask | bit(*signal));
    // SAFETY: a libc's set begins with the kernel's, and is larger.
    unsafe { (&raw mut set).cast::<Mask>().write_unaligned(mask) };
    let within = timeout(within);
    // SAFETY: the pointers are to locals that outlive the call, or null where that is allowed.
    Signal::new(unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), ptr::from_ref(within.as_ref())) })
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// kill(2) to one process. An error means that the process is gone, or that the master may not signal it.
pub fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    kill(pid.as_raw(), signal)
}

/// kill(2) to the process group that this worker leads.
pub fn send_to_group(leader: Pid, signal: Signal) -> io::Result<()> {
    kill(-leader.as_raw(), signal)
}

/// Whether the error says that there is no such process or group.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether any process is left in the process group of this worker, including processes that cannot be signalled.
pub fn group_exists(leader: Pid) -> bool {
    // SAFETY: kill(2) has no memory to violate; signal 0 is sent to nobody.
    Errno::result(unsafe { libc::kill(-leader.as_raw(), 0) }) != Err(Errno::ESRCH)
}

/// Whether this process was started with this signal ignored, as nohup(1) does it with SIGHUP: the master changes no
/// disposition but that of SIGCHLD.
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: the structure is plain numbers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the old action is written to a local that outlives the call; none is set.
    let result = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Suspends this process as a shell's job until a SIGCONT. Returns whether a SIGCONT is pending then.
/// Does nothing if a SIGCONT is pending already: the suspension would discard it, and no other would follow. Uses the
/// default action of SIGTSTP, with which the kernel suspends neither PID 1 nor a process without a shell to continue it.
pub fn suspend_oneself() -> bool {
    if is_continued() {
        return true;
    }
    let stop = bit(Signal::TSTP);
    let null = ptr::null_mut::<Mask>();
    // SAFETY: raise(3) has no memory to violate, and the pointers are to a set of the size that is passed, or null. The
    // disposition is that of the start, which is no handler.
    unsafe {
        libc::raise(libc::SIGTSTP);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &raw const stop, null, MASK_SIZE);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const stop, null, MASK_SIZE);
    }
    is_continued()
}

/// Whether a SIGCONT is pending.
fn is_continued() -> bool {
    let mut pending: Mask = 0;
    // SAFETY: the pointer is to a set of the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, MASK_SIZE) };
    pending & bit(Signal::CONT) != 0
}

/// Sends SIGTSTP to the other processes of this process's group. This process has it blocked and discards it.
pub fn suspend_own_group() {
    // SAFETY: kill(2) has no memory to violate.
    unsafe { libc::kill(0, libc::SIGTSTP) };
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // nix's Signal has no real-time signals.
    // SAFETY: kill(2) has no memory to violate.
    Errno::result(unsafe { libc::kill(target, signal.as_raw()) }).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal as NixSignal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// How a child ends that blocks everything and then does this, which must be no more than system calls.
    fn ends_after(fault: fn()) -> WaitStatus {
        // SAFETY: until it ends the child makes system calls only, and allocates nothing.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
            ForkResult::Child => {
                block_all();
                fault();
                // SAFETY: ends the process without anything that the parent's other threads might hold.
                unsafe { libc::_exit(0) }
            }
        }
    }

    #[test]
    fn a_fault_or_a_panic_of_the_master_itself_still_ends_it() {
        let killed_by = |status| if let WaitStatus::Signaled(_, signal, _) = status { Some(signal) } else { None };
        let fault = ends_after(|| {
            // SAFETY: none: the address is no memory, which is what this test is about.
            unsafe { libc::memset(ptr::without_provenance_mut(8), 1, 1) };
        });
        assert_eq!(killed_by(fault), Some(NixSignal::SIGSEGV), "{fault:?}");
        let abort = ends_after(|| std::process::abort());
        assert_eq!(killed_by(abort), Some(NixSignal::SIGABRT), "{abort:?}");
        // The same signals as kill(2) sends them wait.
        let told = ends_after(|| {
            for signal in [libc::SIGSEGV, libc::SIGABRT] {
                // SAFETY: kill(2) has no memory to violate.
                unsafe { libc::kill(libc::getpid(), signal) };
            }
        });
        assert!(matches!(told, WaitStatus::Exited(_, 0)), "{told:?}");
    }
}
