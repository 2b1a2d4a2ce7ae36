//! proc(5): which processes there are, which descriptors they hold, and what they wait for. Everything here does without
//! /proc where there is none.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

use nix::libc::{self, c_long};

use crate::types::one_line::OneLine;
use crate::types::process::Pid;

/// A process and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    pub pid: Pid,
    pub name: OneLine,
    /// Its process group.
    pub group: i32,
}

/// What a thread is doing, as far as `/proc/PID/task/TID/syscall` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// It runs, or is about to.
    Running,
    /// It waits in accept(2) or accept4(2).
    Accept(RawFd),
    /// It waits in recvfrom(2), recvmsg(2), recvmmsg(2) or read(2).
    Receive(RawFd),
    /// It waits in epoll_wait(2) or one of its kin.
    EpollWait(RawFd),
    /// It waits in poll(2) or ppoll(2) for `count` descriptors; the address of the first struct pollfd.
    Poll { at: u64, count: u64 },
    /// It waits in select(2) or pselect6(2) for descriptors below `count`; the address of the set to read from.
    Select { at: u64, count: u64 },
    /// It waits for something else.
    Other,
}

/// The children of this process that have not exited, at most `most` of them.
pub fn children(most: usize) -> Vec<Process> {
    let pids = own_pid().map(children_of).unwrap_or_default();
    pids.into_iter().filter_map(process).take(most).collect()
}

/// This process. `None` where /proc is not mounted.
pub fn own() -> Option<Process> {
    process(own_pid()?)
}

fn own_pid() -> Option<Pid> {
    Pid::new(std::process::id().cast_signed())
}

/// Name and process group of a process that has not exited.
pub fn process(pid: Pid) -> Option<Process> {
    let Stat { name, group, is_alive, .. } = Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    is_alive.then_some(Process { pid, name, group })
}

/// The children of a process, those included that have exited and have not been reaped. Empty where they cannot be seen.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let lists = threads(pid).unwrap_or_default().into_iter();
    let mut lists = lists.map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"))).peekable();
    match lists.peek() {
        // A kernel without CONFIG_PROC_CHILDREN.
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => search_children_of(pid),
        _ => {
            let lists: Vec<String> = lists.filter_map(Result::ok).collect();
            lists.iter().flat_map(|list| list.split_ascii_whitespace()).filter_map(|pid| Pid::new(pid.parse().ok()?)).collect()
        }
    }
}

fn search_children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| Pid::new(entry.ok()?.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok();
        stat.and_then(|stat| Stat::parse(&stat)).is_some_and(|stat| stat.parent == parent.as_raw())
    })
    .collect()
}

/// How far up `belongs_to` looks.
const MOST_ANCESTORS: usize = 64;

/// Whether a process is `leader`, one of its process group, or one of its descendants. `false` where that cannot be seen.
pub fn belongs_to(pid: Pid, leader: Pid) -> bool {
    let mut next = Some(pid);
    for _ in 0..MOST_ANCESTORS {
        let Some(pid) = next else { return false };
        if pid == leader {
            return true;
        }
        let Some(stat) = fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| Stat::parse(&stat)) else { return false };
        if stat.group == leader.as_raw() {
            return true;
        }
        next = Pid::new(stat.parent);
    }
    false
}

/// PF_EXITING, of the flags in `/proc/PID/stat`.
const EXITING: u32 = 4;

/// What is used of `/proc/PID/stat`.
#[derive(PartialEq, Eq, Debug)]
struct Stat {
    name: OneLine,
    is_alive: bool,
    parent: i32,
    group: i32,
}

impl Stat {
    /// The name may hold anything, parentheses too.
    fn parse(stat: &[u8]) -> Option<Stat> {
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let name = OneLine::from_bytes(stat.get(open + 1..close)?);
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let flags: u32 = fields.nth(3)?.parse().ok()?;
        Some(Stat { name, is_alive: !is_dead && flags & EXITING == 0, parent, group })
    }
}

/// The threads of a process.
pub fn threads(pid: Pid) -> io::Result<Vec<i32>> {
    numbers(&format!("/proc/{pid}/task"), usize::MAX)
}

