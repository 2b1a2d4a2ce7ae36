//! Under a service manager: the messages that it gets, the sockets that it passes, the descriptors that it keeps.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use crate::harness::manager::{Manager, offering};
use crate::harness::{
    Inherited, Master, SOON, Setup, eventually, exited, fixture, free_dir, make_program, open_fds, phrase, send, state_of,
};

fn serving(setup: Setup) -> Setup {
    setup.arg("-start=0").program(fixture("worker"), ["serve"])
}

/// Runs until TERM.
fn quiet(setup: Setup) -> Setup {
    setup.arg("-start=0").program(fixture("worker"), ["signals"])
}

fn microseconds() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock"));
    now.as_micros() as u64
}

#[test]
fn the_service_manager_is_notified_of_each_transition_in_order() {
    let manager = Manager::new();
    let mut master = quiet(manager.over(Setup::new())).spawn();
    manager.wait("READY=1\nSTATUS=generation 1 (pid ");
    master.wait_output("ready", SOON);
    let before = microseconds();
    master.signal(Signal::SIGHUP);
    manager.wait("STATUS=generation 2 (pid ");
    let after = microseconds();
    let reloading = manager.wait("RELOADING=1");
    let told: u64 = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no time beside RELOADING: {reloading:?}"));
    assert!((before..=after).contains(&told), "{before} {told} {after}");
    master.wait_outputs("ready", 2, SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
    eventually("STOPPING=1", SOON, || {
        let turns = manager.turns();
        if turns == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"] { Ok(()) } else { Err(format!("{:#?}", manager.told())) }
    });
}

#[test]
fn a_failed_reload_is_over_too_and_the_status_says_why() {
    let manager = Manager::new();
    let dir = free_dir();
    let program = dir.join("app");
    make_program(&program, format!("#!/bin/sh\nexec {} signals\n", fixture("worker").display()));
    let master = manager.over(Setup::new()).arg("-start=0").program(&program, [""; 0]).spawn();
    master.wait_output("ready", SOON);
    fs::remove_file(&program).expect("it was made");
    master.signal(Signal::SIGHUP);
    let told = manager.wait("; last reload failed: generation 2");
    assert!(
        told.starts_with("READY=1\nSTATUS=generation 1 (pid ")
            && told.contains("cannot execute ")
            && told.ends_with(&phrase::keeps_running(1)),
        "{told}"
    );
    assert_eq!(manager.turns(), ["READY=1", "RELOADING=1", "READY=1"]);
}

/// What `systemctl status` shows of a unit that has given up.
#[test]
fn the_last_status_says_how_the_program_exited() {
    for (words, exit) in [(&["exit", "3"][..], "exited with status 3"), (&["die", "KILL"], "was killed by SIGKILL")] {
        let manager = Manager::new();
        let mut master = manager.over(Setup::new()).program(fixture("worker"), words).spawn();
        master.wait_exit(SOON);
        let last = eventually("the last status", SOON, || manager.told().pop().filter(|told| told.contains(" after ")));
        assert!(last.contains("STATUS=the program (pid ") && last.contains(&format!(") {exit} after ")), "{last}");
    }
    let manager = Manager::new();
    let dir = free_dir();
    make_program(&dir.join("app"), [0; 100]);
    let mut master = manager.over(Setup::new()).program(dir.join("app"), [""; 0]).spawn();
    master.wait_exit(SOON);
    manager.wait(&format!("STATUS=cannot execute {}", dir.join("app").display()));
}

#[test]
fn a_status_that_changes_between_transitions_is_sent_too() {
    let manager = Manager::new();
    let master = manager.over(Setup::new()).arg("-start=0").program(fixture("worker"), ["ignore", "TERM", "signals"]).spawn();
    master.wait_output("ready", SOON);
    let first = master.children();
    master.signal(Signal::SIGHUP);
    manager.wait(phrase::STATUS_ONE_STOPPING);
    send(first[0], Signal::SIGKILL);
    let last =
        eventually("the one told to stop is gone", SOON, || manager.told().pop().filter(|told| told.ends_with(phrase::STATUS_SERVES)));
    assert!(last.starts_with("STATUS=generation 2 (pid "), "{last}");
}

#[test]
fn a_manager_with_an_abstract_name_is_told() {
    let name = format!("socketmaster-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
    manager.set_read_timeout(Some(SOON)).expect("a time");
    let _master = quiet(Setup::new().env("NOTIFY_SOCKET", format!("@{name}"))).spawn();
    let mut bytes = [0; 512];
    let mut next = || manager.recv(&mut bytes).map(|count| String::from_utf8_lossy(&bytes[..count]).into_owned()).expect("a datagram");
    let mut told = next();
    if told == format!("STATUS={}", phrase::STATUS_STARTING) {
        told = next();
    }
    assert!(told.starts_with("READY=1\nSTATUS=generation 1 (pid "), "{told}");
}

#[test]
fn a_manager_that_cannot_be_reached_causes_one_note_and_nothing_else() {
    for address in ["/nowhere/at/all", "vsock:2:1234", "relative"] {
        let mut master = quiet(Setup::new().env("NOTIFY_SOCKET", address)).spawn();
        master.wait_note("cannot reach the service manager: ", SOON);
        master.wait_output("ready", SOON);
        master.signal(Signal::SIGHUP);
        master.wait_current(2);
        master.wait_outputs("ready", 2, SOON);
        assert_eq!(master.stop(Signal::SIGTERM), exited(0));
        assert_eq!(master.notes().iter().filter(|note| note.contains("service manager")).count(), 1, "{:#?}", master.notes());
    }
}

/// More reloads than a socket's queue and the master's own hold.
#[test]
fn a_manager_that_does_not_read_blocks_nothing_and_gets_the_latest_status_later() {
    const RELOADS: u32 = 60;
    let dir = free_dir();
    let manager = UnixDatagram::bind(dir.join("notify")).expect("a socket");
    manager.set_nonblocking(true).expect("a socket");
    let master = serving(Setup::new().env("NOTIFY_SOCKET", dir.join("notify"))).spawn();
    for generation in 1..=RELOADS {
        master.wait_current(generation);
        master.signal(Signal::SIGHUP);
    }
    master.wait_current(RELOADS + 1);
    let mut bytes = [0; 512];
    eventually("the latest", SOON, || {
        let Ok(count) = manager.recv(&mut bytes) else { return Err("nothing more".to_owned()) };
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.contains(&format!("STATUS=generation {} (pid ", RELOADS + 1)) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn a_failure_of_any_length_leaves_room_for_the_news() {
    let manager = Manager::new();
    let dir = free_dir();
    make_program(&dir.join("app"), format!("#!/bin/sh\nexec {} signals\n", fixture("worker").display()));
    let short = dir.join("app").display().to_string();
    // As long as a path may be.
    let long = format!("{}/{}app", dir.display(), "./".repeat((4090 - short.len()) / 2));
    let master = manager.over(Setup::new()).arg("-start=0").program(long, [""; 0]).spawn();
    master.wait_output("ready", SOON);
    fs::remove_file(dir.join("app")).expect("it was made");
    master.signal(Signal::SIGHUP);
    let told = manager.wait("; last reload failed: generation 2");
    assert!(told.starts_with("READY=1\n"), "{told}");
}

#[test]
fn a_program_gets_no_variable_of_the_manager_or_its_store() {
    let manager = Manager::new();
    let dir = free_dir();
    let report = dir.join("report");
    let words = ["report".as_ref(), report.as_os_str(), "sleep".as_ref()];
    let _master = manager.with_store(Setup::new()).arg("-start=0").program(fixture("worker"), words).spawn();
    let inherited = Inherited::wait(&report);
    for name in ["NOTIFY_SOCKET", "FDSTORE"] {
        assert_eq!(inherited.env(name), None, "{name}");
    }
    assert_eq!(inherited.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

// ---- what it keeps

/// The file that descriptor 3 refers to.
fn listener_of(master: &Master) -> String {
    open_fds(master.pid()).remove(&3).expect("a listener")
}

#[track_caller]
fn assert_served(mut client: impl Read + Write) {
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a connection");
    let mut text = String::new();
    client.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1."), "{text}");
}

/// Master and worker, as the kernel makes it.
fn crash(master: &mut Master) {
    let worker = master.children()[0];
    master.signal(Signal::SIGKILL);
    master.wait_exit(SOON);
    send(worker, Signal::SIGKILL);
    // In its last moment it may yet accept a client.
    eventually("its worker is dead", SOON, || matches!(state_of(worker), None | Some('Z')));
}

#[test]
fn a_client_that_comes_while_the_master_is_dead_is_served_by_the_next_one() {
    let manager = Manager::new();
    let mut master = serving(manager.with_store(Setup::new())).spawn();
    master.wait_output("ready", SOON);
    let uri = master.uri();
    let address = uri.strip_prefix("tcp://").expect("a TCP listener").to_owned();
    let before = listener_of(&master);
    eventually("it is kept", SOON, || manager.kept() == ["socketmaster+tcp%3a//127.0.0.1%3a0"]);
    crash(&mut master);

    let client = TcpStream::connect(&address).expect("nobody is refused");
    let next = serving(manager.again(Setup::new())).spawn();
    assert_eq!(next.uri(), uri);
    assert_served(client);
    assert_eq!(listener_of(&next), before);
    next.wait_output("ready", SOON);
}

#[test]
fn without_a_store_nothing_is_kept_and_a_client_is_refused_meanwhile() {
    let manager = Manager::new();
    let mut master = serving(manager.over(Setup::new())).spawn();
    manager.wait("READY=1");
    let address = master.uri().strip_prefix("tcp://").expect("a TCP listener").to_owned();
    crash(&mut master);
    eventually("nobody listens", SOON, || TcpStream::connect(&address).is_err());
    assert_eq!(manager.kept(), [""; 0]);
    assert!(manager.told().iter().all(|told| !told.contains("FDSTORE")), "{:#?}", manager.told());
}

#[test]
fn a_socket_beyond_the_room_of_the_store_is_not_sent_and_its_path_is_removed_at_the_end() {
    let dir = free_dir();
    let [first, second] = ["first", "second"].map(|name| dir.join(name));
    let manager = Manager::new();
    let listen = |path: &std::path::Path| format!("-listen=unix://{}", path.display());
    let setup = manager.with_store(Setup::new()).env("FDSTORE", "1").arg(listen(&first)).arg(listen(&second));
    let mut master = serving(setup).spawn();
    master.wait_output("ready", SOON);
    master.stop(Signal::SIGTERM);
    eventually("the first is kept", SOON, || manager.kept().len() == 1);
    assert_eq!([first.exists(), second.exists()], [true, false]);
}

#[test]
fn listeners_that_are_never_stored_take_no_room_in_the_store() {
    let dir = free_dir();
    let manager = Manager::new();
    let setup = offering(manager.with_store(Setup::new()).env("FDSTORE", "1"), ["web"].into_iter(), vec![tcp()]);
    let own = format!("unix://{}", dir.join("own").display());
    let master = serving(setup.arg("-listen=systemd:web").arg(format!("-listen={own}"))).spawn();
    master.wait_output("ready", SOON);
    let name = format!("socketmaster+unix%3a//{}", dir.join("own").display());
    eventually("the master's own listener is kept", SOON, || manager.kept() == [name.clone()]);
}

#[test]
fn a_kept_unix_socket_keeps_its_path_and_is_found_there() {
    let dir = free_dir();
    let path = dir.join("socket");
    let listen = format!("-listen=unix://{}?mode=0600", path.display());
    let manager = Manager::new();
    let mut master = serving(manager.with_store(Setup::new())).arg(&listen).spawn();
    master.wait_output("ready", SOON);
    let before = listener_of(&master);
    manager.wait("FDSTORE=1");
    assert!(manager.wait("FDSTORE=1").contains("FDPOLL=0"));
    master.stop(Signal::SIGTERM);
    let client = UnixStream::connect(&path).expect("nobody is refused");

    let next = serving(manager.again(Setup::new())).arg(&listen).spawn();
    assert_served(client);
    assert_eq!(listener_of(&next), before);
    next.wait_output("ready", SOON);
}

#[test]
fn a_kept_unix_socket_whose_path_is_gone_is_opened_anew() {
    let dir = free_dir();
    let path = dir.join("socket");
    let listen = format!("-listen=unix://{}", path.display());
    let manager = Manager::new();
    let mut master = serving(manager.with_store(Setup::new())).arg(&listen).spawn();
    master.wait_output("ready", SOON);
    master.stop(Signal::SIGTERM);
    fs::remove_file(&path).expect("it was left");

    let next = serving(manager.again(Setup::new())).arg(&listen).spawn();
    next.wait_output("ready", SOON);
    UnixStream::connect(&path).expect("a new socket");
    // The manager reads what it is told in its own time.
    eventually("the old one is removed, the new one kept", SOON, || match manager.kept().len() {
        1 => Ok(()),
        count => Err(format!("{count} kept: {:#?}", manager.told())),
    });
}

/// The old one would be in the way: the same port, of both families.
#[test]
fn stored_sockets_that_the_configuration_lacks_are_removed_before_anything_is_opened() {
    let manager = Manager::new();
    let mut master = serving(manager.with_store(Setup::new())).arg("-listen=tcp://:0").spawn();
    master.wait_output("ready", SOON);
    let uri = master.uri();
    let port = uri.rsplit(':').next().expect("a port").to_owned();
    master.stop(Signal::SIGTERM);
    eventually("it is kept", SOON, || manager.kept() == ["socketmaster+tcp%3a//%3a0"]);
    assert!(TcpListener::bind(format!("0.0.0.0:{port}")).is_err(), "what is kept is in the way");

    let next = serving(manager.again(Setup::new())).arg(format!("-listen=tcp4://0.0.0.0:{port}")).spawn();
    next.wait_output("ready", SOON);
    assert_eq!(manager.kept(), [format!("socketmaster+tcp4%3a//0.0.0.0%3a{port}")]);
}

/// More than the manager's socket takes at once.
#[test]
fn a_busy_manager_is_waited_for_until_it_has_removed_all() {
    let manager = Manager::new();
    let names: Vec<String> = (0..50).map(|number| format!("socketmaster+old{number}")).collect();
    let offered = names.iter().map(|_| tcp()).collect();
    let setup = serving(offering(manager.with_store(Setup::new()), names.iter().map(String::as_str), offered));
    let master = manager.while_busy(|| {
        let master = setup.spawn();
        eventually("it waits, or goes on", SOON, || {
            let status = fs::read_to_string(format!("/proc/{}/status", master.pid())).unwrap_or_default();
            let waits = status.starts_with("Name:\tsocketmaster\n") && status.contains("State:\tS");
            waits || !master.notes().is_empty()
        });
        master
    });
    master.wait_output("ready", SOON);
    assert!(master.notes().iter().all(|note| !note.contains("cannot remove")), "{:#?}", master.notes());
    let told = manager.told();
    for name in names {
        assert!(told.contains(&format!("FDSTOREREMOVE=1\nFDNAME={name}")), "{name}: {told:#?}");
    }
}

#[test]
fn a_manager_that_does_not_read_holds_up_the_start_once_and_not_for_each_listener() {
    let dir = free_dir();
    let _deaf = UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let setup = (0..60).fold(serving(Setup::new()), |setup, _| setup.arg("-listen=tcp://127.0.0.1:0"));
    let master = setup.env("NOTIFY_SOCKET", dir.join("notify")).env("FDSTORE", "100").spawn();
    master.wait_output("ready", SOON);
    master.wait_note("cannot keep tcp://127.0.0.1:0 and the listeners after it in the descriptor store: timed out", SOON);
}

// ---- what it offers

fn tcp() -> OwnedFd {
    TcpListener::bind("127.0.0.1:0").expect("a loopback port").into()
}

fn reported(setup: Setup) -> (Master, Inherited) {
    let dir = free_dir();
    let report = dir.join("report");
    let words = ["report".as_ref(), report.as_os_str(), "sleep".as_ref()];
    let master = setup.arg("-start=0").program(fixture("worker"), words).spawn();
    let inherited = Inherited::wait(&report);
    (master, inherited)
}

#[test]
fn all_that_a_socket_unit_offers_comes_in_its_order_with_its_names() {
    let setup = offering(Setup::new(), ["web", "admin"].into_iter(), vec![tcp(), tcp()]).arg("-listen=systemd:").arg("-env=WEB={fd:web}");
    let (_master, inherited) = reported(setup);
    assert_eq!(inherited.env("LISTEN_FDS"), Some("2"));
    assert_eq!(inherited.env("LISTEN_FDNAMES"), Some("web:admin"));
    assert_eq!(inherited.env("WEB"), Some("3"));
}

#[test]
fn one_of_them_by_its_name_beside_a_listener_of_our_own() {
    let dir = free_dir();
    let path = dir.join("admin");
    let offered = vec![tcp(), UnixListener::bind(&path).expect("a path of our own").into()];
    let setup = offering(Setup::new(), ["web", "admin"].into_iter(), offered).arg("-listen=tcp://127.0.0.1:0").arg("-listen=systemd:admin");
    let (mut master, inherited) = reported(setup);
    assert_eq!(inherited.env("LISTEN_FDNAMES"), Some("unknown:admin"));
    assert!(inherited.env("SERVER_STARTER_PORT").is_some_and(|port| port.ends_with(&format!(";{}=4", path.display()))));
    master.wait_note("no listener takes the socket unit's socket web; add -listen=systemd:web", SOON);
    master.stop(Signal::SIGTERM);
    assert!(path.exists(), "the path is the socket unit's");
}

#[test]
fn sockets_that_are_not_offered_are_named_and_nothing_is_started() {
    let offered = || offering(Setup::new(), ["web"].into_iter(), vec![tcp()]);
    let foreign = Setup::new().env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    for (setup, line) in [
        (offered().arg("-listen=systemd:wbe"), "cannot listen on systemd:wbe: no socket unit passes a socket named wbe; available: web"),
        (
            Setup::new().arg("-listen=systemd:"),
            "cannot listen on systemd:: LISTEN_FDS is not set, so no service manager has passed a socket",
        ),
        (foreign.arg("-listen=systemd:"), "cannot listen on systemd:: LISTEN_PID is 1, and this is "),
        (offered().arg("-listen=systemd:").arg("-env=A={fd:admin}"), "cannot fill in -env=A: no socket unit passes a socket named admin"),
    ] {
        let dir = free_dir();
        let marker = dir.join("marker");
        let mut master = setup.program(fixture("worker"), ["report".as_ref(), marker.as_os_str()]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(1), "{line}");
        let said: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
        assert!(said.len() == 1 && said[0].starts_with(&format!("socketmaster: {line}")), "{said:#?}");
        assert!(!marker.exists());
    }
}
