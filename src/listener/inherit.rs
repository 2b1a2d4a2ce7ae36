//! Sockets that the master inherits: by number, `fd://N`, or from a service manager, sd_listen_fds(3). A service manager
//! passes the sockets of socket units, for `systemd:`, and those that the master has put into the descriptor store.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use super::open::{kind_of_inet, kind_of_unix, ownership};
use super::resolve::{Resolved, Wanted};
use super::unix_path::UnixPath;
use crate::config::listen_uri::{Address, Endpoint};
use crate::error::Error;
use crate::sys::errno::reason;
use crate::sys::fd as descriptors;
use crate::sys::socket::{self, Bound, Domain, Kind};
use crate::types::environment;
use crate::types::listener::FIRST_FD;
use crate::types::one_line::OneLine;
use crate::types::socket_name::SocketName;

/// The prefix of the names under which the master puts sockets into the store.
pub const STORE_PREFIX: &str = "socketmaster+";
/// The longest name that systemd takes.
const NAME_MAX: usize = 255;
/// The most sockets that the master accepts in LISTEN_FDS. systemd never passes so many.
const MOST_SOCKETS: u32 = 65_536;

/// An inherited socket and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    pub fd: i32,
    pub name: String,
}

/// The sockets that the variables LISTEN_* pass to the process with this pid. The error is the reason if there are none.
pub fn offered(environment: &[(OsString, OsString)], pid: u32) -> Result<Vec<Offered>, String> {
    let variable = |name: &str| environment::variable(environment, name);
    let number = |name: &str, value: &OsStr| {
        let parsed = value.to_str().and_then(|text| text.parse::<u32>().ok());
        parsed.ok_or_else(|| format!("{name}={} is not a number", OneLine::from(value).as_str()))
    };
    let count = number("LISTEN_FDS", variable("LISTEN_FDS").ok_or("LISTEN_FDS is not set, so no service manager has passed a socket")?)?;
    let receiver = number("LISTEN_PID", variable("LISTEN_PID").ok_or("LISTEN_PID is not set, so the sockets may be for another process")?)?;
    if count > MOST_SOCKETS {
        return Err(format!("LISTEN_FDS={count} is too many"));
    }
    if receiver != pid {
        return Err(format!(
            "LISTEN_PID is {receiver}, and this is {pid}: the sockets are for another process; a wrapper must exec socketmaster"
        ));
    }
    let names: Vec<String> = match variable("LISTEN_FDNAMES") {
        // systemd has no such names, but they go into messages.
        Some(names) => names.to_string_lossy().replace(char::is_control, "?").split(':').map(str::to_owned).collect(),
        None => vec!["unknown".to_owned(); count as usize],
    };
    if names.len() != count as usize {
        return Err(format!("LISTEN_FDNAMES has {} names for {count} sockets", names.len()));
    }
    Ok((FIRST_FD..).zip(names).map(|(fd, name)| Offered { fd, name }).collect())
}

/// Replaces every `systemd:` listener by the sockets that it stands for. `systemd:` without a name stands for all sockets
/// that no other listener names.
pub fn expand(listen: Vec<Endpoint>, offered: &Result<Vec<Offered>, String>) -> Result<Vec<Endpoint>, Error> {
    let named: Vec<String> = listen
        .iter()
        .filter_map(|endpoint| match &endpoint.address {
            Address::Activated(name) => name.clone(),
            _ => None,
        })
        .collect();
    let mut expanded = Vec::new();
    for endpoint in listen {
        let Address::Activated(wanted) = &endpoint.address else {
            expanded.push(endpoint);
            continue;
        };
        let cannot = |cause: String| Error::cannot("listen on", endpoint.written.to_string(), cause);
        let offered = offered.as_ref().map_err(|cause| cannot(cause.clone()))?;
        let from_units: Vec<&Offered> = offered.iter().filter(|socket| !is_stored(socket)).collect();
        let mut taken = from_units.iter().filter(|socket| match wanted {
            Some(name) => socket.name == *name,
            None => !named.contains(&socket.name),
        });
        let before = expanded.len();
        expanded.extend(taken.by_ref().map(|socket| {
            let mut options = endpoint.options.clone();
            options.name_unless_given(&socket.name);
            Endpoint { address: Address::Inherited(socket.fd), options, written: endpoint.written.clone() }
        }));
        if expanded.len() == before {
            let names: Vec<&str> = from_units.iter().map(|socket| socket.name.as_str()).collect();
            return Err(cannot(match (wanted, names.as_slice()) {
                (_, []) => "no socket unit passes a socket".to_owned(),
                (Some(name), names) => format!("no socket unit passes a socket named {name}; available: {}", names.join(", ")),
                (None, _) => "other listeners take all that is offered".to_owned(),
            }));
        }
    }
    Ok(expanded)
}

