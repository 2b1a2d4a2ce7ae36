//! The set of listeners that the master holds: what a configuration changes about it, and how that is carried out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use super::inherit::{Offered, Taken, close_others, store_name, take};
use super::open::{Opened, Patience, Refusal, backlog, kind_of_inet, kind_of_unix, open, ownership, set_up};
use super::resolve::{Resolved, resolve_one};
use super::unix_path::{Claim, Directories, UnixPath};
use crate::config::listen_uri::{Address, Endpoint, Host, UnixKind};
use crate::config::socket_options::SocketOptions;
use crate::error::Error;
use crate::sys::errno::reason;
use crate::sys::fd as descriptors;
use crate::sys::inotify::{Changed, Inotify};
use crate::sys::socket::{self, Bound, Kind};
use crate::types::listener::{FIRST_FD, Listener, ListenerId, ListenerLabel};
use crate::types::one_line::OneLine;
use crate::types::socket_name::SocketName;

/// An open listener.
#[derive(Debug)]
pub struct HeldSocket {
    /// `None` once the master has closed its copy.
    fd: Option<OwnedFd>,
    path: Option<UnixPath>,
    /// The changed mode of a socket that another process has opened, to be restored at the end.
    changed: Option<Changes>,
    resolved: Resolved,
    /// The description for workers. Its descriptor follows from the place in the set.
    listener: Listener,
    id: ListenerId,
}

/// An inherited socket that was blocking, and is made blocking again at the end.
#[derive(Debug)]
struct Changes {
    /// Whether the service manager keeps it open. Then the master may keep its copy when no worker serves on it any more.
    kept_by_manager: bool,
    copy: Option<OwnedFd>,
}

impl HeldSocket {
    pub fn address(&self) -> &Address {
        self.resolved.address()
    }

    /// The description for workers.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    pub fn id(&self) -> ListenerId {
        self.id
    }

    /// The master's copy, unless it has been closed.
    pub fn held(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    /// Keeps the path after the master's exit, because another process keeps the socket.
    fn leave_path(&mut self) {
        if let Some(path) = &mut self.path {
            path.leave();
        }
    }

    fn close(&mut self, in_use: bool) {
        let fd = self.fd.take();
        if let Some(changed) = &mut self.changed {
            // Making the socket blocking would hang a worker that uses it, and holding the only copy would leave clients in a queue
            // that no process serves. A socket that the manager keeps has such a queue anyway.
            if in_use && changed.kept_by_manager {
                changed.copy = fd;
            } else if let (false, Some(fd)) = (in_use, &fd) {
                let _ = descriptors::set_nonblocking(fd, false);
            }
        }
    }

    /// Sets the options that may change while the socket is open.
    fn change(&self, from: &Resolved, to: &Resolved) -> Result<(), Refusal> {
        let (old, new) = (&from.settings, &to.settings);
        for (key, is_same) in [
            ("nonblock", old.nonblock == new.nonblock),
            ("v6only", old.v6only == new.v6only),
            ("device", old.device == new.device),
            ("freebind", old.freebind == new.freebind),
        ] {
            if !is_same {
                return Err(Refusal::Obstacle {
                    cause: format!("{key} cannot change while the socket is open"),
                    hint: Some("restart the master"),
                });
            }
        }
        let Some(fd) = &self.fd else { return Ok(()) };
        set_up(fd, new)?;
        if let (Some(kind), true) = (own_kind(to.address()), old.backlog != new.backlog)
            && let Some(backlog) = backlog(new, kind)
        {
            socket::listen(fd, backlog)?;
        }
        match &self.path {
            Some(path) if ownership(old) != ownership(new) => path.set_ownership(ownership(new)),
            _ => Ok(()),
        }
    }
}

impl Drop for HeldSocket {
    fn drop(&mut self) {
        if let Some(changed) = &self.changed
            && let Some(fd) = self.fd.as_ref().or(changed.copy.as_ref())
        {
            let _ = descriptors::set_nonblocking(fd, false);
        }
    }
}

