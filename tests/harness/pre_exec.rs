//! What a program finds when it is executed: descriptors, signals, refused system calls.
//!
//! Each function adds a step that runs in the child between fork(2) and execve(2), so nothing of it reaches this process
//! or the children of tests that run beside. The steps make system calls only, on memory prepared before the fork.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::thread;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_ulong, sock_filter, sock_fprog};

/// Bytes of the kernel's signal set.
const SIGSET_SIZE: usize = 8;
/// No test wants a descriptor at so high a number.
const OUT_OF_THE_WAY: RawFd = 300;

fn checked(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Runs `step` in the child.
fn before_exec(command: &mut Command, step: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: every step in this file makes system calls only.
    unsafe { command.pre_exec(step) };
}

/// Opens each file under its number, without close-on-exec.
pub fn inherit(command: &mut Command, files: Vec<(OwnedFd, RawFd)>) {
    before_exec(command, move || {
        // In two rounds, as one file may have the number of another.
        for (index, (file, _)) in files.iter().enumerate() {
            let parked = OUT_OF_THE_WAY + index as RawFd;
            // SAFETY: takes two numbers.
            checked(unsafe { libc::dup2(file.as_raw_fd(), parked) }.into())?;
        }
        for (index, (_, number)) in files.iter().enumerate() {
            let parked = OUT_OF_THE_WAY + index as RawFd;
            // SAFETY: both take numbers.
            unsafe {
                checked(libc::dup2(parked, *number).into())?;
                libc::close(parked);
            }
        }
        Ok(())
    });
}

/// Closes these, of 0, 1 and 2.
pub fn close(command: &mut Command, numbers: &[RawFd]) {
    let numbers = numbers.to_vec();
    before_exec(command, move || {
        for number in &numbers {
            // SAFETY: takes a number.
            unsafe { libc::close(*number) };
        }
        Ok(())
    });
}

/// Blocks these signals and ignores those, and no others; real-time ones too, also those that a libc keeps for itself.
pub fn block_and_ignore(command: &mut Command, blocked: &[c_int], ignored: &[c_int]) {
    let blocked: u64 = blocked.iter().map(|signal| 1_u64 << (signal - 1)).sum();
    let ignored = ignored.to_vec();
    before_exec(command, move || {
        for signal in 1..=64 {
            // Larger than the kernel's struct sigaction on every architecture, which begins with the handler.
            let mut action = [0_usize; 16];
            action[0] = if ignored.contains(&signal) { libc::SIG_IGN } else { libc::SIG_DFL };
            // SAFETY: the kernel reads no more than its struct, and neither runs code. KILL and STOP are refused.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), ptr::null::<usize>(), SIGSET_SIZE) };
        }
        let (how, set) = (libc::SIG_SETMASK, &raw const blocked);
        // SAFETY: the set is SIGSET_SIZE bytes and lives during the call.
        checked(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, ptr::null::<u64>(), SIGSET_SIZE) }).map(drop)
    });
}

/// Has the kernel answer this system call with that error from now on, in all that descends from the program, with seccomp(2).
/// With an argument: only where it is the call's first.
pub fn refuse(command: &mut Command, call: c_long, first_argument: Option<c_int>, errno: Errno) {
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };
    let step = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |verdict| step(libc::BPF_RET | libc::BPF_K, verdict);
    // Goes on with the next step, or else past `skipped` of them.
    let only = |value, skipped| sock_filter { jf: skipped, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value) };

    let mut filter = vec![load(NUMBER)];
    match first_argument {
        Some(argument) => filter.extend([only(call as u32, 3), load(FIRST_ARGUMENT), only(argument as u32, 1)]),
        None => filter.push(only(call as u32, 1)),
    }
    filter.extend([answer(libc::SECCOMP_RET_ERRNO | errno as u32), answer(libc::SECCOMP_RET_ALLOW)]);
    before_exec(command, move || {
        let program = sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        let (on, off): (c_ulong, c_ulong) = (1, 0);
        // SAFETY: the program lives during the call, and its length is right. Who may not gain privileges may filter.
        unsafe {
            checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, off, off, off).into())?;
            checked(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as c_ulong, &raw const program).into())?;
        }
        Ok(())
    });
}

/// Makes it the leader of a session, and this terminal, unless there is none, the session's and its standard input.
pub fn lead_session(command: &mut Command, terminal: Option<OwnedFd>) {
    before_exec(command, move || {
        // SAFETY: all take plain numbers.
        unsafe {
            checked(libc::setsid().into())?;
            if let Some(terminal) = &terminal {
                checked(libc::dup2(terminal.as_raw_fd(), libc::STDIN_FILENO).into())?;
                checked(libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY as _, 0).into())?;
            }
        }
        Ok(())
    });
}

/// Gives it a child that has exited already and causes no SIGCHLD, as a shell may leave one when it executes its last command.
pub fn leave_a_zombie(command: &mut Command) {
    before_exec(command, || {
        // SAFETY: the child ends at once, and the others take plain numbers and memory that lives during the call.
        unsafe {
            let child = checked(libc::fork().into())?;
            if child == 0 {
                libc::_exit(0);
            }
            let mut info = std::mem::zeroed();
            checked(libc::waitid(libc::P_PID, child as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOWAIT).into()).map(drop)
        }
    });
}

/// Runs it as this user and group, alone, of the user namespace in which it is.
fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: all take plain numbers, and no memory.
    unsafe {
        checked(libc::setgroups(0, ptr::null()).into())?;
        checked(libc::setresgid(id, id, id).into())?;
        checked(libc::setresuid(id, id, id).into()).map(drop)
    }
}

/// Runs it as this user of a user namespace of its own, in which the ids from 0 to 65535 are ours from 100000 up, as engines
/// lay out containers. Needs root.
pub fn in_user_namespace(command: &mut Command, id: u32) {
    let (mut born, mut says_born) = io::pipe().expect("a pipe");
    let (mut mapped, mut says_mapped) = io::pipe().expect("a pipe");
    thread::spawn(move || {
        let mut pid = [0; 4];
        if born.read_exact(&mut pid).is_ok() {
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{}/{map}", u32::from_ne_bytes(pid)), "0 100000 65536").expect("root may map");
            }
            let _ = says_mapped.write_all(b"x");
        }
    });
    before_exec(command, move || {
        // SAFETY: takes a number.
        checked(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())?;
        // SAFETY: takes nothing.
        says_born.write_all(&unsafe { libc::getpid() }.to_ne_bytes())?;
        mapped.read_exact(&mut [0])?;
        become_user(id)
    });
}

/// Runs it as this user of the user namespace of that process, as `docker exec` does. Needs root.
pub fn into_user_namespace_of(command: &mut Command, pid: u32, id: u32) {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).expect("it runs");
    before_exec(command, move || {
        // SAFETY: takes two numbers.
        checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) }.into())?;
        become_user(id)
    });
}