/// At most `most` descriptors of a process, in ascending order.
pub fn descriptors(pid: Pid, most: usize) -> io::Result<Vec<RawFd>> {
    numbers(&format!("/proc/{pid}/fd"), most)
}

fn numbers(directory: &str, most: usize) -> io::Result<Vec<i32>> {
    Ok(fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).take(most).collect())
}

/// What a descriptor of a process leads to, such as `socket:[4711]`. Empty for one that has been closed. The names of the
/// descriptors may be seen where this may not.
pub fn target(pid: Pid, fd: RawFd) -> io::Result<Vec<u8>> {
    match fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
        Ok(link) => Ok(link.into_os_string().into_encoded_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `/proc/PID/fdinfo/FD`, at most `most` bytes of it.
pub fn descriptor_info(pid: Pid, fd: RawFd, most: u64) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/fdinfo/{fd}"))?.take(most).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What a thread is doing.
pub fn doing(pid: Pid, tid: i32) -> io::Result<Doing> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))?;
    parse_syscall(&text).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Memory of a process from this address on.
pub fn memory(pid: Pid, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(bytes, at)
}

/// Whether a process runs code for the same machine as this one, so that its system calls have the same numbers. It does
/// not under emulation, nor in the other word size of the kernel.
pub fn is_of_our_machine(pid: Pid) -> io::Result<bool> {
    let machine = |path: String| {
        let mut header = [0; 20];
        File::open(path)?.read_exact(&mut header)?;
        // The class and e_machine of elf(5).
        Ok::<_, io::Error>((header[4], header[18], header[19]))
    };
    Ok(machine(format!("/proc/{pid}/exe"))? == machine("/proc/self/exe".to_owned())?)
}

/// `running`, or the number of a system call and its arguments, the latter in hexadecimal.
fn parse_syscall(text: &str) -> Option<Doing> {
    let mut words = text.split_ascii_whitespace();
    let number = match words.next()? {
        "running" => return Some(Doing::Running),
        number => number.parse::<c_long>().ok()?,
    };
    let mut argument = || words.next().and_then(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    // Blocked outside of a system call, it has none: the number is -1 then.
    let (Some(first), Some(second)) = (argument(), argument()) else { return Some(Doing::Other) };
    let fd = RawFd::try_from(first as u32 as i64).unwrap_or(-1);
    Some(match number {
        _ if ACCEPT.contains(&number) => Doing::Accept(fd),
        _ if RECEIVE.contains(&number) => Doing::Receive(fd),
        _ if EPOLL_WAIT.contains(&number) => Doing::EpollWait(fd),
        _ if POLL.contains(&number) => Doing::Poll { at: first, count: second },
        _ if SELECT.contains(&number) => Doing::Select { at: second, count: first },
        _ => Doing::Other,
    })
}

const ACCEPT: &[c_long] = &[libc::SYS_accept, libc::SYS_accept4];
/// epoll_pwait2(2), which libc does not name for every machine.
const EPOLL_PWAIT2: c_long = 441;

#[cfg(target_pointer_width = "64")]
const RECEIVE: &[c_long] = &[libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg];
/// With recvmmsg_time64(2).
#[cfg(target_pointer_width = "32")]
const RECEIVE: &[c_long] = &[libc::SYS_read, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg, 417];

#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait, EPOLL_PWAIT2];
#[cfg(target_arch = "x86_64")]
const POLL: &[c_long] = &[libc::SYS_poll, libc::SYS_ppoll];
#[cfg(target_arch = "x86_64")]
const SELECT: &[c_long] = &[libc::SYS_select, libc::SYS_pselect6];

#[cfg(target_arch = "aarch64")]
const EPOLL_WAIT: &[c_long] = &[libc::SYS_epoll_pwait, EPOLL_PWAIT2];
#[cfg(target_arch = "aarch64")]
const POLL: &[c_long] = &[libc::SYS_ppoll];
#[cfg(target_arch = "aarch64")]
const SELECT: &[c_long] = &[libc::SYS_pselect6];

#[cfg(target_arch = "arm")]
const EPOLL_WAIT: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait, EPOLL_PWAIT2];
/// With ppoll_time64(2).
#[cfg(target_arch = "arm")]
const POLL: &[c_long] = &[libc::SYS_poll, libc::SYS_ppoll, 414];
/// With pselect6_time64(2).
#[cfg(target_arch = "arm")]
const SELECT: &[c_long] = &[libc::SYS__newselect, libc::SYS_pselect6, 413];

