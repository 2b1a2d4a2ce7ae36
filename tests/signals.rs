//! Signals while something is under way, and stops that do not go smoothly.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::signal::Signal::{self, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1};

use crate::harness::pre_exec::{self, block_and_ignore};
use crate::harness::pty::Pty;
use crate::harness::{
    Master, SOON, Setup, children_of, eventually, exited, fixture, free_dir, only_child, phrase, pid_namespaces, send, skip, state_of,
};

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

fn ready(setup: Setup, verbs: &str) -> Master {
    let master = setup.program(fixture("worker"), verbs.split(' ')).spawn();
    master.wait_output("ready", SOON);
    master.wait_current(1);
    master
}

fn count(master: &Master, text: &str) -> usize {
    master.lines().iter().filter(|line| line.text() == text).count()
}

// ---- a candidate

#[test]
fn a_signal_during_a_reload_reaches_the_candidate_too() {
    let master = ready(Setup::new().arg("-start=600000"), "signals");
    master.signal(SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    master.signal(SIGUSR1);
    master.wait_outputs("signal 10", 2, SOON);
}

#[test]
fn a_signal_after_a_reload_does_not_reach_the_retiring_generation() {
    let master = ready(Setup::new().arg("-start=0"), "ignore TERM signals --until QUIT");
    master.signal(SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    // The stop comes after all other signals.
    master.wait_output("signal 15", SOON);
    master.signal(SIGUSR1);
    master.wait_output("signal 10", SOON);
    assert_eq!(count(&master, "signal 10"), 1);
}

#[test]
fn a_flood_of_signals_does_not_make_time_stand_still() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can give the flood a user of its own, whose limit of pending signals no other test shares");
    }
    let directory = free_dir();
    let [worker, binary] = ["worker", "socketmaster"].map(|name| directory.join(name));
    fs::copy(fixture("worker"), &worker).and_then(|_| fs::copy(crate::harness::binary(), &binary)).expect("copies for everybody");
    let setup = Setup::new().run_as(64_123, 64_123).binary(&binary).arg("-start=200").arg("-dir=/");
    let master = setup.arg("-signal=40:ignore").program(&worker, ["sleep"]).spawn();
    master.wait_output("ready", SOON);
    master.wait_current(1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Real-time signals queue, and to send one takes less time than to receive it: one is always pending.
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    send(master.pid(), 40);
                }
            });
        }
        master.signal(SIGHUP);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| master.wait_current(2)));
        stop.store(true, Ordering::Relaxed);
        outcome.expect("the reload ends during the flood");
    });
}

// ---- groups

/// A daemon that has left the group has its last process reaped, so that no SIGCHLD tells the master of its death.
#[test]
fn a_group_whose_last_process_was_reaped_by_a_stranger_is_not_waited_for() {
    let worker = fixture("worker").display().to_string();
    // The kernel reaps the children of a process that ignores SIGCHLD.
    let script =
        r#"("$0" ignore TERM sleep & echo "last $!"; sh -c 'echo "daemon $PPID"'; exec setsid "$0" ignore CHLD sleep) & exec "$0" sleep"#;
    let mut master = Setup::new().arg("-start=0").arg("-group").program("sh", ["-c", script, &worker]).spawn();
    let pid_of = |line: String| line.rsplit(' ').next().and_then(|pid| pid.parse::<u32>().ok()).expect("a pid");
    let (last, daemon) = (pid_of(master.wait_output("last", SOON)), pid_of(master.wait_output("daemon", SOON)));
    eventually("a kill alone ends the last one", SOON, || ignores(last, libc::SIGTERM));
    eventually("the daemon has left the group", SOON, || ignores(daemon, libc::SIGCHLD));
    master.signal(SIGTERM);
    master.wait_note(phrase::GROUP_STILL_RUNS, SOON);
    send(last, SIGKILL);
    eventually("it is reaped", SOON, || state_of(last).is_none());
    master.signal(SIGTERM);
    let status = master.wait_exit(SOON);
    send(daemon, SIGKILL);
    assert_eq!(status, exited(143));
}

fn ignores(pid: u32, signal: libc::c_int) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << (signal - 1) != 0)
}

