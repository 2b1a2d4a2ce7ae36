//! T1 to T12: what the Go original did wrong, each a test that passes here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::load::Load;
use crate::harness::{
    Inherited, SOON, Setup, Stream, assert_ended_at_term, eventually, exited, fixture, free_dir, killed, phrase, pid_namespaces, skip,
    state_of,
};

/// A worker that serves until TERM kills it.
const SERVES: [&str; 1] = ["serve"];
const NONE: [&str; 0] = [];

/// T1: HUP, then TERM during the warm-up: the original forgot the TERM for good.
#[test]
fn t1_a_term_during_the_warm_up_is_not_forgotten() {
    let mut master = Setup::new().arg("-start=600000").program(fixture("hello"), NONE).spawn();
    master.wait_current(1);
    master.signal(Signal::SIGHUP);
    master.started_pid(2);
    assert_ended_at_term(master.stop(Signal::SIGTERM));
    assert!(master.has_note(&phrase::stop_sent(2)), "the candidate gets the stop signal too");
}

/// T2: the program's exit status was always reported as 0.
#[test]
fn t2_the_exit_status_is_the_programs() {
    let ended = |words: &[&str]| Setup::new().program(fixture("worker"), words).spawn().wait_exit(SOON);
    assert_eq!(ended(&["exit", "7"]), exited(7));
    assert_eq!(ended(&["exit", "0"]), exited(0));
    assert_eq!(ended(&["die", "KILL"]), exited(137));
    assert_eq!(Setup::new().program("/bin/false", NONE).spawn().wait_exit(SOON), exited(1));
}

/// T3: USR1 was to re-execute the master and lost the socket, the worker and the log. Here it is the worker's.
#[test]
fn t3_sigusr1_reaches_the_worker_and_does_not_end_the_master() {
    let mut master = Setup::new().program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGUSR1);
    master.wait_output("signal 10", SOON);
    master.signal(Signal::SIGUSR2);
    master.wait_output("signal 12", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
}

/// T4: of 2,000 lines of a program that ended at once, up to a third was lost.
#[test]
fn t4_the_last_lines_of_a_dying_worker_are_not_lost() {
    for _ in 0..20 {
        let mut master = Setup::new().arg("-prefix").program(fixture("worker"), ["lines", "2000", "100"]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(0));
        let log = String::from_utf8(master.bytes(Stream::Err)).expect("lines of text");
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(lines.len(), 2000, "the last: {:?}", lines.last());
        let (last_line, gone) = (log.rfind("\n[").expect("a line"), log.find(&phrase::exited_with(0)).expect("a note"));
        assert!(last_line < gone, "the death was reported before the last line");
    }
}

/// T5: a program that could not be executed at a HUP left a master that never ended.
#[test]
fn t5_a_program_removed_before_a_reload_is_a_failed_reload_and_nothing_else() {
    let directory = free_dir();
    let app = directory.join("app");
    fs::copy(fixture("hello"), &app).expect("a copy");
    let mut master = Setup::new().arg("-start=50").program(&app, NONE).spawn();
    master.wait_current(1);
    fs::remove_file(&app).expect("our file");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(2);
    assert!(failed.contains("cannot execute") && failed.contains("No such file or directory"), "{failed}");
    Load { clients: 1, count: Some(10), ..Load::new(master.address()) }.run().assert_no_failure();
    fs::copy(fixture("hello"), &app).expect("a copy");
    master.signal(Signal::SIGHUP);
    master.wait_current(3);
    assert_ended_at_term(master.stop(Signal::SIGTERM));
}

/// T6: the path of a unix listener was left behind, and the next start failed.
#[test]
fn t6_a_unix_path_is_removed_at_the_end_and_a_stale_one_is_replaced() {
    let directory = free_dir();
    let path = directory.join("app.sock");
    let start = || Setup::new().arg(format!("-listen=unix://{}", path.display())).program(fixture("hello"), NONE).spawn();
    let mut master = start();
    master.wait_current(1);
    assert_ended_at_term(master.stop(Signal::SIGTERM));
    assert!(!path.exists(), "left behind");

    let mut master = start();
    master.wait_current(1);
    assert_eq!(master.stop(Signal::SIGKILL), killed(Signal::SIGKILL));
    assert!(path.exists(), "nobody could remove it: the control");
    eventually("the orphaned worker to be gone", SOON, || std::os::unix::net::UnixStream::connect(&path).is_err() || kill_orphan(&master));
    let mut master = start();
    master.wait_current(1);
    Load { clients: 1, count: Some(5), ..Load::new(master.address()) }.run().assert_no_failure();
    assert_ended_at_term(master.stop(Signal::SIGTERM));
}

/// A worker outlives a master that was killed; its pid stands in the master's notes. Answers false: look again.
fn kill_orphan(master: &crate::harness::Master) -> bool {
    crate::harness::send(master.started_pid(1), Signal::SIGKILL);
    false
}