/// The names of passed sockets that no listener of this configuration takes, each once.
pub fn untaken<'a>(listen: &[Endpoint], offered: &'a [Offered]) -> Vec<&'a str> {
    let taken = |fd: i32| listen.iter().any(|endpoint| endpoint.address == Address::Inherited(fd));
    names(offered.iter().filter(|socket| !is_stored(socket) && !taken(socket.fd)))
}

/// The names of sockets in the store that no listener of this configuration takes back, each once.
pub fn left_over<'a>(offered: &'a [Offered], taken: &[Option<i32>]) -> Vec<&'a str> {
    names(offered.iter().filter(|socket| is_stored(socket) && !taken.contains(&Some(socket.fd))))
}

fn names<'a>(sockets: impl Iterator<Item = &'a Offered>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for socket in sockets {
        if !names.contains(&socket.name.as_str()) {
            names.push(&socket.name);
        }
    }
    names
}

/// The name of a listener in the store: its configured address. `None` for a socket that the master has not opened itself,
/// and if the name would be too long.
pub fn store_name(address: &Address) -> Option<String> {
    match address {
        Address::Inet { .. } | Address::Unix { .. } => {}
        Address::Inherited(_) | Address::Activated(_) => return None,
    }
    let mut name = STORE_PREFIX.to_owned();
    for byte in address.to_string().bytes() {
        match byte {
            // systemd takes printable ASCII without colons.
            b'!'..=b'~' if !matches!(byte, b':' | b'%') => name.push(char::from(byte)),
            _ => drop(write!(name, "%{byte:02x}")),
        }
    }
    (name.len() <= NAME_MAX).then_some(name)
}

/// Whether this is the name of a socket that the master has put into the store.
fn is_stored(socket: &Offered) -> bool {
    socket.name.starts_with(STORE_PREFIX)
}

/// For each listener, the socket in the store that an earlier run of this master has opened for it.
pub fn stored(resolved: &[Resolved], offered: &[Offered]) -> Vec<Option<RawFd>> {
    let found = kept(resolved.iter().map(Resolved::address), offered);
    found.into_iter().zip(resolved).map(|(kept, resolved)| kept.filter(|fd| serves(resolved, *fd))).collect()
}

/// The stored socket of each listener, if there is one. No socket is used twice.
pub fn kept<'a>(listen: impl Iterator<Item = &'a Address>, offered: &[Offered]) -> Vec<Option<i32>> {
    let mut left: Vec<&Offered> = offered.iter().filter(|socket| is_stored(socket)).collect();
    let find = |address: &Address| {
        let name = store_name(address)?;
        let index = left.iter().position(|socket| socket.name == name)?;
        Some(left.remove(index).fd)
    };
    listen.map(find).collect()
}

/// A socket that this run of the master has not opened itself.
#[derive(Debug)]
pub(super) enum Taken {
    /// It belongs to the parent process, or to a socket unit, and the service manager keeps it open.
    Inherited { fd: OwnedFd, kept_by_manager: bool },
    /// An earlier run of this master has opened it.
    Stored(OwnedFd),
}

