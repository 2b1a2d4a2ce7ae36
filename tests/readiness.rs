//! When a generation is ready: whether it accepts, seen from outside, whatever the program does for it.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::manager::Manager;
use crate::harness::{
    Master, Planned, SOON, Setup, bare_root, eventually, exited, fixture, held_up, only_child, phrase, send, skip, state_of,
};

/// So long a master is watched that must not do something.
const WATCHED: Duration = Duration::from_millis(300);

/// Every way in which a program waits for a client.
const WAYS: [&str; 9] = ["accept", "poll", "select", "epoll", "epoll-in-epoll", "poll-of-epoll", "thread", "other-number", "child"];

fn accepting() -> Setup {
    Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-ready=accept")
}

#[test]
fn with_accept_a_generation_is_current_when_it_accepts_in_any_way_and_never_before() {
    let planned = Planned::new("wait-by accept");
    let master = planned.spawn(accepting());
    master.wait_current(1);
    for (number, way) in (2..).zip(WAYS) {
        let _ = fs::remove_file(planned.gate());
        planned.becomes(&format!("say loading await {{gate}} wait-by {way}"));
        master.signal(Signal::SIGHUP);
        master.wait_outputs("loading", number - 1, SOON);
        // It is looked at several times meanwhile.
        thread::sleep(WATCHED);
        assert!(!master.has_note(&phrase::current(number)), "{way}: current before it accepts");
        fs::write(planned.gate(), "").expect("a file of our own");
        master.wait_current(number);
    }
}

#[test]
fn a_program_that_ignores_its_socket_fails_the_start_and_the_listener_is_named() {
    for way in ["nothing", "registered-only"] {
        let planned = Planned::new(&format!("wait-by {way}"));
        let mut master = planned.spawn(accepting().arg("-start=300"));
        let note = master.wait_note("does not accept connections on ", SOON);
        assert!(note.ends_with(&master.uri()), "{way}: {note}");
        assert_eq!(master.wait_exit(SOON), exited(1), "{way}");
    }
}

#[test]
fn a_program_that_ignores_its_socket_fails_the_reload_and_the_old_one_stays() {
    let planned = Planned::new("serve");
    let master = planned.spawn(accepting().arg("-start=300"));
    master.wait_current(1);
    planned.becomes("wait-by nothing");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(2);
    assert!(failed.contains(&format!("does not accept connections on {}", master.uri())), "{failed}");
    assert!(failed.ends_with(&phrase::keeps_running(1)), "{failed}");
    planned.becomes("serve");
    master.signal(Signal::SIGHUP);
    master.wait_current(3);
}

#[test]
fn each_listener_counts() {
    let planned = Planned::new("wait-by second-only");
    let mut master = planned.spawn(accepting().arg("-listen=tcp4://127.0.0.1:0").arg("-start=300"));
    let note = master.wait_note("does not accept connections on ", SOON);
    assert!(note.ends_with(&master.uri()), "{note}");
    assert_eq!(master.wait_exit(SOON), exited(1));
}

#[test]
fn a_datagram_listener_is_waited_for_by_receiving() {
    let planned = Planned::new("wait-by receive");
    let setup = || Setup::new().arg("-listen=udp://127.0.0.1:0").arg("-ready=accept").arg("-start=300");
    planned.spawn(setup()).wait_current(1);
    planned.becomes("wait-by nothing");
    assert_eq!(planned.spawn(setup()).wait_exit(SOON), exited(1));
}

/// A server that is never seen waiting has accepted a connection.
#[track_caller]
fn a_busy_server_becomes_current(setup: Setup, listen: &str) -> Master {
    let planned = Planned::new("say loading await {gate} wait-by busy");
    let dir = planned.directory().display().to_string();
    let listen = listen.replace("{dir}", &dir).replace("{pid}", &std::process::id().to_string());
    let master = planned.spawn(setup.arg(format!("-listen={listen}")).arg("-ready=accept"));
    master.wait_output("loading", SOON);
    let client = master.address().connect(SOON);
    let _client = client.unwrap_or_else(|error| panic!("{listen}: {error}"));
    fs::write(planned.gate(), "").expect("a file of our own");
    master.wait_current(1);
    master
}

const BUSY: [&str; 4] = ["tcp://127.0.0.1:0", "tcp://:0", "unix://{dir}/socket", "unix://@socketmaster-test-busy-{pid}"];

#[test]
fn a_server_that_is_busy_from_its_first_client_on_has_accepted() {
    for listen in BUSY {
        a_busy_server_becomes_current(Setup::new(), listen);
    }
}

/// As under a seccomp profile that forbids pidfd_getfd(2): the kernel's list of connections tells.
#[test]
fn so_it_is_seen_where_no_socket_of_another_process_can_be_copied() {
    for listen in BUSY {
        let Some(setup) = held_up("pidfd_getfd:error=EPERM") else { return };
        let master = a_busy_server_becomes_current(setup, listen);
        assert!(!master.has_note("cannot see"), "{:?}", master.notes());
    }
}

