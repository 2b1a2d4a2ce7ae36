//! socket(2), bind(2), listen(2): the listeners, opened once and held at their final numbers until the end.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect, getsockname, getsockopt,
    setsockopt, socket, sockopt,
};
use nix::unistd::{Gid, Uid, chown, geteuid};

use super::{descriptors, identity};
use crate::config::NameOrId;
use crate::endpoint::{Address, Endpoint, Family, Host, SocketOptions, Transport, UnixKind, UnixName};
use crate::error::Error;
use crate::handoff::{FIRST_FD, Listener};

/// listen(2) cuts it down to net.core.somaxconn, so this is the system's maximum.
const LONGEST_BACKLOG: i32 = i32::MAX;

/// A listener that is open.
#[derive(Debug)]
pub struct HeldSocket {
    /// `None` once the master has closed its copy.
    fd: Option<OwnedFd>,
    /// Removed when this is dropped.
    created: Option<CreatedPath>,
    pub listener: Listener,
}

impl HeldSocket {
    /// Closes the master's copy. The path stays until the end.
    pub fn close(&mut self) {
        self.fd = None;
    }

    /// The master's copy, unless it has been closed.
    pub fn held(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    /// The path outlives the master, as the socket does that somebody else keeps.
    pub fn leave_path(&mut self) {
        if let Some(created) = self.created.take() {
            created.leave();
        }
    }
}

/// A unix path that the master has made, and removes when it is dropped if it is still the same file.
#[derive(Debug)]
pub struct CreatedPath {
    path: PathBuf,
    file: File,
}

/// With the time it was made: when nobody has it open any more, the next file may get its number.
#[derive(PartialEq, Eq, Debug)]
struct File {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl File {
    fn at(path: &Path) -> Option<File> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(File { device: found.dev(), inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

impl CreatedPath {
    fn of(path: &Path) -> Option<CreatedPath> {
        Some(CreatedPath { path: path.to_owned(), file: File::at(path)? })
    }

    fn leave(mut self) {
        // No file is found there when it is dropped.
        self.path = PathBuf::new();
    }
}

impl Drop for CreatedPath {
    fn drop(&mut self) {
        if File::at(&self.path).is_some_and(|found| found == self.file) {
            // A directory that has become read-only keeps its socket: the next start finds it stale and replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An endpoint with every name looked up: what is left is between the kernel and us.
#[derive(Debug)]
pub struct Resolved<'a> {
    endpoint: &'a Endpoint,
    /// In order of preference; only the wildcard has more than one.
    addresses: Vec<Wanted>,
    owner: Option<u32>,
    group: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    address: SocketAddr,
    v6only: bool,
}

impl Resolved<'_> {
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }
}

/// Looks every name up, hosts, users and groups, before anything is opened.
pub fn resolve(endpoints: &[Endpoint]) -> Result<Vec<Resolved<'_>>, Error> {
    endpoints.iter().map(resolve_one).collect()
}

fn resolve_one(endpoint: &Endpoint) -> Result<Resolved<'_>, Error> {
    let options = &endpoint.options;
    let name_or_id = |text: &String| match text.parse() {
        Ok(id) if !text.starts_with('+') => NameOrId::Id(id),
        _ => NameOrId::Name(text.clone()),
    };
    let addresses = match &endpoint.address {
        Address::Inet { family, host, port, .. } => inet_addresses(endpoint, *family, host, *port)?,
        Address::Unix { .. } | Address::Activated(_) => Vec::new(),
        Address::Inherited(fd) => {
            check_inherited(endpoint, *fd)?;
            Vec::new()
        }
    };
    Ok(Resolved {
        endpoint,
        addresses,
        owner: options.user.as_ref().map(|user| identity::user_id(&name_or_id(user))).transpose()?,
        group: options.group.as_ref().map(|group| identity::group_id(&name_or_id(group))).transpose()?,
    })
}

fn inet_addresses(endpoint: &Endpoint, family: Family, host: &Host, port: u16) -> Result<Vec<Wanted>, Error> {
    let v6only = endpoint.options.v6only;
    let v4 = |ip: Ipv4Addr| Wanted { address: SocketAddr::new(ip.into(), port), v6only: false };
    let v6 = |ip: Ipv6Addr, only: bool| Wanted { address: SocketAddr::new(ip.into(), port), v6only: v6only.unwrap_or(only) };
    Ok(match (host, family) {
        (Host::Any, Family::V4) => vec![v4(Ipv4Addr::UNSPECIFIED)],
        (Host::Any, Family::V6) => vec![v6(Ipv6Addr::UNSPECIFIED, true)],
        // One socket for both families where there is IPv6, else IPv4.
        (Host::Any, Family::Any) if v6only == Some(true) => vec![v6(Ipv6Addr::UNSPECIFIED, true)],
        (Host::Any, Family::Any) => vec![v6(Ipv6Addr::UNSPECIFIED, false), v4(Ipv4Addr::UNSPECIFIED)],
        (Host::Ip(IpAddr::V4(ip)), _) => vec![v4(*ip)],
        (Host::Ip(IpAddr::V6(ip)), family) => vec![v6(*ip, family == Family::V6 || !ip.is_unspecified())],
        (Host::Localhost, Family::V6) => vec![v6(Ipv6Addr::LOCALHOST, true)],
        (Host::Localhost, Family::Any | Family::V4) => vec![v4(Ipv4Addr::LOCALHOST)],
        (Host::Name(name), family) => {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map_err(|error| Error::cannot("resolve", format!("{name} of {endpoint}"), reason(&error)))?
                .find(|address| match family {
                    Family::Any => true,
                    Family::V4 => address.is_ipv4(),
                    Family::V6 => address.is_ipv6(),
                })
                .ok_or_else(|| Error::cannot("resolve", format!("{name} of {endpoint}"), "it has no address of that family"))?;
            vec![Wanted { address: found, v6only: v6only.unwrap_or(true) && found.is_ipv6() }]
        }
    })
}

fn check_inherited(endpoint: &Endpoint, fd: RawFd) -> Result<(), Error> {
    let cannot = |cause: &str| Error::cannot("listen on", endpoint.to_string(), cause);
    // Any copy will do to ask; it is gone again when this returns.
    let copy = descriptors::adopt(fd, FIRST_FD)
        .map_err(|_| cannot("no such descriptor is open").hint("the parent must leave it open, without close-on-exec"))?;
    let kind = getsockopt(&copy, sockopt::SockType).map_err(|_| cannot("the descriptor is no socket"))?;
    match kind {
        SockType::Datagram if is_bound(&copy) => Ok(()),
        SockType::Datagram => Err(cannot("the socket is not bound to an address")),
        _ if getsockopt(&copy, sockopt::AcceptConn).unwrap_or(false) => Ok(()),
        _ => Err(cannot("the socket does not listen")),
    }
}

fn is_bound(fd: &OwnedFd) -> bool {
    getsockname::<SockaddrStorage>(fd.as_raw_fd()).is_ok_and(|address| match address_of(&address) {
        Some(address) => address.port() != 0,
        None => address.as_unix_addr().is_some_and(|unix| unix.path().is_some() || unix.as_abstract().is_some()),
    })
}

/// Opens all of them at 3 and up, close-on-exec, having closed every other descriptor from there up.
/// Where one fails, those before it are closed and their paths removed again.
/// `kept` has for each the descriptor of a socket that was opened for it in an earlier life, where there is one.
pub fn open(resolved: &[Resolved], kept: &[Option<RawFd>]) -> Result<Vec<HeldSocket>, Error> {
    let end = FIRST_FD + RawFd::try_from(resolved.len()).unwrap_or(RawFd::MAX - FIRST_FD);
    let inherited = adopt_inherited(resolved, kept, end)?;
    descriptors::close_from(FIRST_FD, &inherited.iter().flatten().map(|fd| fd.as_raw_fd()).collect());
    let mut held = Vec::new();
    for ((number, resolved), inherited) in (FIRST_FD..).zip(resolved).zip(inherited) {
        let cannot = |error: Errno| Error::cannot("listen on", resolved.endpoint.to_string(), error.desc());
        let (fd, created) = match inherited {
            Some(fd) => (renew(resolved, fd)?, None),
            None => open_one(resolved)?,
        };
        let fd =
            descriptors::place(fd, number, true).map_err(|error| Error::cannot("hold", resolved.endpoint.to_string(), reason(&error)))?;
        if resolved.endpoint.options.nonblock {
            descriptors::set_nonblocking(&fd, true)
                .map_err(|error| Error::cannot("make non-blocking", resolved.endpoint.to_string(), reason(&error)))?;
        }
        let listener = describe(resolved.endpoint, &fd, number).map_err(cannot)?;
        held.push(HeldSocket { fd: Some(fd), created, listener });
    }
    Ok(held)
}

/// Copies of what `fd://` names and of what was kept, out of the way of the numbers that the listeners will have.
fn adopt_inherited(resolved: &[Resolved], kept: &[Option<RawFd>], least: RawFd) -> Result<Vec<Option<OwnedFd>>, Error> {
    let kept = kept.iter().copied().chain(std::iter::repeat(None));
    resolved
        .iter()
        .zip(kept)
        .map(|(resolved, kept)| {
            let fd = match resolved.endpoint.address {
                Address::Inherited(fd) => Some(fd),
                Address::Inet { .. } | Address::Unix { .. } | Address::Activated(_) => kept,
            };
            fd.map(|fd| descriptors::adopt(fd, least))
                .transpose()
                .map_err(|error| Error::cannot("listen on", resolved.endpoint.to_string(), reason(&error)))
        })
        .collect()
}

/// Whether this descriptor is a socket such as would be opened for this listener, and clients still find it.
pub fn serves(resolved: &Resolved, fd: RawFd) -> bool {
    let Ok(copy) = descriptors::adopt(fd, FIRST_FD) else { return false };
    let stream = getsockopt(&copy, sockopt::SockType) == Ok(SockType::Stream);
    let Ok(bound) = getsockname::<SockaddrStorage>(copy.as_raw_fd()) else { return false };
    match &resolved.endpoint.address {
        Address::Inet { transport, .. } => {
            let v6only = getsockopt(&copy, sockopt::Ipv6V6Only).unwrap_or(false);
            let same = |wanted: &Wanted| {
                address_of(&bound).is_some_and(|bound| {
                    let port = wanted.address.port();
                    bound.ip() == wanted.address.ip() && (port == 0 || port == bound.port()) && v6only == wanted.v6only
                })
            };
            stream == (*transport == Transport::Tcp) && resolved.addresses.iter().any(same)
        }
        Address::Unix { kind, name } => {
            let bound = bound.as_unix_addr();
            let same = match name {
                UnixName::Abstract(name) => bound.and_then(UnixAddr::as_abstract) == Some(name),
                UnixName::Path(path) => {
                    let found = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
                    bound.and_then(UnixAddr::path) == Some(path) && found
                }
            };
            stream == (*kind == UnixKind::Stream) && same
        }
        Address::Inherited(_) | Address::Activated(_) => false,
    }
}

/// What may have changed since it was opened for an earlier life is set anew. Of sockets that others have opened nothing is.
fn renew(resolved: &Resolved, fd: OwnedFd) -> Result<OwnedFd, Error> {
    let stream = match &resolved.endpoint.address {
        Address::Inet { transport, .. } => *transport == Transport::Tcp,
        Address::Unix { kind, name } => {
            if let UnixName::Path(path) = name {
                own_path(resolved, path)?;
            }
            *kind == UnixKind::Stream
        }
        Address::Inherited(_) | Address::Activated(_) => return Ok(fd),
    };
    if stream {
        listen(resolved, &fd)?;
    }
    descriptors::set_nonblocking(&fd, false)
        .map_err(|error| Error::cannot("make blocking", resolved.endpoint.to_string(), reason(&error)))?;
    Ok(fd)
}

fn open_one(resolved: &Resolved) -> Result<(OwnedFd, Option<CreatedPath>), Error> {
    match &resolved.endpoint.address {
        Address::Inet { transport, .. } => {
            let fd = open_inet(resolved, *transport)?;
            if *transport == Transport::Tcp {
                listen(resolved, &fd)?;
            }
            Ok((fd, None))
        }
        Address::Unix { kind, name } => {
            let (fd, created) = open_unix(resolved, *kind, name)?;
            if *kind == UnixKind::Stream {
                listen(resolved, &fd)?;
            }
            Ok((fd, created))
        }
        Address::Inherited(_) | Address::Activated(_) => {
            Err(Error::cannot("listen on", resolved.endpoint.to_string(), Errno::EBADF.desc()))
        }
    }
}

fn open_inet(resolved: &Resolved, transport: Transport) -> Result<OwnedFd, Error> {
    let mut refusal = Errno::EADDRNOTAVAIL;
    for wanted in &resolved.addresses {
        match open_address(*wanted, transport) {
            Ok(fd) => return Ok(fd),
            // No IPv6 here, built without or switched off: the next choice is IPv4.
            Err(errno @ (Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)) => refusal = errno,
            Err(errno) => return Err(refused(resolved.endpoint, errno)),
        }
    }
    Err(refused(resolved.endpoint, refusal))
}

fn open_address(wanted: Wanted, transport: Transport) -> nix::Result<OwnedFd> {
    let family = if wanted.address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if transport == Transport::Tcp {
        // For UDP the option would let another program bind the same port and take half of the datagrams.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if wanted.address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &wanted.v6only)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(wanted.address))?;
    Ok(fd)
}

fn open_unix(resolved: &Resolved, kind: UnixKind, name: &UnixName) -> Result<(OwnedFd, Option<CreatedPath>), Error> {
    let cannot = |errno| refused(resolved.endpoint, errno);
    let fd = unix_socket(kind).map_err(cannot)?;
    let path = match name {
        UnixName::Abstract(name) => {
            let address = UnixAddr::new_abstract(name).map_err(cannot)?;
            bind(fd.as_raw_fd(), &address).map_err(cannot)?;
            return Ok((fd, None));
        }
        UnixName::Path(path) => path,
    };
    let address = UnixAddr::new(path).map_err(cannot)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            remove_stale(resolved.endpoint, kind, path, &address)?;
            bind(fd.as_raw_fd(), &address).map_err(cannot)?;
        }
        bound => bound.map_err(cannot)?,
    }
    let created = CreatedPath::of(path);
    // Nobody can connect before listen(2), so these come in time.
    own_path(resolved, path)?;
    Ok((fd, created))
}

/// Gives a unix path the mode and the owner that it is to have.
fn own_path(resolved: &Resolved, path: &Path) -> Result<(), Error> {
    if let Some(mode) = resolved.endpoint.options.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| Error::cannot("set the mode of", path.display().to_string(), reason(&error)))?;
    }
    if resolved.owner.is_some() || resolved.group.is_some() {
        chown(path, resolved.owner.map(Uid::from_raw), resolved.group.map(Gid::from_raw))
            .map_err(|errno| Error::cannot("set the owner of", path.display().to_string(), errno.desc()))?;
    }
    Ok(())
}

