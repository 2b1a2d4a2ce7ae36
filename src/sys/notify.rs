//! sendmsg(2) to the socket of a service manager and recvmsg(2) from workers, as sd_notify(3) has it: datagrams that may
//! carry descriptors.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::fd as descriptors;
use super::peer::PeerCredentials;
use super::poll::{Interest, Wait};

/// How long a manager that has stopped listening may hold up the start, each time that it is waited for.
const PATIENCE_SECONDS: i64 = 5;
/// Room for the credentials of a sender and as many descriptors as a message can carry, 253, with their headers.
const CONTROL_SPACE: usize = 1280;

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

    /// Sends one datagram with these descriptors; `WouldBlock` where the manager has not read what came before.
    pub fn send(&self, text: &str, fds: &[OwnedFd]) -> io::Result<()> {
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.send_flagged(text, &fds, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends one datagram, with a descriptor if there is one, and waits for room; `TimedOut` where there is none for too long.
    pub fn send_patiently(&self, text: &str, fd: Option<BorrowedFd>) -> io::Result<()> {
        let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        self.send_flagged(text, &fds, MsgFlags::empty()).map_err(|error| match error.kind() {
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

    fn send_flagged(&self, text: &str, fds: &[RawFd], flags: MsgFlags) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(fds)];
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

/// A socket to which workers send datagrams. It never blocks.
#[derive(Debug)]
pub struct NotifyReceiver(OwnedFd);

/// One datagram.
#[derive(Debug)]
pub struct Datagram {
    /// The number of bytes.
    pub length: usize,
    /// Whether it was longer than the buffer.
    pub is_cut: bool,
    /// SCM_CREDENTIALS. `None` if the kernel had no memory for them.
    pub sender: Option<PeerCredentials>,
    /// Close-on-exec, and closed when this is dropped.
    pub fds: Vec<OwnedFd>,
}

impl NotifyReceiver {
    /// Binds a socket to an abstract name. Each datagram comes with the credentials of its sender.
    pub fn bind(name: &[u8]) -> io::Result<NotifyReceiver> {
        let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        // Before the address exists: a datagram that is queued earlier has no credentials.
        setsockopt(&fd, sockopt::PassCred, &true)?;
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name)?)?;
        Ok(NotifyReceiver(fd))
    }

    /// The next datagram; `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut space = Space([0; CONTROL_SPACE]);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zero is a message without parts.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (space.0.as_mut_ptr().cast(), CONTROL_SPACE as _);
        // SAFETY: the kernel writes no more than the lengths that it is given, to locals that outlive the call.
        let length = Errno::result(unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
        let mut datagram = Datagram {
            length: usize::try_from(length).unwrap_or(0),
            is_cut: message.msg_flags & libc::MSG_TRUNC != 0,
            sender: None,
            fds: Vec::new(),
        };
        // Even if the kernel could not add all of them (MSG_CTRUNC), the descriptors that it did add are open and must be closed.
        // SAFETY: the kernel has written whole headers, and their data behind them, to the space that `message` describes.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while let Some(found) = header.as_ref() {
                let data = libc::CMSG_DATA(header);
                #[allow(clippy::unnecessary_cast, reason = "the type of cmsg_len is u32 on some targets")]
                let count = (found.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                match (found.cmsg_level, found.cmsg_type) {
                    (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if count >= size_of::<libc::ucred>() => {
                        let sender = data.cast::<libc::ucred>().read_unaligned();
                        datagram.sender = Some(PeerCredentials { pid: sender.pid, uid: sender.uid });
                    }
                    (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                        let fds = data.cast::<RawFd>();
                        let fds = (0..count / size_of::<RawFd>()).map(|index| fds.add(index).read_unaligned());
                        datagram.fds.extend(fds.map(|fd| OwnedFd::from_raw_fd(fd)));
                    }
                    _ => {}
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        Ok(datagram)
    }
}

/// As the kernel aligns the headers in it.
#[repr(align(8))]
struct Space([u8; CONTROL_SPACE]);

impl AsFd for NotifyReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
