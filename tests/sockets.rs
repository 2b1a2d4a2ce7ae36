//! Listeners: the sockets that URIs open, their numbers in workers, and their removal.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, UnixAddr, bind, connect, getsockopt, listen, setsockopt, socket, sockopt,
};
use nix::unistd::{getegid, geteuid};

use crate::harness::pre_exec::{close, inherit, refuse};
use crate::harness::{
    FreeDir, Inherited, Master, SOON, Setup, bare_root, eventually, exited, fixture, free_dir, killed, open_fds, phrase, skip,
};

const NO_IPV6: &str = "there is no IPv6 here";

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn listen_on(uris: &[&str]) -> Setup {
    uris.iter().fold(Setup::new().arg("-start=0"), |setup, uri| setup.arg(format!("-listen={uri}")))
}

/// A master whose worker serves; and the worker's pid, which is what it answers.
#[track_caller]
fn serving(setup: Setup) -> (Master, u32) {
    let master = setup.program(fixture("worker"), ["serve"]).spawn();
    master.wait_output("ready", SOON);
    let worker = master.children()[0];
    (master, worker)
}

/// A master with a running worker, and the worker's report on what it inherited.
#[track_caller]
fn reporting(setup: Setup, dir: &FreeDir) -> (Master, Inherited) {
    let report = dir.join("report");
    let words = ["report", report.to_str().expect("a plain path"), "sleep"];
    let master = setup.program(fixture("worker"), words).spawn();
    let inherited = Inherited::wait(&report);
    (master, inherited)
}

/// The pid of the worker that answers, as the fixture's `serve` sends it.
fn answer(mut stream: impl Read + Write, finish: impl FnOnce()) -> Option<u32> {
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
    finish();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().last()?.parse().ok()
}

fn answer_over_tcp(address: impl Into<SocketAddr>) -> Option<u32> {
    let stream = TcpStream::connect(address.into()).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    // Should the connection be one to itself, it ends now.
    answer(&stream, || drop(stream.shutdown(Shutdown::Write)))
}

fn answer_over_unix(stream: std::io::Result<UnixStream>) -> Option<u32> {
    let stream = stream.ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    answer(&stream, || drop(stream.shutdown(Shutdown::Write)))
}

#[track_caller]
fn port(uri: &str) -> u16 {
    uri.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {uri}"))
}

/// `socket:[INODE]`, as /proc shows a descriptor: the same in every process that holds the socket.
#[track_caller]
fn identity(file: &impl AsRawFd) -> String {
    open_fds(std::process::id())[&file.as_raw_fd()].clone()
}

/// The targets of a worker's descriptors, from 0 up.
fn targets(inherited: &Inherited) -> BTreeMap<c_int, String> {
    let target = |described: &str| described.splitn(3, ' ').last().unwrap_or_default().to_owned();
    inherited.fds().into_iter().map(|(fd, described)| (fd, target(described))).collect()
}

#[test]
fn each_tcp_uri_is_reached_over_its_families_and_no_other() {
    let rows: &[(&str, bool, bool)] = &[
        ("tcp://:0", true, true),
        ("tcp://*:0", true, true),
        ("tcp://[::]:0", true, true),
        ("tcp://:0?v6only=0", true, true),
        ("tcp6://:0?v6only=0", true, true),
        ("tcp4://:0", true, false),
        ("tcp://0.0.0.0:0", true, false),
        ("tcp://127.0.0.1:0", true, false),
        ("tcp://localhost:0", true, false),
        ("tcp4://localhost:0", true, false),
        ("tcp6://:0", false, true),
        ("tcp6://[::]:0", false, true),
        ("tcp://:0?v6only=1", false, true),
        ("tcp://[::1]:0", false, true),
        ("tcp6://localhost:0", false, true),
    ];
    let ipv6 = has_ipv6();
    if !ipv6 {
        skip(NO_IPV6);
    }
    for (uri, over_ipv4, over_ipv6) in rows.iter().filter(|(_, _, over_ipv6)| ipv6 || !over_ipv6) {
        let (master, worker) = serving(listen_on(&[uri]));
        let port = port(&master.uri());
        let reached = |address: SocketAddr| answer_over_tcp(address) == Some(worker);
        let seen = (reached((Ipv4Addr::LOCALHOST, port).into()), ipv6 && reached((Ipv6Addr::LOCALHOST, port).into()));
        assert_eq!(seen, (*over_ipv4, *over_ipv6), "{uri}: reached over IPv4 and over IPv6");
    }
}

#[test]
fn without_ipv6_in_the_kernel_a_wildcard_is_ipv4() {
    let without_ipv6 = |command: &mut Command| refuse(command, libc::SYS_socket, Some(libc::AF_INET6), Errno::EAFNOSUPPORT);
    let mut filtered = Command::new("true");
    without_ipv6(&mut filtered);
    if let Err(error) = filtered.output() {
        return skip(&format!("no system call can be refused: {error}"));
    }
    let (master, worker) = serving(listen_on(&["tcp://:0", "udp://:0"]).tune(without_ipv6));
    assert!(master.uri().starts_with("tcp://0.0.0.0:"), "{}", master.uri());
    master.wait_note("listening on udp://0.0.0.0:", SOON);
    assert_eq!(answer_over_tcp((Ipv4Addr::LOCALHOST, port(&master.uri()))), Some(worker));

    // A scheme that demands IPv6 gets no IPv4 instead.
    for uri in ["tcp6://:0", "tcp://[::1]:0", "tcp://:0?v6only=1"] {
        let mut master = listen_on(&[uri]).program(fixture("worker"), ["serve"]).tune(without_ipv6).spawn();
        assert_eq!(master.wait_exit(SOON), exited(1));
        let said: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
        assert_eq!(said, [format!("socketmaster: cannot listen on {uri}: Address family not supported by protocol")]);
    }
    if has_ipv6() {
        let (master, _) = serving(listen_on(&["tcp://:0"]));
        assert!(master.uri().starts_with("tcp://[::]:"), "the control: {}", master.uri());
    }
}

