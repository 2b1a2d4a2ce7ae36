//! sendmsg(2) to the socket of a service manager, as sd_notify(3) has it: datagrams, with a descriptor where one is to
//! be kept.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::fd as descriptors;
use super::poll::{Interest, Wait};

/// How long a manager that has stopped listening may hold up the start, each time that it is waited for.
const PATIENCE_SECONDS: i64 = 5;

/// A connection to the service manager.
#[derive(Debug)]
pub struct NotifySocket(OwnedFd);

impl NotifySocket {
    /// Connects to the address in NOTIFY_SOCKET: an absolute path, or an abstract name after `@`.
    pub fn connect(address: &OsStr) -> io::Result<NotifySocket> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            [b'/', ..] => UnixAddr::new(address)?,
            _ => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
        let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
        connect(fd.as_raw_fd(), &address)?;
        Ok(NotifySocket(fd))
    }

    /// Sends one datagram; `WouldBlock` where the manager has not read what came before.
    pub fn send(&self, text: &str) -> io::Result<()> {
        self.send_flagged(text, None, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends one datagram, with a descriptor if there is one, and waits for room; `TimedOut` where there is none for too long.
    pub fn send_patiently(&self, text: &str, fd: Option<BorrowedFd>) -> io::Result<()> {
        self.send_flagged(text, fd, MsgFlags::empty()).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::TimedOut),
            _ => error,
        })
    }

    /// Returns when the manager has worked off all that was sent before, sd_notify_barrier(3), or when it takes too long.
    pub fn barrier(&self) -> io::Result<()> {
        let (reader, writer) = descriptors::pipe()?;
        self.send_patiently("BARRIER=1", Some(writer.as_fd()))?;
        drop(writer);
        let mut wait = Wait::default();
        wait.add(reader.as_fd(), Interest::Closed);
        if wait.ready(Some(Duration::from_secs(PATIENCE_SECONDS.unsigned_abs()))).contains(&true) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        }
    }

    fn send_flagged(&self, text: &str, fd: Option<BorrowedFd>, flags: MsgFlags) -> io::Result<()> {
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(text.as_bytes())], control, flags | MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