/// The kind of a socket that the master opens itself.
fn own_kind(address: &Address) -> Option<Kind> {
    match address {
        Address::Inet { transport, .. } => Some(kind_of_inet(*transport)),
        Address::Unix { kind, .. } => Some(kind_of_unix(*kind)),
        Address::Inherited(_) | Address::Activated(_) => None,
    }
}

/// The steps that turn a set into the configured one.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the configuration.
    steps: Vec<Step>,
    gone: usize,
}

#[derive(Debug)]
enum Step {
    /// Keep the open listener at this place.
    Keep {
        place: usize,
        wanted: Resolved,
        is_changed: bool,
    },
    Open(Resolved),
}

impl Plan {
    /// How many listeners stay open.
    pub fn kept(&self) -> usize {
        self.steps.len() - self.added()
    }

    /// How many listeners will be opened.
    pub fn added(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Open(_))).count()
    }

    /// How many listeners will be closed.
    pub fn gone(&self) -> usize {
        self.gone
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        let in_place = |(place, step): (usize, &Step)| matches!(step, Step::Keep { place: from, is_changed: false, .. } if *from == place);
        self.gone == 0 && self.steps.iter().enumerate().all(in_place)
    }
}

/// The listeners, in the order of the configuration.
#[derive(Debug, Default)]
pub struct ListenerSet {
    sockets: Vec<HeldSocket>,
    /// Shared with every generation: made when the set changes, and not at each reload.
    labels: Rc<[ListenerLabel]>,
    /// The paths of other sockets, which are restored in the same way.
    others: Vec<UnixPath>,
    directories: Directories,
    /// `None` without paths, or where the kernel has no room for it.
    inotify: Option<Inotify>,
}

impl ListenerSet {
    /// Makes the first set: takes over inherited sockets, closes every other descriptor from 3 up, and opens the rest.
    /// Without any listener it closes nothing: the program gets the descriptors that its parent meant for it.
    ///
    /// `stored` holds for each listener the descriptor of a socket that an earlier run of this master has opened, if there is
    /// one. `offered` holds the sockets that the service manager keeps open.
    pub fn boot(wanted: Vec<Resolved>, stored: &[Option<RawFd>], offered: &[Offered]) -> Result<ListenerSet, Error> {
        let mut set = ListenerSet::default();
        if wanted.is_empty() {
            return Ok(set);
        }
        // The sockets get the numbers that they have in workers, so that a worker need not move them.
        let least = FIRST_FD + RawFd::try_from(wanted.len()).unwrap_or(RawFd::MAX - FIRST_FD);
        set.directories.least = least;
        let taken = take(&wanted, stored, offered, least)?;
        close_others(&taken);
        let standard: Vec<RawFd> =
            wanted.iter().filter_map(|resolved| inherited_as(resolved.address())).filter(|fd| *fd < FIRST_FD).collect();
        let plan = set.plan(wanted);
        set.carry_out(plan, taken, Patience::Start)?;
        for fd in standard {
            descriptors::put_nothing(fd).map_err(|error| Error::cannot("replace", format!("descriptor {fd}"), reason(&error)))?;
        }
        Ok(set)
    }

    /// Plans the steps to these listeners. Compares addresses, without the query. The plan holds for the current set only.
    pub fn plan(&self, wanted: Vec<Resolved>) -> Plan {
        let mut is_taken = vec![false; self.sockets.len()];
        let mut find = |wanted: &Resolved| {
            let mut open = self.sockets.iter().zip(&mut is_taken).enumerate();
            let (place, (socket, is_taken)) = open.find(|(_, (socket, is_taken))| !**is_taken && socket.address() == wanted.address())?;
            *is_taken = true;
            Some((place, socket.resolved.settings != wanted.settings))
        };
        let steps: Vec<Step> = wanted
            .into_iter()
            .map(|wanted| match find(&wanted) {
                Some((place, is_changed)) => Step::Keep { place, wanted, is_changed },
                None => Step::Open(wanted),
            })
            .collect();
        Plan { steps, gone: is_taken.iter().filter(|is_taken| !**is_taken).count() }
    }

