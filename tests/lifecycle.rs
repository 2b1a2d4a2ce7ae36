//! Start, reload, rollback, stop: what the supervisor decides, seen from outside with real processes.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{Master, Planned, SOON, Setup, eventually, exited, fixture, free_dir, phrase, send, state_of};

fn reload(master: &Master, generation: u32) {
    master.signal(Signal::SIGHUP);
    master.wait_current(generation);
}

#[test]
fn without_a_wait_the_old_generation_is_stopped_as_soon_as_the_new_one_runs() {
    let planned = Planned::new("signals");
    let master = planned.start(Setup::new().arg("-start=0"));
    master.wait_output("ready", SOON);
    reload(&master, 2);
    master.wait_output("signal 15", SOON);
}

#[test]
fn while_a_candidate_warms_up_the_current_generation_gets_no_signal() {
    let planned = Planned::new("signals");
    let master = planned.start(Setup::new().arg("-start=600000"));
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    // The signal is forwarded to the current generation only, so its answer follows all earlier signals.
    master.signal(Signal::SIGUSR1);
    master.wait_output("signal 10", SOON);
    assert!(!master.lines().iter().any(|line| line.text() == "signal 15"));
}

#[test]
fn the_log_says_which_signal_requested_a_reload() {
    let planned = Planned::new("signals");
    let master = planned.start(Setup::new().arg("-start=0").arg("-signal=USR2:reload"));
    assert!(!master.has_note(phrase::RELOAD_BY_SIGNAL));
    for (number, signal) in [(2, Signal::SIGHUP), (3, Signal::SIGUSR2)] {
        master.signal(signal);
        master.wait_current(number);
    }
    let notes = master.notes();
    let requests: Vec<&str> = notes.iter().filter_map(|note| Some(note.split_once(phrase::RELOAD_BY_SIGNAL)?.1)).collect();
    assert_eq!(requests, ["SIGHUP", "SIGUSR2"]);
}

#[test]
fn when_the_current_one_dies_the_candidate_takes_over_at_once() {
    let planned = Planned::new("signals");
    let mut master = planned.start(Setup::new().arg("-start=600000"));
    let old = master.started_pid(1);
    planned.becomes("signals exit 5");
    master.signal(Signal::SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    assert!(send(old, Signal::SIGKILL));
    master.wait_current(2);
    assert_eq!(master.stop(Signal::SIGTERM), exited(5));
}

#[test]
fn the_old_generation_gets_the_stop_signal_and_nothing_else() {
    let planned = Planned::new("signals --until QUIT");
    let mut master = planned.start(Setup::new().arg("-start=0").arg("-stop-signal=QUIT"));
    master.wait_output("ready", SOON);
    reload(&master, 2);
    master.wait_output("signal 3", SOON);
    master.wait_outputs("ready", 2, SOON);
    assert_eq!(master.stop(Signal::SIGQUIT), exited(0));
    assert!(!master.lines().iter().any(|line| line.text() == "signal 15"));
}

#[test]
fn a_worker_that_does_not_stop_is_killed_with_its_group_after_the_timeout_and_not_without_one() {
    let planned = Planned::new("ignore TERM sleep");
    let mut master = planned.start(Setup::new().arg("-stop-timeout=100"));
    master.wait_output("ready", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(137));
    master.wait_note(phrase::SENT_KILL, SOON);

    let mut master = planned.start(Setup::new());
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGTERM);
    let worker = master.started_pid(1);
    master.wait_note(phrase::STOP_SENT, SOON);
    assert!(state_of(worker).is_some_and(|state| state != 'Z'), "no timeout was asked for");
    assert!(send(worker, Signal::SIGKILL));
    assert_eq!(master.wait_exit(SOON), exited(137));
}

/// A server that has closed its listener at a stop, but goes on with what it has begun.
fn connects(uri: &str) -> bool {
    TcpStream::connect(uri.trim_start_matches("tcp://")).is_ok()
}

#[test]
fn at_a_stop_clients_are_refused_once_the_program_has_closed_its_own_copy() {
    let mut master =
        Setup::new().program("/bin/sh", ["-c", "exec 3<&-; trap : TERM; echo closed; while :; do sleep 1 & wait; done"]).spawn();
    master.wait_output("closed", SOON);
    let uri = master.uri();
    assert!(connects(&uri), "the master still holds it: the control");
    master.signal(Signal::SIGTERM);
    eventually("a refusal", SOON, || !connects(&uri));
    assert!(!master.has_note(&phrase::ended_with("")), "the worker still runs");
    send(master.started_pid(1), Signal::SIGKILL);
    assert_eq!(master.wait_exit(SOON), exited(137));
}

