//! sock_diag(7): which connections the kernel knows of.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::socket::Bound;
use crate::types::socket_name::SocketName;

/// More than a dump puts into one datagram.
const BUFFER: usize = 64 * 1024;
/// Of one dump: nobody needs more, and nobody shall be able to make it longer.
const MOST: usize = 16 * 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
/// The states of a connection that has been made and not been closed on both ends: established, and half closed.
const CONNECTED: u32 = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 8);

/// The inodes of connections whose local end has the address of this listener, accepted ones among them.
pub fn connections_to(listener: &Bound) -> io::Result<Vec<u32>> {
    match listener {
        Bound::Inet(address) => {
            let answer = |message: &[u8]| {
                let port = message.get(4..6).map(|port| u16::from_be_bytes([port[0], port[1]]));
                (port == Some(address.port())).then(|| number_at(message, 68)).flatten()
            };
            dump(&inet_request(address), answer)
        }
        Bound::Unix(name) => {
            let name = match name {
                SocketName::Path(path) => path.as_os_str().as_encoded_bytes().to_vec(),
                SocketName::Abstract(name) => [b"\0", name.as_slice()].concat(),
            };
            dump(&unix_request(), |message| (unix_name(message)? == name).then(|| number_at(message, 4)).flatten())
        }
        Bound::Nothing => Ok(Vec::new()),
    }
}

/// struct inet_diag_req_v2, and a program that leaves out what has another local port.
fn inet_request(address: &SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut request = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    request.extend(CONNECTED.to_ne_bytes());
    request.resize(56, 0);
    // struct rtattr with INET_DIAG_REQ_BYTECODE; then "the port is at least this", "the port is at most this", each with
    // the distance to go on at if it holds, and beyond the end if it does not.
    let [at_least, at_most] = [2u8, 3];
    request.extend([20u16, 1].map(u16::to_ne_bytes).concat());
    for (code, otherwise) in [(at_least, 20u16), (at_most, 12)] {
        request.extend([code, 8]);
        request.extend(otherwise.to_ne_bytes());
        request.extend([0, 0]);
        request.extend(address.port().to_ne_bytes());
    }
    request
}

/// struct unix_diag_req, for connections with their names.
fn unix_request() -> Vec<u8> {
    const SHOW_NAME: u32 = 1;
    let mut request = vec![libc::AF_UNIX as u8, 0, 0, 0];
    request.extend([CONNECTED, 0, SHOW_NAME, 0, 0].map(u32::to_ne_bytes).concat());
    request
}

/// The name in a struct unix_diag_msg: the attribute 0 behind it.
fn unix_name(message: &[u8]) -> Option<&[u8]> {
    const NAME: u16 = 0;
    let mut rest = message.get(16..)?;
    while let Some([a, b, c, d]) = rest.get(..4) {
        let (length, kind) = (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]));
        if kind == NAME {
            // A path ends with a NUL, an abstract name begins with one.
            return rest.get(4..length).map(|name| name.strip_suffix(b"\0").filter(|path| !path.starts_with(b"\0")).unwrap_or(name));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn number_at(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Asks, and takes from each answer what `answer` finds in it. The kernel answers at once: nothing waits.
fn dump(request: &[u8], answer: impl Fn(&[u8]) -> Option<u32>) -> io::Result<Vec<u32>> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let length = u32::try_from(HEADER + request.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([SOCK_DIAG_BY_FAMILY, flags].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend(request);
    send(fd.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    while found.len() < MOST {
        let length = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN) => break,
            Err(error) => return Err(error.into()),
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let (Some(length), Some(kind)) = (number_at(rest, 0), rest.get(4..6)) {
            let length = usize::try_from(length).unwrap_or(0).max(HEADER);
            let body = rest.get(HEADER..length).unwrap_or_default();
            match i32::from(u16::from_ne_bytes([kind[0], kind[1]])) {
                libc::NLMSG_DONE => return Ok(found),
                libc::NLMSG_ERROR => {
                    let errno = number_at(body, 0).map_or(0, u32::cast_signed).saturating_neg();
                    return Err(io::Error::from_raw_os_error(errno));
                }
                _ => found.extend(answer(body)),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::sys::fd::inode;
    use crate::sys::socket::bound;

    #[test]
    fn an_accepted_connection_is_found_and_that_of_another_listener_is_not() {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (one, other) = (listen(), listen());
        let _client = TcpStream::connect(one.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = one.accept().expect("a client");
        let inode = inode(OwnedFd::from(accepted.try_clone().expect("a copy"))).expect("a socket");
        let found = |listener: TcpListener| connections_to(&bound(OwnedFd::from(listener)).expect("bound")).expect("the kernel answers");
        assert_eq!(found(one).into_iter().map(u64::from).collect::<Vec<_>>(), [inode]);
        assert_eq!(found(other), [0; 0]);
    }

    #[test]
    fn so_is_one_of_a_unix_socket() {
        let path = std::env::temp_dir().join(format!("socketmaster-unit-diag-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a free name");
        let _client = UnixStream::connect(&path).expect("it listens");
        let (accepted, _) = listener.accept().expect("a client");
        let inode = inode(OwnedFd::from(accepted.try_clone().expect("a copy"))).expect("a socket");
        let found = connections_to(&Bound::Unix(SocketName::Path(path.clone()))).expect("the kernel answers");
        std::fs::remove_file(&path).expect("ours");
        assert!(found.into_iter().any(|found| u64::from(found) == inode));
        let nobody = Bound::Unix(SocketName::Abstract(b"socketmaster-unit-nobody".to_vec()));
        assert_eq!(connections_to(&nobody).expect("the kernel answers"), [0; 0]);
    }
}