/// On other machines nothing is seen of what a thread waits for.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
const EPOLL_WAIT: &[c_long] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
const POLL: &[c_long] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
const SELECT: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = |name: &str, is_alive| Stat { name: OneLine::from(name), is_alive, parent: 7, group: 1 };
        assert_eq!(Stat::parse(b"12 (a) b (\n) S 7 1 2 0 -1 4194304 9"), Some(stat("a) b (\n", true)));
        assert_eq!(Stat::parse(b"12 (zombie) Z 7 1 2 0 -1 4227084 9"), Some(stat("zombie", false)));
        assert_eq!(Stat::parse(b"12 (exiting) R 7 1 2 0 -1 4194308 9"), Some(stat("exiting", false)));
        assert_eq!(Stat::parse(b"12 (cut"), None);
    }

    #[test]
    fn a_child_is_found_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("a child");
        let found = children(usize::MAX);
        let pid = Pid::new(child.id() as i32).expect("a pid");
        let searched = search_children_of(Pid::new(std::process::id() as i32).expect("a pid"));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(found.iter().any(|process| process.pid == pid), "{found:?}");
        assert!(found.iter().all(|process| process.pid.as_raw() != 1), "{found:?}");
        assert!(searched.contains(&pid) && searched.iter().all(|pid| pid.as_raw() != 1), "{searched:?}");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn recorded_system_calls_are_read() {
        for (text, doing) in [
            ("running\n", Doing::Running),
            ("-1 0x7ffd1 0x7f1\n", Doing::Other),
            ("288 0x3 0x7ffe9c 0x7ffe98 0x80000 0x0 0x0 0x7ffe80 0x7f0a1\n", Doing::Accept(3)),
            ("43 0xb 0x0 0x0 0x0 0x0 0x0 0x7ffe80 0x7f0a1\n", Doing::Accept(11)),
            ("232 0x5 0x55d 0x200 0xffffffff 0x0 0x8 0x7ffe 0x7f\n", Doing::EpollWait(5)),
            ("7 0x7f33a0 0x2 0x1f4 0x0 0x0 0x0 0x7ffe 0x7f\n", Doing::Poll { at: 0x7f33a0, count: 2 }),
            ("270 0x8 0x7ffc10 0x0 0x0 0x7ffc00 0x0 0x7ffe 0x7f\n", Doing::Select { at: 0x7ffc10, count: 8 }),
            ("45 0x4 0x7f 0x200 0x0 0x7f 0x7f 0x7ffe 0x7f\n", Doing::Receive(4)),
            ("202 0x7f 0x80 0x0 0x0 0x0 0x0 0x7ffe 0x7f\n", Doing::Other),
        ] {
            assert_eq!(parse_syscall(text), Some(doing), "{text}");
        }
        for text in ["", "what", "0x3 0x4"] {
            assert_eq!(parse_syscall(text), None, "{text}");
        }
    }

    #[test]
    fn what_this_process_holds_and_does_is_seen() {
        let own = Pid::new(std::process::id() as i32).expect("a pid");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        assert!(descriptors(own, usize::MAX).expect("our own").contains(&fd));
        assert!(target(own, fd).expect("our own").starts_with(b"pipe:["));
        assert!(descriptor_info(own, fd, 4096).expect("our own").contains("flags:"));
        assert!(is_of_our_machine(own).expect("our own"));
        let text = *b"here";
        let mut copy = [0; 4];
        memory(own, text.as_ptr() as u64, &mut copy).expect("our own");
        assert_eq!(copy, text);
        let waits = std::thread::spawn(move || io::read_to_string(reader));
        let seen = || threads(own).expect("our own").into_iter().any(|tid| doing(own, tid).is_ok_and(|doing| doing == Doing::Receive(fd)));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !seen() {
            assert!(std::time::Instant::now() < end, "no thread was seen in read(2)");
        }
        io::Write::write_all(&mut writer, b"x").expect("it is read");
        drop(writer);
        waits.join().expect("no panic").expect("text");
        assert_eq!(target(own, -1).expect("it is closed"), b"");
    }
}
