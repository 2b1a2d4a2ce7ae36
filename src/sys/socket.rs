//! socket(2), bind(2), listen(2), connect(2), getsockopt(2), setsockopt(2), getsockname(2), send(2): descriptors and plain
//! values in and out. `peer` identifies the process at the other end.

use std::ffi::OsString;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect, getpeername, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::types::socket_name::SocketName;

/// listen(2) cuts it down to net.core.somaxconn, so this is the system's maximum.
pub const LONGEST_BACKLOG: i32 = i32::MAX;

/// SO_TYPE, socket(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Stream,
    Datagram,
    SeqPacket,
    /// Raw sockets, and whatever else there may be.
    Other,
}

/// SO_DOMAIN, socket(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    Inet,
    Unix,
    Netlink,
    Vsock,
    Packet,
    Other(i32),
}

/// What a socket is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bound {
    Inet(SocketAddr),
    Unix(SocketName),
    /// A unix socket without a name, or a family without such addresses.
    Nothing,
}

/// A socket of IPv4 or IPv6, close-on-exec.
pub fn inet(ipv6: bool, kind: Kind) -> io::Result<OwnedFd> {
    new(if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet }, kind)
}

/// A unix socket, close-on-exec.
pub fn unix(kind: Kind) -> io::Result<OwnedFd> {
    new(AddressFamily::Unix, kind)
}

fn new(family: AddressFamily, kind: Kind) -> io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Datagram => SockType::Datagram,
        Kind::SeqPacket => SockType::SeqPacket,
        Kind::Other => return Err(Errno::ESOCKTNOSUPPORT.into()),
    };
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

pub fn bind_inet(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    Ok(bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?)
}

pub fn bind_unix(fd: &OwnedFd, name: &SocketName) -> io::Result<()> {
    Ok(bind(fd.as_raw_fd(), &unix_address(name)?)?)
}

fn unix_address(name: &SocketName) -> nix::Result<UnixAddr> {
    match name {
        SocketName::Path(path) => UnixAddr::new(path),
        SocketName::Abstract(name) => UnixAddr::new_abstract(name),
    }
}

pub fn listen(fd: &OwnedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: listen(2) takes plain numbers; nix's own wrapper allows no backlog above its SOMAXCONN.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Connects to an address. A socket that does not block answers EINPROGRESS. Once it is writable, [`pending_error`] is the result.
pub fn connect_inet(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    Ok(connect(fd.as_raw_fd(), &SockaddrStorage::from(address))?)
}

/// SO_ERROR: the result of a connect(2) that has not waited.
pub fn pending_error(fd: &OwnedFd) -> io::Result<()> {
    match getsockopt(fd, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Connects a socket of any kind to a unix address.
pub fn connect_to(fd: &OwnedFd, name: &SocketName) -> io::Result<()> {
    Ok(connect(fd.as_raw_fd(), &unix_address(name)?)?)
}

/// How long connect(2) may wait for a place in the listener's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectWait {
    /// Not at all, and no later write(2) waits either.
    None,
    /// This long, and each later write(2) as long; `WouldBlock` then.
    Until(Duration),
}

/// A stream that is connected to a unix address.
pub fn connect_stream(name: &SocketName, wait: ConnectWait) -> io::Result<UnixStream> {
    let fd = unix(Kind::Stream)?;
    match wait {
        ConnectWait::None => super::fd::set_nonblocking(&fd, true)?,
        ConnectWait::Until(longest) => {
            // A 32-bit time_t holds no more.
            let seconds = longest.as_secs().min(i32::MAX as u64);
            setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(seconds as _, longest.subsec_micros() as _))?;
        }
    }
    connect_to(&fd, name)?;
    Ok(UnixStream::from(fd))
}

/// Two streams that are connected to each other, close-on-exec. The first one never blocks.
pub fn stream_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}