/// T7: with an older generation still draining, a crashing copy took the good one down with it.
#[test]
fn t7_a_crashing_copy_while_another_drains_leaves_the_good_one_alone() {
    let directory = free_dir();
    let plan = directory.join("plan");
    let becomes = |words: &str| fs::write(&plan, words).expect("our file");
    becomes("ignore TERM serve");
    let setup = Setup::new().arg("-start=50").arg("-stop-signal=TERM");
    let mut master = setup.program(fixture("worker"), ["plan".as_ref(), plan.as_os_str()]).spawn();
    master.wait_output("ready", SOON);
    becomes("serve");
    master.signal(Signal::SIGHUP);
    master.wait_stop_sent(1);
    becomes("exit 9");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(3);
    assert!(failed.contains(&phrase::exited_with(9)) && failed.contains(&phrase::keeps_running(2)), "{failed}");
    Load { clients: 1, count: Some(20), ..Load::new(master.address()) }.run().assert_no_failure();
    let told: Vec<String> = master.notes().into_iter().filter(|note| note.contains(phrase::STOP_SENT)).collect();
    assert_eq!(told.len(), 1, "the draining one, once: {told:#?}");
    // The draining one ignores TERM.
    let draining = phrase::pid_in(&told[0]);
    master.signal(Signal::SIGTERM);
    master.wait_stop_sent(2);
    crate::harness::send(draining, Signal::SIGKILL);
    assert_eq!(master.wait_exit(SOON), exited(143), "the status is the current one's, not that of the KILL");
}

/// T8: of three HUPs in the warm-up two vanished. Here one reload is remembered.
#[test]
fn t8_a_hup_during_a_reload_is_remembered_once() {
    let mut master = Setup::new().arg("-start=300").program(fixture("worker"), SERVES).spawn();
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGHUP);
    master.started_pid(2);
    master.signal(Signal::SIGHUP);
    master.wait_note("another one follows", SOON);
    master.signal(Signal::SIGHUP);
    master.wait_current(3);
    master.wait_stop_sent(2);
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert!(!master.has_note("generation 4"), "three SIGHUPs are two reloads");
}

/// T9: as PID 1 the original left every orphan as a zombie.
#[test]
fn t9_as_pid_1_orphans_are_reaped() {
    if let Err(why) = pid_namespaces() {
        return skip(&why);
    }
    let mut master = Setup::new().in_pid_namespace().program(fixture("worker"), ["orphans", "5", "signals"]).spawn();
    master.wait_output("ready", SOON);
    eventually("only the worker to be left", SOON, || match master.children().len() {
        1 => Ok(()),
        count => Err(format!("{count} children")),
    });
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
}

/// T10: `-user` emptied the supplementary groups and left HOME to root.
#[test]
fn t10_user_brings_its_groups_and_its_home() {
    if !nix::unistd::geteuid().is_root() {
        return skip("-user needs root");
    }
    let directory = free_dir();
    fs::set_permissions(&*directory, fs::Permissions::from_mode(0o777)).expect("our directory");
    let report = directory.join("report");
    let words = ["report".as_ref(), report.as_os_str()];
    let mut master = Setup::new().env("HOME", "/root").arg("-user=nobody").program(fixture("worker"), words).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    let inherited = Inherited::wait(&report);
    let id = |flag: &str| {
        let output = std::process::Command::new("id").args([flag, "nobody"]).output().expect("id(1)");
        String::from_utf8(output.stdout).expect("numbers").trim().to_owned()
    };
    let numbers = |text: &str| {
        let mut numbers: Vec<u32> = text.split([' ', ',']).filter_map(|number| number.parse().ok()).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(numbers(inherited.get("groups")), numbers(&id("-G")));
    assert_eq!(inherited.env("USER"), Some("nobody"));
    assert_ne!(inherited.env("HOME"), Some("/root"));
}

/// T11: a TERM in the first moments killed the master by its default action, and the worker stayed behind.
#[test]
fn t11_a_sigterm_in_the_first_moments_leaves_no_process() {
    for delay in 0..60 {
        let mut master = Setup::new().program(fixture("worker"), ["sleep"]).spawn();
        // Sweeps over the first moments, from before the first instruction on: not a wait for anything.
        std::thread::sleep(Duration::from_micros(delay * 50));
        let before = crate::harness::descendants(master.pid());
        let status = master.stop(Signal::SIGTERM);
        assert!([exited(143), killed(Signal::SIGTERM)].contains(&status), "{status} after {delay} x 50 us");
        for worker in before {
            eventually("the worker to be gone", SOON, || state_of(worker).is_none());
        }
        // One that was stopped before it ran has a pid, too: its end is reported.
        let asked_for = |note: &String| phrase::matches(note, phrase::STARTED) || note.contains(phrase::STOPPED_BEFORE_IT_RAN);
        let started = master.notes().iter().any(asked_for);
        assert!(started || master.notes().iter().all(|note| !note.contains("pid ")), "{:?}", master.notes());
    }
}

/// T12: variables of another supervisor reached the worker, before those that were meant for it.
#[test]
fn t12_stale_variables_do_not_reach_the_worker() {
    let directory = free_dir();
    let report = directory.join("report");
    let setup = Setup::new().env("EINHORN_FDS", "7").env("NOTIFY_SOCKET", "/run/nowhere").env("LISTEN_FDS", "9").env("LISTEN_PID", "1");
    let words = ["report".as_ref(), report.as_os_str()];
    let mut master = setup.env("WATCHDOG_USEC", "1").program(fixture("worker"), words).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    let inherited = Inherited::wait(&report);
    assert_eq!(inherited.env("EINHORN_FDS"), Some("3"));
    assert_eq!(inherited.environment().iter().filter(|entry| entry.starts_with("EINHORN_FDS=")).count(), 1);
    assert_eq!(inherited.env("LISTEN_FDS"), Some("1"));
    assert_eq!(inherited.env("LISTEN_PID"), Some(inherited.get("pid")));
    assert_eq!((inherited.env("NOTIFY_SOCKET"), inherited.env("WATCHDOG_USEC")), (None, None));
}