// ---- suspended workers

#[test]
fn a_suspended_worker_is_ended_by_a_stop_and_by_nothing_less() {
    let mut master = ready(Setup::new().arg("-start=600000"), "sleep");
    let worker = only_child(master.pid());
    send(worker, SIGSTOP);
    eventually("it is suspended", SOON, || state_of(worker) == Some('T'));
    master.signal(Signal::SIGWINCH);
    // The master works its signals off in their order.
    master.signal(SIGHUP);
    master.started_pid(2);
    assert_eq!(state_of(worker), Some('T'), "no signal but a stop continues it");
    assert_eq!(master.stop(SIGTERM), exited(143));
}

#[test]
fn a_suspended_worker_that_is_replaced_ends_too() {
    let master = ready(Setup::new().arg("-start=0"), "sleep");
    let worker = only_child(master.pid());
    send(worker, SIGSTOP);
    eventually("it is suspended", SOON, || state_of(worker) == Some('T'));
    master.signal(SIGHUP);
    master.wait_note(&phrase::worker_killed_by(worker, "SIGTERM"), SOON);
}

// ---- job control by kill(2)

#[test]
fn job_control_signals_from_kill_are_forwarded_and_do_not_suspend_the_master() {
    for signal in [SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        let mut master = ready(Setup::new(), "signals");
        master.signal(signal);
        master.wait_output(&format!("signal {}", signal as i32), SOON);
        master.signal(SIGUSR1);
        master.wait_output("signal 10", SOON);
        assert_ne!(state_of(master.pid()), Some('T'), "{signal}");
        assert_eq!(master.stop(SIGTERM), exited(0), "{signal}");
    }
}

#[test]
fn a_cont_reaches_all_workers() {
    let master = ready(Setup::new().arg("-start=600000"), "signals");
    master.signal(SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    master.signal(SIGCONT);
    master.wait_outputs("signal 18", 2, SOON);
}

/// As PID 1 in a container and as an ordinary process: all but those that the kernel or the master takes for itself.
#[test]
fn each_signal_that_kill_sends_reaches_the_program() {
    // KILL and STOP never arrive; HUP, TERM, INT and QUIT mean something; CHLD is for reaping; 32 and 33 are a libc's.
    let own = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, libc::SIGTERM, libc::SIGCHLD, libc::SIGSTOP, 32, 33];
    let mut places = vec![("an ordinary process", Setup::new())];
    match pid_namespaces() {
        Ok(()) => places.push(("PID 1", Setup::new().in_pid_namespace())),
        Err(reason) => skip(&reason),
    }
    for (place, setup) in places {
        let mut master = ready(setup, "signals");
        let sent: Vec<i32> = (1..=64).filter(|signal| !own.contains(signal)).collect();
        for signal in &sent {
            master.signal(*signal);
            master.wait_output(&format!("signal {signal}"), SOON);
        }
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        for signal in sent {
            assert_eq!(count(&master, &format!("signal {signal}")), 1, "{place}: {signal}");
        }
    }
}

// ---- the rest of a group

/// A shell that a stop ends at once, and a worker in its group that takes a while.
fn shell_with_a_server(finish: &str) -> [String; 3] {
    let worker = fixture("worker").display().to_string();
    ["sh".to_owned(), "-c".to_owned(), format!("{worker} signals hold 300 say {finish}; true")]
}

#[test]
fn with_group_the_master_waits_for_the_rest_of_the_group() {
    let mut places = vec![("an ordinary process", Setup::new())];
    match pid_namespaces() {
        Ok(()) => places.push(("PID 1", Setup::new().in_pid_namespace())),
        Err(reason) => skip(&reason),
    }
    for (place, setup) in places {
        let [shell, option, script] = shell_with_a_server("drained");
        let mut master = setup.arg("-group").arg("-listen=none").program(shell, [option, script]).spawn();
        master.wait_output("ready", SOON);
        assert_eq!(master.stop(SIGTERM), exited(143), "{place}: the status is the shell's");
        assert_eq!(count(&master, "drained"), 1, "{place}: {:#?}", master.lines());
        master.wait_note(phrase::GROUP_STILL_RUNS, SOON);
    }
}

