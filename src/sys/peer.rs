//! SO_PEERCRED and SO_PEERPIDFD of unix(7), and user_namespaces(7): the process at the other end of a connection.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};

use crate::types::process::Pid;

/// The number on x86 and ARM; since Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;
/// The kernel's default.
const DEFAULT_OVERFLOW_UID: u32 = 65_534;
/// A user namespace that maps this many ids, from 0 up, maps them all: the highest number is no id.
const EVERY_UID: u64 = u32::MAX as u64;

/// The other end of a connection, as it was when it connected or, seen from a client, when it began to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerCredentials {
    /// Not positive where the process is in none of our PID namespaces.
    pub pid: i32,
    pub uid: u32,
}

/// SO_PEERCRED.
pub fn credentials(socket: &impl AsFd) -> io::Result<PeerCredentials> {
    let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: credentials.pid(), uid: credentials.uid() })
}

/// The uid that every uid unknown to the user namespace reads as. Without /proc, the kernel's default.
pub fn overflow_uid() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_OVERFLOW_UID)
}

/// Whether our user namespace is seen to know every uid there is, as the first one does.
pub fn every_uid_is_mapped() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_every_uid(&map))
}

/// Reads uid_map: inside, outside, count on each line. The kernel lets no two lines overlap.
fn maps_every_uid(map: &str) -> bool {
    let counts = map.lines().map(|line| line.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0));
    counts.sum::<u64>() >= EVERY_UID
}

/// Whether the peer is seen to be in our user namespace. If it cannot be seen, the answer is no.
///
/// The process is held by a descriptor while it is looked at, where the kernel has one for it: the number of a process that
/// has ended may be another's by now.
pub fn is_in_our_user_namespace(stream: &UnixStream) -> bool {
    match peer_pidfd(stream) {
        Ok(process) => pid_behind(&process).is_some_and(|pid| shares_our_user_namespace(pid) && pid_behind(&process) == Some(pid)),
        Err(Errno::ENOPROTOOPT) => credentials(stream).ok().and_then(|peer| Pid::new(peer.pid)).is_some_and(shares_our_user_namespace),
        Err(_) => false,
    }
}

/// Whether the process that has this number now is seen to be in our user namespace.
pub fn shares_our_user_namespace(pid: Pid) -> bool {
    let Ok(ours) = fs::read_link("/proc/self/ns/user") else { return false };
    fs::read_link(user_namespace_of(pid)).is_ok_and(|theirs| theirs == ours)
}

fn user_namespace_of(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/user"))
}

fn peer_pidfd(stream: &UnixStream) -> nix::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int and a length, to locals that outlive the call.
    let result = unsafe { libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut length) };
    Errno::result(result)?;
    // SAFETY: the kernel has just opened it for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The pid that a pidfd refers to, proc_pid_fdinfo(5). `None` if the process has exited or is not visible from here.
fn pid_behind(process: &OwnedFd) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    // It says -1 once the process is gone, and 0 where it is in none of our PID namespaces.
    text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| Pid::new(pid.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_of_all_uids_maps_every_uid() {
        assert!(maps_every_uid("         0          0 4294967295\n"));
        assert!(maps_every_uid("0 100000 1\n1 1 4294967294\n"));
        for map in ["", "0 100000 65536\n", "0 0 4294967294\n", "1000 1000 1\n", "0 0\n", "what"] {
            assert!(!maps_every_uid(map), "{map:?}");
        }
    }

    #[test]
    fn a_peer_in_this_very_process_is_in_our_user_namespace() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(is_in_our_user_namespace(&one));
        let peer = credentials(&one).expect("a peer");
        assert_eq!((u32::try_from(peer.pid), peer.uid), (Ok(std::process::id()), crate::sys::user::own_uid()));
    }

    #[test]
    fn a_process_behind_a_descriptor_that_is_none_is_not_seen() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(pid_behind(&one.into()), None);
    }
}