fn unix_socket(kind: UnixKind) -> nix::Result<OwnedFd> {
    let kind = match kind {
        UnixKind::Stream => SockType::Stream,
        UnixKind::Datagram => SockType::Datagram,
    };
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// Removes a socket that nobody answers on any more; anything else in the way is an error and stays.
fn remove_stale(endpoint: &Endpoint, kind: UnixKind, path: &Path, address: &UnixAddr) -> Result<(), Error> {
    let cannot = |cause: &str| Error::cannot("listen on", endpoint.to_string(), cause);
    let found = fs::symlink_metadata(path).map_err(|error| cannot(&reason(&error)))?;
    if !found.file_type().is_socket() {
        return Err(cannot("the path exists and is not a socket").hint("remove it or choose another path"));
    }
    let probe = unix_socket(kind).map_err(|errno| cannot(errno.desc()))?;
    // A full queue answers EAGAIN then, instead of waiting for a place in it.
    descriptors::set_nonblocking(&probe, true).map_err(|error| cannot(&reason(&error)))?;
    match connect(probe.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|error| cannot(&reason(&error)).hint("nobody answers there, but the path cannot be removed"))
        }
        _ => Err(refused(endpoint, Errno::EADDRINUSE)),
    }
}

fn listen(resolved: &Resolved, fd: &OwnedFd) -> Result<(), Error> {
    let backlog = resolved.endpoint.options.backlog.map_or(LONGEST_BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(LONGEST_BACKLOG));
    // SAFETY: listen(2) takes plain numbers; nix's own wrapper allows no backlog above its SOMAXCONN.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop).map_err(|errno| refused(resolved.endpoint, errno))
}