#[test]
fn port_0_is_any_free_port_and_the_bound_one_is_logged() {
    let dir = free_dir();
    let (master, inherited) = reporting(listen_on(&["tcp://127.0.0.1:0", "tcp4://:0", "udp4://127.0.0.1:0"]), &dir);
    let notes = master.wait_notes(phrase::LISTENING, 3, SOON);
    let ports: Vec<u16> = notes.iter().map(|note| port(note.split(' ').nth(3).expect("a URI"))).collect();
    assert!(!ports.contains(&0), "{notes:?}");
    let begin = format!("socketmaster[{}]: listening on", master.pid());
    let (first, second, third) = (ports[0], ports[1], ports[2]);
    assert_eq!(
        notes,
        [
            format!("{begin} tcp://127.0.0.1:{first} (fd 3)"),
            format!("{begin} tcp://0.0.0.0:{second} (fd 4)"),
            format!("{begin} udp://127.0.0.1:{third} (fd 5)")
        ]
    );
    let told = format!("127.0.0.1:{first}=3;{second}=4;127.0.0.1:{third}=5");
    assert_eq!(inherited.env("SERVER_STARTER_PORT"), Some(told.as_str()));
    // The kernel agrees: those ports are taken.
    TcpStream::connect((Ipv4Addr::LOCALHOST, first)).expect("it listens there");
    TcpStream::connect((Ipv4Addr::LOCALHOST, second)).expect("it listens there");
    UdpSocket::bind((Ipv4Addr::LOCALHOST, third)).expect_err("it is bound there");
}

#[test]
fn several_listeners_stand_in_order_from_3_up_with_their_names() {
    let dir = free_dir();
    let unix = format!("unix://{}?name=admin", dir.join("sock").display());
    let log = format!("unixgram://@socketmaster-test-order-{}?name=log", std::process::id());
    let uris = ["tcp://127.0.0.1:0?name=web", &unix, "tcp://127.0.0.1:0", &log];
    let (master, inherited) = reporting(listen_on(&uris), &dir);
    let fds = targets(&inherited);
    assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    let held = open_fds(master.pid());
    for (fd, target) in fds.range(3..) {
        assert_eq!(held.get(fd), Some(target), "the master holds each at the same number");
    }
    assert_eq!(inherited.env("LISTEN_FDS"), Some("4"));
    assert_eq!(inherited.env("LISTEN_FDNAMES"), Some("web:admin:unknown:log"));
    let notes = master.wait_notes(phrase::LISTENING, 4, SOON);
    let path = dir.join("sock").display().to_string();
    assert!(notes[1].ends_with(&format!("listening on unix://{path} (fd 4)")) && notes[3].ends_with("(fd 6)"), "{notes:?}");
    let told = inherited.env("SERVER_STARTER_PORT").expect("a variable");
    let third = told.split(';').nth(2).expect("a third listener");
    assert!(told.contains(&format!(";{path}=4;")) && third.ends_with("=5"), "{told}");
}

#[test]
fn listen_none_opens_nothing_and_tells_nothing() {
    let dir = free_dir();
    let (master, inherited) = reporting(listen_on(&["none"]), &dir);
    assert!(targets(&inherited).values().all(|target| !target.starts_with("socket:")), "{:?}", inherited.fds());
    assert_eq!(master.notes().iter().filter(|note| note.contains("listening")).count(), 0);
    for variable in ["EINHORN_FDS", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "SERVER_STARTER_PORT"] {
        assert_eq!(inherited.env(variable), None, "{variable}");
    }
}

