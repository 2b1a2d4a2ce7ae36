//! Generations of several workers, and workers that are replaced when they exit: `-workers` and `-respawn`.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::load::{Load, Outcome};
use crate::harness::{Inherited, Planned, SOON, Setup, eventually, exited, fixture, free_dir, phrase, send};

/// As long as a replacement must live to be one that has proven itself.
const PROOF: Duration = Duration::from_millis(1100);

fn workers(count: usize) -> Setup {
    Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=50").arg(format!("-workers={count}"))
}

#[test]
fn each_worker_of_a_generation_has_the_sockets_and_its_number() {
    let dir = free_dir();
    let file = |number: usize| dir.join(format!("report-{number}"));
    let setup = workers(4).arg(format!("-env=REPORT={}/report-{{worker}}", dir.display()));
    let script = format!("exec {} report $REPORT sleep", fixture("worker").display());
    let mut master = setup.program("/bin/sh", ["-c", &script]).spawn();
    let pids: Vec<u32> = (0..4).map(|number| Inherited::wait(&file(number)).number("pid")).collect();
    for (number, pid) in pids.iter().enumerate() {
        let inherited = Inherited::wait(&file(number));
        assert!(inherited.fds().contains_key(&3), "worker {number}");
        assert_eq!(inherited.env("LISTEN_PID"), Some(pid.to_string().as_str()));
    }
    let mut children = master.children();
    children.sort_unstable();
    let mut expected = pids;
    expected.sort_unstable();
    assert_eq!(children, expected);
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert_eq!(master.count_notes(&phrase::stop_sent(1)), 4);
}

#[test]
fn a_reload_replaces_all_workers_and_fails_if_one_of_the_new_ones_exits() {
    let planned = Planned::new("serve");
    let master = planned.start(workers(3));
    eventually("three workers", SOON, || master.children().len() == 3);
    let old = master.children();
    planned.becomes("exit 3");
    master.signal(Signal::SIGHUP);
    master.reload_failed(2);
    eventually("the old ones are left", SOON, || master.children() == old);
    planned.becomes("serve");
    master.signal(Signal::SIGHUP);
    master.wait_current(3);
    eventually("the new ones are left", SOON, || master.children().len() == 3 && master.children().iter().all(|pid| !old.contains(pid)));
}

#[test]
fn a_generation_is_ready_when_each_of_its_workers_accepts() {
    let planned = Planned::new("serve");
    let directory = planned.directory().to_owned();
    let setup = workers(2).arg("-ready=accept").arg("-start=20000").arg(format!("-env=PLAN={}/plan-{{worker}}", directory.display()));
    let script = format!("exec {} plan $PLAN", fixture("worker").display());
    let plan = |number: usize, words: &str| fs::write(directory.join(format!("plan-{number}")), words).expect("a file of our own");
    plan(0, "say loading serve");
    plan(1, &format!("say loading await {} serve", planned.gate().display()));
    let master = setup.program("/bin/sh", ["-c", &script]).spawn();
    master.wait_outputs("loading", 2, SOON);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!master.has_note(&phrase::current(1)), "one of the two does not accept");
    fs::write(planned.gate(), "").expect("a file of our own");
    master.wait_current(1);
}

/// How often the long run kills: KILLS=50 takes a minute.
fn kills() -> u32 {
    std::env::var("KILLS").map_or(3, |kills| kills.parse().expect("a number"))
}

#[test]
fn no_connection_is_refused_while_a_killed_worker_is_replaced() {
    let none: [&str; 0] = [];
    let setup = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-respawn");
    let master = setup.program(fixture("hello"), none).spawn();
    master.wait_current(1);
    let load = Load { rate: Some(200.0), time: Some(Duration::from_secs(300)), ..Load::new(master.address()) }.start();
    for number in 1..=kills() {
        let worker = eventually("a worker", SOON, || master.children().first().copied());
        let since = Instant::now();
        assert!(send(worker, Signal::SIGKILL));
        master.wait_notes(&phrase::started(1), number as usize + 1, SOON);
        // One that has lived so long is replaced at once, however often that happens.
        std::thread::sleep(PROOF.saturating_sub(since.elapsed()));
    }
    let report = load.stop();
    println!("{} kills: {report}", kills());
    assert_eq!(report.count(Outcome::Refused), 0, "{report}");
    assert_eq!(report.count(Outcome::Timeout), 0, "{report}");
    assert!(!master.has_note("starting a new worker of generation 1 in "), "{:?}", master.notes());
}

/// The negative control of the test above.
#[test]
fn without_respawn_connections_are_refused_when_the_only_worker_is_gone() {
    let none: [&str; 0] = [];
    let mut master = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").program(fixture("hello"), none).spawn();
    master.wait_current(1);
    let load = Load { rate: Some(200.0), time: Some(Duration::from_secs(300)), ..Load::new(master.address()) }.start();
    assert!(send(master.started_pid(1), Signal::SIGKILL));
    assert_eq!(master.wait_exit(SOON), exited(137));
    eventually("a refused connection", SOON, || load.so_far().count(Outcome::Refused) > 0);
}

#[test]
fn a_program_that_exits_again_and_again_is_started_after_a_pause_and_a_stop_waits_for_nobody() {
    let planned = Planned::new("serve");
    let mut master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-respawn"));
    planned.becomes("exit 4");
    assert!(send(master.started_pid(1), Signal::SIGKILL));
    master.wait_note("starting a new worker of generation 1 in 1.00 s (-respawn)", SOON);
    // Nobody runs, and a client waits in the queue instead of being refused.
    let client = master.address().connect(SOON);
    assert!(client.is_ok(), "{client:?}");
    master.wait_note("starting a new worker of generation 1 in 1.50 s (-respawn)", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(4));
}

#[test]
fn a_reload_ends_the_pause() {
    let planned = Planned::new("serve");
    let master = planned.start(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-start=0").arg("-respawn"));
    planned.becomes("exit 4");
    assert!(send(master.started_pid(1), Signal::SIGKILL));
    master.wait_note("starting a new worker of generation 1 in ", SOON);
    planned.becomes("serve");
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    eventually("one worker is left", SOON, || master.children().len() == 1);
    assert_eq!(master.count_notes(&phrase::started(2)), 1);
}

#[test]
fn a_first_generation_that_exits_at_once_is_a_failed_start() {
    let planned = Planned::new("exit 5");
    let mut master = planned.spawn(Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-respawn"));
    assert_eq!(master.wait_exit(SOON), exited(5));
    assert_eq!(master.count_notes(&phrase::started(1)), 1);
}