#[test]
fn by_default_a_program_that_never_accepts_is_judged_by_time_and_named() {
    let planned = Planned::new("wait-by nothing");
    let master = planned.spawn(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=50"));
    master.wait_current(1);
    let note = master.wait_note("does not accept connections on ", SOON);
    assert!(note.ends_with(&master.uri()), "{note}");
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
}

#[test]
fn by_default_a_program_that_accepts_is_not_replaced_by_one_that_does_not() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=50"));
    planned.becomes("say loading await {gate} serve");
    master.signal(Signal::SIGHUP);
    master.wait_output("loading", SOON);
    // Trusted by time it would be current by now, many times over.
    thread::sleep(WATCHED);
    assert!(!master.has_note(&phrase::current(2)));
    fs::write(planned.gate(), "").expect("a file of our own");
    master.wait_current(2);
}

#[test]
fn with_start_only_time_counts() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=50").arg("-ready=start"));
    planned.becomes("wait-by nothing");
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    assert!(!master.has_note("does not accept"));
}

#[test]
fn where_nobody_may_look_time_counts_and_the_log_says_why() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may run workers as another user");
    }
    // Root in a container has no such capability.
    let words = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let planned = Planned::new("wait-by accept");
    fs::set_permissions(planned.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own");
    let master = planned.spawn(accepting().through(words).arg("-user=65534:65534").arg("-start=50"));
    let note = master.wait_note("cannot see whether generation 1 accepts connections", SOON);
    assert!(
        note.contains(", so it is ready as soon as it runs: ")
            && note.contains("CAP_SYS_PTRACE")
            && note.contains("--cap-add SYS_PTRACE")
            && note.contains("USER"),
        "{note}"
    );
    master.wait_current(1);
    master.signal(Signal::SIGHUP);
    master.wait_note("cannot see whether generation 2 accepts connections, so it is ready after running for 0.05 s (-start): ", SOON);
    master.wait_current(2);
    // By default nothing is said: it was not asked for.
    let by_default = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=50").arg("-user=65534:65534");
    let master = planned.spawn(by_default.through(words));
    master.wait_current(1);
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    assert!(!master.has_note("accept"), "{:?}", master.notes());
    // The same user is no obstacle, whatever root may not do.
    let master = planned.spawn(accepting().through(words));
    master.wait_current(1);
    assert!(!master.has_note("cannot see whether generation 1 accepts connections"));
}

#[test]
fn without_proc_time_counts_and_the_log_says_why() {
    let root = match bare_root() {
        Ok(root) => root,
        Err(reason) => return skip(&reason),
    };
    let words = ["chroot".as_ref(), root.as_os_str()];
    let master = accepting().arg("-start=50").through(words).binary("/socketmaster").program("/worker", ["wait-by", "accept"]).spawn();
    master.wait_note("/proc is not mounted", SOON);
    master.wait_current(1);
}

#[test]
fn a_service_manager_hears_that_a_start_has_failed_and_not_that_it_is_ready() {
    let manager = Manager::new();
    let planned = Planned::new("await {gate} wait-by accept");
    let setup = || Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=600000");
    let master = planned.spawn(manager.over(setup()));
    master.wait_current(1);
    assert!(!manager.told().iter().any(|told| told.contains("READY=1")), "{:?}", manager.told());
    fs::write(planned.gate(), "").expect("a file of our own");
    manager.wait("READY=1");
    let manager = Manager::new();
    let planned = Planned::new("exit 3");
    let mut master = planned.spawn(manager.over(setup()));
    assert_eq!(master.wait_exit(SOON), exited(3));
    assert!(!manager.told().iter().any(|told| told.contains("READY=1")), "{:?}", manager.told());
}

#[test]
fn what_a_shell_leaves_behind_that_still_accepts_is_named() {
    let planned = Planned::new("wait-by accept");
    let script = format!("{} plan {}; exit 0", fixture("worker").display(), planned.plan().display());
    let setup = || Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0");
    let master = setup().program("/bin/sh", ["-c", &script]).spawn();
    master.wait_current(1);
    let shell = master.started_pid(1);
    let program = eventually("the shell runs the program", SOON, || crate::harness::children_of(shell).first().copied());
    eventually("it waits", SOON, || state_of(program) == Some('S'));
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    let note = master.wait_note("still accepts connections on ", SOON);
    assert!(note.contains(&format!("pid {program} (worker)")) && note.contains(&master.uri()) && note.contains("exec"), "{note}");
    assert!(send(program, Signal::SIGKILL));
    // With exec there is nobody to be named.
    let master = setup().program("/bin/sh", ["-c", &format!("exec {script}")]).spawn();
    master.wait_current(1);
    let _ = only_child(master.pid());
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    master.wait_exited(1);
    assert!(!master.has_note("still accepts"));
}