#[test]
fn a_unix_path_has_the_mode_and_owner_it_was_given() {
    let dir = free_dir();
    let uri = |query: &str| format!("unix://{}{query}", dir.join("sock").display());
    let mode_of = |metadata: &fs::Metadata| metadata.permissions().mode() & 0o7777;
    let made = |query: &str| {
        let under_umask = ["sh", "-c", r#"umask 027; exec "$@""#, "sh"];
        let (mut master, worker) = serving(listen_on(&[&uri(query)]).through(under_umask));
        let metadata = fs::metadata(dir.join("sock")).expect("a socket");
        assert_eq!(answer_over_unix(UnixStream::connect(dir.join("sock"))), Some(worker));
        assert_eq!(master.stop(Signal::SIGTERM), exited(143));
        metadata
    };
    for (query, mode) in [("", 0o750), ("?mode=0666", 0o666), ("?mode=0600", 0o600), ("?mode=77", 0o077)] {
        if mode & 0o700 == 0 && !geteuid().is_root() {
            continue;
        }
        let metadata = made(query);
        assert_eq!(mode_of(&metadata), mode, "{query:?}");
        assert_eq!((metadata.uid(), metadata.gid()), (geteuid().as_raw(), getegid().as_raw()), "{query:?}");
    }
    if !geteuid().is_root() {
        return skip("only root may give a file away");
    }
    let owner = |query: &str| {
        let metadata = made(query);
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner("?user=12345"), (12345, 0));
    assert_eq!(owner("?group=54321"), (0, 54321));
    let metadata = made("?mode=0660&user=12345&group=54321");
    assert_eq!((mode_of(&metadata), metadata.uid(), metadata.gid()), (0o660, 12345, 54321));
    let id = |option: &str| Command::new("id").args([option, "nobody"]).output().ok().filter(|output| output.status.success());
    if let (Some(uid), Some(group)) = (id("-u"), id("-gn")) {
        let uid = String::from_utf8_lossy(&uid.stdout).trim().parse().expect("a uid");
        let gid = made(&format!("?user=nobody&group={}", String::from_utf8_lossy(&group.stdout).trim())).gid();
        assert_eq!(owner("?user=nobody"), (uid, 0));
        assert_ne!(gid, 0);
    }
}

#[test]
fn an_abstract_name_is_reached_and_taken_and_free_again() {
    let name = format!("socketmaster-test-{}", std::process::id());
    let uri = format!("unix://@{name}");
    let connected = || UnixStream::connect_addr(&unix::SocketAddr::from_abstract_name(&name).expect("a name"));
    let dir = free_dir();
    let (mut master, worker) = serving(listen_on(&[&uri]));
    assert_eq!(answer_over_unix(connected()), Some(worker));
    assert_eq!(master.uri(), uri);

    let mut second = listen_on(&[&uri]).program(fixture("worker"), ["serve"]).spawn();
    assert_eq!(second.wait_exit(SOON), exited(1));
    let said: Vec<String> = second.lines().iter().map(|line| line.text()).collect();
    assert_eq!(said, [format!("socketmaster: cannot listen on {uri}: Address already in use; another program listens there already")]);

    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert!(connected().is_err());
    let (_third, inherited) = reporting(listen_on(&[&uri]), &dir);
    assert_eq!(inherited.env("SERVER_STARTER_PORT"), Some(format!("@{name}=3").as_str()));
}

#[test]
fn a_stale_path_is_replaced_and_a_live_one_is_not() {
    let dir = free_dir();
    let path = dir.join("sock");
    for scheme in ["unix", "unixgram"] {
        let uri = format!("{scheme}://{}", path.display());
        // Stale paths of a stream socket and of a datagram socket.
        for make in [|path: &Path| UnixListener::bind(path).map(OwnedFd::from), |path: &Path| UnixDatagram::bind(path).map(OwnedFd::from)] {
            drop(make(&path).expect("a socket"));
            let (mut master, inherited) = reporting(listen_on(&[&uri]), &dir);
            assert_eq!(inherited.env("SERVER_STARTER_PORT"), Some(format!("{}=3", path.display()).as_str()));
            assert_eq!(master.stop(Signal::SIGTERM), exited(143));
            fs::remove_file(dir.join("report")).expect("a report");
        }
        // Live sockets: one with a full queue, and one of the other kind.
        let live = UnixListener::bind(&path).expect("a socket");
        listen(&live, Backlog::new(0).expect("a number")).expect("it is a socket");
        let _in_the_queue = UnixStream::connect(&path).expect("room for one");
        let inode = fs::symlink_metadata(&path).expect("a socket").ino();
        let mut master = listen_on(&[&uri]).program(fixture("worker"), ["serve"]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(1), "{uri}");
        assert_eq!(fs::symlink_metadata(&path).expect("still there").ino(), inode);
        fs::remove_file(&path).expect("ours");
    }
}

#[test]
fn at_the_end_the_path_is_removed() {
    for scheme in ["unix", "unixgram"] {
        let dir = free_dir();
        let path = dir.join("sock");
        let (mut master, _) = reporting(listen_on(&[&format!("{scheme}://{}", path.display())]), &dir);
        assert!(path.exists());
        assert_eq!(master.stop(Signal::SIGTERM), exited(143));
        assert!(!path.exists(), "{scheme}");
    }
}

#[test]
fn at_the_end_a_path_that_is_another_file_by_now_is_left() {
    let dir = free_dir();
    let path = dir.join("sock");
    let (mut master, _) = serving(listen_on(&[&format!("unix://{}", path.display())]));
    // As a program does it that binds beside and moves its socket to the path. The first inode is kept, so that its number is.
    let other = UnixListener::bind(dir.join("other")).expect("a free path");
    fs::hard_link(&path, dir.join("first")).expect("a file system with hard links");
    fs::rename(dir.join("other"), &path).expect("a directory of our own");
    let inode = fs::symlink_metadata(&path).expect("a socket").ino();
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert_eq!(fs::symlink_metadata(&path).expect("it is not ours").ino(), inode);
    UnixStream::connect(&path).and_then(|_| other.accept()).expect("the other one still serves");
}

/// Most file systems give a new file the number of the one that was removed last.
#[test]
fn at_the_end_a_path_of_the_same_inode_number_is_left_too() {
    let dir = free_dir();
    let path = dir.join("sock");
    let worker = format!("exec 3<&-; exec {} ignore TERM signals --until INT", fixture("worker").display());
    let mut master = listen_on(&[&format!("unix://{}", path.display())]).program("/bin/sh", ["-c", &worker]).spawn();
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGTERM);
    eventually("nobody listens", SOON, || UnixStream::connect(&path).is_err());
    let made = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified()).expect("a file");
    eventually("the file system's clock goes on", SOON, || {
        fs::write(dir.join("clock"), "tick").expect("a directory of our own");
        made(&dir.join("clock")) > made(&path)
    });
    fs::remove_file(&path).expect("stale");
    let other = UnixListener::bind(&path).expect("a free path");
    assert_eq!(master.stop(Signal::SIGINT), exited(0));
    UnixStream::connect(&path).and_then(|_| other.accept()).expect("the other one still serves");
}

