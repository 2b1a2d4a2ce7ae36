//! Whether a program accepts connections, seen from outside: in /proc, without any help from the program.
//!
//! A process accepts on a listener when one of its threads waits for it, in accept(2), select(2), poll(2), epoll_wait(2)
//! or one of their kin, or when it holds a connection that was accepted from it: a server that is always busy is never
//! seen waiting. To hold the descriptor is not enough, and neither is it to have put it into an epoll set and do
//! something else.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, RawFd};

use crate::sys::errno::reason;
use crate::sys::proc::{self, Doing};
use crate::sys::socket::{self, Bound};
use crate::sys::{pidfd, sock_diag};
use crate::types::listener::ListenerId;
use crate::types::one_line::OneLine;
use crate::types::process::Pid;

/// What bounds one look, however large a generation is: processes, descriptors and threads of each.
const MOST_PROCESSES: usize = 64;
const MOST_DESCRIPTORS: usize = 1024;
const MOST_THREADS: usize = 512;
/// Of an epoll set: some ten thousand descriptors.
const LONGEST_INFO: u64 = 1024 * 1024;
/// Of a set of poll(2) or select(2).
const MOST_POLLED: u64 = 4096;
/// Of connections that may have been accepted.
const MOST_CONNECTIONS: usize = 32;

/// A listener that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub id: ListenerId,
    pub fd: BorrowedFd<'a>,
}

/// What a look has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Listeners on which a process accepts, in ascending order.
    pub accepts: Vec<ListenerId>,
    /// Why some process could not be looked at.
    pub hidden: Option<OneLine>,
}

/// Looks at these processes and at everything below them.
pub fn look(processes: &[Pid], targets: &[Target]) -> Seen {
    let mut look = Look { targets, seen: Vec::new(), hidden: None, connections: None };
    if proc::own().is_none() {
        look.hide("/proc is not mounted".to_owned());
    }
    let mut waiting: Vec<Pid> = processes.iter().rev().copied().collect();
    let mut left = MOST_PROCESSES;
    while let Some(pid) = waiting.pop()
        && !look.is_complete()
        && left > 0
    {
        left -= 1;
        match look.at(pid) {
            // While a process exits, it seems to belong to root.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && proc::process(pid).is_some() => look.hide(format!(
                "socketmaster may not look into pid {pid} ({}); give it CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE), or start it as \
                 the user that the program changes to (USER in the image)",
                reason(&error)
            )),
            // It is gone.
            Err(_) | Ok(()) => {}
        }
        waiting.extend(proc::children_of(pid).into_iter().rev());
    }
    look.seen.sort_unstable();
    Seen { accepts: look.seen, hidden: look.hidden.map(OneLine::from) }
}

struct Look<'a> {
    targets: &'a [Target<'a>],
    seen: Vec<ListenerId>,
    hidden: Option<String>,
    /// The inodes of connections of each target, where the kernel had to be asked for them.
    connections: Option<io::Result<Vec<(ListenerId, u32)>>>,
}

/// A descriptor of the process, and the listeners for which it stands: a listener itself, or an epoll set with listeners.
type Held = (RawFd, Vec<ListenerId>);