impl Taken {
    fn fd(&self) -> &OwnedFd {
        match self {
            Taken::Inherited { fd, .. } | Taken::Stored(fd) => fd,
        }
    }
}

/// Copies of the sockets that `fd://` names and of the stored ones, at numbers from `least` up.
pub(super) fn take(wanted: &[Resolved], stored: &[Option<RawFd>], offered: &[Offered], least: RawFd) -> Result<Vec<Option<Taken>>, Error> {
    let stored = stored.iter().copied().chain(std::iter::repeat(None));
    let take_one = |(wanted, stored): (&Resolved, Option<RawFd>)| {
        let adopt =
            |fd| descriptors::adopt(fd, least).map_err(|error| Error::cannot("listen on", wanted.written().to_string(), reason(&error)));
        Ok(match (wanted.address(), stored) {
            (Address::Inherited(fd), _) => {
                let kept_by_manager = offered.iter().any(|socket| socket.fd == *fd);
                Some(Taken::Inherited { fd: adopt(*fd)?, kept_by_manager })
            }
            (Address::Inet { .. } | Address::Unix { .. } | Address::Activated(_), Some(fd)) => Some(Taken::Stored(adopt(fd)?)),
            (Address::Inet { .. } | Address::Unix { .. } | Address::Activated(_), None) => None,
        })
    };
    wanted.iter().zip(stored).map(take_one).collect()
}

/// Closes every descriptor from 3 up except these.
pub(super) fn close_others(taken: &[Option<Taken>]) {
    let keep: Vec<RawFd> = taken.iter().flatten().map(|taken| taken.fd().as_raw_fd()).collect();
    descriptors::close_from(FIRST_FD, &keep);
}

/// Fails if this descriptor is not a socket on which a program can serve clients. The error says what it is.
pub(super) fn check_inherited(written: &OneLine, fd: RawFd) -> Result<(), Error> {
    let cannot = |cause: String| Error::cannot("listen on", written.to_string(), cause);
    // The checks work on any copy; this one is closed when the function returns.
    let copy = descriptors::adopt(fd, FIRST_FD)
        .map_err(|_| cannot("no such descriptor is open".to_owned()).hint("the parent must leave it open, without close-on-exec"))?;
    match unfit(copy) {
        Some(what) => Err(cannot(format!("descriptor {fd} {what}"))),
        None => Ok(()),
    }
}

/// The rest of the sentence "descriptor N ..." if a program cannot serve clients on this descriptor.
fn unfit(fd: OwnedFd) -> Option<String> {
    let (kind, domain) = match (socket::kind(&fd), socket::domain(&fd)) {
        (Ok(kind), Ok(domain)) => (kind, domain),
        _ => return Some(format!("is {}, not a socket", what_it_is(fd))),
    };
    let is_bound = match socket::bound(&fd) {
        Ok(Bound::Inet(address)) => address.port() != 0,
        Ok(Bound::Unix(_)) => true,
        Ok(Bound::Nothing) | Err(_) => false,
    };
    Some(match (domain, kind) {
        (Domain::Netlink, _) => "is a netlink socket; accepted are TCP, UDP and unix sockets".to_owned(),
        (Domain::Vsock, _) => "is a vsock socket; accepted are TCP, UDP and unix sockets".to_owned(),
        (Domain::Packet, _) => "is a packet socket; accepted are TCP, UDP and unix sockets".to_owned(),
        (Domain::Other(family), _) => format!("is a socket of address family {family}; accepted are TCP, UDP and unix sockets"),
        (Domain::Inet | Domain::Unix, Kind::Other) => "is a raw socket; accepted are TCP, UDP and unix sockets".to_owned(),
        (Domain::Inet | Domain::Unix, _) if socket::is_connected(&fd) => "is a connected socket, not one that listens".to_owned(),
        (Domain::Inet | Domain::Unix, Kind::Datagram) if is_bound => return None,
        (Domain::Inet | Domain::Unix, Kind::Datagram) => "is a socket that is not bound to an address".to_owned(),
        (Domain::Inet | Domain::Unix, Kind::Stream | Kind::SeqPacket) if socket::is_listening(&fd) => return None,
        (Domain::Inet | Domain::Unix, Kind::Stream | Kind::SeqPacket) => "is a socket that does not listen".to_owned(),
    })
}

