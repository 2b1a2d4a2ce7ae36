//! write(2) to standard error that never blocks, whatever it is connected to and whatever other processes write there.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat};

/// POSIX lets a pipe that poll(2) calls writable take this much without blocking.
const PIPE_BUF: usize = 4096;
/// The most bytes to write to a terminal that poll(2) reports as writable: it may accept no more than that.
const TERMINAL_BUF: usize = 1;

/// Standard error. O_NONBLOCK would be the short way, but the flag is shared with every worker and with the master's parent.
#[derive(Debug)]
pub struct NonblockingStderr {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A file or a device such as /dev/null: it never blocks for long.
    Plain,
    /// send(2) with MSG_DONTWAIT.
    Socket,
    /// An open file description of our own, by way of /proc: O_NONBLOCK on it is ours alone.
    Own(OwnedFd),
    /// pwritev2(2) with RWF_NOWAIT: pipes and terminals have it since Linux 6.4. Where it is missing, `Ask` with this much.
    NoWait { at_once: usize },
    /// Calls poll(2) first, then writes no more than this. This is the last resort: another writer may fill the space in between.
    Ask { at_once: usize },
}

impl NonblockingStderr {
    pub fn stderr() -> NonblockingStderr {
        let kind = fstat(io::stderr()).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        let terminal = io::IsTerminal::is_terminal(&io::stderr());
        let way = match kind {
            Ok(SFlag::S_IFSOCK) => Way::Socket,
            Ok(SFlag::S_IFIFO) => NonblockingStderr::own_description().map_or(Way::NoWait { at_once: PIPE_BUF }, Way::Own),
            Ok(SFlag::S_IFCHR) if terminal => NonblockingStderr::own_description().map_or(Way::NoWait { at_once: TERMINAL_BUF }, Way::Own),
            _ => Way::Plain,
        };
        NonblockingStderr { way }
    }

    /// Whether this, the value of JOURNAL_STREAM, names standard error: device and inode, systemd.exec(5).
    pub fn is_the_journal(stream: &OsStr) -> bool {
        fstat(io::stderr()).is_ok_and(|stat| stream.as_bytes() == format!("{}:{}", stat.st_dev, stat.st_ino).as_bytes())
    }

    /// How an error line on standard error begins, outside of a running master: with the name, or for the journal, which
    /// adds the name itself, with the level.
    pub fn error_tag() -> &'static str {
        let is_the_journal = std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| NonblockingStderr::is_the_journal(&stream));
        if is_the_journal { "<3>" } else { "socketmaster: " }
    }

    /// Another descriptor in its place. It becomes non-blocking.
    #[cfg(test)]
    pub fn over(fd: OwnedFd) -> NonblockingStderr {
        let _ = super::fd::set_nonblocking(&fd, true);
        NonblockingStderr { way: Way::Own(fd) }
    }

    fn own_description() -> Option<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        open("/proc/self/fd/2", flags, Mode::empty()).ok()
    }

    /// Writes what can be written now; `WouldBlock` where that is nothing.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let result = match &self.way {
                Way::Plain => nix::unistd::write(io::stderr(), bytes),
                Way::Own(fd) => nix::unistd::write(fd, bytes),
                Way::Socket => {
                    // SAFETY: the pointer and the length are those of one slice.
                    let sent = unsafe {
                        libc::send(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                    };
                    Errno::result(sent).map(|count| count as usize)
                }
                Way::NoWait { .. } => no_wait(bytes),
                Way::Ask { at_once } => ask(bytes, *at_once),
            };
            match (result, &self.way) {
                (Err(Errno::EINTR), _) => {}
                // Not every kernel can, and old seccomp profiles answer EPERM.
                (Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM), Way::NoWait { at_once }) => {
                    self.way = Way::Ask { at_once: *at_once };
                }
                (other, _) => return Ok(other?),
            }
        }
    }
}

impl AsFd for NonblockingStderr {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(fd) => fd.as_fd(),
            Way::Plain | Way::Socket | Way::NoWait { .. } | Way::Ask { .. } => {
                // SAFETY: descriptor 2 is open from the start to the end of the process.
                unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) }
            }
        }
    }
}

fn no_wait(bytes: &[u8]) -> nix::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // The position comes in two halves, and -1 is the current one.
    const WHERE_IT_STANDS: libc::c_long = -1;
    // SAFETY: one part, which is the slice; the kernel only reads from it.
    let written = unsafe {
        libc::syscall(libc::SYS_pwritev2, io::stderr().as_raw_fd(), &raw const part, 1, WHERE_IT_STANDS, WHERE_IT_STANDS, libc::RWF_NOWAIT)
    };
    Errno::result(written).map(|count| count as usize)
}

fn ask(bytes: &[u8], at_once: usize) -> nix::Result<usize> {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut asked, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EAGAIN);
    }
    nix::unistd::write(&stderr, bytes.get(..at_once).unwrap_or(bytes))
}