fn refused(endpoint: &Endpoint, errno: Errno) -> Error {
    let error = Error::cannot("listen on", endpoint.to_string(), errno.desc());
    match (errno, &endpoint.address) {
        (Errno::EACCES | Errno::EPERM, Address::Inet { port: 1..=1023, .. }) => {
            error.hint("ports below 1024 need root, CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start")
        }
        (Errno::EADDRINUSE, _) => error.hint("another program listens there already"),
        (Errno::EADDRNOTAVAIL, _) => error.hint("no interface of this machine has that address"),
        (Errno::ENOENT, Address::Unix { .. }) => error.hint("the directory must exist"),
        _ => error,
    }
}

fn describe(endpoint: &Endpoint, fd: &OwnedFd, number: RawFd) -> nix::Result<Listener> {
    let bound = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
    let datagram = getsockopt(fd, sockopt::SockType)? == SockType::Datagram;
    let any = matches!(endpoint.address, Address::Inet { host: Host::Any, .. });
    let (addr, uri) = match address_of(&bound) {
        Some(address) => {
            let scheme = if datagram { "udp" } else { "tcp" };
            // Server::Starter's form for no host is the bare port.
            let addr = if any { address.port().to_string() } else { address.to_string() };
            (addr.into_bytes(), format!("{scheme}://{address}"))
        }
        None => {
            let scheme = if datagram { "unixgram" } else { "unix" };
            let name = bound.as_unix_addr().map_or(Vec::new(), |unix| match (unix.path(), unix.as_abstract()) {
                (Some(path), _) => path.as_os_str().as_bytes().to_vec(),
                (None, Some(name)) => [b"@", name].concat(),
                (None, None) => Vec::new(),
            });
            let uri = format!("{scheme}://{}", OsStr::from_bytes(&name).display());
            (name, uri)
        }
    };
    Ok(Listener { fd: number, name: endpoint.options.name.clone(), addr, uri })
}