#[test]
fn a_path_that_has_gone_already_is_no_matter() {
    let dir = free_dir();
    let path = dir.join("sock");
    let (mut master, _) = serving(listen_on(&[&format!("unix://{}", path.display())]));
    fs::remove_file(&path).expect("ours");
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert_eq!(master.notes().iter().filter(|note| note.contains("cannot")).count(), 0);
}

#[test]
fn datagrams_wait_for_the_worker_on_every_kind_of_datagram_socket() {
    let dir = free_dir();
    let path = dir.join("sock");
    let name = format!("socketmaster-test-datagrams-{}", std::process::id());
    let uris = ["udp://127.0.0.1:0", "udp4://:0", "udp://:0", "udp6://[::1]:0"].map(String::from);
    let unix = [format!("unixgram://{}", path.display()), format!("unixgram://@{name}")];
    for uri in uris.iter().chain(&unix) {
        if uri.starts_with("udp6") && !has_ipv6() {
            skip(NO_IPV6);
            continue;
        }
        let mut master = listen_on(&[uri]).program(fixture("worker"), ["receive", "2"]).spawn();
        let bound = master.uri();
        let send = |text: &str| match bound.split_once("://").expect("a URI") {
            ("udp", address) => {
                let mut address: SocketAddr = address.parse().expect("an address");
                if address.ip().is_unspecified() {
                    address.set_ip(Ipv4Addr::LOCALHOST.into());
                }
                let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind(SocketAddr::new(any, 0)).expect("a socket");
                socket.send_to(text.as_bytes(), address)
            }
            ("unixgram", location) => {
                let socket = UnixDatagram::unbound().expect("a socket");
                let address = match location.strip_prefix('@') {
                    Some(name) => unix::SocketAddr::from_abstract_name(name),
                    None => unix::SocketAddr::from_pathname(location),
                };
                socket.send_to_addr(text.as_bytes(), &address.expect("a name"))
            }
            _ => panic!("{bound} is no datagram socket"),
        };
        send("one").expect("room for it");
        send("two").expect("room for it");
        assert_eq!(master.wait_exit(SOON), exited(0), "{uri}");
        assert_eq!(master.wait_outputs("datagram", 2, SOON), ["datagram one", "datagram two"], "{uri}");
    }
}

/// `fd://` of the parent's sockets a and b, at these numbers, in that order; and the numbers at which workers find them.
#[test]
fn inherited_sockets_come_from_any_number_to_their_place() {
    struct Row {
        a: RawFd,
        b: RawFd,
        listen: &'static [&'static str],
        expected: &'static [(RawFd, char)],
    }
    let rows = [
        Row { a: 3, b: 4, listen: &["fd://3", "fd://4"], expected: &[(3, 'a'), (4, 'b')] },
        Row { a: 3, b: 4, listen: &["fd://4", "fd://3"], expected: &[(3, 'b'), (4, 'a')] },
        Row { a: 4, b: 3, listen: &["fd://4"], expected: &[(3, 'a')] },
        Row { a: 5, b: 4, listen: &["fd://4", "fd://5"], expected: &[(3, 'b'), (4, 'a')] },
        Row { a: 3, b: 9, listen: &["tcp://127.0.0.1:0", "fd://3"], expected: &[(3, 'n'), (4, 'a')] },
        Row { a: 17, b: 9, listen: &["tcp://127.0.0.1:0", "fd://17"], expected: &[(3, 'n'), (4, 'a')] },
        Row { a: 4, b: 3, listen: &["fd://3", "tcp://127.0.0.1:0", "fd://4"], expected: &[(3, 'b'), (4, 'n'), (5, 'a')] },
        Row { a: 17, b: 200, listen: &["fd://200", "fd://17"], expected: &[(3, 'b'), (4, 'a')] },
        // As inetd hands a socket over: on standard input, which does not keep it open beside its place.
        Row { a: 0, b: 4, listen: &["fd://0"], expected: &[(3, 'a')] },
    ];
    for Row { a, b, listen, expected } in rows {
        let what = format!("a={a} b={b} {listen:?}");
        let dir = free_dir();
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let second = UnixListener::bind(dir.join("sock")).expect("a socket");
        let known = [(identity(&first), 'a'), (identity(&second), 'b')];
        let address = first.local_addr().expect("it is bound");
        let files = vec![(first.into(), a), (second.into(), b)];
        let (mut master, inherited) = reporting(listen_on(listen).tune(move |command| inherit(command, files)), &dir);
        let seen: Vec<(RawFd, char)> = targets(&inherited)
            .into_iter()
            .inspect(|(fd, target)| assert!(*fd != 0 || target == "/dev/null", "{what}: standard input is {target}"))
            .filter(|(_, target)| target.starts_with("socket:"))
            .map(|(fd, target)| (fd, known.iter().find(|(socket, _)| *socket == target).map_or('n', |(_, name)| *name)))
            .collect();
        assert_eq!(seen, expected, "{what}");
        // What is told is what is there, and the paths of others are left alone at the end.
        let place = expected.iter().find(|(fd, name)| *fd >= 3 && *name == 'a').map(|(fd, _)| *fd);
        let told = inherited.env("SERVER_STARTER_PORT").expect("a variable");
        if let Some(place) = place {
            assert!(told.split(';').any(|entry| entry == format!("{address}={place}")), "{what}: {told}");
        }
        assert_eq!(master.stop(Signal::SIGTERM), exited(143), "{what}");
        assert!(dir.join("sock").exists(), "{what}");
    }
}