    /// Carries out a plan, whole or not at all: after an error the set is unchanged. Returns the sockets that are no longer in
    /// the set. The caller drops them when no generation needs them any more.
    pub fn apply(&mut self, plan: Plan) -> Result<Vec<HeldSocket>, Error> {
        self.carry_out(plan, Vec::new(), Patience::None)
    }

    fn carry_out(&mut self, plan: Plan, taken: Vec<Option<Taken>>, patience: Patience) -> Result<Vec<HeldSocket>, Error> {
        let is_first = patience == Patience::Start;
        let mut taken = taken.into_iter();
        // Open all new sockets first. They are dropped if one of them fails.
        let mut opened: Vec<HeldSocket> = Vec::new();
        for (place, step) in plan.steps.iter().enumerate() {
            let taken = taken.next().flatten();
            if let Step::Open(wanted) = step {
                let number = is_first.then(|| number(place));
                let held = self.hold(wanted, taken, number, patience).map_err(|refusal| {
                    let rivals = self.sockets.iter().chain(&opened);
                    refusal.explain(wanted, rivals.map(|held| &held.resolved).find(|held| is_rival(held, wanted)).map(Resolved::written))
                })?;
                opened.push(held);
            }
        }
        self.change_kept(&plan)?;

        let mut before: Vec<Option<HeldSocket>> = std::mem::take(&mut self.sockets).into_iter().map(Some).collect();
        let mut opened = opened.into_iter();
        for step in plan.steps {
            let held = match step {
                Step::Open(_) => opened.next(),
                Step::Keep { place, wanted, .. } => before.get_mut(place).and_then(Option::take).map(|mut held| {
                    held.resolved = wanted;
                    held
                }),
            };
            self.sockets.extend(held);
        }
        for (place, held) in self.sockets.iter_mut().enumerate() {
            held.listener.fd = number(place);
            held.listener.name = held.resolved.settings.name.clone();
        }
        let label = |held: &HeldSocket| ListenerLabel { id: held.id, uri: OneLine::from(held.listener.uri.as_str()) };
        self.labels = self.sockets.iter().map(label).collect();
        self.watch_paths();
        Ok(before.into_iter().flatten().collect())
    }

    fn hold(&mut self, wanted: &Resolved, taken: Option<Taken>, number: Option<RawFd>, patience: Patience) -> Result<HeldSocket, Refusal> {
        let (opened, changed) = match taken {
            None => (open(wanted, &mut self.directories, patience)?, None),
            Some(Taken::Stored(fd)) => (self.renew(wanted, fd)?, None),
            Some(Taken::Inherited { fd, kept_by_manager }) => {
                let changes = wanted.settings.nonblock && !descriptors::is_nonblocking(&fd)?;
                let changed = changes.then_some(Changes { kept_by_manager, copy: None });
                (Opened { fd, path: None }, changed)
            }
        };
        let Opened { fd, path } = opened;
        let fd = match number {
            Some(number) => descriptors::place(fd, number, true)?,
            None => fd,
        };
        if wanted.settings.nonblock {
            descriptors::set_nonblocking(&fd, true)?;
        }
        let listener = describe(wanted.address(), &fd)?;
        let id = ListenerId(descriptors::inode(&fd)?);
        Ok(HeldSocket { fd: Some(fd), path, changed, resolved: wanted.clone(), listener, id })
    }

