//! fcntl(2) and fchown(2) on the standard descriptors. The master shares them with its parent, and restores them at the end.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::libc;

const STANDARD: [RawFd; 3] = [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO];

/// Whether stdin, stdout and stderr block. The mode belongs to the open file and not to the process: any worker can
/// change it for all processes that share the file.
#[derive(Clone, Copy, Debug)]
pub struct BlockingModes([Option<bool>; 3]);

impl BlockingModes {
    /// The modes as they are now.
    pub fn current() -> BlockingModes {
        BlockingModes(STANDARD.map(|fd| flags(fd).map(|flags| flags & libc::O_NONBLOCK != 0)))
    }

    /// Restores the modes; with `only_stdin` that of stdin alone. Async-signal-safe.
    pub fn restore(&self, only_stdin: bool) {
        for (fd, nonblocking) in STANDARD.iter().zip(&self.0).take(if only_stdin { 1 } else { STANDARD.len() }) {
            if let (Some(nonblocking), Some(now)) = (nonblocking, flags(*fd)) {
                let wanted = if *nonblocking { now | libc::O_NONBLOCK } else { now & !libc::O_NONBLOCK };
                if wanted != now {
                    // SAFETY: F_SETFL takes plain numbers.
                    unsafe { libc::fcntl(*fd, libc::F_SETFL, wanted) };
                }
            }
        }
    }
}

fn flags(fd: RawFd) -> Option<libc::c_int> {
    // SAFETY: F_GETFL takes no memory; a closed descriptor answers EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    (flags >= 0).then_some(flags)
}

/// The state of stdin, stdout and stderr at the start of the master. Dropping this restores it.
#[derive(Debug)]
pub struct StandardStreams {
    modes: BlockingModes,
    /// The owners of the pipes that were given away.
    owners: Vec<(RawFd, u32)>,
}

impl StandardStreams {
    /// Remembers the modes as they are now.
    pub fn found() -> StandardStreams {
        StandardStreams { modes: BlockingModes::current(), owners: Vec::new() }
    }

    pub fn modes(&self) -> BlockingModes {
        self.modes
    }

    /// Gives the pipes among stdout and stderr to this user until this is dropped. Without it the user could write to
    /// them, but could not open /dev/stdout and /dev/stderr. Nothing happens where the master may not.
    pub fn give_pipes_to(&mut self, uid: u32) {
        // Both owners are looked up before either is changed: both descriptors may be one pipe.
        let pipes = [libc::STDOUT_FILENO, libc::STDERR_FILENO].map(|fd| (fd, pipe_owner(fd)));
        for (fd, owner) in pipes {
            let known = self.owners.iter().any(|(known, _)| *known == fd);
            if let Some(owner) = owner
                && owner != uid
                && change_owner(fd, uid)
                && !known
            {
                self.owners.push((fd, owner));
            }
        }
    }
}

impl Drop for StandardStreams {
    fn drop(&mut self) {
        self.modes.restore(false);
        for (fd, owner) in &self.owners {
            change_owner(*fd, *owner);
        }
    }
}

/// Gives a pipe of the master's own to this user, so that the user's processes can open it through /dev/stdout. Where
/// that is not allowed they can still write to it.
pub fn give_pipe_to(pipe: BorrowedFd, uid: u32) {
    change_owner(pipe.as_raw_fd(), uid);
}

/// The owner of a pipe, fstat(2). `None` for everything else.
fn pipe_owner(fd: RawFd) -> Option<u32> {
    // SAFETY: the standard descriptors stay open as long as the process runs.
    let found = nix::sys::stat::fstat(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
    (found.st_mode & libc::S_IFMT == libc::S_IFIFO).then_some(found.st_uid)
}

fn change_owner(fd: RawFd, uid: u32) -> bool {
    // SAFETY: fchown(2) takes plain numbers. The highest gid leaves the group as it is.
    unsafe { libc::fchown(fd, uid, libc::gid_t::MAX) == 0 }
}