/// The current generation, the second, is killed while the first still finishes its work; its plan, and how to reach it.
fn crashed_while_an_older_one_drains(directory: &Path) -> (Master, std::path::PathBuf, String) {
    let plan = directory.join("plan");
    fs::write(&plan, "exec 3<&-; trap : TERM; echo closed; while :; do sleep 1 & wait; done").expect("our file");
    let master = Setup::new().arg("-start=0").program("/bin/sh", ["-c", r#". "$0""#, &plan.display().to_string()]).spawn();
    master.wait_output("closed", SOON);
    let uri = master.uri();
    fs::write(&plan, "exec 3<&-; exec sleep 600").expect("our file");
    reload(&master, 2);
    send(master.started_pid(2), Signal::SIGKILL);
    master.wait_note(&phrase::none_serves_after(2, 1), SOON);
    (master, plan, uri)
}

#[test]
fn when_only_retiring_workers_are_left_clients_wait_and_a_reload_makes_it_serve_again() {
    let directory = free_dir();
    let (mut master, plan, uri) = crashed_while_an_older_one_drains(&directory);
    assert!(connects(&uri), "clients wait in the queue");
    fs::write(&plan, format!("exec {} serve", fixture("worker").display())).expect("our file");
    reload(&master, 3);
    let target = uri.trim_start_matches("tcp://").to_owned();
    eventually("an answer", SOON, || {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(&target).expect("a listener");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        let mut answer = String::new();
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer)).is_ok()
            && answer.contains("200")
    });
    send(master.started_pid(1), Signal::SIGKILL);
    master.wait_note(&phrase::killed_by("SIGKILL"), SOON);
    master.stop(Signal::SIGTERM);
}

#[test]
fn without_that_reload_the_master_exits_after_the_last_retiring_worker_with_the_status_of_the_current_one() {
    let directory = free_dir();
    let (mut master, _, uri) = crashed_while_an_older_one_drains(&directory);
    send(master.started_pid(1), Signal::SIGTERM);
    assert!(connects(&uri), "it still finishes: the control");
    send(master.started_pid(1), Signal::SIGKILL);
    assert_eq!(master.wait_exit(SOON), exited(137), "the status is that of the current one");
    assert!(!connects(&uri));
}

#[test]
fn statuses_that_are_ok_are_reported_as_0() {
    let ended = |option: &str, words: &[&str]| Setup::new().arg(option).program(fixture("worker"), words).spawn().wait_exit(SOON);
    assert_eq!(ended("-ok=143,7", &["exit", "7"]), exited(0));
    assert_eq!(ended("-ok=143,7", &["die", "TERM"]), exited(0));
    assert_eq!(ended("-ok=143,7", &["exit", "8"]), exited(8));
}

#[test]
fn a_reload_that_failed_says_why_and_the_next_one_begins_afresh() {
    let planned = Planned::new("signals");
    let mut master = planned.start(Setup::new().arg("-start=50"));
    for (generation, (words, why)) in
        (2..).zip([("exit 0", "exited with status 0"), ("die SEGV", "killed by SIGSEGV"), ("die 40", "killed by SIGRTMIN+6")])
    {
        planned.becomes(words);
        master.signal(Signal::SIGHUP);
        let failed = master.reload_failed(generation);
        assert!(failed.contains(why) && failed.ends_with(&phrase::keeps_running(1)), "{failed}");
    }
    planned.becomes("signals");
    reload(&master, 5);
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
}

#[test]
fn a_candidate_that_execs_a_missing_interpreter_says_so() {
    let directory = free_dir();
    let script = directory.join("app");
    write_script(&script, "#!/bin/sh\ntrap 'exit 0' TERM\necho ready\nwhile :; do sleep 1 & wait; done\n");
    let none: [&str; 0] = [];
    let mut master = Setup::new().arg("-start=50").program(&script, none).spawn();
    master.wait_output("ready", SOON);
    write_script(&script, "#!/no/such/interpreter\n");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(2);
    assert!(failed.contains("interpreter"), "{failed}");
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
}

/// Replaced in one step, as a deployment does it.
fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = path.with_extension("new");
    fs::write(&new, text).expect("our file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("our file");
    fs::rename(&new, path).expect("our directory");
}