    /// Sets the options that may have changed since an earlier run of this master opened the socket.
    fn renew(&mut self, wanted: &Resolved, fd: OwnedFd) -> Result<Opened, Refusal> {
        let settings = &wanted.settings;
        let kind = own_kind(wanted.address());
        let path = match wanted.address() {
            Address::Unix { kind, name: SocketName::Path(path) } => {
                let claim = Claim { path, kind: kind_of_unix(*kind), owner: ownership(settings), backlog: None };
                Some(UnixPath::adopt(&claim, &mut self.directories)?)
            }
            _ => None,
        };
        if let Address::Inet { .. } = wanted.address()
            && kind == Some(Kind::Stream)
        {
            socket::set_nodelay(&fd, settings.nodelay)?;
            socket::set_defer_accept(&fd, settings.defer.unwrap_or(0))?;
        }
        set_up(&fd, settings)?;
        if let Some(backlog) = kind.and_then(|kind| backlog(settings, kind)) {
            socket::listen(&fd, backlog)?;
        }
        descriptors::set_nonblocking(&fd, false)?;
        Ok(Opened { fd, path })
    }

    /// Sets the new options of the listeners that stay. After an error the earlier ones get their old options back.
    fn change_kept(&self, plan: &Plan) -> Result<(), Error> {
        let mut done: Vec<(&HeldSocket, &Resolved)> = Vec::new();
        for step in &plan.steps {
            let Step::Keep { place, wanted, is_changed: true } = step else { continue };
            let Some(held) = self.sockets.get(*place) else { continue };
            if let Err(refusal) = held.change(&held.resolved, wanted) {
                for (held, wanted) in done {
                    // It had them a moment ago.
                    let _ = held.change(wanted, &held.resolved);
                }
                return Err(refusal.explain(wanted, None));
            }
            done.push((held, wanted));
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Each listener that is open, in the order of the configuration.
    pub fn sockets(&self) -> &[HeldSocket] {
        &self.sockets
    }

    /// The listeners that a service manager may keep after the master's exit, each with its name in the store.
    pub fn storable(&self) -> impl Iterator<Item = (String, &HeldSocket, BorrowedFd<'_>)> {
        self.sockets.iter().filter_map(|held| Some((store_name(held.address())?, held, held.held()?)))
    }

    /// Keeps the paths of the first `kept` of [`ListenerSet::storable`]: a manager that keeps a socket needs its path, too.
    pub fn leave_paths(&mut self, stored: usize) {
        self.sockets.iter_mut().filter(|held| store_name(held.address()).is_some()).take(stored).for_each(HeldSocket::leave_path);
    }

    /// The master's copies, in the order in which workers get them, from 3 up. They may have any numbers here.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().filter_map(HeldSocket::held)
    }

    /// The descriptions for workers, in the same order, each with its number in a worker.
    pub fn infos(&self) -> Vec<Listener> {
        self.sockets.iter().map(|held| held.listener.clone()).collect()
    }

    /// What log lines call them, in the same order.
    pub fn labels(&self) -> Rc<[ListenerLabel]> {
        self.labels.clone()
    }

    /// Closes the master's copies, so that clients are refused as soon as workers have closed theirs. Paths stay until the
    /// set is dropped, but are no longer restored. `in_use`: whether a worker still has copies.
    pub fn close(&mut self, in_use: bool) {
        for held in &mut self.sockets {
            held.close(in_use);
            if let (Some(path), Some(inotify)) = (&mut held.path, &self.inotify) {
                path.unwatch(inotify);
            }
        }
    }

    /// Opens the control socket: a listening stream socket to which only this user and root may connect, close-on-exec and
    /// non-blocking. Its path is restored when it disappears, and removed with the set.
    pub fn open_control(&mut self, name: &SocketName) -> Result<OwnedFd, Error> {
        self.open_own(name, 0o600, Patience::Start)
    }

    /// Opens a socket like that at a path to which every user may connect. The master must not wait for it.
    pub fn open_for_workers(&mut self, path: PathBuf) -> Result<OwnedFd, Error> {
        self.open_own(&SocketName::Path(path), 0o666, Patience::None)
    }

    fn open_own(&mut self, name: &SocketName, mode: u32, patience: Patience) -> Result<OwnedFd, Error> {
        let written = OneLine::from(format!("unix://{name}"));
        let endpoint =
            Endpoint { address: Address::Unix { kind: UnixKind::Stream, name: name.clone() }, options: SocketOptions::default(), written };
        let mut resolved = resolve_one(&endpoint)?;
        resolved.settings.mode = matches!(name, SocketName::Path(_)).then_some(mode);
        let opened = open(&resolved, &mut self.directories, patience);
        let Opened { fd, path } = opened.map_err(|refusal| refusal.explain(&resolved, None))?;
        descriptors::set_nonblocking(&fd, true)
            .map_err(|error| Error::cannot("make non-blocking", endpoint.written.to_string(), reason(&error)))?;
        self.others.extend(path);
        self.watch_paths();
        Ok(fd)
    }

    /// The descriptor that becomes readable when a path may have disappeared; `None` if no path is watched.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(Inotify::as_fd)
    }