#[test]
fn an_inherited_datagram_socket_serves_too() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    let setup = listen_on(&["fd://7"]).tune(move |command| inherit(command, vec![(socket.into(), 7)]));
    let mut master = setup.program(fixture("worker"), ["receive", "1"]).spawn();
    assert_eq!(master.uri(), format!("udp://{address}"));
    UdpSocket::bind("127.0.0.1:0").and_then(|client| client.send_to(b"hello", address)).expect("room for it");
    assert_eq!(master.wait_exit(SOON), exited(0));
    master.wait_output("datagram hello", SOON);
}

#[test]
fn other_inherited_descriptors_are_closed_however_the_kernel_can() {
    let open = |dir: &FreeDir| -> Vec<(OwnedFd, RawFd)> {
        [3, 4, 5, 42, 250].map(|fd| (File::create(dir.join("file")).expect("a file").into(), fd)).into()
    };
    // The control: a program that is executed in the same way has them.
    let dir = free_dir();
    let mut direct = Command::new(fixture("worker"));
    direct.arg("report").arg(dir.join("report"));
    inherit(&mut direct, open(&dir));
    assert!(direct.status().expect("it runs").success());
    let fds: Vec<RawFd> = Inherited::wait(&dir.join("report")).fds().into_keys().collect();
    assert!([3, 4, 5, 42, 250].iter().all(|fd| fds.contains(fd)), "the control: {fds:?}");

    for refused in [None, Some(Errno::ENOSYS), Some(Errno::EPERM), Some(Errno::EINVAL)] {
        let dir = free_dir();
        let files = open(&dir);
        let setup = listen_on(&["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]).tune(move |command| {
            inherit(command, files);
            if let Some(errno) = refused {
                refuse(command, libc::SYS_close_range, None, errno);
            }
        });
        let (master, inherited) = reporting(setup, &dir);
        assert_eq!(inherited.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2, 3, 4], "close_range answers {refused:?}");
        let held = open_fds(master.pid());
        assert!(!held.values().any(|target| target.ends_with("/file")), "close_range answers {refused:?}: {held:?}");
    }
}

/// A lock, bash's process substitution, a job server: what a parent passes on is meant for the program.
#[test]
fn without_a_listener_inherited_descriptors_reach_the_program_untouched() {
    let file = |name: &str, dir: &FreeDir| -> OwnedFd { File::create(dir.join(name)).expect("a file").into() };
    for (listen, passes) in [("none", true), ("tcp://127.0.0.1:0", false)] {
        let dir = free_dir();
        let files = vec![(file("first", &dir), 3), (file("second", &dir), 9)];
        let (_master, inherited) = reporting(listen_on(&[listen]).tune(move |command| inherit(command, files)), &dir);
        let fds = targets(&inherited);
        let has = |fd, name: &str| fds.get(&fd).is_some_and(|target| target.ends_with(name));
        assert_eq!((has(3, "/first"), has(9, "/second")), (passes, passes), "{listen}: {fds:?}");
    }
}

const SOME_CLOSED: [&[RawFd]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

#[test]
fn standard_descriptors_that_were_closed_are_open_for_workers_and_no_socket_has_their_numbers() {
    for closed in SOME_CLOSED {
        let dir = free_dir();
        let setup = listen_on(&["tcp://127.0.0.1:0"]).tune(|command| close(command, closed));
        let (mut master, inherited) = reporting(setup, &dir);
        let fds = targets(&inherited);
        assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "closed {closed:?}");
        for fd in closed {
            assert_eq!(fds[fd], "/dev/null", "closed {closed:?}: {fds:?}");
        }
        assert!(fds[&3].starts_with("socket:"), "closed {closed:?}: {fds:?}");
        assert_eq!(master.stop(Signal::SIGTERM), exited(143), "closed {closed:?}");
    }
}

#[test]
fn without_dev_null_closed_standard_descriptors_are_still_filled() {
    let root = match bare_root() {
        Ok(root) => root,
        Err(why) => return skip(&why),
    };
    for closed in SOME_CLOSED {
        let inside = ["chroot".as_ref(), root.as_os_str()];
        let setup = listen_on(&["tcp://127.0.0.1:0"]).through(inside).binary("/socketmaster").tune(|command| close(command, closed));
        // Without /proc it cannot say what they are; that it lives on after it has written is what counts.
        let mut master = setup.program("/worker", ["say", "lost", "complain", "lost", "report", "/report", "sleep"]).spawn();
        let inherited = Inherited::wait(&root.join("report"));
        assert_eq!(inherited.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2, 3], "closed {closed:?}");
        let held = open_fds(inherited.number("pid"));
        for fd in closed {
            assert!(held[fd].starts_with("pipe:"), "closed {closed:?}: {held:?}");
        }
        assert!(held[&3].starts_with("socket:"), "closed {closed:?}: {held:?}");
        assert_eq!(master.stop(Signal::SIGTERM), exited(143), "closed {closed:?}");
        fs::remove_file(root.join("report")).expect("a report");
    }
}

