//! The main job at length: many reloads under load from clients that make a new connection for every request. None may fail.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::load::Load;
use crate::harness::{Master, SOON, Setup, assert_ended_at_term, fixture, free_dir, phrase};

const ROLLOVERS: u32 = 200;
const CLIENTS: usize = 4;

/// A hello under load; its candidates are trusted after 20 ms, so that the test is about rollovers and not about waiting.
fn serving(listen: &str, crash_file: &std::path::Path) -> Master {
    let none: [&str; 0] = [];
    let setup = Setup::new().arg(format!("-listen={listen}")).arg("-start=20").env("HELLO_CRASH_FILE", crash_file);
    let master = setup.program(fixture("hello"), none).spawn();
    master.wait_current(1);
    master
}

fn roll_over(master: &Master, generation: u32) {
    master.signal(Signal::SIGHUP);
    master.wait_current(generation);
}

fn old_one_gone(master: &Master, generation: u32) {
    master.wait_stop_sent(generation);
    master.wait_exited(generation);
}

fn two_hundred(listen: &str) {
    let directory = free_dir();
    let mut master = serving(listen, &directory.join("crash"));
    let load = Load { clients: CLIENTS, time: Some(Duration::from_secs(120)), ..Load::new(master.address()) }.start();
    for generation in 2..=ROLLOVERS + 1 {
        roll_over(&master, generation);
        old_one_gone(&master, generation - 1);
    }
    let report = load.stop();
    println!("{listen}: {ROLLOVERS} rollovers: {report}");
    report.assert_no_failure();
    assert!(report.bodies.len() > ROLLOVERS as usize / 2, "the load has met {} generations only", report.bodies.len());
    assert_ended_at_term(master.stop(Signal::SIGTERM));
}

#[test]
fn two_hundred_rollovers_on_tcp_fail_no_request() {
    two_hundred("tcp://127.0.0.1:0");
}

#[test]
fn two_hundred_rollovers_on_a_unix_socket_fail_no_request() {
    let directory = free_dir();
    two_hundred(&format!("unix://{}", directory.join("hello.sock").display()));
}

#[test]
fn when_every_third_copy_crashes_no_request_fails_and_the_old_copy_is_kept() {
    let directory = free_dir();
    let crash_file = directory.join("crash");
    let mut master = serving("tcp://127.0.0.1:0", &crash_file);
    let load = Load { clients: CLIENTS, time: Some(Duration::from_secs(120)), ..Load::new(master.address()) }.start();
    let mut current = 1;
    for generation in 2..=ROLLOVERS + 1 {
        if generation % 3 == 0 {
            fs::write(&crash_file, "").expect("a file in a directory of our own");
            master.signal(Signal::SIGHUP);
            let failed = master.reload_failed(generation);
            assert!(failed.ends_with(&format!("; {}", phrase::keeps_running(current))), "{failed}");
            fs::remove_file(&crash_file).expect("the file just written");
        } else {
            roll_over(&master, generation);
            old_one_gone(&master, current);
            current = generation;
        }
    }
    let report = load.stop();
    println!("{ROLLOVERS} reloads, each third a crash: {report}");
    report.assert_no_failure();
    assert_ended_at_term(master.stop(Signal::SIGTERM));
}

/// The negative control of all the above: the same load notices a service that goes away.
#[test]
fn the_load_sees_a_service_that_stops_and_starts_anew() {
    let directory = free_dir();
    let mut master = serving("tcp://127.0.0.1:0", &directory.join("crash"));
    let load = Load { clients: CLIENTS, time: Some(Duration::from_secs(60)), ..Load::new(master.address()) }.start();
    crate::harness::eventually("answers", SOON, || load.so_far().ok() > 100);
    assert_ended_at_term(master.stop(Signal::SIGTERM));
    crate::harness::eventually("refusals", SOON, || load.so_far().failed() > 0);
    assert!(load.stop().failed() > 0);
}