/// The file type with its article, such as "a pipe".
fn what_it_is(fd: OwnedFd) -> &'static str {
    let Ok(found) = File::from(fd).metadata() else { return "something unknown" };
    let kind = found.file_type();
    match () {
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_file() => "a file",
        () if kind.is_dir() => "a directory",
        () if kind.is_char_device() => "a character device",
        () if kind.is_block_device() => "a block device",
        () => "a descriptor of another kind",
    }
}

/// Whether this descriptor is a socket like the one that would be opened for this listener, and clients still reach it.
fn serves(resolved: &Resolved, fd: RawFd) -> bool {
    let Ok(copy) = descriptors::adopt(fd, FIRST_FD) else { return false };
    let (Ok(found), Ok(bound)) = (socket::kind(&copy), socket::bound(&copy)) else { return false };
    match (resolved.address(), bound) {
        (Address::Inet { transport, .. }, Bound::Inet(bound)) => {
            let v6only = socket::is_v6only(&copy);
            let same = |wanted: &Wanted| {
                let port = wanted.address.port();
                bound.ip() == wanted.address.ip() && (port == 0 || port == bound.port()) && v6only == wanted.v6only
            };
            found == kind_of_inet(*transport) && resolved.addresses.iter().any(same)
        }
        (Address::Unix { kind, name }, Bound::Unix(bound)) => {
            let is_there = match name {
                SocketName::Abstract(_) => true,
                SocketName::Path(path) => UnixPath::is_adoptable(path, ownership(&resolved.settings)),
            };
            found == kind_of_unix(*kind) && bound == *name && is_there
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn sockets(names: &[&str]) -> Vec<Offered> {
        (FIRST_FD..).zip(names).map(|(fd, name)| Offered { fd, name: (*name).to_owned() }).collect()
    }

    fn endpoints(uris: &[&str]) -> Vec<Endpoint> {
        uris.iter().map(|uri| uri.parse().expect(uri)).collect()
    }

    fn expanded(uris: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
        let endpoints = expand(endpoints(uris), &Ok(sockets(names))).map_err(|error| error.to_string())?;
        Ok(endpoints.iter().map(Endpoint::to_string).collect())
    }

    #[test]
    fn sockets_are_offered_by_number_and_name() {
        let told = |variables: &[(&str, &str)]| offered(&environment(variables), 77);
        assert_eq!(told(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "a:b")]), Ok(sockets(&["a", "b"])));
        assert_eq!(told(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "77")]), Ok(sockets(&["unknown"])));
        assert_eq!(told(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "")]), Ok(sockets(&["unknown"])));
    }

    #[test]
    fn no_name_breaks_a_line() {
        let told = offered(&environment(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "a\n\u{1b}[2J")]), 77);
        assert_eq!(told, Ok(sockets(&["a??[2J"])));
    }

    #[test]
    fn what_is_not_offered_to_us_is_not_taken() {
        for (variables, cause) in [
            (&[][..], "LISTEN_FDS is not set"),
            (&[("LISTEN_FDS", "1")], "LISTEN_PID is not set"),
            (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "78")], "LISTEN_PID is 78, and this is 77"),
            (&[("LISTEN_FDS", "x"), ("LISTEN_PID", "77")], "LISTEN_FDS=x is not a number"),
            (&[("LISTEN_FDS", "1\n2"), ("LISTEN_PID", "77")], "LISTEN_FDS=1\\n2 is not a number"),
            (&[("LISTEN_FDS", "65537"), ("LISTEN_PID", "77")], "LISTEN_FDS=65537 is too many"),
            (&[("LISTEN_FDS", "-1"), ("LISTEN_PID", "77")], "LISTEN_FDS=-1 is not a number"),
            (&[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "a")], "LISTEN_FDNAMES has 1 names for 2 sockets"),
        ] {
            let told = offered(&environment(variables), 77).expect_err(cause);
            assert!(told.starts_with(cause), "{told}");
        }
    }

    #[test]
    fn systemd_listeners_stand_for_what_is_offered() {
        let tcp = "tcp://:80";
        assert_eq!(expanded(&["systemd:"], &["a", "b"]).unwrap(), ["fd://3?name=a", "fd://4?name=b"]);
        assert_eq!(expanded(&["systemd:b", tcp], &["a", "b", "b"]).unwrap(), ["fd://4?name=b", "fd://5?name=b", tcp]);
        assert_eq!(expanded(&["systemd:", "systemd:a?name=x"], &["a", "b"]).unwrap(), ["fd://4?name=b", "fd://3?name=x"]);
        assert_eq!(expanded(&["systemd:?nonblock=1"], &["a"]).unwrap(), ["fd://3?name=a&nonblock=1"]);
        assert_eq!(expanded(&["systemd:"], &["socketmaster+tcp%3a//%3a80", "b"]).unwrap(), ["fd://4?name=b"]);
        assert_eq!(expanded(&[tcp], &[]).unwrap(), [tcp]);
    }

    #[test]
    fn a_systemd_listener_without_a_socket_is_an_error() {
        assert_eq!(
            expanded(&["systemd:web"], &["a", "b"]).unwrap_err(),
            "cannot listen on systemd:web: no socket unit passes a socket named web; available: a, b"
        );
        assert_eq!(expanded(&["systemd:"], &[]).unwrap_err(), "cannot listen on systemd:: no socket unit passes a socket");
        assert!(expanded(&["systemd:", "systemd:a"], &["a"]).unwrap_err().ends_with("other listeners take all that is offered"));
        let none = expand(endpoints(&["systemd:"]), &Err("LISTEN_FDS is not set".to_owned())).unwrap_err();
        assert_eq!(none.to_string(), "cannot listen on systemd:: LISTEN_FDS is not set");
    }

    #[test]
    fn offered_and_taken_by_nobody() {
        let listen = endpoints(&["fd://4", "tcp://:80"]);
        assert_eq!(untaken(&listen, &sockets(&["a", "b", "socketmaster+x", "a"])), ["a"], "each name once");
    }

    #[test]
    fn what_was_kept_is_found_by_its_address_and_given_once() {
        let listen = endpoints(&["tcp://127.0.0.1:0", "unix:///a b?mode=0600", "tcp://127.0.0.1:0", "fd://9"]);
        let names: Vec<String> = listen.iter().filter_map(|endpoint| store_name(&endpoint.address)).collect();
        assert_eq!(names, ["socketmaster+tcp%3a//127.0.0.1%3a0", "socketmaster+unix%3a///a%20b", "socketmaster+tcp%3a//127.0.0.1%3a0"]);
        assert_eq!(
            kept(listen.iter().map(|endpoint| &endpoint.address), &sockets(&[&names[1], "other", &names[0]])),
            [Some(5), Some(3), None, None]
        );
        assert_eq!(kept(listen.iter().map(|endpoint| &endpoint.address), &sockets(&["tcp"])), [None; 4]);
    }

    #[test]
    fn a_name_that_systemd_would_refuse_is_not_tried() {
        let long = format!("unix:///{}", "\u{e9}".repeat(50));
        assert_eq!(store_name(&long.parse::<Endpoint>().unwrap().address), None);
    }
}
