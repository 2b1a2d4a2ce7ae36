//! Opens one socket for an address: creates it, sets its options, binds it, and listens.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::resolve::{Resolved, Settings, Wanted};
use super::unix_path::{Claim, Directories, Ownership, UnixPath};
use crate::config::listen_uri::{Address, Transport, UnixKind};
use crate::error::Error;
use crate::sys::errno::{self, reason};
use crate::sys::signal;
use crate::sys::socket::{self, Kind, LONGEST_BACKLOG};
use crate::types::one_line::OneLine;
use crate::types::signal::Signal;
use crate::types::socket_name::SocketName;

/// The interval at which `?retry=` tries again.
const RETRY_STEP: Duration = Duration::from_millis(50);
/// The signals that end a start while it waits.
const STOPS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

/// Whether the master may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// Nothing runs yet, and all signals are blocked.
    Start,
    /// Workers run, so the master must not wait.
    None,
}

impl Patience {
    /// At a start, waits this long unless a signal ends the start. Later it fails at once.
    pub fn pause(self, time: Duration, awaited: impl FnOnce() -> String) -> Result<(), Refusal> {
        match self {
            Patience::Start => match signal::wait_for(&STOPS, time) {
                Some(signal) => Err(Refusal::Failed(Error::Stopped { signal, awaited: awaited() })),
                None => Ok(()),
            },
            Patience::None => Ok(()),
        }
    }
}

/// Why a socket cannot be opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The error of a system call.
    System(io::Error),
    /// A process listens at the unix path; its pid, if it is known.
    InUse { pid: Option<i32> },
    /// An obstacle, and the hint if there is one.
    Obstacle { cause: String, hint: Option<&'static str> },
    /// A complete error.
    Failed(Error),
}

impl Refusal {
    pub fn obstacle(cause: &str) -> Refusal {
        Refusal::Obstacle { cause: cause.to_owned(), hint: None }
    }

    /// Whether a later attempt may succeed, after a predecessor has exited or an address or interface has come up.
    fn may_pass(&self) -> bool {
        match self {
            Refusal::System(error) => {
                matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) || errno::is(error, errno::ENODEV)
            }
            Refusal::InUse { .. } => true,
            Refusal::Obstacle { .. } | Refusal::Failed(_) => false,
        }
    }

    /// The error for this listener. `rival` is another listener of this master that may hold the address.
    pub fn explain(self, resolved: &Resolved, rival: Option<&OneLine>) -> Error {
        let cannot = |cause: String| Error::cannot("listen on", resolved.written().to_string(), cause);
        match self {
            Refusal::Failed(error) => error,
            Refusal::Obstacle { cause, hint: None } => cannot(cause),
            Refusal::Obstacle { cause, hint: Some(hint) } => cannot(cause).hint(hint),
            Refusal::InUse { pid: Some(pid) } if u32::try_from(pid) == Ok(std::process::id()) => {
                cannot("Address already in use".to_owned()).hint("another listener of this master has it")
            }
            Refusal::InUse { pid: Some(pid) } => cannot(format!("Address already in use; pid {pid} listens there already")),
            Refusal::InUse { pid: None } => cannot("Address already in use".to_owned()).hint("another program listens there already"),
            Refusal::System(error) => {
                let in_use = error.kind() == ErrorKind::AddrInUse;
                if let Some(rival) = rival.filter(|_| in_use) {
                    return cannot(format!("{}; the listener {rival} has it", reason(&error)));
                }
                match hint(&error, resolved) {
                    Some(hint) => cannot(reason(&error)).hint(hint),
                    None => cannot(reason(&error)),
                }
            }
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::System(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Failed(error)
    }
}

fn hint(error: &io::Error, resolved: &Resolved) -> Option<&'static str> {
    let has_device = resolved.settings.device.is_some();
    match (error.kind(), resolved.address()) {
        (ErrorKind::PermissionDenied, Address::Inet { .. }) if has_device => Some("device= needs root or CAP_NET_RAW"),
        (ErrorKind::PermissionDenied, Address::Inet { port: 1..=1023, .. }) => {
            Some("ports below 1024 need root, CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start")
        }
        (ErrorKind::AddrInUse, _) => Some("another program listens there already"),
        (ErrorKind::AddrNotAvailable, _) => Some("no interface of this machine has that address"),
        (ErrorKind::NotFound, Address::Unix { .. }) => Some("the directory must exist"),
        _ if has_device && errno::is(error, errno::ENODEV) => Some("no network interface has that name"),
        _ => None,
    }
}

/// An open socket, and its path if it is a unix socket.
#[derive(Debug)]
pub(super) struct Opened {
    pub fd: OwnedFd,
    pub path: Option<UnixPath>,
}