#[test]
fn without_group_the_master_exits_with_its_first_process() {
    let [shell, option, script] = shell_with_a_server("drained");
    let mut master = Setup::new().arg("-listen=none").program(shell, [option, script]).spawn();
    master.wait_output("ready", SOON);
    assert_eq!(master.stop(SIGTERM), exited(143));
    send(named_as_left(&master), SIGKILL);
}

/// The process that the master names as left by the program.
fn named_as_left(master: &Master) -> u32 {
    let note = master.wait_note(phrase::PROCESSES_LEFT, SOON);
    let (_, processes) = note.split_once(phrase::PROCESSES_LEFT).expect("it was waited for");
    processes.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid")
}

#[test]
fn the_stop_timeout_reaches_the_rest_of_a_group_whose_first_process_is_gone() {
    let worker = fixture("worker").display().to_string();
    let script = format!("{worker} ignore TERM sleep; true");
    let mut master =
        Setup::new().with_stdin().arg("-group").arg("-listen=none").arg("-stop-timeout=200").program("sh", ["-c", &script]).spawn();
    master.wait_output("ready", SOON);
    assert_eq!(master.stop(SIGTERM), exited(143));
    master.wait_note(phrase::SENT_KILL_TO_GROUP, SOON);
    assert!(master.left_nobody());
}

#[test]
fn a_worker_that_joined_another_group_is_killed_too() {
    let mut master = ready(Setup::new().arg("-stop-timeout=200"), "leave-group ignore TERM sleep");
    let worker = only_child(master.pid());
    master.signal(SIGTERM);
    assert_eq!(master.wait_exit(SOON), exited(137));
    assert_eq!(state_of(worker), None);
}

// ---- a program in the background

#[test]
fn a_program_that_goes_to_the_background_is_named() {
    let worker = fixture("worker").display().to_string();
    let mut master = Setup::new().program("sh", ["-c", &format!("setsid {worker} sleep & sleep 0.2")]).spawn();
    let note = master.wait_note(phrase::PROCESSES_LEFT, SOON);
    assert!(note.contains("(worker)") && note.contains("to stay in the foreground"), "{note}");
    assert_eq!(master.wait_exit(SOON), exited(0));
    send(named_as_left(&master), SIGKILL);
}

#[test]
fn a_program_that_exits_without_leftover_processes_causes_no_warning() {
    let mut master = Setup::new().arg("-listen=none").program("true", [""; 0]).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    assert!(!master.notes().iter().any(|note| note.contains("foreground")), "{:#?}", master.notes());
}

// ---- out of reach

#[test]
fn a_worker_that_cannot_be_killed_does_not_hold_up_the_exit_and_is_not_called_killed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can run a worker as another user");
    }
    let without_cap_kill = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];
    let mut places = vec![("an ordinary process", Setup::new(), false)];
    match pid_namespaces() {
        Ok(()) => places.push(("PID 1", Setup::new().in_pid_namespace(), true)),
        Err(reason) => skip(&reason),
    }
    for (place, setup, is_pid_1) in places {
        let directory = free_dir();
        let copy = directory.join("worker");
        fs::copy(fixture("worker"), &copy).expect("a copy for everybody");
        let setup = setup.through(without_cap_kill).arg("-user=65534:65534").arg("-stop-timeout=200").arg("-dir=/");
        let mut master = setup.program(&copy, ["sleep"]).spawn();
        master.wait_output("ready", SOON);
        let worker = only_child(master.pid());
        master.signal(SIGTERM);
        let status = master.wait_exit(SOON);
        assert_eq!(status, exited(1), "{place}: never 0");
        let notes = master.notes();
        assert!(
            notes.iter().any(|note| note.contains("cannot kill generation 1 (pid ") && note.contains("CAP_KILL")),
            "{place}: {notes:#?}"
        );
        assert!(!notes.iter().any(|note| note.contains(phrase::SENT_KILL)), "{place}: {notes:#?}");
        if !is_pid_1 {
            assert!(state_of(worker).is_some(), "it lives");
            send(worker, SIGKILL);
        }
    }
}