/// send(2) without a SIGPIPE where the other end is gone.
pub fn send(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::send(stream.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
}

pub fn kind(fd: impl AsFd) -> io::Result<Kind> {
    Ok(match getsockopt(&fd, sockopt::SockType)? {
        SockType::Stream => Kind::Stream,
        SockType::Datagram => Kind::Datagram,
        SockType::SeqPacket => Kind::SeqPacket,
        _ => Kind::Other,
    })
}

pub fn domain(fd: &OwnedFd) -> io::Result<Domain> {
    let mut domain: c_int = 0;
    let mut length = size_of_val(&domain) as libc::socklen_t;
    // SAFETY: the kernel writes no more than the length that it is given, to a local that outlives the call.
    Errno::result(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut domain).cast(), &raw mut length)
    })?;
    Ok(match domain {
        libc::AF_INET | libc::AF_INET6 => Domain::Inet,
        libc::AF_UNIX => Domain::Unix,
        libc::AF_NETLINK => Domain::Netlink,
        libc::AF_VSOCK => Domain::Vsock,
        libc::AF_PACKET => Domain::Packet,
        other => Domain::Other(other),
    })
}

/// SO_ACCEPTCONN.
pub fn is_listening(fd: &OwnedFd) -> bool {
    getsockopt(fd, sockopt::AcceptConn).unwrap_or(false)
}

pub fn is_connected(fd: &OwnedFd) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}

/// Whether both ends of a connection have the same address.
pub fn is_connected_to_itself(fd: &OwnedFd) -> bool {
    let own = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    own.is_ok_and(|own| getpeername::<SockaddrStorage>(fd.as_raw_fd()) == Ok(own))
}

/// IPV6_V6ONLY; false for a socket of another family.
pub fn is_v6only(fd: &OwnedFd) -> bool {
    getsockopt(fd, sockopt::Ipv6V6Only).unwrap_or(false)
}

pub fn bound(fd: impl AsFd) -> io::Result<Bound> {
    let bound = getsockname::<SockaddrStorage>(fd.as_fd().as_raw_fd())?;
    let inet = match bound.family() {
        Some(AddressFamily::Inet) => bound.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into())),
        Some(AddressFamily::Inet6) => bound.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())),
        _ => None,
    };
    let unix = bound.as_unix_addr().and_then(|unix| {
        let path = unix.path().map(|path| SocketName::Path(path.to_owned()));
        path.or_else(|| unix.as_abstract().map(|name| SocketName::Abstract(name.to_owned())))
    });
    Ok(inet.map(Bound::Inet).or(unix.map(Bound::Unix)).unwrap_or(Bound::Nothing))
}

pub fn set_reuse_address(fd: &OwnedFd) -> io::Result<()> {
    Ok(setsockopt(fd, sockopt::ReuseAddr, &true)?)
}

pub fn set_v6only(fd: &OwnedFd, on: bool) -> io::Result<()> {
    Ok(setsockopt(fd, sockopt::Ipv6V6Only, &on)?)
}

/// IP_BIND_ADDRESS_NO_PORT: bind(2) to port 0 takes no port, and connect(2) chooses one. Sockets of IPv6 have it too.
pub fn set_bind_address_no_port(fd: &OwnedFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// SO_BINDTODEVICE.
pub fn set_device(fd: &OwnedFd, interface: &str) -> io::Result<()> {
    Ok(setsockopt(fd, sockopt::BindToDevice, &OsString::from(interface))?)
}

/// TCP_FASTOPEN with a queue of this length.
pub fn set_fastopen(fd: &OwnedFd, length: i32) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, length)
}

/// TCP_DEFER_ACCEPT.
pub fn set_defer_accept(fd: &OwnedFd, seconds: i32) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// TCP_NODELAY, which accepted connections inherit.
pub fn set_nodelay(fd: &OwnedFd, on: bool) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, on.into())
}

/// SO_RCVBUF, and SO_RCVBUFFORCE if the process has the privilege to exceed the system's limit.
pub fn set_receive_buffer(fd: &OwnedFd, bytes: i32) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).or_else(|_| set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// SO_SNDBUF, and SO_SNDBUFFORCE if the process has the privilege to exceed the system's limit.
pub fn set_send_buffer(fd: &OwnedFd, bytes: i32) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).or_else(|_| set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes))
}

/// IP_FREEBIND or IPV6_FREEBIND.
pub fn set_freebind(fd: &OwnedFd, ipv6: bool, on: bool) -> io::Result<()> {
    let (level, option) = if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND) } else { (libc::IPPROTO_IP, libc::IP_FREEBIND) };
    set(fd, level, option, on.into())
}

fn set(fd: &OwnedFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads one int, from a local that outlives the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), mem::size_of::<c_int>() as libc::socklen_t) };
    Errno::result(result)?;
    Ok(())
}