impl Look<'_> {
    fn is_complete(&self) -> bool {
        self.targets.iter().all(|target| self.seen.contains(&target.id))
    }

    fn is_target(&self, inode: u64) -> bool {
        self.targets.iter().any(|target| target.id == ListenerId(inode))
    }

    fn hide(&mut self, why: String) {
        self.hidden.get_or_insert(why);
    }

    fn see(&mut self, ids: &[ListenerId]) {
        let new: Vec<ListenerId> = ids.iter().copied().filter(|id| !self.seen.contains(id)).collect();
        self.seen.extend(new);
    }

    fn are_datagram(&self, ids: &[ListenerId]) -> bool {
        let mut targets = self.targets.iter().filter(|target| ids.contains(&target.id));
        targets.all(|target| socket::kind(target.fd).is_ok_and(|kind| kind == socket::Kind::Datagram))
    }

    /// Looks at one process. `PermissionDenied` means that it may not be looked at, any other error that it is gone.
    fn at(&mut self, pid: Pid) -> io::Result<()> {
        let mut sockets = Vec::new();
        let mut epolls = Vec::new();
        for fd in proc::descriptors(pid, MOST_DESCRIPTORS)? {
            match Leads::to(&proc::target(pid, fd)?) {
                Leads::Socket(inode) => sockets.push((fd, inode)),
                Leads::Epoll => epolls.push(fd),
                Leads::Elsewhere => {}
            }
        }
        let (listeners, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|(_, inode)| self.is_target(*inode));
        let mut held: Vec<Held> = listeners.into_iter().map(|(fd, inode)| (fd, vec![ListenerId(inode)])).collect();
        if held.is_empty() {
            return Ok(());
        }
        // A set may hold another set: each round finds one more level.
        for _ in 0..2 {
            for epoll in &epolls {
                let info = proc::descriptor_info(pid, *epoll, LONGEST_INFO)?;
                let ids = registered(&info, &held);
                held.retain(|(fd, _)| fd != epoll);
                if !ids.is_empty() {
                    held.push((*epoll, ids));
                }
            }
        }
        if let Some(why) = self.see_waiting(pid, &held)? {
            // What its threads wait for cannot be known: that it has asked to be told of connections must do.
            let in_sets: Vec<ListenerId> = held.iter().filter(|(fd, _)| epolls.contains(fd)).flat_map(|(_, ids)| ids.clone()).collect();
            match in_sets.is_empty() {
                true => self.hide(format!("socketmaster cannot see the system calls of pid {pid}: {why}")),
                false => self.see(&in_sets),
            }
        }
        let unseen: Vec<ListenerId> = held.iter().flat_map(|(_, ids)| ids).copied().filter(|id| !self.seen.contains(id)).collect();
        if !unseen.is_empty() {
            let connections: Vec<(RawFd, u64)> = others.into_iter().rev().take(MOST_CONNECTIONS).collect();
            self.see_accepted(pid, &unseen, &connections);
        }
        Ok(())
    }

    /// Sees what the threads of a process wait for, or says why nobody can. An error means the same as in [`Look::at`].
    fn see_waiting(&mut self, pid: Pid, held: &[Held]) -> io::Result<Option<&'static str>> {
        if !proc::is_of_our_machine(pid)? {
            return Ok(Some("the program runs in an emulator or is for another architecture"));
        }
        for tid in proc::threads(pid)?.into_iter().take(MOST_THREADS) {
            let doing = match proc::doing(pid, tid) {
                Ok(doing) => doing,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
                // This thread is gone.
                Err(_) => continue,
            };
            let waits_for = match doing {
                Doing::Accept(fd) | Doing::EpollWait(fd) => vec![fd],
                // Connections are not waited for in this way, and in a process that has executed another program since its
                // descriptors were listed the number may stand for any file.
                Doing::Receive(fd) if held.iter().any(|(held, ids)| *held == fd && self.are_datagram(ids)) => vec![fd],
                Doing::Receive(_) => Vec::new(),
                Doing::Poll { at, count } => read(pid, at, count.min(MOST_POLLED) * POLLFD).map(|set| polled(&set)).unwrap_or_default(),
                Doing::Select { at, count } => {
                    read(pid, at, count.min(MOST_POLLED).div_ceil(64) * 8).map(|set| selected(&set, count)).unwrap_or_default()
                }
                Doing::Running | Doing::Other => Vec::new(),
            };
            for (fd, ids) in held.iter().filter(|(fd, _)| waits_for.contains(fd)) {
                // All that has been read belongs together only if nothing has changed meanwhile: a process that begins, and
                // one that fails again and again, execute other programs all the time.
                let is_same = match Leads::to(&proc::target(pid, *fd)?) {
                    Leads::Socket(inode) => ids.contains(&ListenerId(inode)),
                    Leads::Epoll => true,
                    Leads::Elsewhere => false,
                };
                if is_same && proc::doing(pid, tid).is_ok_and(|again| again == doing) {
                    self.see(ids);
                }
            }
        }
        Ok(None)
    }

    /// Sees connections that were accepted from these listeners.
    fn see_accepted(&mut self, pid: Pid, unseen: &[ListenerId], connections: &[(RawFd, u64)]) {
        if connections.is_empty() {
            return;
        }
        let wanted: Vec<Target> = self.targets.iter().filter(|target| unseen.contains(&target.id)).copied().collect();
        let local: Vec<(ListenerId, Bound)> =
            wanted.iter().filter_map(|target| Some((target.id, socket::bound(target.fd).ok()?))).collect();
        for (fd, inode) in connections {
            match pidfd::descriptor_of(pid, *fd) {
                Ok(connection) => {
                    let is_connected = socket::is_connected(&connection);
                    let Ok(address) = socket::bound(&connection) else { continue };
                    let from = local.iter().filter(|(_, listener)| is_connected && was_accepted_from(&address, listener));
                    let ids: Vec<ListenerId> = from.map(|(id, _)| *id).collect();
                    self.see(&ids);
                }
                Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                    self.see_connection(*inode);
                }
                // It has been closed meanwhile.
                Err(_) => {}
            }
        }
    }

    /// The same where its socket cannot be taken: by the inode, in what the kernel knows of all connections.
    fn see_connection(&mut self, inode: u64) {
        // Those of every listener: the next process may hold connections of another one.
        let known = self.connections.get_or_insert_with(|| {
            let mut known = Vec::new();
            for target in self.targets {
                let connections = sock_diag::connections_to(&socket::bound(target.fd)?)?;
                known.extend(connections.into_iter().map(|inode| (target.id, inode)));
            }
            Ok(known)
        });
        match known {
            Ok(known) => {
                let ids: Vec<ListenerId> = known.iter().filter(|(_, known)| u64::from(*known) == inode).map(|(id, _)| *id).collect();
                self.see(&ids);
            }
            Err(error) => {
                let why = reason(error);
                self.hide(format!("socketmaster may neither copy sockets of another process nor list the kernel's connections ({why})"));
            }
        }
    }
}

