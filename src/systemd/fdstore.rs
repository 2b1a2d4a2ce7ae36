//! The service manager's descriptor store, FDSTORE of sd_notify(3). The master puts its own listeners there and gets them
//! back after a crash or a restart of the service. Meanwhile clients wait and are not refused.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::errno::reason;
use crate::systemd::notify::ServiceManager;
use crate::types::environment::variable;

/// A socket that the store may keep.
#[derive(Clone, Debug)]
pub struct Storable<'a> {
    /// As systemd takes it, sd_pid_notify_with_fds(3).
    pub name: String,
    pub fd: BorrowedFd<'a>,
    /// For people.
    pub address: String,
}

/// How many descriptors the store accepts, from the variable FDSTORE; 0 if there is no store.
pub fn room(environment: &[(OsString, OsString)]) -> usize {
    variable(environment, "FDSTORE").and_then(|most| most.to_str()?.parse().ok()).unwrap_or(0)
}

/// Removes the sockets stored under these names, and returns when they are closed: they may block addresses that the master
/// is about to open.
pub fn remove(names: &[&str], environment: &[(OsString, OsString)]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    ServiceManager::find(environment).map_or(Ok(()), |manager| manager?.forget(names))
}

/// Puts the first `room` sockets into the store: systemd would refuse more without a word. Returns how many are kept, and a
/// line for the log if one could not be. The path of a kept socket must stay.
pub fn keep(sockets: &[Storable], manager: &ServiceManager, room: usize) -> (usize, Option<String>) {
    for (index, Storable { name, fd, address }) in sockets.iter().take(room).enumerate() {
        // No second try: a manager that does not listen would hold up the start once for each listener.
        if let Err(error) = manager.keep(name, *fd) {
            return (index, Some(format!("cannot keep {address} and the listeners after it in the descriptor store: {}", reason(&error))));
        }
    }
    (sockets.len().min(room), None)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn a_store_has_the_room_that_the_manager_says() {
        let room = |value: Option<&str>| room(&value.map(|value| ("FDSTORE".into(), value.into())).into_iter().collect::<Vec<_>>());
        assert_eq!([None, Some(""), Some("8"), Some("-1"), Some("many")].map(room), [0, 0, 8, 0, 0]);
    }

    /// A manager that hears, and the environment that names it.
    fn manager(name: &str) -> (UnixDatagram, Vec<(OsString, OsString)>) {
        let name = format!("socketmaster-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a name of our own");
        socket.set_nonblocking(true).expect("a socket");
        (socket, vec![("NOTIFY_SOCKET".into(), format!("@{name}").into())])
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 4096];
        let mut all = Vec::new();
        while let Ok(count) = socket.recv(&mut bytes) {
            all.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        all
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let (socket, environment) = manager("store");
        let manager = ServiceManager::find(&environment).expect("it is named").expect("it listens");
        let null = std::fs::File::open("/dev/null").expect("Linux has it");
        let sockets: Vec<Storable> =
            ["a", "b", "c"].map(|name| Storable { name: name.to_owned(), fd: null.as_fd(), address: format!("tcp://{name}") }).into();
        let message = |name: &str| format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        for (room, names) in [(0, &[][..]), (2, &["a", "b"]), (9, &["a", "b", "c"])] {
            assert_eq!(keep(&sockets, &manager, room), (names.len(), None));
            assert_eq!(heard(&socket), names.iter().map(|name| message(name)).collect::<Vec<_>>());
        }
        drop(socket);
        let refused = "cannot keep tcp://a and the listeners after it in the descriptor store: Connection refused";
        assert_eq!(keep(&sockets, &manager, 9), (0, Some(refused.to_owned())));
    }

    #[test]
    fn nothing_to_remove_needs_no_manager() {
        assert!(remove(&[], &[("NOTIFY_SOCKET".into(), "/nowhere/at/all".into())]).is_ok());
        assert!(remove(&["a"], &[]).is_ok(), "without a manager there is no store");
        assert!(remove(&["a"], &[("NOTIFY_SOCKET".into(), "/nowhere/at/all".into())]).is_err());
    }
}