fn address_of(bound: &SockaddrStorage) -> Option<SocketAddr> {
    match bound.family()? {
        AddressFamily::Inet => bound.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into())),
        AddressFamily::Inet6 => bound.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())),
        _ => None,
    }
}

/// The cause without std's "(os error N)".
pub fn reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |raw| Errno::from_raw(raw).desc().to_owned())
}

/// A listening stream socket that none but this user may connect to, close-on-exec and never blocking, and its path.
pub fn open_control(name: &UnixName) -> Result<(UnixListener, Option<CreatedPath>), Error> {
    let options = SocketOptions { mode: matches!(name, UnixName::Path(_)).then_some(0o600), ..SocketOptions::default() };
    let endpoint = Endpoint { address: Address::Unix { kind: UnixKind::Stream, name: name.clone() }, options };
    let (fd, created) = open_one(&resolve_one(&endpoint)?)?;
    descriptors::set_nonblocking(&fd, true).map_err(|error| Error::cannot("make non-blocking", endpoint.to_string(), reason(&error)))?;
    Ok((UnixListener::from(fd), created))
}

/// Connects to such a socket.
pub fn connect_control(name: &UnixName) -> std::io::Result<UnixStream> {
    let address = match name {
        UnixName::Path(path) => UnixAddr::new(path)?,
        UnixName::Abstract(name) => UnixAddr::new_abstract(name)?,
    };
    let fd = unix_socket(UnixKind::Stream)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(UnixStream::from(fd))
}

/// send(2) without a SIGPIPE where the other end is gone.
pub fn send(stream: &UnixStream, bytes: &[u8]) -> std::io::Result<usize> {
    Ok(nix::sys::socket::send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
}

/// Who has connected, SO_PEERCRED of unix(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    pub pid: i32,
    pub uid: u32,
}

impl Peer {
    pub fn of(stream: &UnixStream) -> std::io::Result<Peer> {
        let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
        Ok(Peer { pid: credentials.pid(), uid: credentials.uid() })
    }

    /// Root and this process's own user may.
    pub fn may_command(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}
