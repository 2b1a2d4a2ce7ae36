//! pidfd_open(2) and pidfd_getfd(2).

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

use crate::types::process::Pid;

/// A copy of a descriptor that another process holds. `PermissionDenied` and `Unsupported` mean that it is not to be had,
/// by a lack of rights, a filter, or an old kernel.
pub fn descriptor_of(pid: Pid, fd: RawFd) -> io::Result<OwnedFd> {
    let flags: c_int = 0;
    // SAFETY: all arguments are numbers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), flags) })?;
    // SAFETY: all arguments are numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, flags) })
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    match Errno::result(result) {
        // SAFETY: the kernel has just opened it for us, close-on-exec.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(c_int::try_from(fd).map_err(|_| ErrorKind::InvalidData)?) }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::sys::fd::inode;

    #[test]
    fn a_copy_leads_to_the_same_socket() {
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let own = Pid::new(std::process::id().cast_signed()).expect("a pid");
        let copy = descriptor_of(own, listener.as_raw_fd()).expect("our own");
        assert_eq!(inode(&copy).expect("a socket"), inode(&listener).expect("a socket"));
        assert_eq!(descriptor_of(own, -1).expect_err("none").raw_os_error(), Some(libc::EBADF));
    }
}
