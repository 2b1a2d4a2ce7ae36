//! waitpid(2), and PR_SET_CHILD_SUBREAPER of prctl(2).
//! By the raw status word: nix's WaitStatus cannot name a real-time signal, and the kernel has reaped by then.

use nix::errno::Errno;
use nix::libc;

use crate::types::process::{ExitStatus, Pid};
use crate::types::signal::Signal;

/// A change of a child's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildChange {
    Exited(Pid, ExitStatus),
    /// A signal has suspended it; it can be continued.
    Suspended(Pid, Signal),
    Continued(Pid),
}

/// Makes this process the parent of its orphaned descendants, as PID 1 is without this call.
pub fn become_subreaper() {
    // SAFETY: prctl(2) with this option takes plain numbers. A kernel without it (before 3.4) leaves us without orphans.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Reaps one child that has exited, or returns one that was suspended or continued. `None` if there is no such child now.
/// Never blocks.
pub fn next_change() -> Option<ChildChange> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local that outlives the call.
        let result = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) };
        if let Some(change) = Pid::new(result).and_then(|pid| decode(pid, status)) {
            return Some(change);
        }
        if result == 0 || result < 0 && Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// Whether there is a child that has not been reaped.
pub fn has_children() -> bool {
    // SAFETY: takes plain numbers and a null pointer, which is allowed. WNOWAIT: nobody is reaped.
    unsafe { libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), libc::WNOHANG | libc::WEXITED | libc::WNOWAIT) == 0 }
}

fn decode(pid: Pid, status: libc::c_int) -> Option<ChildChange> {
    if libc::WIFSTOPPED(status) {
        return Some(ChildChange::Suspended(pid, Signal::new(libc::WSTOPSIG(status))?));
    }
    if libc::WIFCONTINUED(status) {
        return Some(ChildChange::Continued(pid));
    }
    if libc::WIFSIGNALED(status) {
        return Some(ChildChange::Exited(
            pid,
            ExitStatus::Killed { signal: Signal::new(libc::WTERMSIG(status))?, core: libc::WCOREDUMP(status) },
        ));
    }
    libc::WIFEXITED(status).then_some(ChildChange::Exited(pid, ExitStatus::Exited(libc::WEXITSTATUS(status) as u8)))
}