#[test]
fn listeners_block_unless_nonblock_is_set() {
    let dir = free_dir();
    let path = dir.join("sock");
    let plain = format!("unix://{}", path.display());
    let uris =
        ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0?nonblock=1", &plain, "udp://127.0.0.1:0?nonblock=1", "udp://127.0.0.1:0?nonblock=0"];
    let (_master, inherited) = reporting(listen_on(&uris), &dir);
    let fds = inherited.fds();
    let nonblock: Vec<bool> = fds.range(3..).map(|(_, described)| described.contains("nonblock=1")).collect();
    assert_eq!(nonblock, [false, true, false, true, false], "{fds:?}");
}

#[track_caller]
fn longest_backlog() -> u32 {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok()).expect("a number")
}

/// How many clients fit in the queue of a unix listener on which no process accepts. Closed ones stay in the queue.
fn room(path: &Path) -> u32 {
    let address = UnixAddr::new(path).expect("a path");
    let fits = || {
        let client =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => true,
            Err(Errno::EAGAIN) => false,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    };
    (0..).take_while(|_| fits()).count() as u32
}

#[test]
fn the_backlog_of_a_unix_socket_is_the_configured_one_or_the_maximum() {
    for (query, backlog) in [("?backlog=1", 1), ("?backlog=7", 7), ("", longest_backlog())] {
        let dir = free_dir();
        let uri = format!("unix://{}{query}", dir.join("sock").display());
        let (_master, _) = reporting(listen_on(&[&uri]), &dir);
        // The kernel admits one more than the backlog.
        assert_eq!(room(&dir.join("sock")), backlog + 1, "{query:?}");
    }
}

/// A copy of another process' descriptor, by pidfd_getfd(2).
fn copied(pid: u32, fd: RawFd) -> nix::Result<OwnedFd> {
    let owned = |result: libc::c_long| {
        // SAFETY: the kernel has just opened it for us.
        Errno::result(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    };
    // SAFETY: takes two numbers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: takes three numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// The longest queue of a listening TCP socket, which tcp(7)'s TCP_INFO gives in a field that has another meaning else.
#[track_caller]
fn tcp_backlog(listener: &OwnedFd) -> u32 {
    const SACKED: usize = 7;
    let mut info = [0_u32; 26];
    let mut length = size_of_val(&info) as libc::socklen_t;
    let to = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes no more than the length that it is given.
    let result = unsafe { libc::getsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length) };
    Errno::result(result).expect("TCP_INFO");
    info[SACKED]
}

#[test]
fn the_backlog_of_a_tcp_socket_is_the_configured_one_or_the_maximum() {
    for (query, backlog) in [("?backlog=1", 1), ("?backlog=7", 7), ("", longest_backlog())] {
        let (master, _) = serving(listen_on(&[&format!("tcp://127.0.0.1:0{query}")]));
        match copied(master.pid(), 3) {
            Ok(listener) => assert_eq!(tcp_backlog(&listener), backlog, "{query:?}"),
            Err(error) => return skip(&format!("a descriptor cannot be copied: {error}")),
        }
    }
}

fn bound(kind: SockType, port: u16, reuse_port: bool, reuse_address: bool) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &reuse_port)?;
    setsockopt(&fd, sockopt::ReuseAddr, &reuse_address)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    Ok(fd)
}

#[test]
fn no_other_socket_can_take_clients_with_so_reuseport() {
    let control = bound(SockType::Stream, 0, true, false).expect("a port");
    let shared = nix::sys::socket::getsockname::<SockaddrIn>(control.as_raw_fd()).expect("it is bound").port();
    bound(SockType::Stream, shared, true, false).expect("the control: two that both want it may share a port");

    let dir = free_dir();
    let (master, _) = reporting(listen_on(&["tcp://127.0.0.1:0", "tcp://:0", "udp://127.0.0.1:0", "udp4://:0"]), &dir);
    let notes = master.wait_notes(phrase::LISTENING, 4, SOON);
    for (note, kind) in notes.iter().zip([SockType::Stream, SockType::Stream, SockType::Datagram, SockType::Datagram]) {
        let port = port(note.split(' ').nth(3).expect("a URI"));
        for reuse_address in [false, true] {
            let taken = bound(kind, port, true, reuse_address).map(drop);
            assert_eq!(taken, Err(Errno::EADDRINUSE), "{note}, with SO_REUSEADDR: {reuse_address}");
        }
    }
    match copied(master.pid(), 3) {
        Ok(listener) => {
            assert_eq!(getsockopt(&listener, sockopt::ReusePort), Ok(false));
            assert_eq!(getsockopt(&listener, sockopt::ReuseAddr), Ok(true));
        }
        Err(error) => skip(&format!("a descriptor cannot be copied: {error}")),
    }
}

#[test]
fn a_port_is_bound_again_at_once_though_connections_of_before_linger() {
    let (mut master, worker) = serving(listen_on(&["tcp://127.0.0.1:0"]));
    let port = port(&master.uri());
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    // The server closes first, so that its side is the one that lingers in TIME_WAIT, tcp(7).
    assert_eq!(answer(stream, || ()), Some(worker));
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert_eq!(bound(SockType::Stream, port, false, false).map(drop), Err(Errno::EADDRINUSE), "the control: it is not free for everybody");
    let (_again, worker) = serving(listen_on(&[&format!("tcp://127.0.0.1:{port}")]));
    assert_eq!(answer_over_tcp((Ipv4Addr::LOCALHOST, port)), Some(worker));
}