fn read(pid: Pid, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    proc::memory(pid, at, &mut bytes)?;
    Ok(bytes)
}

/// What a link in `/proc/PID/fd` leads to.
#[derive(PartialEq, Eq, Debug)]
enum Leads {
    Socket(u64),
    Epoll,
    Elsewhere,
}

impl Leads {
    fn to(link: &[u8]) -> Leads {
        let inode = link.strip_prefix(b"socket:[").and_then(|rest| rest.strip_suffix(b"]"));
        match inode.and_then(|inode| std::str::from_utf8(inode).ok()?.parse().ok()) {
            Some(inode) => Leads::Socket(inode),
            None if link == b"anon_inode:[eventpoll]" => Leads::Epoll,
            None => Leads::Elsewhere,
        }
    }
}

/// The listeners for which the epoll set of this `fdinfo` waits. A set keeps a descriptor that was closed, so it counts
/// only if the process holds it under this number still, and only if the set waits for input.
fn registered(info: &str, held: &[Held]) -> Vec<ListenerId> {
    const EPOLLIN: u32 = 1;
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let mut value = |name: &str| words.by_ref().find(|word| *word == name).and_then(|_| words.next());
        let fd: RawFd = value("tfd:")?.parse().ok()?;
        let events = u32::from_str_radix(value("events:")?, 16).ok()?;
        (events & EPOLLIN != 0).then_some(fd)
    };
    let waits_for: Vec<RawFd> = info.lines().filter_map(entry).collect();
    held.iter().filter(|(fd, _)| waits_for.contains(fd)).flat_map(|(_, ids)| ids.clone()).collect()
}

/// The size of a struct pollfd.
const POLLFD: u64 = 8;

/// The descriptors of which a set of poll(2) waits for input.
fn polled(set: &[u8]) -> Vec<RawFd> {
    const POLLIN: u16 = 1;
    const POLLRDNORM: u16 = 0x40;
    let (entries, _) = set.as_chunks::<{ POLLFD as usize }>();
    let waits = entries.iter().filter(|entry| u16::from_ne_bytes([entry[4], entry[5]]) & (POLLIN | POLLRDNORM) != 0);
    waits.map(|entry| RawFd::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]])).filter(|fd| *fd >= 0).collect()
}

/// The descriptors in a set of select(2) that are below `count`.
fn selected(set: &[u8], count: u64) -> Vec<RawFd> {
    let bits =
        set.iter().enumerate().flat_map(|(place, byte)| (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| place * 8 + bit));
    bits.filter(|bit| (*bit as u64) < count).filter_map(|bit| RawFd::try_from(bit).ok()).collect()
}

