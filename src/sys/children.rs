//! waitpid(2), and PR_SET_CHILD_SUBREAPER of prctl(2).
//! By the raw status word: nix's WaitStatus cannot name a real-time signal, and the kernel has reaped by then.

use nix::errno::Errno;
use nix::libc;

use crate::ids::{Ending, Pid, Signal};

/// What has become of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Died(Pid, Ending),
    /// By that signal; it can be continued.
    Stopped(Pid, Signal),
}

/// Orphans below fall to this process instead of to PID 1. As PID 1 they do anyhow.
pub fn become_subreaper() {
    // SAFETY: prctl(2) with this option takes plain numbers. A kernel without it (before 3.4) leaves us without orphans.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Reaps one child that has ended, or tells of one that was stopped. `None`: there is none just now. Never blocks.
pub fn next_change() -> Option<Change> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local that outlives the call.
        let result = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        if let Some(change) = Pid::new(result).and_then(|pid| decode(pid, status)) {
            return Some(change);
        }
        if result == 0 || result < 0 && Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// Reaps this child, which is known to be ending.
pub(super) fn reap(pid: Pid) {
    // SAFETY: a null status is allowed: the status is not wanted.
    while unsafe { libc::waitpid(pid.as_raw(), std::ptr::null_mut(), 0) } < 0 && Errno::last() == Errno::EINTR {}
}

fn decode(pid: Pid, status: libc::c_int) -> Option<Change> {
    if libc::WIFSTOPPED(status) {
        return Some(Change::Stopped(pid, Signal::new(libc::WSTOPSIG(status))?));
    }
    if libc::WIFSIGNALED(status) {
        return Some(Change::Died(pid, Ending::Killed { signal: Signal::new(libc::WTERMSIG(status))?, core: libc::WCOREDUMP(status) }));
    }
    libc::WIFEXITED(status).then_some(Change::Died(pid, Ending::Exited(libc::WEXITSTATUS(status) as u8)))
}
