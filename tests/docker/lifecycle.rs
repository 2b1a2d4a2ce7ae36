//! The life cycle of a container: PID 1, exit statuses, signals of the engine, and orphans.

use std::fs;

use crate::engine::{Container, programs};
use crate::harness::{SOON, children_of, descendants, eventually, exited, phrase, state_of};

#[test]
fn pid_1_is_socketmaster() {
    let Some(image) = programs() else { return };
    let container = image.run("", "-listen=none -- /worker sleep");
    container.wait_output("ready", SOON);
    let started = container.wait_note(&phrase::started(1), SOON);
    assert!(started.starts_with("socketmaster[1]: "), "{started}");
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("it runs");
    assert!(status.starts_with("Name:\tsocketmaster\n"), "{status}");
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
}

#[test]
fn the_exit_status_passes_through() {
    let Some(image) = programs() else { return };
    for (arguments, status) in [
        ("-listen=none -- /worker exit 0", 0),
        ("-listen=none -- /worker exit 7", 7),
        ("-listen=none -- /worker exit 255", 255),
        ("-listen=none -- /worker die KILL", 137),
        ("-listen=none -- /worker die TERM", 143),
        ("-listen=none -- /worker die 34", 128 + 34),
        ("-listen=none -ok=143 -- /worker die TERM", 0),
        ("-listen=none -- /no/such/program", 127),
        ("-listen=none -- /etc/hosts", 126),
        ("-listen=tcp://192.0.2.1:80 -- /worker exit 0", 1),
        ("-nonsense", 2),
    ] {
        assert_eq!(image.run("", arguments).wait_exit(SOON), exited(status), "{arguments}");
    }
}

/// 137 would be the engine's KILL.
#[test]
fn docker_stop_ends_it_with_the_program_s_own_status() {
    let Some(image) = programs() else { return };
    for (options, arguments, status) in [
        ("", "-start=0 -- /hello", 0),
        ("", "-listen=none -- /worker signals exit 5", 5),
        ("", "-listen=none -- /worker sleep", 143),
        ("--stop-signal=SIGQUIT", "-listen=none -- /worker signals --until QUIT exit 6", 6),
        ("--stop-signal=SIGRTMIN+3", "-listen=none -signal=37:stop -- /worker signals exit 8", 8),
    ] {
        let mut container = image.run(options, arguments);
        container.wait_current(1);
        if arguments.contains("/worker") {
            container.wait_output("ready", SOON);
        }
        assert_eq!(container.stop(20), exited(status), "{options} {arguments}");
    }
}

#[test]
fn the_same_program_alone_as_pid_1_is_killed_by_docker_stop() {
    let Some(image) = programs() else { return };
    let mut container = image.run("--entrypoint=/worker", "sleep");
    container.wait_output("ready", SOON);
    assert_eq!(container.stop(1), exited(137));
}

#[test]
fn docker_kill_reaches_the_program_with_any_signal() {
    let Some(image) = programs() else { return };
    let mut container = image.run("", "-listen=none -- /worker signals");
    container.wait_output("ready", SOON);
    for (name, number) in [("HUP", 1), ("SIGUSR1", 10), ("WINCH", 28), ("PWR", 30), ("RTMIN+3", 37), ("RTMAX", 64), ("50", 50)] {
        container.signal(name);
        container.wait_output(&format!("signal {number}"), SOON);
    }
    container.signal("TERM");
    assert_eq!(container.wait_exit(SOON), exited(0));
    let signals = container.lines().iter().filter(|line| line.text().starts_with("signal ")).count();
    assert_eq!(signals, 8, "each of them once, and TERM");
}

/// KILL and STOP never arrive, CHLD is for reaping, and 32 and 33 are a libc's.
#[test]
fn docker_kill_reaches_the_program_with_each_signal_there_is() {
    let Some(image) = programs() else { return };
    let forward = "-signal=INT:forward -signal=QUIT:forward -signal=TERM:forward";
    let mut container = image.run("", &format!("-listen=none {forward} -- /worker signals"));
    container.wait_output("ready", SOON);
    let sent: Vec<i32> = (1..=64).filter(|signal| ![9, 15, 17, 19, 32, 33].contains(signal)).collect();
    for signal in &sent {
        container.signal(&signal.to_string());
        container.wait_output(&format!("signal {signal}"), SOON);
    }
    container.signal("15");
    assert_eq!(container.wait_exit(SOON), exited(0));
    for signal in sent {
        let times = container.lines().iter().filter(|line| line.text() == format!("signal {signal}")).count();
        assert_eq!(times, 1, "{signal}");
    }
}

#[test]
fn orphans_are_reaped_those_of_docker_exec_too() {
    let Some(image) = programs() else { return };
    // With --init PID 1 is the engine's own, and socketmaster a subreaper below it.
    for options in ["", "--init"] {
        let container = image.run(options, "-listen=none -- /worker orphans 1000 signals");
        container.wait_output("ready", SOON);
        let rest = if options.is_empty() { 1 } else { 2 };
        eventually("nobody but the worker", SOON, || descendants(container.pid()).len() == rest);
        let exec = container.exec("/worker orphans 100");
        assert_eq!(String::from_utf8_lossy(&exec.stdout), "orphans 100\n");
        eventually("nobody but the worker again", SOON, || descendants(container.pid()).len() == rest);
    }
}

#[test]
fn below_a_pid_1_that_does_not_reap_the_same_look_finds_the_zombies() {
    let Some(image) = programs() else { return };
    let container = image.run("--entrypoint=/worker", "orphans 10 signals");
    container.wait_output("ready", SOON);
    assert!(container.exec("/worker orphans 10").status.success());
    let zombies = |container: &Container| children_of(container.pid()).into_iter().filter(|pid| state_of(*pid) == Some('Z')).count();
    eventually("20 zombies", SOON, || zombies(&container) == 20);
}

#[test]
fn docker_exec_runs_beside_it_and_neither_notices() {
    let Some(image) = programs() else { return };
    let mut container = image.run("", "-start=0 -- /hello");
    container.wait_current(1);
    let version = container.exec("/socketmaster -version");
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    for (words, status) in [
        ("/worker exit 9", 9),
        ("/worker die KILL", 137),
        ("/client tcp://127.0.0.1:8080 --once", 0),
        ("/client tcp://127.0.0.1:8081 --once", 1),
        // One more master beside the first.
        ("/socketmaster -listen=none -- /worker exit 4", 4),
        ("/socketmaster -- /worker exit 0", 1),
    ] {
        let exec = container.exec(words);
        assert_eq!(exec.status, exited(status), "{words}: {exec:?}");
    }
    assert_eq!(container.notes().len(), 3, "listening, started, current: {:#?}", container.notes());
    assert_eq!(container.stop(20), exited(0));
}