/// Whether a connection with this local address came from a listener with that one.
fn was_accepted_from(connection: &Bound, listener: &Bound) -> bool {
    match (connection, listener) {
        (Bound::Inet(connection), Bound::Inet(listener)) => {
            let any = listener.ip().is_unspecified();
            connection.port() == listener.port() && (any || connection.ip().to_canonical() == listener.ip().to_canonical())
        }
        (Bound::Unix(connection), Bound::Unix(listener)) => connection == listener,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ListenerId = ListenerId(9372);
    const B: ListenerId = ListenerId(9373);

    #[test]
    fn links_are_told_apart() {
        for (link, leads) in [
            ("socket:[9372]", Leads::Socket(9372)),
            ("anon_inode:[eventpoll]", Leads::Epoll),
            ("anon_inode:[eventfd]", Leads::Elsewhere),
            ("pipe:[9372]", Leads::Elsewhere),
            ("socket:[]", Leads::Elsewhere),
            ("/tmp/socket:[9372]", Leads::Elsewhere),
            ("", Leads::Elsewhere),
        ] {
            assert_eq!(Leads::to(link.as_bytes()), leads, "{link}");
        }
    }

    /// Recorded from Node 20 on Linux 6.18, and from a kernel that names no inode.
    #[test]
    fn an_epoll_set_waits_for_a_listener_that_the_process_holds() {
        let info = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\n\
                    tfd:       14 events:       19 data:               e  pos:0 ino:249d sdev:9\n\
                    tfd:        3 events:       19 data:                3 pos:0 ino:249c sdev:9\n";
        assert_eq!(registered(info, &[(3, vec![A])]), [A]);
        assert_eq!(registered("tfd: 11 events: 80000001 data: 7\n", &[(11, vec![A]), (12, vec![B])]), [A], "edge triggered");
        // It was closed, or another number stands for it.
        assert_eq!(registered(info, &[(4, vec![A])]), []);
        // It waits for nothing: a server that is full.
        assert_eq!(registered("tfd: 3 events: 18 data: 3\n", &[(3, vec![A])]), []);
        for torn in ["", "tfd:", "tfd: 3", "tfd: x events: 19", "tfd: 3 events: zz"] {
            assert_eq!(registered(torn, &[(3, vec![A])]), [], "{torn}");
        }
    }

    #[test]
    fn a_set_of_poll_counts_where_it_waits_for_input() {
        let entry = |fd: i32, events: u16| [fd.to_ne_bytes().as_slice(), &events.to_ne_bytes(), &[0, 0]].concat();
        let set = [entry(3, 1), entry(4, 4), entry(-1, 1), entry(5, 0x40)].concat();
        assert_eq!(polled(&set), [3, 5]);
        assert_eq!(polled(&set[..7]), [0; 0], "torn");
    }

    #[test]
    fn a_set_of_select_has_a_bit_for_each_descriptor() {
        assert_eq!(selected(&[0b0000_1000, 0b1], 9), [3, 8]);
        assert_eq!(selected(&[0b0000_1000, 0b1], 8), [3]);
        assert_eq!(selected(&[], 8), [0; 0]);
    }

    #[test]
    fn a_connection_has_the_address_of_its_listener() {
        let inet = |text: &str| Bound::Inet(text.parse().expect(text));
        let path = |text: &str| Bound::Unix(crate::types::socket_name::SocketName::Path(text.into()));
        for (connection, listener) in [
            (inet("127.0.0.1:80"), inet("0.0.0.0:80")),
            (inet("[::ffff:127.0.0.1]:80"), inet("[::]:80")),
            (inet("[::ffff:127.0.0.1]:80"), inet("127.0.0.1:80")),
            (path("/run/a"), path("/run/a")),
        ] {
            assert!(was_accepted_from(&connection, &listener), "{connection:?} {listener:?}");
        }
        for (connection, listener) in [
            (inet("127.0.0.1:80"), inet("127.0.0.2:80")),
            (inet("127.0.0.1:81"), inet("0.0.0.0:80")),
            (path("/run/b"), path("/run/a")),
            (Bound::Nothing, Bound::Nothing),
        ] {
            assert!(!was_accepted_from(&connection, &listener), "{connection:?} {listener:?}");
        }
    }
}
