//! tcsetpgrp(3), tcgetpgrp(3): the foreground process group of the terminal on standard input.

use std::io::IsTerminal;

use nix::libc;

use crate::types::process::Pid;
use crate::types::settings::Terminal;

/// The relation of this process to the terminal on its standard input.
pub fn role() -> Terminal {
    if !std::io::stdin().is_terminal() {
        return Terminal::None;
    }
    // SAFETY: getpid(2), getsid(2) and tcgetsid(3) take plain numbers.
    let [pid, session, session_of_terminal] = unsafe { [libc::getpid(), libc::getsid(0), libc::tcgetsid(libc::STDIN_FILENO)] };
    // Compare all three: an emulator of the system calls may answer tcgetsid(3) with any number.
    match session == session_of_terminal {
        true if session == pid => Terminal::Leader,
        true => Terminal::Job,
        false => Terminal::None,
    }
}

/// Whether this process's own group is the foreground group.
pub fn is_ours() -> bool {
    // SAFETY: both take plain numbers.
    unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) == libc::getpgrp() }
}

/// The foreground group, if there is a terminal that has one.
pub fn foreground() -> Option<Pid> {
    // SAFETY: takes plain numbers.
    Pid::new(unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) })
}

/// Makes the group that this worker leads the foreground one. Best effort: the terminal may have gone.
pub fn give_to(leader: Pid) {
    give(leader.as_raw());
}

/// Makes this process's own group the foreground one.
pub fn take_back() {
    give(0);
}

/// 0 is the caller's own group, as setpgid(2) has it; tcsetpgrp(3) itself would find no such group.
/// SIGTTOU, which it raises in a background group, must be blocked.
pub(super) fn give(group: i32) {
    // SAFETY: both take plain numbers.
    unsafe { libc::tcsetpgrp(libc::STDIN_FILENO, if group == 0 { libc::getpgrp() } else { group }) };
}
