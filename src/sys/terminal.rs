//! tcsetpgrp(3): who is in the foreground of the terminal, where the master leads the session, as under `docker run -it`.

use std::io::IsTerminal;

use nix::libc;

use crate::ids::Pid;

/// The controlling terminal on standard input of a session that this process leads.
#[derive(Clone, Copy, Debug)]
pub struct Terminal(());

impl Terminal {
    /// `None` where there is no terminal, or another process, a shell say, leads its session.
    pub fn of_our_session() -> Option<Terminal> {
        let terminal = std::io::stdin().is_terminal();
        // Both, since where the ioctl behind it is only emulated, tcgetsid(3) may answer anything.
        // SAFETY: getpid(2), getsid(2) and tcgetsid(3) take plain numbers.
        let leader = unsafe { [libc::getsid(0), libc::tcgetsid(libc::STDIN_FILENO)] == [libc::getpid(); 2] };
        (terminal && leader).then_some(Terminal(()))
    }

    /// Makes this worker's group the foreground one. Best effort: the terminal may have gone.
    pub fn give_to(self, leader: Pid) {
        give(leader.as_raw());
    }
}

/// 0 is the caller's own group, as setpgid(2) has it; tcsetpgrp(3) itself would find no such group.
/// SIGTTOU, which it raises in a background group, must be blocked.
pub(super) fn give(group: i32) {
    // SAFETY: both take plain numbers.
    unsafe { libc::tcsetpgrp(libc::STDIN_FILENO, if group == 0 { libc::getpgrp() } else { group }) };
}
