//! What a reload does before and after the start of a candidate: `-check` and `-settle`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::{Planned, SOON, Setup, children_of, eventually, exited, free_dir, phrase, send};

/// A shell script that does this.
fn script(directory: &Path, commands: &str) -> PathBuf {
    let path = directory.join("check");
    fs::write(&path, format!("#!/bin/sh\n{commands}\n")).expect("a file of our own");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    path
}

fn checked(planned: &Planned, commands: &str) -> Setup {
    let check = script(planned.directory(), commands);
    Setup::new().with_stdin().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg(format!("-check={}", check.display()))
}

#[test]
fn a_reload_that_passes_its_check_succeeds_and_the_first_start_is_not_checked() {
    let planned = Planned::new("serve");
    let master = planned.start(checked(&planned, "echo checked; exit 0"));
    assert!(!master.lines().iter().any(|line| line.text() == "checked"), "there is nothing to protect at the first start");
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    master.wait_output("checked", SOON);
    master.wait_note("checking generation 2 (pid ", SOON);
    master.wait_note("the check of generation 2 succeeded after ", SOON);
}

#[test]
fn a_reload_that_fails_its_check_starts_nothing_and_says_so() {
    let planned = Planned::new("serve");
    let master = planned.start(checked(&planned, "echo no good >&2; exit 7"));
    master.wait_current(1);
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(2);
    assert!(failed.contains("did not start: the check exited with status 7 after "), "{failed}");
    assert!(failed.ends_with(&phrase::keeps_running(1)), "{failed}");
    assert!(!master.has_note(&phrase::started(2)), "{:?}", master.notes());
    script(planned.directory(), "kill -SEGV $$");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(3);
    assert!(failed.contains("the check was killed by SIGSEGV"), "{failed}");
    script(planned.directory(), "exit 0");
    master.signal(Signal::SIGHUP);
    master.wait_current(4);
}

#[test]
fn a_check_has_what_the_workers_of_the_new_generation_have() {
    let planned = Planned::new("serve");
    let dir = free_dir();
    let seen = dir.join("seen");
    let check = "readlink /proc/$$/fd/3 >$SEEN.new; pwd >>$SEEN.new; echo $GENERATION $LISTEN_PID $$ $# >>$SEEN.new; mv $SEEN.new $SEEN";
    let setup = checked(&planned, check).arg(format!("-dir={}", dir.display())).arg(format!("-env=SEEN={}", seen.display()));
    let master = planned.start(setup.arg("-env=GENERATION={generation}"));
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    let seen = fs::read_to_string(&seen).expect("the check wrote it");
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[0].starts_with("socket:["), "{seen}");
    assert_eq!(Path::new(lines[1]), fs::canonicalize(&dir).expect("it is there"));
    let words: Vec<&str> = lines[2].split(' ').collect();
    assert_eq!((words[0], words[1], words[3]), ("2", words[2], "0"), "{seen}");
}

#[test]
fn a_stop_during_the_check_ends_both() {
    let planned = Planned::new("serve");
    let mut master = planned.start(checked(&planned, "echo waiting; exec sleep 600"));
    master.signal(Signal::SIGHUP);
    master.wait_output("waiting", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert!(master.left_nobody());
}

#[test]
fn a_check_that_is_killed_or_not_there_fails_the_reload() {
    let planned = Planned::new("serve");
    let master = planned.start(checked(&planned, "echo waiting; exec sleep 600"));
    let worker = master.started_pid(1);
    master.signal(Signal::SIGHUP);
    master.wait_output("waiting", SOON);
    let check = children_of(master.pid()).into_iter().find(|pid| *pid != worker).expect("the check runs");
    assert!(send(check, Signal::SIGKILL));
    master.reload_failed(2);
    fs::remove_file(planned.directory().join("check")).expect("it was there");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(3);
    assert!(failed.contains("the check did not run: cannot execute "), "{failed}");
    assert_eq!(master.children(), [worker]);
}

#[test]
fn a_check_that_does_not_exist_is_an_error_at_the_start() {
    let planned = Planned::new("serve");
    let mut master = planned.spawn(Setup::new().arg("-check=/no/such/check"));
    assert_eq!(master.wait_exit(SOON), exited(1));
    let text: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
    assert_eq!(text, ["socketmaster: cannot run -check=/no/such/check: No such file or directory"]);
}

#[test]
fn the_old_generation_runs_beside_a_new_one_that_is_ready_until_it_is_gone() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-settle=600000"));
    let old = master.started_pid(1);
    master.signal(Signal::SIGHUP);
    master.wait_note("generation 2 is ready; generation 1 keeps running beside it for 600.00 s (-settle)", SOON);
    assert!(!master.has_note(&phrase::stop_sent(1)));
    assert_eq!(master.children().len(), 2);
    // What comes for the program reaches both, and the one that is left takes over.
    assert!(send(old, Signal::SIGKILL));
    master.wait_current(2);
}

#[test]
fn a_generation_that_exits_while_both_run_fails_its_reload() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-settle=600000"));
    let old = master.started_pid(1);
    planned.becomes("say new await {gate} exit 3");
    master.signal(Signal::SIGHUP);
    master.wait_output("new", SOON);
    master.wait_note("generation 2 is ready; ", SOON);
    fs::write(planned.gate(), "").expect("a file of our own");
    let failed = master.reload_failed(2);
    assert!(failed.contains("exited with status 3"), "{failed}");
    assert_eq!(master.children(), [old]);
    assert!(!master.has_note(&phrase::stop_sent(1)));
    planned.becomes("serve");
    let again = master.pid();
    assert!(send(again, Signal::SIGHUP));
    master.wait_note("generation 3 is ready; ", SOON);
}

#[test]
fn the_old_generation_is_stopped_when_both_have_run_for_that_time() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-settle=50"));
    master.signal(Signal::SIGHUP);
    master.wait_note("generation 2 is ready; ", SOON);
    master.wait_current(2);
    master.wait_stop_sent(1);
    eventually("the old one is gone", SOON, || master.children().len() == 1);
}