/// Opens the socket. At a start, `?retry=` repeats the attempt until the address is free and exists.
pub(super) fn open(resolved: &Resolved, directories: &mut Directories, patience: Patience) -> Result<Opened, Refusal> {
    let mut left = resolved.settings.retry.filter(|_| patience == Patience::Start).unwrap_or_default();
    loop {
        match attempt(resolved, directories, patience) {
            Err(refusal) if refusal.may_pass() && !left.is_zero() => {
                let step = left.min(RETRY_STEP);
                patience.pause(step, || resolved.written().to_string())?;
                left -= step;
            }
            result => return result,
        }
    }
}

fn attempt(resolved: &Resolved, directories: &mut Directories, patience: Patience) -> Result<Opened, Refusal> {
    match resolved.address() {
        Address::Inet { transport, .. } => Ok(Opened { fd: open_inet(resolved, kind_of_inet(*transport))?, path: None }),
        Address::Unix { kind, name } => open_unix(resolved, kind_of_unix(*kind), name, directories, patience),
        Address::Inherited(_) => Err(Refusal::obstacle("an inherited socket can be taken only at the start")),
        Address::Activated(_) => Err(Refusal::obstacle("no socket unit passes a socket")),
    }
}

pub(super) fn kind_of_inet(transport: Transport) -> Kind {
    match transport {
        Transport::Tcp => Kind::Stream,
        Transport::Udp => Kind::Datagram,
    }
}

pub(super) fn kind_of_unix(kind: UnixKind) -> Kind {
    match kind {
        UnixKind::Stream => Kind::Stream,
        UnixKind::Datagram => Kind::Datagram,
    }
}

/// The length of the accept queue, for a kind of socket that has one.
pub(super) fn backlog(settings: &Settings, kind: Kind) -> Option<i32> {
    (kind == Kind::Stream).then(|| settings.backlog.unwrap_or(LONGEST_BACKLOG))
}

fn open_inet(resolved: &Resolved, kind: Kind) -> Result<OwnedFd, Refusal> {
    let mut refusal = io::Error::from(ErrorKind::AddrNotAvailable);
    for wanted in &resolved.addresses {
        match open_address(*wanted, kind, &resolved.settings) {
            Ok(fd) => return Ok(fd),
            // This kernel has no IPv6, so the next choice is IPv4.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable || errno::is(&error, errno::EAFNOSUPPORT) => refusal = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(refusal.into())
}

fn open_address(wanted: Wanted, kind: Kind, settings: &Settings) -> io::Result<OwnedFd> {
    let ipv6 = wanted.address.is_ipv6();
    let fd = socket::inet(ipv6, kind)?;
    if kind == Kind::Stream {
        // For UDP the option would let another program bind the same port and take half of the datagrams.
        socket::set_reuse_address(&fd)?;
    }
    if ipv6 {
        socket::set_v6only(&fd, wanted.v6only)?;
    }
    if settings.freebind {
        socket::set_freebind(&fd, ipv6, true)?;
    }
    if let Some(interface) = &settings.device {
        socket::set_device(&fd, interface)?;
    }
    set_up(&fd, settings)?;
    socket::bind_inet(&fd, wanted.address)?;
    if let Some(backlog) = backlog(settings, kind) {
        socket::listen(&fd, backlog)?;
    }
    Ok(fd)
}

/// Sets the options that a socket may be given at any time.
pub(super) fn set_up(fd: &OwnedFd, settings: &Settings) -> io::Result<()> {
    if settings.nodelay {
        socket::set_nodelay(fd, true)?;
    }
    if let Some(length) = settings.fastopen {
        socket::set_fastopen(fd, length)?;
    }
    if let Some(seconds) = settings.defer {
        socket::set_defer_accept(fd, seconds)?;
    }
    // This must precede listen(2): connections inherit the window that the socket has then.
    if let Some(bytes) = settings.rcvbuf {
        socket::set_receive_buffer(fd, bytes)?;
    }
    if let Some(bytes) = settings.sndbuf {
        socket::set_send_buffer(fd, bytes)?;
    }
    Ok(())
}

fn open_unix(
    resolved: &Resolved,
    kind: Kind,
    name: &SocketName,
    directories: &mut Directories,
    patience: Patience,
) -> Result<Opened, Refusal> {
    let settings = &resolved.settings;
    let fd = socket::unix(kind)?;
    set_up(&fd, settings)?;
    let backlog = backlog(settings, kind);
    let path = match name {
        SocketName::Abstract(_) => {
            socket::bind_unix(&fd, name)?;
            if let Some(backlog) = backlog {
                socket::listen(&fd, backlog)?;
            }
            None
        }
        SocketName::Path(path) => {
            let claim = Claim { path, kind, owner: ownership(settings), backlog };
            Some(UnixPath::claim(&fd, &claim, directories, patience)?)
        }
    };
    Ok(Opened { fd, path })
}

pub(super) fn ownership(settings: &Settings) -> Ownership {
    Ownership { mode: settings.mode, user: settings.owner, group: settings.group }
}