#[test]
fn the_path_of_a_killed_master_is_replaced_once_its_worker_has_exited_too() {
    let dir = free_dir();
    let uri = format!("unix://{}", dir.join("sock").display());
    let (mut master, worker) = serving(listen_on(&[&uri]));
    assert_eq!(master.stop(Signal::SIGKILL), killed(Signal::SIGKILL));
    // Its worker lives on and still serves, so the path is not stale yet.
    assert_eq!(answer_over_unix(UnixStream::connect(dir.join("sock"))), Some(worker));
    let mut refused = listen_on(&[&uri]).program(fixture("worker"), ["serve"]).spawn();
    assert_eq!(refused.wait_exit(SOON), exited(1));
    crate::harness::send(worker, Signal::SIGKILL);
    eventually("the worker's end", SOON, || UnixStream::connect(dir.join("sock")).is_err());
    let (_next, worker) = serving(listen_on(&[&uri]));
    assert_eq!(answer_over_unix(UnixStream::connect(dir.join("sock"))), Some(worker));
}

/// The one line of a start that fails.
#[track_caller]
fn refusal(setup: Setup) -> String {
    let mut master = setup.program(fixture("worker"), ["serve"]).spawn();
    let status = master.wait_exit(SOON);
    let said: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
    assert_eq!((status, said.len()), (exited(1), 1), "{said:?}");
    said.into_iter().next().unwrap_or_default()
}

#[test]
fn an_inherited_descriptor_that_cannot_serve_is_named_with_its_type() {
    let dir = free_dir();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connected = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (pair, _other) = UnixDatagram::pair().expect("a pair");
    let plain = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    let (fifo, _writer) = nix::unistd::pipe().expect("a pipe");
    let mut rows: Vec<(OwnedFd, &str)> = vec![
        (fifo, "is a FIFO, not a socket"),
        (File::create(dir.join("file")).expect("a file").into(), "is a file, not a socket"),
        (File::open(&*dir).expect("a directory").into(), "is a directory, not a socket"),
        (File::open("/dev/null").expect("a device").into(), "is a character device, not a socket"),
        (connected.into(), "is a connected socket, not one that listens"),
        (pair.into(), "is a connected socket, not one that listens"),
        (plain(AddressFamily::Inet, SockType::Stream).expect("a socket"), "is a socket that does not listen"),
        (plain(AddressFamily::Inet, SockType::Datagram).expect("a socket"), "is a socket that is not bound to an address"),
        (plain(AddressFamily::Netlink, SockType::Raw).expect("a socket"), "is a netlink socket; accepted are TCP, UDP and unix sockets"),
    ];
    match plain(AddressFamily::Vsock, SockType::Stream) {
        Ok(vsock) => rows.push((vsock, "is a vsock socket; accepted are TCP, UDP and unix sockets")),
        Err(error) => skip(&format!("no vsock: {error}")),
    }
    for (file, what) in rows {
        let line = refusal(listen_on(&["fd://5"]).tune(move |command| inherit(command, vec![(file, 5)])));
        assert_eq!(line, format!("socketmaster: cannot listen on fd://5: descriptor 5 {what}"));
    }
    let line = refusal(listen_on(&["fd://5"]));
    assert!(line.starts_with("socketmaster: cannot listen on fd://5: no such descriptor is open; "), "{line}");
}

#[test]
fn an_address_that_is_given_twice_is_one_error_that_names_both() {
    let same = |uris: &[&str]| {
        let (first, second) = (uris[0], uris[1]);
        let line = refusal(listen_on(uris).tune(|command| {
            let inherited = TcpListener::bind("127.0.0.1:0").expect("a port");
            inherit(command, vec![(inherited.into(), 7)]);
        }));
        let text = format!("socketmaster: cannot listen on {second}: it is the same address as {first}, which comes before it");
        assert_eq!(line, text);
    };
    same(&["fd://7", "fd://07?name=again"]);
    same(&["tcp://*:65001", "tcp://:65001?backlog=5"]);
    same(&["unix:///nowhere/sock", "unixgram:///nowhere/sock"]);
    // The same port in other words.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let (first, second) = (format!("tcp://127.0.0.1:{port}"), format!("tcp4://:{port}?name=b"));
    let line = refusal(listen_on(&[&first, &second]));
    assert_eq!(line, format!("socketmaster: cannot listen on {second}: Address already in use; the listener {first} has it"));
}

#[test]
fn an_inherited_socket_blocks_again_in_the_end() {
    let is_nonblocking = |socket: &TcpListener| {
        let flags = nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_GETFL).expect("it is open");
        nix::fcntl::OFlag::from_bits_retain(flags).contains(nix::fcntl::OFlag::O_NONBLOCK)
    };
    // Found blocking or not, with the option or without: during the life, and after it.
    for (found, query, during) in [(false, "?nonblock=1", true), (true, "?nonblock=1", true), (true, "", true), (false, "", false)] {
        let dir = free_dir();
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(found).expect("a socket");
        let files = vec![(socket.try_clone().expect("room").into(), 7)];
        let setup = listen_on(&[&format!("fd://7{query}")]).tune(move |command| inherit(command, files));
        let words = ["report", dir.join("report").to_str().expect("a plain path"), "signals", "--until", "USR1"].map(String::from);
        let mut master = setup.program(fixture("worker"), words).spawn();
        Inherited::wait(&dir.join("report"));
        master.wait_output("ready", SOON);
        assert_eq!(is_nonblocking(&socket), during, "{found} {query}");
        assert_eq!(master.stop(Signal::SIGUSR1), exited(0));
        assert_eq!(is_nonblocking(&socket), found, "{found} {query}");
    }
}