    /// Restores the paths that have disappeared, and returns the log lines about them.
    pub fn paths_changed(&mut self) -> Vec<String> {
        let Some(inotify) = &self.inotify else { return Vec::new() };
        let changed = inotify.changes();
        let is_changed = |path: &UnixPath| match (&changed, path.watched()) {
            (_, None) => false,
            (Changed::Anything, Some(_)) => true,
            (Changed::These(watches), Some(watch)) => watches.contains(&watch),
        };
        let paths = self.sockets.iter_mut().filter_map(|held| held.path.as_mut()).chain(&mut self.others);
        paths.filter(|path| is_changed(path)).filter_map(UnixPath::tend).collect()
    }

    fn watch_paths(&mut self) {
        let mut paths = self.sockets.iter_mut().filter_map(|held| held.path.as_mut()).chain(&mut self.others).peekable();
        if paths.peek().is_none() {
            return;
        }
        if self.inotify.is_none() {
            self.inotify = Inotify::open().and_then(|inotify| inotify.at_least(self.directories.least)).ok();
        }
        if let Some(inotify) = &self.inotify {
            paths.for_each(|path| path.watch(inotify));
        }
    }
}

/// The number at which a worker finds the listener at this place.
fn number(place: usize) -> RawFd {
    RawFd::try_from(place).map_or(RawFd::MAX, |place| FIRST_FD.saturating_add(place))
}

fn inherited_as(address: &Address) -> Option<RawFd> {
    match address {
        Address::Inherited(fd) => Some(*fd),
        Address::Inet { .. } | Address::Unix { .. } | Address::Activated(_) => None,
    }
}

/// Whether two addresses mean the same, however they are written.
fn is_rival(one: &Resolved, other: &Resolved) -> bool {
    match (one.address(), other.address()) {
        (Address::Inet { transport: first, .. }, Address::Inet { transport: second, .. }) => {
            first == second && one.addresses.iter().any(|one| other.addresses.iter().any(|other| one.overlaps(other)))
        }
        (Address::Unix { name: one, .. }, Address::Unix { name: other, .. }) => one == other,
        _ => false,
    }
}