#[test]
fn a_stop_signal_that_workers_inherit_blocked_or_ignored_is_a_warning() {
    for (blocked, ignored, word) in [(&[libc::SIGTERM][..], &[][..], "blocked"), (&[], &[libc::SIGTERM], "ignored")] {
        let setup = Setup::new().tune(move |command| block_and_ignore(command, blocked, ignored));
        let master = ready(setup, "sleep");
        master.wait_note(&format!("SIGTERM is {word} in the process that started socketmaster"), SOON);
    }
    let master = ready(Setup::new(), "sleep");
    assert!(!master.notes().iter().any(|note| note.contains("in the process that started")), "{:#?}", master.notes());
}

// ---- a shell's job

/// A master below a shell that leads the session of a terminal, in the shell's own process group as in a script.
fn below_a_shell(verbs: &[&str]) -> (Master, u32, Pty) {
    below(r#""$@"; exit $?"#, verbs)
}

fn below(script: &str, verbs: &[&str]) -> (Master, u32, Pty) {
    let (pty, tty) = Pty::open();
    let shell = ["sh", "-c", script, "sh"].map(str::to_owned);
    let setup = Setup::new().through(shell).tune(move |command| pre_exec::lead_session(command, Some(tty)));
    let master = setup.arg("-listen=none").program(verbs[0], &verbs[1..]).spawn();
    master.wait_current(1);
    let pid = only_child(master.pid());
    (master, pid, pty)
}

#[test]
fn a_program_below_a_shell_can_read_the_terminal() {
    let (master, socketmaster, mut pty) = below_a_shell(&["sh", "-c", "read -r line; echo \"it read $line\"; exec sleep 600"]);
    let worker = only_child(socketmaster);
    eventually("it has the terminal", SOON, || pty.foreground() == Some(worker));
    pty.press(b"hello\n");
    master.wait_output("it read hello", SOON);
    pty.press(CTRL_C);
    master.wait_note(&phrase::ended_with(130), SOON);
}

#[test]
fn a_program_below_a_shell_that_never_reads_leaves_the_terminal_alone() {
    let (master, socketmaster, mut pty) = below_a_shell(&["sleep", "600"]);
    only_child(socketmaster);
    assert_eq!(pty.foreground(), Some(master.pid()));
    pty.press(CTRL_C);
    master.wait_note(&phrase::shutting_down_on("SIGINT"), SOON);
    master.wait_note(&phrase::ended_with(130), SOON);
}

#[test]
fn ctrl_z_suspends_the_job_of_a_program_that_has_the_terminal_and_fg_brings_both_back() {
    // Run bash with job control. Enter brings the job back.
    let shell = r#"set -m; "$@"; read -r enter; fg; exit $?"#;
    let program = ["sh", "-c", "read -r line; echo \"it read $line\"; exec sleep 600"];
    let (master, socketmaster, mut pty) = below(shell, &program);
    let worker = only_child(socketmaster);
    eventually("it has the terminal", SOON, || pty.foreground() == Some(worker));
    pty.press(CTRL_Z);
    let both = || [state_of(socketmaster), state_of(worker)];
    eventually("both are suspended", SOON, || if both() == [Some('T'); 2] { Ok(()) } else { Err(both()) });
    eventually("the shell has the terminal back", SOON, || pty.foreground() == Some(master.pid()));
    pty.press(b"\n");
    eventually("it has the terminal again", SOON, || pty.foreground() == Some(worker));
    pty.press(b"again\n");
    master.wait_output("it read again", SOON);
}

/// A container whose first process is a script: Ctrl-Z would put the service to sleep for ever.
#[test]
fn ctrl_z_suspends_no_job_that_has_no_shell_above_it() {
    let program = ["sh", "-c", "while read -r line; do echo \"it read $line\"; done; exec sleep 600"];
    let (mut script, master, mut pty) = below(r#""$@"; exit 8"#, &program);
    let worker = only_child(master);
    pty.press(b"one\n");
    script.wait_output("it read one", SOON);
    eventually("it has the terminal", SOON, || pty.foreground() == Some(worker));
    pty.press(CTRL_Z);
    // What is typed now reaches it only if it goes on.
    pty.press(b"two\n");
    script.wait_output("it read two", SOON);
    assert_ne!(state_of(master), Some('T'));
    send(master, SIGTERM);
    assert_eq!(script.wait_exit(SOON), exited(8));
}

#[test]
fn a_script_that_starts_a_program_with_the_terminal_gets_it_back() {
    let (pty, tty) = Pty::open();
    let shell = ["sh", "-c", r#""$@"; echo "back"; read -r line; echo "the script read $line""#, "sh"];
    let setup = Setup::new().through(shell).tune(move |command| pre_exec::lead_session(command, Some(tty)));
    let mut pty = pty;
    let master = setup.arg("-listen=none").program("sh", ["-c", "read -r line"]).spawn();
    master.wait_current(1);
    let worker = only_child(only_child(master.pid()));
    eventually("it has the terminal", SOON, || pty.foreground() == Some(worker));
    pty.press(b"one\n");
    master.wait_output("back", SOON);
    pty.press(b"two\n");
    master.wait_output("the script read two", SOON);
}

#[test]
fn when_the_generation_with_the_terminal_exits_the_remaining_one_gets_the_terminal() {
    let (pty, tty) = Pty::open();
    let mut pty = pty;
    let setup = Setup::new().arg("-start=0").tune(move |command| pre_exec::lead_session(command, Some(tty)));
    let mut master = setup.program("sh", ["-c", "trap '' TERM; echo up; while :; do sleep 1; done"]).spawn();
    master.wait_output("up", SOON);
    let first = only_child(master.pid());
    master.signal(SIGHUP);
    master.wait_current(2);
    master.wait_outputs("up", 2, SOON);
    let second = children_of(master.pid()).into_iter().find(|pid| *pid != first).expect("it has been started");
    eventually("the new one has it", SOON, || pty.foreground() == Some(second));
    pty.press(CTRL_C);
    master.wait_exited(2);
    eventually("the old one has it", SOON, || pty.foreground() == Some(first));
    pty.press(CTRL_C);
    assert_eq!(master.wait_exit(SOON), exited(130));
}

#[test]
fn nohup_is_heeded_when_the_terminal_goes_away() {
    for (ignored, stops) in [(&[libc::SIGHUP][..], false), (&[], true)] {
        let (pty, tty) = Pty::open();
        let setup = Setup::new().tune(move |command| {
            block_and_ignore(command, &[], ignored);
            pre_exec::lead_session(command, Some(tty));
        });
        let mut master = ready(setup, "ignore HUP sleep");
        drop(pty);
        if stops {
            master.wait_note(phrase::SHUTTING_DOWN, SOON);
        } else {
            // The hang-up comes before any signal that is sent after it.
            master.signal(SIGUSR1);
            master.wait_note(&phrase::killed_by("SIGUSR1"), SOON);
            assert!(!master.has_note(phrase::SHUTTING_DOWN), "{:#?}", master.notes());
        }
        master.wait_exit(SOON);
    }
}

// ---- a stop

#[test]
fn sigquit_is_forwarded_where_a_rule_says_so_and_is_a_stop_otherwise() {
    let master = ready(Setup::new().arg("-signal=QUIT:forward").arg("-stop-timeout=50"), "signals");
    master.signal(SIGQUIT);
    master.wait_output("signal 3", SOON);
    let uri = master.uri();
    assert!(TcpStream::connect(uri.trim_start_matches("tcp://")).is_ok(), "it listens");
    let mut master = ready(Setup::new(), "signals --until QUIT");
    master.signal(SIGQUIT);
    master.wait_note(&phrase::shutting_down_on("SIGQUIT"), SOON);
    assert_eq!(master.wait_exit(SOON), exited(0));
}

#[test]
fn an_answer_that_has_begun_is_finished_after_a_stop() {
    let mut master = ready(Setup::new(), "serve");
    let mut stream = TcpStream::connect(master.uri().trim_start_matches("tcp://")).expect("a listener");
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("200"), "{answer}");
    master.signal(SIGINT);
    master.wait_exit(SOON);
}