/// A socket unit's socket is the manager's: what starts on it next finds it as it was, also where workers were told to stop.
#[test]
fn a_socket_of_a_socket_unit_blocks_again_in_the_end() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let is_nonblocking = || {
        let flags = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_GETFL).expect("it is open");
        nix::fcntl::OFlag::from_bits_retain(flags).contains(nix::fcntl::OFlag::O_NONBLOCK)
    };
    let files = vec![(socket.try_clone().expect("room").into(), 3)];
    let setup = listen_on(&["systemd:?nonblock=1"]).env("LISTEN_FDS", "1").tune(move |command| inherit(command, files));
    let setup = setup.through(["sh", "-c", r#"LISTEN_PID=$$ exec "$@""#, "sh"]);
    let mut master = setup.program(fixture("worker"), ["ignore", "TERM", "signals", "--until", "INT"]).spawn();
    master.wait_output("ready", SOON);
    assert!(is_nonblocking());
    master.signal(Signal::SIGTERM);
    master.wait_note(phrase::STOP_SENT, SOON);
    assert!(is_nonblocking(), "a worker that drains still has it");
    assert_eq!(master.stop(Signal::SIGINT), exited(0));
    assert!(!is_nonblocking());
}

#[test]
fn with_retry_a_start_waits_for_a_port_that_is_still_in_use() {
    let before = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = before.local_addr().expect("it is bound");
    let line = refusal(listen_on(&[&format!("tcp://{address}?retry=1")]));
    assert!(line.ends_with("Address already in use; another program listens there already"), "{line}");
    let master = listen_on(&[&format!("tcp://{address}?retry=4294967295")]).program(fixture("worker"), ["serve"]).spawn();
    drop(before);
    master.wait_output("ready", SOON);
    assert_eq!(answer_over_tcp(address), Some(master.children()[0]));
}

fn option(fd: &OwnedFd, level: c_int, name: c_int) -> c_int {
    let mut value: c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel writes no more than the length that it is given.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    Errno::result(result).expect("an option");
    value
}

#[test]
fn every_option_of_a_socket_is_set() {
    use libc::{IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET};
    let rows: [(&str, c_int, c_int, c_int); 6] = [
        ("nodelay=1", IPPROTO_TCP, libc::TCP_NODELAY, 1),
        ("fastopen=17", IPPROTO_TCP, libc::TCP_FASTOPEN, 17),
        // The kernel counts retransmissions: of 1, 3, 7 seconds, and so on.
        ("defer=7", IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 7),
        ("freebind=1", IPPROTO_IP, libc::IP_FREEBIND, 1),
        // The kernel doubles these.
        ("rcvbuf=20000", SOL_SOCKET, libc::SO_RCVBUF, 40000),
        ("sndbuf=20000", SOL_SOCKET, libc::SO_SNDBUF, 40000),
    ];
    for (query, level, name, expected) in rows {
        let dir = free_dir();
        let (master, _) = reporting(listen_on(&["tcp://127.0.0.1:0", &format!("tcp://127.0.0.1:0?{query}")]), &dir);
        match (copied(master.pid(), 3), copied(master.pid(), 4)) {
            (Ok(without), Ok(with)) => {
                assert_eq!(option(&with, level, name), expected, "{query}");
                assert_ne!(option(&without, level, name), expected, "the control: {query}");
            }
            (Err(error), _) | (_, Err(error)) => return skip(&format!("a descriptor cannot be copied: {error}")),
        }
    }
}

#[test]
fn a_socket_serves_the_interface_that_it_is_bound_to() {
    let dir = free_dir();
    let line = refusal(listen_on(&["tcp://:0?device=socketmaster-no"]));
    if line.contains("not permitted") {
        return skip("SO_BINDTODEVICE is not permitted here");
    }
    assert_eq!(line, "socketmaster: cannot listen on tcp://:0?device=socketmaster-no: No such device; no network interface has that name");
    let (master, _) = reporting(listen_on(&["tcp4://:0?device=lo"]), &dir);
    match copied(master.pid(), 3) {
        Ok(listener) => assert_eq!(getsockopt(&listener, sockopt::BindToDevice).expect("an option").to_str(), Some("lo")),
        Err(error) => skip(&format!("a descriptor cannot be copied: {error}")),
    }
}

/// An address that no host has, RFC 5737.
#[test]
fn an_address_that_is_not_there_yet_is_bound_if_it_may_be() {
    let line = refusal(listen_on(&["tcp://192.0.2.1:0"]));
    assert!(line.ends_with("no interface of this machine has that address"), "{line}");
    let (_master, _) = reporting(listen_on(&["tcp://192.0.2.1:0?freebind=1", "udp://192.0.2.1:0?freebind=1"]), &free_dir());
    if has_ipv6() {
        let (_master, _) = reporting(listen_on(&["tcp://[2001:db8::1]:0?freebind=1"]), &free_dir());
    } else {
        skip(NO_IPV6);
    }
}