/// The description of this socket for workers. Its descriptor and its name follow from its place and its options.
fn describe(address: &Address, fd: &OwnedFd) -> io::Result<Listener> {
    let datagram = socket::kind(fd)? == Kind::Datagram;
    let told = |addr: Vec<u8>, host: Vec<u8>, port, uri| Listener { fd: FIRST_FD, name: None, addr, host, port, uri };
    let name = match socket::bound(fd)? {
        Bound::Inet(bound) => {
            // Server::Starter's form for no host is the bare port.
            let any = matches!(address, Address::Inet { host: Host::Any, .. });
            let addr = if any { bound.port().to_string() } else { bound.to_string() };
            let (host, uri) = (bound.ip().to_string(), format!("{}://{bound}", if datagram { "udp" } else { "tcp" }));
            return Ok(told(addr.into_bytes(), host.into_bytes(), Some(bound.port()), uri));
        }
        Bound::Unix(SocketName::Path(path)) => path.into_os_string().into_encoded_bytes(),
        Bound::Unix(SocketName::Abstract(name)) => [b"@", name.as_slice()].concat(),
        Bound::Nothing => Vec::new(),
    };
    let uri = format!("{}://{}", if datagram { "unixgram" } else { "unix" }, String::from_utf8_lossy(&name));
    Ok(told(name.clone(), name, None, uri))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::listener::resolve::resolve;

    struct FreeDir(PathBuf);

    impl FreeDir {
        fn new(test: &str) -> FreeDir {
            let path = std::env::temp_dir().join(format!("socketmaster-unit-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).expect("a free name");
            FreeDir(path)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).expect("a directory").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    impl Drop for FreeDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn wanted(uris: &[&str]) -> Vec<Resolved> {
        let endpoints: Vec<Endpoint> = uris.iter().map(|uri| uri.parse().expect(uri)).collect();
        resolve(&endpoints).expect("numbers need no look-up")
    }

    #[track_caller]
    fn open(uris: &[&str]) -> ListenerSet {
        let mut set = ListenerSet::default();
        let plan = set.plan(wanted(uris));
        assert_eq!((plan.kept(), plan.added(), plan.gone()), (0, uris.len(), 0));
        assert!(set.apply(plan).expect("they are free").is_empty());
        set
    }

    fn numbers(set: &ListenerSet) -> Vec<RawFd> {
        set.descriptors().map(|fd| fd.as_raw_fd()).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("a socket").mode() & 0o777
    }

    #[test]
    fn the_same_configuration_is_a_plan_with_nothing_to_do() {
        let dir = FreeDir::new("same");
        let unix = format!("unix://{}/a", dir.0.display());
        let uris = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0?backlog=5", &unix, "unixgram://@socketmaster-unit-same"];
        let mut set = open(&uris);
        let (before, infos) = (numbers(&set), set.infos());
        assert_eq!(infos.iter().map(|listener| listener.fd).collect::<Vec<_>>(), [3, 4, 5, 6], "whatever numbers the master uses");
        let plan = set.plan(wanted(&uris));
        assert!(plan.is_nothing(), "{plan:?}");
        assert!(set.apply(plan).expect("nothing to do").is_empty());
        assert_eq!((numbers(&set), set.infos()), (before, infos));
    }

    #[test]
    fn listeners_come_and_go_and_change_places_and_the_others_stay_open() {
        let dir = FreeDir::new("change");
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("unix://{}/{name}", dir.0.display()));
        let mut set = open(&[&a, &b]);
        let before = numbers(&set);
        let plan = set.plan(wanted(&[&c, &a]));
        assert_eq!((plan.kept(), plan.added(), plan.gone(), plan.is_nothing()), (1, 1, 1, false));
        let gone = set.apply(plan).expect("it is free");
        assert_eq!(numbers(&set)[1], before[0]);
        assert_eq!(set.infos().iter().map(|listener| listener.uri.clone()).collect::<Vec<_>>(), [c.clone(), a.clone()]);
        assert_eq!(set.infos().iter().map(|listener| listener.fd).collect::<Vec<_>>(), [3, 4]);
        UnixStream::connect(dir.0.join("b")).expect("it lives until nobody needs it any more");
        drop(gone);
        assert_eq!(dir.names(), [".a.socketmaster", ".c.socketmaster", "a", "c"]);
        assert!(!set.plan(wanted(&[&a, &c])).is_nothing(), "another order is a change");
        drop(set);
        assert_eq!(dir.names(), [""; 0]);
    }

    #[test]
    fn a_plan_is_carried_out_whole_or_not_at_all() {
        let dir = FreeDir::new("whole");
        let [a, b] = ["a", "b"].map(|name| format!("unix://{}/{name}", dir.0.display()));
        let mut set = open(&[&format!("{a}?mode=0600&name=old")]);
        let (before, infos) = (numbers(&set), set.infos());
        let nowhere = format!("unix://{}/nowhere/c", dir.0.display());
        let plan = set.plan(wanted(&[&format!("{a}?mode=0666&name=new"), &b, &nowhere]));
        let error = set.apply(plan).expect_err("no such directory").to_string();
        assert_eq!(error, format!("cannot listen on {nowhere}: No such file or directory; the directory must exist"));
        assert_eq!((numbers(&set), set.infos()), (before, infos));
        assert_eq!((dir.names(), mode(&dir.0.join("a"))), (vec![".a.socketmaster".to_owned(), "a".to_owned()], 0o600));
    }

    #[test]
    fn an_open_listener_gets_its_new_options_where_that_is_possible() {
        let dir = FreeDir::new("options");
        let (a, path) = (format!("unix://{}/a", dir.0.display()), dir.0.join("a"));
        let mut set = open(&[&format!("{a}?mode=0600"), "tcp://127.0.0.1:0"]);
        let inode = fs::metadata(&path).expect("a socket").ino();
        let plan = set.plan(wanted(&[&format!("{a}?mode=0640&name=web&backlog=3"), "tcp://127.0.0.1:0?nodelay=1"]));
        assert!(!plan.is_nothing());
        set.apply(plan).expect("these may change");
        assert_eq!((mode(&path), fs::metadata(&path).expect("a socket").ino()), (0o640, inode));
        assert_eq!(set.infos()[0].name.as_deref(), Some("web"));
        for (first, second) in [("?nonblock=1&mode=0600", ""), ("?mode=0600", "?nodelay=1&freebind=1"), ("?mode=0600", "?device=lo")] {
            let plan = set.plan(wanted(&[&format!("{a}{first}"), &format!("tcp://127.0.0.1:0{second}")]));
            let error = set.apply(plan).expect_err(first).to_string();
            assert!(error.ends_with("cannot change while the socket is open; restart the master"), "{error}");
            assert_eq!(mode(&path), 0o640, "what was changed before is as it was");
        }
        // Of a path that is somebody else's nothing changes.
        fs::remove_file(&path).expect("a directory of our own");
        fs::write(&path, "").expect("a directory of our own");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).expect("ours");
        let plan = set.plan(wanted(&[&format!("{a}?mode=0666"), "tcp://127.0.0.1:0?nodelay=1"]));
        let error = set.apply(plan).expect_err("another file").to_string();
        assert!(error.ends_with("the path now belongs to another program"), "{error}");
        assert_eq!(mode(&path), 0o604);
    }

    #[test]
    fn many_paths_of_one_directory_share_one_watch() {
        let dir = FreeDir::new("many");
        let uris: Vec<String> = (0..20).map(|number| format!("unix://{}/{number}", dir.0.display())).collect();
        let mut set = open(&uris.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(std::rc::Rc::strong_count(set.sockets[0].path.as_ref().expect("a path").directory()), 20);
        fs::remove_file(dir.0.join("7")).expect("it is there");
        fs::remove_file(dir.0.join("8")).expect("it is there");
        assert!(set.watch().is_some());
        let path = |name: &str| dir.0.join(name).display().to_string();
        let lines = [path("7"), path("8")].map(|path| format!("restored {path}, which had disappeared"));
        assert_eq!(set.paths_changed(), lines);
        assert_eq!(set.paths_changed(), [""; 0], "its own doing is no news");
        set.close(true);
        fs::remove_file(dir.0.join("9")).expect("it is there");
        assert_eq!(set.paths_changed(), [""; 0]);
    }
}
